// What the tests of training share: a command line, a folder with data, and a run as an executable tells it.

import Foundation
import LLM
import Testing

/// These words of a command line.
func trainingOptions(_ arguments: [String]) throws -> Options {
    try Options(
        program: "train", about: "a test", table: TrainingSettings.table(model: []) { "data/\($0)_*.bin" },
        arguments: arguments)
}

/// The settings that these words of a command line make.
func trainingSettings(_ arguments: [String]) throws -> TrainingSettings {
    TrainingSettings(try trainingOptions(arguments))
}

/// The bytes of all files in a folder and its folders, by name, without the lock that a living run has. An empty folder
/// has a name that ends in a slash.
func filesInside(_ folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in names(in: folder) where name != ".lock" {
        guard isDirectory("\(folder)/\(name)") else {
            files[name] = try bytes("\(folder)/\(name)")
            continue
        }
        let inside = try filesInside("\(folder)/\(name)")
        if inside.isEmpty { files["\(name)/"] = [] }
        for (other, bytes) in inside { files["\(name)/\(other)"] = bytes }
    }
    return files
}

/// A pupil of a class that only the test knows.
private final class AnyPupil: TrainableModel {
    let pupil: any Pupil
    init(_ pupil: any Pupil) { self.pupil = pupil }
    var parameters: Parameters { pupil.parameters }
    func loss(of batch: Batch) -> Loss { pupil.loss(of: batch) }
    func flopsPerToken(T: Int) -> Double { pupil.flopsPerToken(T: T) }
}

/// Says which of two folders' files differ, rather than all their bytes.
func expectSame(
    _ files: [String: [UInt8]], _ expected: [String: [UInt8]], _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let wrong = Set(files.keys).union(expected.keys).filter { files[$0] != expected[$0] }.sorted()
    #expect(wrong == [], "\(what)", sourceLocation: sourceLocation)
}

/// What ends a run in a test, as a kill would.
struct Killed: Error {}

/// A run of training.
final class TestRun {
    let trainer: Trainer
    let model: any Pupil
    /// What it said, without the lines of steps, which have times in them.
    private(set) var said: [String] = []
    private(set) var step: Int

    /// - Parameter resume: makes a model from a checkpoint's file; nil where a run is not to be resumed.
    init(
        _ new: @autoclosure () -> any Pupil, _ arguments: [String], _ layout: CheckpointDirectory.Layout = .files,
        tokenizer: Tokenizer? = nil, resume: ((String) throws -> any Pupil)? = nil
    ) throws {
        let given = try trainingSettings(arguments)
        let directory = try given.openOutput(layout)
        let checkpoint = try given.checkpoint(in: directory) { path in
            guard let resume else { throw UserError("this run can't be resumed", hint: "say how") }
            return AnyPupil(try resume(path))
        }
        let settings =
            try checkpoint.map {
                TrainingSettings(try TrainingSettings.continuing(try trainingOptions(arguments), from: $0.state))
            } ?? given
        model = checkpoint?.model.pupil ?? new()
        (model as? any LanguageModel)?.dropout = settings.dropout
        step = checkpoint?.state.step ?? 0
        final class Lines { var lines: [String] = [] }
        let lines = Lines()
        self.lines = { lines.lines }
        let model = model
        trainer = try Trainer(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: checkpoint?.state, V: model.V,
            T: try settings.T(maxT: model.maxT), say: { lines.lines.append($0) },
            writeModel: { path, files in try model.write(path, in: files) })
    }

    private let lines: () -> [String]

    /// Tells the story of every step, as Sources/train_gpt2 does.
    /// - Parameters:
    ///   - before: is given a step before anything happens at it.
    ///   - learnt: the same when its gradients are there, and nothing is made of them yet.
    func train(
        before: (Int) throws -> Void = { _ in }, learnt: (Int) throws -> Void = { _ in },
        until stop: @escaping () -> Bool = { false }
    ) throws {
        defer { said = lines().filter { !$0.hasPrefix("step ") } }
        try trainer.run(until: stop) {
            try before(step)
            if trainer.validationIsDue { try trainer.validate() }
            if trainer.sampleIsDue { try trainer.sample() }
            if trainer.checkpointIsDue { trainer.save() }
            guard try trainer.continues() else { return }
            try trainer.forEachBatch { model.learn($0, scale: $1) }
            try learnt(step)
            trainer.clip()
            try trainer.update()
            step += 1
        }
    }
}

/// The numbers of main.log by their step: `tel`, `eval`, `trl`, `lr` or `norm`.
func logged(_ what: String, in folder: String) throws -> [Int: Double] {
    var found: [Int: Double] = [:]
    for line in try String(contentsOfFile: folder + "/main.log", encoding: .utf8).split(separator: "\n") {
        let fields = line.split(separator: " ").map { $0.split(separator: ":") }
        guard let step = Int(fields[0][1]), let field = fields.first(where: { $0[0] == what }) else { continue }
        found[step] = Double(field[1])
    }
    return found
}
