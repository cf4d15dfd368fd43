// The weights of a Hugging Face model directory: one file, or shards with an index.

import Foundation

/// The tensors of a Hugging Face model directory. They are in `model.safetensors` or, for a large model, in shards:
/// `model.safetensors.index.json` then says in its `weight_map` which tensor is in which file. What a shard holds and
/// the map does not name is not seen. A UserError names the file, the tensor and the rule that was broken.
package final class SafetensorsFolder {
    package let path: String
    /// By name, over all shards.
    package let entries: [String: SafetensorsFile.Entry]
    /// By the tensor's name.
    private let files: [String: SafetensorsFile]

    package init(_ path: String) throws {
        self.path = path
        let (single, index) = ("\(path)/model.safetensors", "\(path)/model.safetensors.index.json")
        if fileExists(single) {
            let file = try SafetensorsFile(single)
            entries = file.entries
            files = file.entries.mapValues { _ in file }
            return
        }
        guard fileExists(index) else {
            guard isDirectory(path) else {
                throw UserError(
                    "\(path) is not a directory", hint: "give a Hugging Face model directory, with config.json in it")
            }
            for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] where fileExists("\(path)/\(name)") {
                throw UserError(
                    "\(path) has its weights in \(name), a pickle, which is not read",
                    hint: "convert it with Python's transformers: CLASS.from_pretrained(DIR).save_pretrained(NEW_DIR), "
                        + "where CLASS is what config.json names under architectures")
            }
            throw UserError(
                "\(path) has no model.safetensors",
                hint: "download it into the directory; with Git LFS: git lfs pull")
        }

        let fileOfTensor = try SafetensorsFolder.weightMap(index)
        var shards: [String: SafetensorsFile] = [:]
        var shardOfTensor: [String: String] = [:]
        for name in Set(fileOfTensor.values).sorted() {
            guard fileExists("\(path)/\(name)") else {
                throw SafetensorsFolder.error("\(index): the shard \(name) is missing in \(path)")
            }
            let shard = try SafetensorsFile("\(path)/\(name)")
            for tensor in shard.entries.keys.sorted() {
                if let other = shardOfTensor.updateValue(name, forKey: tensor) {
                    throw SafetensorsFolder.error(
                        "\(path): tensor \(JSON.shown(Array(tensor.utf8))) is in two shards, \(other) and \(name)")
                }
            }
            shards[name] = shard
        }
        var entries: [String: SafetensorsFile.Entry] = [:]
        var files: [String: SafetensorsFile] = [:]
        for (tensor, name) in fileOfTensor.sorted(by: { $0.key < $1.key }) {
            guard let shard = shards[name], let entry = shard.entries[tensor] else {
                throw SafetensorsFolder.error(
                    "\(index): tensor \(JSON.shown(Array(tensor.utf8))) is not in its shard, \(name)")
            }
            entries[tensor] = entry
            files[tensor] = shard
        }
        self.entries = entries
        self.files = files
    }

    private static let longestIndex = 100_000_000

    /// The name of each tensor's file.
    private static func weightMap(_ path: String) throws -> [String: String] {
        let file = try InputFile(path, hint: "give a Hugging Face model directory with its weights")
        guard file.size <= longestIndex else {
            throw error("\(path): an index of \(file.size) bytes is longer than \(grouped(longestIndex))")
        }
        let json = try JSON(
            try file.read(file.size, of: UInt8.self, at: 0), name: path, allowsDuplicateKeys: false)
        guard case .object(let members)? = json["weight_map"] else {
            throw error("\(path): its weight_map is missing or not a JSON object")
        }
        var result: [String: String] = [:]
        for (key, value) in members {
            guard let name = value.text else {
                throw error("\(path): tensor \(JSON.shown(key)): the name of its shard is not a string")
            }
            // A shard lies beside its index; no other file of the machine can be asked for.
            guard !name.isEmpty, !name.utf8.contains(where: { "/\\\0".utf8.contains($0) }), name != "..", name != "."
            else {
                let shown = JSON.shown(Array(name.utf8))
                throw error("\(path): tensor \(JSON.shown(key)): its shard \(shown) is not a plain file name")
            }
            guard result.updateValue(name, forKey: String(decoding: key, as: UTF8.self)) == nil else {
                throw error("\(path): tensor \(JSON.shown(key)) is there twice, in two Unicode spellings")
            }
        }
        return result
    }

    /// Throws if a file has a checksum that does not fit its contents.
    package func checkSums() throws {
        for file in Set(files.values.map(\.path)).sorted() { try files.values.first { $0.path == file }?.checkSum() }
    }

    /// Reads a tensor's elements as float32, exactly.
    /// - Parameters:
    ///   - shape: what the tensor must have; another one is an error.
    ///   - destination: as many floats as the shape has.
    package func readFloats(
        _ name: String, shape: [Int], into destination: UnsafeMutablePointer<Float>
    ) throws {
        try file(of: name).readFloats(name, shape: shape, into: destination)
    }

    /// Reads a matrix's elements as float32, exactly, and transposes it.
    /// - Parameters:
    ///   - shape: (rows,columns), what the tensor must have; another one is an error.
    ///   - destination: (columns,rows).
    package func readTransposedFloats(
        _ name: String, shape: (rows: Int, columns: Int), into destination: UnsafeMutablePointer<Float>
    ) throws {
        try file(of: name).readTransposedFloats(name, shape: shape, into: destination)
    }

    /// Calls `body` with the first element of a tensor of whole numbers, I8; not if it has none.
    /// - Parameter shape: what the tensor must have; another one is an error.
    package func withInt8(_ name: String, shape: [Int], _ body: (UnsafePointer<Int8>) throws -> Void) throws {
        try file(of: name).withInt8(name, shape: shape, body)
    }

    /// Throws unless a tensor is there, has this shape, and can be read as floats.
    /// - Parameter isInt8: whether it must be I8 instead.
    package func check(_ name: String, shape: [Int], isInt8: Bool = false) throws {
        try file(of: name).check(name, shape: shape, isInt8: isInt8)
    }

    /// Whether two tensors have the same shape and, as float32, the same bits.
    package func areEqual(_ one: String, _ other: String) throws -> Bool {
        let (first, second) = (try file(of: one), try file(of: other))
        guard let entry = entries[one], entry.shape == entries[other]?.shape else { return false }
        let most = 1 << 16
        let a = UnsafeMutablePointer<Float>.allocate(capacity: 2 * most)
        defer { a.deallocate() }
        let b = a + most
        for start in stride(from: 0, to: entry.count, by: most) {
            let part = start..<min(start + most, entry.count)
            try first.readFloats(one, shape: entry.shape, part: part, into: a)
            try second.readFloats(other, shape: entry.shape, part: part, into: b)
            guard memcmp(a, b, 4 * part.count) == 0 else { return false }
        }
        return true
    }

    private func file(of name: String) throws -> SafetensorsFile {
        guard let file = files[name] else {
            throw UserError(
                "\(path): tensor \(JSON.shown(Array(name.utf8))) is missing",
                hint: "check that config.json and the weights are of one model, and of a kind that is supported")
        }
        return file
    }

    private static func error(_ message: String) -> UserError {
        UserError(message, hint: "the model's files are not complete or not of one model; download them again")
    }
}
