// The weights of a Hugging Face model directory: one file or shards, as transformers writes them; and incomplete ones.

import Foundation
import LLM
import Testing

extension SafetensorsFolder {
    fileprivate func floats(_ name: String) throws -> [Float] {
        let entry = try #require(entries[name])
        return try [Float](unsafeUninitializedCapacity: entry.count) { buffer, initialized in
            try readFloats(name, shape: entry.shape, into: try #require(buffer.baseAddress))
            initialized = entry.count
        }
    }

    fileprivate func transposedFloats(_ name: String) throws -> [Float] {
        let entry = try #require(entries[name])
        return try [Float](unsafeUninitializedCapacity: entry.count) { buffer, initialized in
            try readTransposedFloats(
                name, shape: (entry.shape[0], entry.shape[1]), into: try #require(buffer.baseAddress))
            initialized = entry.count
        }
    }
}

/// Every parameter of gpt2_small.bin, under its name in transformers. The linear weights are (out,in) here and (in,out)
/// there.
private func parameters() throws -> [(name: String, floats: [Float], isTransposed: Bool)] {
    let model = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
    let C = model.config.C
    let names = [
        "ln1w": "ln_1.weight", "ln1b": "ln_1.bias", "qkvw": "attn.c_attn.weight", "qkvb": "attn.c_attn.bias",
        "attprojw": "attn.c_proj.weight", "attprojb": "attn.c_proj.bias", "ln2w": "ln_2.weight", "ln2b": "ln_2.bias",
        "fcw": "mlp.c_fc.weight", "fcb": "mlp.c_fc.bias", "fcprojw": "mlp.c_proj.weight", "fcprojb": "mlp.c_proj.bias",
        "wte": "wte.weight", "wpe": "wpe.weight", "lnfw": "ln_f.weight", "lnfb": "ln_f.bias",
    ]
    return try model.parameters.table.tensors.flatMap { tensor in
        let name = try #require(names[tensor.name])
        let floats = model.parameters.array(model.parameters.values, tensor)
        guard tensor.isPerLayer else {
            let count = tensor.name == "wte" ? model.config.V * C : floats.count
            return [("transformer.\(name)", Array(floats[..<count]), false)]
        }
        let count = floats.count / tensor.shape[0]
        return (0..<tensor.shape[0]).map { layer in
            (
                "transformer.h.\(layer).\(name)", Array(floats[layer * count..<(layer + 1) * count]), tensor.decays
            )
        }
    }
}

@Test(arguments: ["float32", "sharded", "float16", "bfloat16", "old", "untied"])
func `a directory of transformers' holds the parameters it was made of`(tag: String) throws {
    let folder = try SafetensorsFolder(try fixture("huggingface/\(tag)"))
    let parameters = try parameters()
    let others = tag == "old" ? 5 : tag == "untied" ? 1 : 0
    #expect(folder.entries.count == parameters.count + others)
    for (name, floats, isTransposed) in parameters {
        let name = tag == "old" ? String(name.dropFirst("transformer.".count)) : name
        let read = isTransposed ? try folder.transposedFloats(name) : try folder.floats(name)
        switch tag {
        case "float16":
            // Half a unit of the eleventh bit.
            #expect(zip(read, floats).allSatisfy { abs($0 - $1) <= abs($1) / 2048 + 3e-8 } && read != floats, "\(name)")
        case "bfloat16": #expect(read == floats.map { Float(bfloat16: $0.bfloat16) }, "\(name)")
        default: #expect(read == floats, "\(name)")
        }
    }
}

@Test func `old buffers are seen and left alone`() throws {
    let folder = try SafetensorsFolder(try fixture("huggingface/old"))
    #expect(folder.entries["h.0.attn.bias"]?.dtype == .float32 && folder.entries["h.1.attn.bias"]?.dtype == .uint8)
    #expect(folder.entries["h.0.attn.bias"]?.shape == [1, 1, 16, 16])
    #expect(folder.entries["h.1.attn.masked_bias"]?.shape == [])
    let embedding = try folder.floats("wte.weight")
    #expect(try folder.floats("lm_head.weight") == embedding)
    let untied = try SafetensorsFolder(try fixture("huggingface/untied"))
    #expect(try untied.floats("transformer.wte.weight") == embedding)
    #expect(try untied.floats("lm_head.weight") != embedding)
}

// MARK: - directories made here

/// A safetensors file with a float of its own for each name.
private func shard(_ names: [String], first: Float = 1) -> [UInt8] {
    let entries = names.enumerated().map { i, name in
        "\"\(name)\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[\(4 * i),\(4 * i + 4)]}"
    }
    return safetensors(
        "{\(entries.joined(separator: ","))}", littleEndian(names.indices.map { first + Float($0) }))
}

private func withFolder(_ files: [String: [UInt8]], _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
        for (name, content) in files { try write(content, to: directory + "/" + name) }
        try body(directory)
    }
}

private let index = "model.safetensors.index.json"

@Test func `the index says where a tensor is`() throws {
    let map = """
        {"metadata": {"total_size": 12, "x": [null]}, "weight_map": {"a": "2.safetensors", "b": "1", "c": "2.safetensors"}}
        """
    try withFolder(
        ["1": shard(["b"]), "2.safetensors": shard(["c", "a", "extra"], first: 5), index: Array(map.utf8)]
    ) { directory in
        let folder = try SafetensorsFolder(directory)
        #expect(folder.path == directory && folder.entries.keys.sorted() == ["a", "b", "c"])
        for (name, value) in ["a": 6, "b": 1, "c": 5] as [String: Float] { #expect(try folder.floats(name) == [value]) }
        var float: Float = 0
        expectMessage([directory, "\"extra\" is missing"]) { try folder.readFloats("extra", shape: [1], into: &float) }
        expectMessage(["\"d\" is missing"]) { try folder.readTransposedFloats("d", shape: (1, 1), into: &float) }
        expectMessage(["2.safetensors", "\"a\"", "[1], not [2]"]) {
            try folder.readFloats("a", shape: [2], into: &float)
        }
        expectMessage(["\"a\"", "[1], not [1, 1]"]) {
            try folder.readTransposedFloats("a", shape: (1, 1), into: &float)
        }
    }
}

@Test func `one file goes before an index, and a link is followed`() throws {
    try withFolder(["model.safetensors": shard(["a"], first: 3), index: Array("{}".utf8)]) { directory in
        let folder = try SafetensorsFolder(directory)
        #expect(try folder.floats("a") == [3])
    }
    try withFolder(["blob": shard(["a"], first: 3)]) { directory in
        try FileManager.default.createSymbolicLink(
            atPath: directory + "/model.safetensors", withDestinationPath: "blob")
        #expect(try SafetensorsFolder(directory).floats("a") == [3])
    }
}

@Test func `a bad index is an error that names the tensor and the rule`() throws {
    func map(_ text: String) -> String { "{\"weight_map\": {\(text)}}" }
    for (text, parts) in [
        ("", ["ends too early"]),
        ("[]", ["weight_map is missing"]),
        ("{}", ["weight_map is missing"]),
        ("{\"weight_map\": []}", ["weight_map is missing or not a JSON object"]),
        (map("\"a\": 1"), ["\"a\"", "not a string"]),
        (map("\"a\": null"), ["\"a\"", "not a string"]),
        (map("\"a\": \"\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \".\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"..\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"../1\""), ["\"a\"", "../1", "not a plain file name"]),
        (map("\"a\": \"./1\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"/etc/passwd\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"..\\\\1\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"1\\u0000\""), ["\"a\"", "not a plain file name"]),
        (map("\"a\": \"3\""), ["shard 3 is missing"]),
        (map("\"a\": \"1\", \"b\": \"1\", \"d\": \"1\""), ["\"d\"", "not in its shard, 1"]),
        (map("\"c\": \"1\", \"a\": \"1\", \"b\": \"2\""), ["\"b\"", "not in its shard, 2"]),
        (map("\"a\": \"1\", \"a\": \"1\""), ["twice", "\"a\""]),
        (map("\"caf\u{e9}\": \"1\", \"cafe\u{301}\": \"1\""), ["twice", "two Unicode spellings"]),
        (map("\"a\": \"1\", \"b\": \"same\""), ["\"b\"", "two shards", "1 and same"]),
        (map("\"a\": \"1\", \"x\": \"broken\""), ["broken", "too few"]),
        (map("\"a\": \"1\", \"x\": \"folder\""), ["folder", "a directory"]),
        ("{\"weight_map\": {}, \"weight_map\": {}}", ["twice", "weight_map"]),
        (String(repeating: "[", count: 100_000), ["deeper than 64"]),
    ] as [(String, [String])] {
        try withFolder(
            [
                "1": shard(["a", "b"]), "2": shard(["c"]), "same": shard(["b"]), "broken": [1],
                index: Array(text.utf8),
            ]
        ) { directory in
            try createDirectory(directory + "/folder")
            expectMessage([directory] + parts, text) { _ = try SafetensorsFolder(directory) }
        }
    }
}

@Test func `an index cut at any byte is an error`() throws {
    let text = Array("{\"weight_map\": {\"a\": \"1\", \"b\": \"1\"}}".utf8)
    for cut in 0...text.count {
        try withFolder(["1": shard(["a", "b"]), index: Array(text[..<cut])]) { directory in
            if cut == text.count {
                _ = try SafetensorsFolder(directory)
            } else {
                expectMessage([index], "cut to \(cut)") { _ = try SafetensorsFolder(directory) }
            }
        }
    }
}

@Test func `a directory without safetensors says what to do`() throws {
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        try withFolder([name: [0]]) { directory in
            do {
                _ = try SafetensorsFolder(directory)
                Issue.record("nothing was thrown")
            } catch let error as UserError {
                #expect(error.message.contains(directory) && error.message.contains(name))
                #expect(error.hint.contains("save_pretrained"))
            }
        }
    }
    try withFolder([:]) { directory in
        expectMessage([directory, "no model.safetensors"]) { _ = try SafetensorsFolder(directory) }
        expectMessage(["none is not a directory"]) { _ = try SafetensorsFolder(directory + "/none") }
    }
    try withFolder(["file": []]) { directory in
        expectMessage(["file is not a directory"]) { _ = try SafetensorsFolder(directory + "/file") }
    }
}
