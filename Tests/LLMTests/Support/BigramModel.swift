// The smallest language model there is. What trains it and generates with it knows nothing of GPT-2.

import Foundation
import Kernels
import LLM

/// A model that the tests of the loop can take through a step.
protocol Pupil: TrainableModel {
    var V: Int { get }
    var maxT: Int { get }
    /// Forward and backward pass of a batch.
    func learn(_ batch: Batch, scale: Float) -> Loss
    /// Writes it in its own format at a path, which is a file's or a directory's, as files of a set.
    func write(_ path: String, in files: DurableFiles) throws
}

extension Pupil where Self: LanguageModel {
    func learn(_ batch: Batch, scale: Float) -> Loss { learn(from: batch, gradientScale: scale) }
}

extension GPT2: Pupil {
    func write(_ path: String, in files: DurableFiles) throws {
        try files.write(path) { try LLMCModelFile.write(self, to: $0) }
    }
}

extension Phi: Pupil {
    func write(_ path: String, in files: DurableFiles) throws {
        try HuggingFacePhi.write(self, nil, to: path, in: files)
    }
}

/// The logits of the next token are a row of a table (V,V), the last token's. The best that it can learn is how often
/// which token follows which.
final class BigramModel: Pupil, CausalModel {
    let parameters: Parameters
    let V: Int
    let maxT = 32
    /// Whether it is a directory, by the names of a Hugging Face model.
    let layout: CheckpointDirectory.Layout
    /// What the losses of a batch to learn from are multiplied by, to make an outlier or no number of them.
    var lossFactor: Float = 1
    /// Rows of each pass so far.
    private(set) var passes: [Int] = []
    private let losses: UnsafeMutableBufferPointer<Float>
    private let correct: UnsafeMutableBufferPointer<Float>
    /// The tokens whose successors are asked for.
    private var last: [Int32] = []

    init(V: Int, _ layout: CheckpointDirectory.Layout = .files) {
        (self.V, self.layout) = (V, layout)
        var table = TensorTable()
        _ = table.add("logits", V, V, initialValues: .normal(deviation: 1), decays: true)
        parameters = Parameters(table, trains: true)
        losses = .allocate(capacity: 4096)
        correct = .allocate(capacity: 4096)
    }

    deinit {
        losses.deallocate()
        correct.deallocate()
    }

    func row(_ token: Int32) -> [Float] {
        Array(UnsafeBufferPointer(start: parameters.values + Int(token) * V, count: V))
    }

    func flopsPerToken(T: Int) -> Double { Double(6 * V) }

    func makeCache(sequences: Int, capacity: Int) -> KVCache {
        KVCache(L: 1, C: 1, NH: 1, sequences: sequences, capacity: min(capacity, maxT))
    }

    func forward(inputs: UnsafePointer<Int32>, _ context: Context) {
        last = (0..<context.rows).map { inputs[$0] }
        passes.append(last.count)
        guard case .cache(let cache) = context else { return }
        var rows = last.map { Float($0) }
        let kept = rows.withUnsafeMutableBufferPointer { rows in
            rows.baseAddress.map { cache.keepLastTokens(($0, 1)) } ?? 0
        }
        last = rows[..<kept].map { Int32($0) }
    }

    func logits(into out: UnsafeMutablePointer<Float>, _ context: Context) {
        for (n, token) in last.enumerated() { (out + n * V).update(from: row(token), count: V) }
    }

    func loss(of batch: Batch) -> Loss { classify(batch, scale: nil) }

    func learn(_ batch: Batch, scale: Float) -> Loss { classify(batch, scale: scale) }

    private func classify(_ batch: Batch, scale: Float?) -> Loss {
        forward(inputs: batch.inputs, .batch(lengths: batch.lengths))
        let N = last.count
        var logits = last.flatMap { row($0) }
        if let losses = losses.baseAddress, let correct = correct.baseAddress {
            crossEntropy(
                losses: losses, correct: correct, logits: &logits, targets: batch.targets, gradientScale: scale, N: N,
                V: V, stride: V)
        }
        if scale != nil {
            for n in 0..<N {
                for v in 0..<V { parameters.gradients[Int(last[n]) * V + v] += logits[n * V + v] }
            }
            for n in 0..<N { losses[n] *= lossFactor }
        }
        return Loss(
            losses: UnsafeBufferPointer(rebasing: losses[..<N]), correct: UnsafeBufferPointer(rebasing: correct[..<N]),
            counted: batch.counted)
    }

    func write(_ path: String, in files: DurableFiles) throws {
        if layout == .directories { try createDirectory(path) }
        try files.write(weights(path)) { try $0.write(parameters.array(parameters.values)) }
        if layout == .directories { try files.write("\(path)/config.json") { try $0.write("{}") } }
    }

    private func weights(_ path: String) -> String { layout == .files ? path : "\(path)/model.safetensors" }

    /// Puts back what `write` wrote.
    func read(_ path: String) throws {
        let file = try InputFile(weights(path), hint: "write it first")
        for (i, value) in try file.read(V * V, of: Float.self, at: 0).enumerated() { parameters.values[i] = value }
    }
}
