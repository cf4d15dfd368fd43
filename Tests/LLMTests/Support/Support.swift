// What the tests of the model, its files and its data share.

import Foundation
import Kernels
import LLM
import Testing

/// A new directory, removed when the test ends.
func withTemporaryDirectory(_ body: (String) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("llm-\(UUID().uuidString)").path
    try createDirectory(path)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
}

func fixture(_ name: String) throws -> String {
    try #require(Bundle.module.resourceURL).appendingPathComponent("Fixtures/\(name)").path
}

/// Every error that a user can see says what to do about it.
func expectUserError(
    _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("\(what): nothing was thrown", sourceLocation: sourceLocation)
    } catch let error as UserError {
        #expect(!error.message.isEmpty && !error.hint.isEmpty, "\(what)", sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(what): \(error) is not a UserError", sourceLocation: sourceLocation)
    }
}

/// `count` tokens that look random and are the same in every run.
func randomTokens(_ count: Int, below bound: Int, seed: UInt64) -> [Int32] {
    var random = Xorshift(seed: seed)
    return (0..<count).map { _ in Int32(random.below(bound)) }
}

/// llm.c's token shard: a header of 256 Int32, then UInt16 tokens.
func writeShard(_ tokens: [Int32], to path: String) throws {
    var header = [Int32](repeating: 0, count: 256)
    (header[0], header[1], header[2]) = (20_240_520, 1, Int32(tokens.count))
    try writeDurably(path) { file in
        try file.write(header)
        try file.write(tokens.map { UInt16($0) })
    }
}

/// ‖ours − theirs‖ / ‖theirs‖.
func relativeError(_ ours: [Float], _ theirs: [Float]) -> Double {
    guard ours.count == theirs.count else { return .infinity }
    var (difference, norm) = (0.0, 0.0)
    for (a, b) in zip(ours, theirs) {
        difference += Double(a - b) * Double(a - b)
        norm += Double(b) * Double(b)
    }
    return (difference / max(norm, 1e-300)).squareRoot()
}

/// A model small enough for anything.
let tiny = GPT2Configuration(maxT: 9, V: 19, L: 2, NH: 2, C: 6)

extension Parameters {
    /// The parameters, then AdamW's moments: what has to be the same bits.
    var bits: [UInt32] { [values, m, v].flatMap { array($0) }.map { $0.bitPattern } }

    func bits(of buffer: KeyPath<Parameters, UnsafeMutablePointer<Float>>) -> [UInt32] {
        array(self[keyPath: buffer]).map { $0.bitPattern }
    }

    /// A buffer, such as `values`, whole.
    func array(_ buffer: UnsafeMutablePointer<Float>) -> [Float] {
        Array(UnsafeBufferPointer(start: buffer, count: table.count))
    }

    /// One tensor of a buffer.
    func array(_ buffer: UnsafeMutablePointer<Float>, _ tensor: Tensor) -> [Float] {
        Array(UnsafeBufferPointer(start: buffer + tensor, count: tensor.count))
    }
}

extension LanguageModel {
    func forward(_ inputs: [Int32], B: Int, T: Int) { forward(inputs: inputs, .batch(B: B, T: T)) }

    /// Logits (B,T,V) after `forward`.
    func logits(B: Int, T: Int) -> [Float] {
        var out = [Float](repeating: 0, count: B * T * V)
        out.withUnsafeMutableBufferPointer { buffer in
            if let base = buffer.baseAddress { logits(into: base, .batch(B: B, T: T)) }
        }
        return out
    }

    /// Forward and backward pass; the gradients are added to those that are there.
    @discardableResult func accumulate(
        _ inputs: [Int32], _ targets: [Int32], B: Int, T: Int, scale: Float, dropout: DropoutKey? = nil
    ) -> Double {
        forward(inputs: inputs, .batch(lengths: Array(repeating: T, count: B), dropout: dropout))
        let loss = classify(targets: targets, gradientScale: scale).mean
        backward(inputs: inputs)
        return loss
    }

    func loss(_ inputs: [Int32], _ targets: [Int32], B: Int, T: Int, dropout: DropoutKey? = nil) -> Double {
        forward(inputs: inputs, .batch(lengths: Array(repeating: T, count: B), dropout: dropout))
        return classify(targets: targets, gradientScale: nil).mean
    }
}

extension CheckpointDirectory {
    func write(_ model: GPT2, _ state: TrainingState) throws {
        try write(model.parameters, state) { path, files in
            try files.write(path) { try LLMCModelFile.write(model, to: $0) }
        }
    }
}

/// Expects the same from 1 to 7 threads. The number is the process's, so only the tests in Threads, which run one by one, may.
func expectSameBitsFromAnyThreads(_ bits: () -> [UInt32], sourceLocation: SourceLocation = #_sourceLocation) {
    let before = threadCount
    defer { threadCount = before }
    threadCount = 1
    let expected = bits()
    for threads in 2...7 {
        threadCount = threads
        let isSame = bits() == expected
        #expect(isSame, "\(threads) threads", sourceLocation: sourceLocation)
    }
}
