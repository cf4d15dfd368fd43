// llm.c's files for a model and for the state of its training, in and out: a file written here loads there and the
// other way round. Little-endian; a header of 256 Int32, then floats.
//
//     model_00001000.bin          20240326, version 3: the parameters
//     state_00001000_00000.bin    20240527, version 1: AdamW's moments, the random numbers, the place in the data
//     DONE_00001000               empty; says that both are whole
//
// DONE is written last and removed first. A run that dies at any moment leaves its last whole checkpoint.

import Foundation
import Kernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

private let headerBytes = 1024
private let modelMagic: Int32 = 20_240_326
private let stateMagic: Int32 = 20_240_527

// MARK: - the model

/// What a checkpoint's header says, checked against the file's length before memory is taken.
package func readConfiguration(_ path: String) throws -> GPT2Configuration {
    try readConfiguration(of: InputFile(path, hint: "give a checkpoint such as gpt2_124M.bin, or make one: make run"))
}

private func readConfiguration(of file: InputFile) throws -> GPT2Configuration {
    func wrong(_ what: String, _ hint: String) -> UserError { UserError("\(file.path): \(what)", hint: hint) }
    guard file.size >= headerBytes else {
        throw wrong("too short for a checkpoint", "give a checkpoint written by train_gpt2 or llm.c")
    }
    let header = try file.read(8, of: Int32.self, at: 0)
    guard header[0] == modelMagic else {
        throw wrong(
            "this is no GPT-2 checkpoint (it begins with \(header[0]), not \(modelMagic))",
            "give a checkpoint written by train_gpt2 or llm.c")
    }
    guard header[1] == 3 else {
        throw wrong(
            "version \(header[1]) is not float32",
            header[1] == 5
                ? "this is llm.c's bfloat16; take the file without _bf16, such as gpt2_124M.bin"
                : "write it anew with a llm.c of version 3 files")
    }
    let (maxT, V, L, NH, C, Vp) = (header[2], header[3], header[4], header[5], header[6], header[7])
    let limit: ClosedRange<Int32> = 1...(1 << 24)
    guard limit.contains(maxT), limit.contains(V), limit.contains(L), limit.contains(NH), limit.contains(C),
        C % NH == 0
    else {
        throw wrong("the sizes in its header make no model", "the file is damaged; copy or write it anew")
    }
    let config = GPT2Configuration(maxT: Int(maxT), V: Int(V), L: Int(L), NH: Int(NH), C: Int(C))
    guard Int(Vp) == config.Vp else {
        throw wrong(
            "a vocabulary of \(V) is padded to \(Vp), not to \(config.Vp)",
            "write it anew with a vocabulary padded to a multiple of 128")
    }
    // Each factor is below 2²⁵ and there are at most four of them beside 12, so only the products can overflow.
    var count = 0
    var overflow = false
    func add(_ factors: Int...) {
        let product = factors.reduce(1) { result, factor in
            let (value, overflows) = result.multipliedReportingOverflow(by: factor)
            overflow = overflow || overflows
            return value
        }
        let (sum, overflows) = count.addingReportingOverflow(product)
        overflow = overflow || overflows
        count = sum
    }
    add(config.Vp, config.C)
    add(config.maxT, config.C)
    add(12, config.L, config.C, config.C)
    add(13, config.L, config.C)
    add(2, config.C)
    add(headerBytes / 4)
    let (expected, tooLarge) = count.multipliedReportingOverflow(by: 4)
    guard !overflow, !tooLarge, file.size == expected else {
        throw wrong(
            "\(file.size) bytes, where its header asks for \(overflow || tooLarge ? "more than there can be" : "\(expected)")",
            "the file was cut off or is damaged; copy or write it anew")
    }
    return config
}

/// A model from a checkpoint.
/// - Parameter trains: whether to make room for gradients and moments.
package func readModel(_ path: String, trains: Bool) throws -> GPT2 {
    let file = try InputFile(path, hint: "give a checkpoint such as gpt2_124M.bin, or make one: make run")
    let config = try readConfiguration(of: file)
    try checkMemory(GPT2.bytes(config, B: 1, T: 1, trains: trains))
    let model = GPT2(config, trains: trains)
    let bytes = model.table.count * MemoryLayout<Float>.stride
    try file.read(into: UnsafeMutableRawBufferPointer(start: model.parameters, count: bytes), at: headerBytes)
    guard sumOfSquares(model.parameters, count: model.table.count).isFinite else {
        throw UserError(
            "\(path) has parameters that are no numbers",
            hint: "its training diverged: take an earlier checkpoint, and a smaller learning rate")
    }
    return model
}

package func writeModel(_ model: GPT2, to path: String) throws {
    try writeDurably(path) { try write(model, to: $0) }
}

private func write(_ model: GPT2, to file: OutputFile) throws {
    let config = model.config
    var header = [Int32](repeating: 0, count: headerBytes / 4)
    let values = [Int(modelMagic), 3, config.maxT, config.V, config.L, config.NH, config.C, config.Vp]
    for (i, value) in values.enumerated() { header[i] = Int32(value) }
    try file.write(header)
    try file.write(UnsafeRawBufferPointer(start: model.parameters, count: model.table.count * 4))
}

// MARK: - the training's state

/// By what the best model is chosen.
package enum BestBy: String, CaseIterable { case none, loss, accuracy }

/// What goes on with a resumed run beside the parameters and AdamW's moments.
package struct TrainingState: Equatable {
    package var step: Int
    /// The generator that samples.
    package var samplerState: UInt64
    package var loader: DataLoader.Position
    package var lossWindow: OutlierWindow
    package var normWindow: OutlierWindow
    /// The best validation result so far, and what it was measured by.
    package var best: Double?
    package var bestBy: BestBy
    /// The micro-batch (B,T) and the data's fingerprint, which a resumed run must share; 0 where a file does not say.
    package var B: Int
    package var T: Int
    package var data: UInt64

    package init(
        step: Int, samplerState: UInt64, loader: DataLoader.Position, lossWindow: OutlierWindow,
        normWindow: OutlierWindow, best: Double?, bestBy: BestBy = .none, B: Int = 0, T: Int = 0, data: UInt64 = 0
    ) {
        (self.bestBy, self.B, self.T, self.data) = (bestBy, B, T, data)
        self.step = step
        self.samplerState = samplerState
        self.loader = loader
        self.lossWindow = lossWindow
        self.normWindow = normWindow
        self.best = best
    }
}

/// A directory of checkpoints, as llm.c's `-o`.
package struct CheckpointDirectory {
    package let path: String

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

    package func write(_ model: GPT2, _ state: TrainingState) throws {
        let step = state.step
        if fileExists(donePath(step)) {
            // Another run's checkpoint of the same step: it stops being whole before it is touched.
            unlink(donePath(step))
            synchronizeDirectory(path)
        }
        try writeDurably([modelPath(step), statePath(step)]) { files in
            try LLM.write(model, to: files[0])
            try LLM.write(model, state, to: files[1])
        }
        try writeDurably(donePath(step)) { _ in }
    }

    package func remove(_ step: Int) {
        unlink(donePath(step))
        synchronizeDirectory(path)
        unlink(statePath(step))
        unlink(modelPath(step))
    }

    /// Removes what a killed run was writing when it died.
    package func removeLeftovers() {
        for name in names(in: path)
        where name.hasSuffix(".tmp") && ["model_", "state_", "DONE_", "main.log"].contains(where: name.hasPrefix) {
            unlink("\(path)/\(name)")
        }
    }

    /// Removes an earlier run: all checkpoints, whole or not, and the best model.
    package func removeAll() {
        for step in steps() { remove(step) }
        let ours = /model_(\d{8}|best)\.bin|state_\d{8}_\d{5}\.bin|DONE_\d{8}/
        for name in names(in: path) where name.wholeMatch(of: ours) != nil { unlink("\(path)/\(name)") }
    }

    /// Fills the model's moments and gives the rest of the state. The parameters come from `readModel`.
    package func readState(_ step: Int, into model: GPT2) throws -> TrainingState {
        try LLM.readState(statePath(step), step: step, into: model)
    }
}

// The state's header: [0] magic, [1] version 1, [2] processes 1, [3] rank 0, [4] master weights 0, [5] shuffled,
// [10] step, u64 at [20] and [22] random state, u64 at [30] shard, u64 at [32] sample. Then m, v, and for a shuffled
// loader u64 shards, Int32 order, u64 samples, Int32 order, llm.c's mt19937 struct: u64 seed, Int32 left, UInt32 next,
// 624 UInt32, 2 UInt32 (0 and 0x9908b0df). Ours, where llm.c does not look: [40] B, [41] T, u64 at [42] the data's
// fingerprint, [44] by what the best model is chosen; and after the end the two windows that judge outliers, and the
// best validation result. So a resumed run goes on as if it had never stopped.

private func write(_ model: GPT2, _ state: TrainingState, to file: OutputFile) throws {
    var header = [Int32](repeating: 0, count: headerBytes / 4)
    (header[0], header[1], header[2], header[5]) = (stateMagic, 1, 1, state.loader.shuffle == nil ? 0 : 1)
    header[10] = Int32(state.step)
    func put(_ value: UInt64, at index: Int) {
        header[index] = Int32(truncatingIfNeeded: value)
        header[index + 1] = Int32(truncatingIfNeeded: value >> 32)
    }
    put(state.samplerState, at: 20)
    put(state.samplerState, at: 22)
    put(UInt64(state.loader.shard), at: 30)
    put(UInt64(state.loader.sample), at: 32)
    (header[40], header[41]) = (Int32(state.B), Int32(state.T))
    put(state.data, at: 42)
    header[44] = Int32(BestBy.allCases.firstIndex(of: state.bestBy) ?? 0)
    try file.write(header)
    try file.write(UnsafeRawBufferPointer(start: model.m, count: model.table.count * 4))
    try file.write(UnsafeRawBufferPointer(start: model.v, count: model.table.count * 4))
    if let shuffle = state.loader.shuffle {
        try file.write([UInt64(shuffle.shards.count)])
        try file.write(shuffle.shards)
        try file.write([UInt64(shuffle.samples.count)])
        try file.write(shuffle.samples)
        // llm.c counts down what is left before the next refill, and 1 means none.
        let used = shuffle.random.position
        try file.write([UInt64(0)])
        try file.write([UInt32(624 - used + 1), UInt32(used == 624 ? 0 : used)])
        try file.write(shuffle.random.state)
        try file.write([UInt32(0), 0x9908_b0df])
    }
    for window in [state.lossWindow, state.normWindow] { try file.write([Double(window.values.count)] + window.values) }
    try file.write([state.best ?? .nan])
}

private func readState(_ path: String, step: Int, into model: GPT2) throws -> TrainingState {
    let file = try InputFile(path, hint: "start anew without --resume, or copy the state file beside the model")
    func damaged(_ what: String) -> UserError {
        UserError(
            "\(path): \(what)",
            hint: "remove the checkpoint's three files to go on from the one before, or start anew without --resume")
    }
    var position = 0
    func read<Value: BitwiseCopyable>(_ count: Int, of type: Value.Type) throws -> [Value] {
        let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Value>.stride)
        guard count >= 0, !overflow, bytes <= file.size - position else { throw damaged("it ends too early") }
        defer { position += bytes }
        return try file.read(count, of: type, at: position)
    }
    func readCount() throws -> Int {
        guard let count = Int(exactly: try read(1, of: UInt64.self)[0]) else { throw damaged("a size makes no sense") }
        return count
    }
    let header = try read(headerBytes / 4, of: Int32.self)
    guard header[0] == stateMagic, header[1] == 1 else { throw damaged("this is no state file of version 1") }
    guard header[2] == 1, header[3] == 0 else { throw damaged("it belongs to a run with several processes") }
    guard Int(header[10]) == step else { throw damaged("it says that it is of step \(header[10])") }
    func u64(_ index: Int) -> UInt64 {
        UInt64(UInt32(bitPattern: header[index])) | UInt64(UInt32(bitPattern: header[index + 1])) << 32
    }
    guard let shard = Int(exactly: u64(30)), let sample = Int(exactly: u64(32)) else {
        throw damaged("its place in the data makes no sense")
    }
    let bytes = model.table.count * 4
    guard file.size - position >= 2 * bytes else { throw damaged("it ends too early, or belongs to another model") }
    for moments in [model.m, model.v] {
        try file.read(into: UnsafeMutableRawBufferPointer(start: moments, count: bytes), at: position)
        position += bytes
    }
    if header[4] == 1 {
        // llm.c's master weights, which are the parameters again where those are float32.
        guard file.size - position >= bytes else { throw damaged("it ends too early") }
        position += bytes
    }
    var loader = DataLoader.Position(shard: shard, sample: sample, shuffle: nil)
    if header[5] != 0 {
        let shards = try read(try readCount(), of: Int32.self)
        let samples = try read(try readCount(), of: Int32.self)
        _ = try read(1, of: UInt64.self)
        let counters = try read(2, of: UInt32.self)
        var random = MersenneTwister(seed: 0)
        random.state = try read(624, of: UInt32.self)
        random.position = counters[0] <= 1 ? 624 : Int(counters[1])
        guard random.position <= 624 else { throw damaged("its random numbers make no sense") }
        _ = try read(2, of: UInt32.self)
        loader.shuffle = .init(shards: shards, samples: samples, random: random)
    }
    var windows = [OutlierWindow(), OutlierWindow()]
    var best: Double?
    if position < file.size {  // else llm.c wrote it
        for i in 0..<2 {
            guard let count = Int(exactly: try read(1, of: Double.self)[0]), count <= OutlierWindow.size else {
                throw damaged("its window of losses makes no sense")
            }
            windows[i].values = try read(count, of: Double.self)
        }
        let value = try read(1, of: Double.self)[0]
        best = value.isNaN ? nil : value
        guard position == file.size else { throw damaged("it is longer than it should be") }
    }
    return TrainingState(
        step: Int(header[10]), samplerState: u64(20), loader: loader, lossWindow: windows[0], normWindow: windows[1],
        best: best,
        bestBy: BestBy.allCases.indices.contains(Int(header[44])) ? BestBy.allCases[Int(header[44])] : .none,
        B: Int(header[40]), T: Int(header[41]), data: u64(42))
}

// MARK: - the debug state

/// A batch and what PyTorch made of it (llm.c's debug state, 20240327): logits, loss and the gradient of every tensor.
package struct DebugState {
    package let B: Int
    package let T: Int
    /// (B,T) each.
    package let inputs: [Int32]
    package let targets: [Int32]
    /// (B,T,V), without padding.
    package let logits: [Float]
    package let loss: Float
    /// In the order of the parameters, wte's padded.
    package let gradients: [Float]

    package init(_ path: String, config: GPT2Configuration) throws {
        let file = try InputFile(path, hint: "dev/reference/gpt2_fixtures.py writes such a file")
        func wrong(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "give the debug state that was written with this checkpoint")
        }
        guard file.size >= headerBytes else { throw wrong("too short for a debug state") }
        let header = try file.read(4, of: Int32.self, at: 0)
        guard header[0] == 20_240_327, header[1] == 2 else { throw wrong("this is no debug state of version 2") }
        let parameterCount = GPT2Parameters(config).count
        // A batch that doesn't fit the file can't be right; that bounds B and T before they are multiplied.
        guard (1...file.size).contains(Int(header[2])), (1...config.maxT).contains(Int(header[3])) else {
            throw wrong("its batch of (\(header[2]), \(header[3])) does not fit the model")
        }
        (B, T) = (Int(header[2]), Int(header[3]))
        let (rows, overflow) = B.multipliedReportingOverflow(by: T)
        guard !overflow, rows <= file.size else { throw wrong("its batch is larger than the file") }
        let (logitCount, logitsOverflow) = rows.multipliedReportingOverflow(by: config.V)
        guard !logitsOverflow, logitCount <= file.size,
            file.size == headerBytes + 4 * (2 * rows + logitCount + 1 + parameterCount)
        else { throw wrong("its length does not fit the model") }
        inputs = try file.read(rows, of: Int32.self, at: headerBytes)
        targets = try file.read(rows, of: Int32.self, at: headerBytes + 4 * rows)
        guard (inputs + targets).allSatisfy({ 0 <= $0 && $0 < Int32(config.V) }) else {
            throw wrong("a token is not in the model's vocabulary")
        }
        logits = try file.read(logitCount, of: Float.self, at: headerBytes + 8 * rows)
        loss = try file.read(1, of: Float.self, at: headerBytes + 8 * rows + 4 * logitCount)[0]
        gradients = try file.read(
            parameterCount, of: Float.self, at: headerBytes + 8 * rows + 4 * logitCount + 4)
    }
}
