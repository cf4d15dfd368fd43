// llm.c's directory of checkpoints.
//
//     model_00001000.bin          the parameters (LLMCModelFile.swift)
//     state_00001000_00000.bin    AdamW's moments, the random numbers, the place in the data (StateFile.swift)
//     DONE_00001000               empty; says that both are whole
//
// A checkpoint's files come together and go together (DurableFiles.swift), so a run that is killed at any moment leaves
// its last complete checkpoint, and no part of another. Model and state have checksums: one that was damaged since is
// noticed, and the one before it taken.

import Foundation

/// A directory of checkpoints, as llm.c's `-o`.
package struct CheckpointDirectory {
    package let path: String
    /// The right to write to it.
    private var lock: FolderLock?

    package init(_ path: String) { self.path = path }

    package func modelPath(_ step: Int) -> String { "\(path)/model_\(padded(step, 8)).bin" }
    package func statePath(_ step: Int) -> String { "\(path)/state_\(padded(step, 8))_\(padded(0, 5)).bin" }
    package func donePath(_ step: Int) -> String { "\(path)/DONE_\(padded(step, 8))" }
    /// The parameters that did best on the validation data.
    package var bestPath: String { "\(path)/model_best.bin" }

    private func padded(_ number: Int, _ digits: Int) -> String { String(format: "%0\(digits)d", number) }

    /// The steps of all whole checkpoints, ascending.
    package func steps() -> [Int] {
        names(in: path).compactMap { name in
            guard name.hasPrefix("DONE_"), let step = Int(name.dropFirst("DONE_".count)) else { return nil }
            return fileExists(modelPath(step)) && fileExists(statePath(step)) ? step : nil
        }.sorted()
    }

    /// The names of all files of a run, whole or not, but its log.
    package func files() -> [String] {
        let ours = /model_(\d{8}|best)\.bin|state_\d{8}_\d{5}\.bin|DONE_\d{8}/
        return names(in: path).filter { $0.wholeMatch(of: ours) != nil }
    }

    // MARK: - one writer

    /// The directory, made if it is not there, for this process alone to write to, without what a killed run was
    /// writing when it died.
    /// - Throws: if another process is writing to it.
    package func locked() throws -> CheckpointDirectory {
        try createDirectory(path)
        var locked = self
        locked.lock = try FolderLock(path)
        try finishInterruptedWrites(in: path)
        for name in names(in: path)
        where name.hasSuffix(".tmp")
            && ["model_", "state_", "DONE_", "main.log", ".journal"].contains(where: name.hasPrefix)
        {
            _ = FileCalls.remove("\(path)/\(name)")
        }
        return locked
    }

    /// Writes a whole checkpoint.
    /// - Parameter writeModel: writes the parameters in the model's own file format.
    package func write(
        _ parameters: Parameters, _ state: TrainingState, writeModel: (OutputFile) throws -> Void
    ) throws {
        let step = state.step
        try writeDurably([modelPath(step), statePath(step), donePath(step)]) { files in
            try writeModel(files[0])
            try StateFile.write(state, parameters, to: files[1])
        }
    }

    /// Removes checkpoints.
    package func remove(_ steps: [Int]) throws {
        try DurableFiles().commit(removing: steps.flatMap { [donePath($0), statePath($0), modelPath($0)] })
    }

    /// Removes an earlier run: all checkpoints, whole or not, and the best model.
    package func removeAll() throws { try DurableFiles().commit(removing: files().map { "\(path)/\($0)" }) }

    // MARK: - reading

    /// The newest checkpoint whose files are whole; nil if there is none. One that is damaged is left as it is, and a
    /// note says why.
    /// - Parameter readModel: makes the model of a file, with room for moments.
    /// - Throws: if there are checkpoints, and all are damaged: what is wrong with the newest.
    package func newest<Model>(
        _ readModel: (_ path: String) throws -> Model
    ) throws -> (model: Model, state: TrainingState)? where Model: TrainableModel {
        var first: UserError?
        let whole = steps()
        for step in Set(files().compactMap { stepNumber(of: $0) }).sorted() where step > whole.last ?? .max {
            note("warning: the checkpoint of step \(step) can't be used: one of its three files is missing")
        }
        for step in whole.reversed() {
            do {
                let model = try readModel(modelPath(step))
                let state = try readState(step, into: model.parameters)
                if first != nil { note("note: continuing from step \(step), the newest checkpoint that is whole") }
                return (model, state)
            } catch let error as UserError {
                note("warning: the checkpoint of step \(step) can't be used: \(error.message)")
                first = first ?? error
            }
        }
        if let first {
            throw UserError(
                first.message, hint: "no checkpoint in \(path) is whole: copy one again, or start over by -y 0")
        }
        return nil
    }

    /// The step in a file's name; nil for the best model.
    private func stepNumber(of name: String) -> Int? {
        name.firstMatch(of: /_(\d{8})/).flatMap { Int($0.1) }
    }

    /// Fills the moments and gives the rest of the state. The parameters' values come from the model's file.
    package func readState(_ step: Int, into parameters: Parameters) throws -> TrainingState {
        try StateFile.read(statePath(step), step: step, into: parameters)
    }
}
