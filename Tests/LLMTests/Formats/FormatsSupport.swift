// What the tests of files share: bytes at offsets, directories to change, and a run of training small enough to resume
// many times.

import Foundation
import LLM
import Testing

func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
func integer<Value: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int, as type: Value.Type) -> Value {
    (0..<MemoryLayout<Value>.size).reduce(0) { $0 | Value(truncatingIfNeeded: bytes[offset + $1]) << (8 * $1) }
}

func replace(_ bytes: inout [UInt8], header index: Int, with value: Int32) {
    for i in 0..<4 { bytes[4 * index + i] = UInt8(truncatingIfNeeded: value >> (8 * i)) }
}

func replace(_ bytes: inout [UInt8], at offset: Int, with value: UInt64) {
    for i in 0..<8 { bytes[offset + i] = UInt8(truncatingIfNeeded: value >> (8 * i)) }
}

/// A copy of a fixture's directory, for a test to change.
func withCopy(of name: String, _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let copy = "\(folder)/model"
        try FileManager.default.copyItem(atPath: try fixture(name), toPath: copy)
        try body(copy)
    }
}

func replace(_ old: String, with new: String, in path: String) throws {
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try #require(text.contains(old), "\(old)")
    try write(Array(text.replacingOccurrences(of: old, with: new).utf8), to: path)
}

/// Writes a directory's weights again, changed.
func changeWeights(
    _ path: String, _ change: (inout [String: (shape: [Int], floats: [Float])]) -> Void
) throws {
    let weights = path + "/model.safetensors"
    var tensors: [String: (shape: [Int], floats: [Float])] = [:]
    let file = try SafetensorsFile(weights)
    for (name, entry) in file.entries { tensors[name] = (entry.shape, try file.floats(name)) }
    change(&tensors)
    var buffers: [UnsafeMutableBufferPointer<Float>] = []
    defer { for buffer in buffers { buffer.deallocate() } }
    let list = try tensors.map { name, tensor in
        let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: max(1, tensor.floats.count))
        buffers.append(buffer)
        _ = buffer.initialize(from: tensor.floats)
        return SafetensorsTensor(name, shape: tensor.shape, floats: try #require(buffer.baseAddress))
    }
    try writeDurably(weights) { try writeSafetensors(list, as: .float32, to: $0) }
}

/// Expects that whoever reads the model is told these words, and what to do.
func expectRefused(_ path: String, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation) {
    expectMessage(words, sourceLocation: sourceLocation) { _ = try readModel(path) }
}

/// 61 tokens: all that the small models have; or another number.
func smallTokenizer(_ count: Int = 61) throws -> Tokenizer {
    let json = """
        {"added_tokens": [{"id": \(count - 1), "content": "<|endoftext|>", "special": true},
        {"id": \(count - 2), "content": "<pad>", "special": true}],
        "model": {"type": "BPE", "vocab": {\((0..<count - 2).map { "\"t\($0)\": \($0)" }.joined(separator: ", "))}, "merges": []}}
        """
    var tokenizer: Tokenizer?
    try withTemporaryDirectory { folder in
        try write(Array(json.utf8), to: folder + "/tokenizer.json")
        tokenizer = try Tokenizer(directory: folder)
    }
    return try #require(tokenizer)
}

/// A run of training small enough to begin and resume many times.
struct Run {
    let model: GPT2
    let loader: DataLoader
    var lossWindow = OutlierWindow()
    var normWindow = OutlierWindow()
    var step = 0
    var losses: [Double] = []

    init(data: String, shuffles: Bool = true, model: GPT2? = nil) throws {
        if let model {
            self.model = model
        } else {
            self.model = GPT2(tiny, trains: true)
            self.model.parameters.initialize(seed: 1)
        }
        loader = try DataLoader(
            pattern: data + "/train_*.bin", B: 2, T: 8, vocabularySize: tiny.V, shuffleSeed: shuffles ? 42 : nil)
    }

    mutating func train(steps: Int) throws {
        for _ in 0..<steps {
            let batch = try loader.nextBatch()
            let loss = model.accumulate(batch.inputs, batch.targets, B: 2, T: 8, scale: 1 / 16)
            let norm = model.parameters.gradientNorm()
            losses.append(loss)
            _ = lossWindow.score(loss)
            _ = normWindow.score(norm)
            step += 1
            model.parameters.update(
                learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1, gradientScale: Float(min(1, 1 / norm)),
                step: step)
        }
    }

    var state: TrainingState {
        TrainingState(
            step: step, samplerState: 0x1234_5678_9abc_def0, loader: loader.position, lossWindow: lossWindow,
            normWindow: normWindow, best: 2.5)
    }
}

func makeData(_ directory: String) throws {
    for (i, count) in [70, 100].enumerated() {
        try writeShard(randomTokens(count, below: tiny.V, seed: UInt64(i + 1)), to: directory + "/train_\(i).bin")
    }
}
