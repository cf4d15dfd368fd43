// llm.c's file for the state of training: 20240527, version 1.
// The header is 256 Int32, by index: [0] magic, [1] version 1, [2] processes 1, [3] rank 0, [4] master weights 0, [5]
// shuffled, [10] step, u64 at [20] and [22] random state, u64 at [30] shard, u64 at [32] sample. Then m, v, and for a
// shuffled loader u64 shards, Int32 order, u64 samples, Int32 order, llm.c's mt19937 struct: u64 seed, Int32 left,
// UInt32 next, 624 UInt32, 2 UInt32 (0 and 0x9908b0df). Our additions, where llm.c does not look: [40] B, [41] T, [44]
// the measure that chooses the best model, [45] the length of the settings, u64 at [46] the checksum of the file with
// this field zero, u64 at [48] the data's fingerprint; and after llm.c's end the two windows that judge outliers, the
// best validation result, and the run's settings, a JSON object. So a resumed run continues as if it had never stopped.

import Foundation

/// The file of a training state, without the parameters' values.
enum StateFile {
    private static let headerBytes = 1024
    private static let magic: Int32 = 20_240_527

    static func write(_ state: TrainingState, _ parameters: Parameters, to file: OutputFile) throws {
        var header = [Int32](repeating: 0, count: StateFile.headerBytes / 4)
        (header[0], header[1], header[2], header[5]) = (StateFile.magic, 1, 1, state.loader.shuffle == nil ? 0 : 1)
        header[10] = Int32(state.step)
        header[u64: 20] = state.samplerState
        header[u64: 22] = state.samplerState
        header[u64: 30] = UInt64(state.loader.shard)
        header[u64: 32] = UInt64(state.loader.sample)
        (header[40], header[41]) = (Int32(state.B), Int32(state.T))
        header[44] = Int32(BestBy.allCases.firstIndex(of: state.bestBy) ?? 0)
        let members = state.settings.sorted { $0.key < $1.key }
            .map { (key: Array($0.key.utf8), value: JSON.string(Array($0.value.utf8))) }
        let settings = members.isEmpty ? [] : JSON.object(members).text()
        header[45] = Int32(settings.count)
        header[u64: 48] = state.data
        try file.write(header)
        try file.write(UnsafeRawBufferPointer(start: parameters.m, count: parameters.trained.count * 4))
        try file.write(UnsafeRawBufferPointer(start: parameters.v, count: parameters.trained.count * 4))
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
        for window in [state.lossWindow, state.normWindow] {
            try file.write([Double(window.values.count)] + window.values)
        }
        try file.write([state.best ?? .nan])
        try file.write(settings)
        header[u64: checksumIndex] = file.checksum
        try header.withUnsafeBytes { try file.overwrite($0, at: 0) }
    }

    private static let checksumIndex = 46

    /// Fills the moments and gives the rest.
    /// - Parameter step: the one it must be of.
    static func read(_ path: String, step: Int, into parameters: Parameters) throws -> TrainingState {
        let file = try InputFile(path, hint: "start over without --resume, or copy the state file beside the model")
        func damaged(_ what: String) -> UserError {
            UserError(
                "\(path): \(what)",
                hint: "copy it again, or continue from an earlier checkpoint"
            )
        }
        var checksum = Checksum()
        var position = 0
        func read<Value: BitwiseCopyable>(_ count: Int, of type: Value.Type) throws -> [Value] {
            let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Value>.stride)
            guard count >= 0, !overflow, bytes <= file.size - position else { throw damaged("it ends too early") }
            defer { position += bytes }
            let values = try file.read(count, of: type, at: position)
            if position > 0 { values.withUnsafeBytes { checksum.update($0) } }
            return values
        }
        func readCount() throws -> Int {
            guard let count = Int(exactly: try read(1, of: UInt64.self)[0]) else {
                throw damaged("a size makes no sense")
            }
            return count
        }
        let header = try read(StateFile.headerBytes / 4, of: Int32.self)
        guard header[0] == StateFile.magic, header[1] == 1 else {
            throw damaged("this is not a state file of version 1")
        }
        guard header[2] == 1, header[3] == 0 else { throw damaged("it belongs to a run with several processes") }
        guard Int(header[10]) == step else { throw damaged("it says that it is of step \(header[10])") }
        var unsummed = header
        unsummed[u64: checksumIndex] = 0
        unsummed.withUnsafeBytes { checksum.update($0) }
        guard let shard = Int(exactly: header[u64: 30]), let sample = Int(exactly: header[u64: 32]) else {
            throw damaged("its place in the data makes no sense")
        }
        let bytes = parameters.trained.count * 4
        guard file.size - position >= 2 * bytes else { throw damaged("it ends too early, or belongs to another model") }
        func fill(_ floats: UnsafeMutablePointer<Float>) throws {
            let buffer = UnsafeMutableRawBufferPointer(start: floats, count: bytes)
            try file.read(into: buffer, at: position, updating: &checksum)
            position += bytes
        }
        try fill(parameters.m)
        try fill(parameters.v)
        if header[4] == 1 {
            // llm.c's master weights: the parameters in float32, which its bfloat16 model is rounded from.
            guard file.size - position >= bytes else { throw damaged("it ends too early") }
            try fill(parameters.values)
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
        var settings: [String: String] = [:]
        if position < file.size {  // else llm.c wrote it
            for i in 0..<2 {
                guard let count = Int(exactly: try read(1, of: Double.self)[0]), count <= OutlierWindow.size else {
                    throw damaged("its window of losses makes no sense")
                }
                windows[i].values = try read(count, of: Double.self)
            }
            let value = try read(1, of: Double.self)[0]
            best = value.isNaN ? nil : value
            settings = try readSettings(try read(Int(header[45]), of: UInt8.self), path: path)
            guard position == file.size else { throw damaged("it is longer than it should be") }
        }
        guard header[u64: checksumIndex] == 0 || header[u64: checksumIndex] == checksum.value else {
            throw damaged("its checksum does not fit its contents")
        }
        guard parameters.areFinite, parameters.momentsAreSound else {
            throw damaged("it has moments that are NaN, infinite or negative")
        }
        return TrainingState(
            step: Int(header[10]), samplerState: header[u64: 20], loader: loader, lossWindow: windows[0],
            normWindow: windows[1],
            best: best,
            bestBy: BestBy.allCases.indices.contains(Int(header[44])) ? BestBy.allCases[Int(header[44])] : .none,
            B: Int(header[40]), T: Int(header[41]), data: header[u64: 48], settings: settings)
    }

    /// The run's settings alone, which are at the end; none if they cannot be read.
    static func settings(_ path: String) -> [String: String] {
        guard let file = try? InputFile(path, hint: "start over"), file.size >= headerBytes,
            let header = try? file.read(headerBytes / 4, of: Int32.self, at: 0), header[0] == magic,
            (0...file.size - headerBytes).contains(Int(header[45])),
            let text = try? file.read(Int(header[45]), of: UInt8.self, at: file.size - Int(header[45]))
        else { return [:] }
        return (try? readSettings(text, path: path)) ?? [:]
    }

    private static func readSettings(_ text: [UInt8], path: String) throws -> [String: String] {
        guard !text.isEmpty, case .object(let members) = try JSON(text, name: path) else { return [:] }
        return Dictionary(
            members.compactMap { member in member.value.text.map { (String(decoding: member.key, as: UTF8.self), $0) }
            },
            uniquingKeysWith: { $1 })
    }
}
