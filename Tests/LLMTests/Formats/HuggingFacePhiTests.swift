// Phi in Hugging Face's files, checked against transformers' own (dev/reference/phi_fixtures.py). What its logits are is in
// PhiTests.swift.

import Foundation
import LLM
import Testing

/// A model whose every parameter is another number.
private func noisyPhi(_ config: PhiConfiguration) -> Phi {
    let model = Phi(config, trains: false)
    var random = MersenneTwister(seed: 1)
    random.fillNormal(
        UnsafeMutableBufferPointer(start: model.parameters.values, count: model.parameters.table.count), deviation: 1)
    return model
}

// MARK: - reading

@Test(arguments: [
    ("small", PhiConfiguration(maxT: 16, V: 61, L: 2, NH: 3, C: 60, R: 8)),
    ("odd", PhiConfiguration(maxT: 13, V: 131, L: 3, NH: 3, C: 36, FC: 50, R: 6, theta: 500)),
    ("full", PhiConfiguration(maxT: 12, V: 40, L: 1, NH: 2, C: 16, FC: 32, R: 8)),
    ("one", PhiConfiguration(maxT: 8, V: 125, L: 1, NH: 1, C: 64, FC: 40, R: 64)),
])
func `a Phi's configuration is transformers'`(name: String, config: PhiConfiguration) throws {
    #expect(try readPhiConfiguration(try fixture("phi/" + name)) == config)
}

/// transformers 4 wrote the rotary settings at the top.
@Test func `old and new settings of a Phi are the same`() throws {
    try withCopy(of: "phi/odd") { path in
        let expected = try readPhiConfiguration(path)
        let text = try String(contentsOfFile: path + "/config.json", encoding: .utf8)
        let new = text.replacing(/"rope_parameters": \{[^}]*\},/, with: "NEW,")
        for (rotary, isSame) in [
            ("\"partial_rotary_factor\": 0.5, \"rope_theta\": 500.0, \"rope_scaling\": null", true),
            ("\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500, \"factor\": 1.0}", true),
            ("\"rope_parameters\": {\"type\": \"default\", \"rope_theta\": null}, \"rope_theta\": 500", true),
            ("\"rope_parameters\": {}, \"partial_rotary_factor\": 0.5, \"rope_theta\": 5e2", true),
            ("\"rope_parameters\": null, \"rope_theta\": 500", true), ("\"rope_theta\": 501", false),
            ("\"partial_rotary_factor\": 1.0, \"rope_theta\": 500", false),
        ] {
            try write(Array(new.replacingOccurrences(of: "NEW", with: rotary).utf8), to: path + "/config.json")
            #expect(try (readPhiConfiguration(path) == expected) == isSame, "\(rotary)")
        }
        try write(Array("{\"model_type\": \"phi\"}".utf8), to: path + "/config.json")
        #expect(try readPhiConfiguration(path) == .phi1_5)
    }
}

/// A file's rotary frequencies are no weights, and "gelu_pytorch_tanh" is another name of the same function.
@Test func `what does not matter to a Phi is passed over`() throws {
    try withCopy(of: "phi/small") { path in
        let expected = try readPhi(path, trains: false)
        try changeWeights(path) {
            for l in 0..<2 { $0["model.layers.\(l).self_attn.rotary_emb.inv_freq"] = ([4], [1, 2, 3, 4]) }
            $0["model.rotary_emb.inv_freq"] = ([4], [1, 2, 3, 4])
        }
        try replace("gelu_new", with: "gelu_pytorch_tanh", in: path + "/config.json")
        try replace("\"qk_layernorm\": false", with: "\"head_dim\": 20", in: path + "/config.json")
        try replace("\"num_key_value_heads\": 3", with: "\"num_key_value_heads\": null", in: path + "/config.json")
        let model = try readPhi(path, trains: true)
        #expect(model.config == expected.config && model.parameters.trains)
        #expect(model.parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
    }
}

// MARK: - what is refused

/// Every setting that would make it another model than ours.
@Test(
    arguments: [
        ("\"phi\"", "\"phi3\"", "model_type is \"phi3\", not \"gpt2\", \"phi\", \"bert\" or \"distilbert\""),
        ("\"phi\"", "\"phi-msft\"", "model_type is \"phi-msft\""), ("\"phi\"", "null", "model_type is missing"),
        ("\"num_key_value_heads\": 3", "\"num_key_value_heads\": 1", "num_key_value_heads is 1, not 3"),
        ("\"qk_layernorm\": false", "\"qk_layernorm\": true", "qk_layernorm is true"),
        ("\"qk_layernorm\": false", "\"qk_layernorm\": \"no\"", "qk_layernorm is \"no\""),
        ("\"qk_layernorm\": false", "\"head_dim\": 10", "head_dim is 10, not 20"),
        ("gelu_new", "silu", "hidden_act is \"silu\""), ("gelu_new", "gelu", "hidden_act is \"gelu\""),
        ("1e-05", "1e-06", "layer_norm_eps is 1e-06"), ("1e-05", "\"1e-05\"", "layer_norm_eps is \"1e-05\""),
        ("\"use_cache\": true", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}", "rope_scaling is {"),
        ("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", "rope_type is \"yarn\""),
        ("\"rope_type\": \"default\"", "\"type\": \"linear\"", "rope_type is \"linear\""),
        ("\"rope_parameters\": {", "\"rope_parameters\": 5, \"x\": {", "rope_parameters is 5"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": 0.45", "turns 9 of a head's 20 channels"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": 0.05", "turns 1 of a head's 20 channels"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": 0", "turns 0 of a head's 20 channels"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": 1.1", "factor is 1.1, not a number from 0 to 1"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": -0.4", "partial_rotary_factor is -0.4"),
        ("\"partial_rotary_factor\": 0.4", "\"partial_rotary_factor\": \"0.4\"", "partial_rotary_factor is \"0.4\""),
        ("\"rope_theta\": 10000.0", "\"rope_theta\": 1e300", "rope_theta is"),
        ("\"rope_theta\": 10000.0", "\"rope_theta\": 1e-300", "rope_theta is"),
        ("\"rope_theta\": 10000.0", "\"rope_theta\": [10000]", "rope_theta is ["),
        ("\"use_cache\": true", "\"rope_theta\": 500", "rope_theta is 10000 in rope_parameters and 500 beside it"),
        ("\"use_cache\": true", "\"partial_rotary_factor\": 0.5", "0.4 in rope_parameters and 0.5 beside it"),
        ("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "tie_word_embeddings is true"),
        ("\"use_cache\": true", "\"quantization_config\": {}", "the weights are quantized"),
        ("\"num_attention_heads\": 3", "\"num_attention_heads\": 7", "is not a multiple of num_attention_heads 7"),
        ("\"num_attention_heads\": 3", "\"num_attention_heads\": 0", "num_attention_heads is not a whole number"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": -1", "num_hidden_layers"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2.5", "num_hidden_layers"),
        ("\"hidden_size\": 60", "\"hidden_size\": 1e300", "hidden_size"),
        ("\"hidden_size\": 60", "\"hidden_size\": \"60\"", "hidden_size"),
        ("\"max_position_embeddings\": 16", "\"max_position_embeddings\": true", "max_position_embeddings"),
        ("\"vocab_size\": 61", "\"vocab_size\": 16777217", "vocab_size"),
        ("\"intermediate_size\": 240", "\"intermediate_size\": [240]", "intermediate_size"),
        // What fits a model, but not these weights.
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "layers.2.input_layernorm.weight\" is missing"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 16777216", "layers.2.input_layernorm.weight\" is missing"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "is not part of a Phi with 1 layers"),
        ("\"vocab_size\": 61", "\"vocab_size\": 62", "has the shape [61, 60], not [62, 60]"),
        ("\"hidden_size\": 60", "\"hidden_size\": 120", "has the shape [61, 60], not [61, 120]"),
        ("\"intermediate_size\": 240", "\"intermediate_size\": 16777216", "has the shape [240, 60]"),
        // Not JSON, or not as it should be.
        ("{", "[", "config.json"), ("\"use_cache\": true", "\"use_cache\": tru", "config.json"),
        ("\"use_cache\": true", "\"vocab_size\": 61", "twice"),
    ])
func `a configuration of another Phi is refused by name`(old: String, new: String, words: String) throws {
    try withCopy(of: "phi/small") { path in
        try replace(old, with: new, in: path + "/config.json")
        expectRefused(path, words)
    }
}

@Test func `weights of another Phi are refused by name`() throws {
    let layer = "model.layers.1.self_attn."
    for (words, change) in [
        ("lm_head.bias\" is missing", { $0["lm_head.bias"] = nil }),
        ("k_proj.bias\" is missing", { $0[layer + "k_proj.bias"] = nil }),
        ("has the shape [60], not [60, 60]", { $0[layer + "dense.weight"] = ([60], [Float](repeating: 1, count: 60)) }),
        (
            "q_layernorm.weight is not part of a Phi",
            { $0[layer + "q_layernorm.weight"] = ([20], .init(repeating: 1, count: 20)) }
        ),
        ("score.weight is not part of a Phi", { $0["score.weight"] = ([2], [1, 2]) }),
        ("names used before transformers 4.37", { $0["transformer.h.0.mixer.Wqkv.weight"] = ([1], [1]) }),
        ("names used before transformers 4.37", { $0[layer + "query_key_value.weight"] = ([1], [1]) }),
        ("NaN or infinite", { $0["lm_head.bias"]?.floats[7] = .nan }),
        ("NaN or infinite", { $0[layer + "v_proj.weight"]?.floats[7] = -.infinity }),
    ] as [(String, (inout [String: (shape: [Int], floats: [Float])]) -> Void)] {
        try withCopy(of: "phi/small") { path in
            try changeWeights(path, change)
            expectRefused(path, words)
        }
    }
    try withCopy(of: "phi/small") { path in
        unlink(path + "/model.safetensors")
        expectRefused(path, "no model.safetensors")
        unlink(path + "/config.json")
        expectRefused(path, "is a directory without config.json")
    }
}

@Test func `a model of the other kind is refused by name, with the programs for it`() throws {
    for (path, read, words, program) in [
        ("gpt2_small.bin", { _ = try readPhi($0, trains: true) }, "is a GPT-2, not a Phi", "train_gpt2"),
        ("huggingface/float32", { _ = try readPhi($0, trains: true) }, "is a GPT-2, not a Phi", "test_gpt2"),
        ("huggingface/float32", { _ = try readPhiConfiguration($0) }, "is a GPT-2, not a Phi", "train_gpt2"),
        ("phi/small", { _ = try readGPT2($0, trains: true) }, "is a Phi, not a GPT-2", "train_phi"),
        ("phi/small", { _ = try readGPT2Configuration($0) }, "is a Phi, not a GPT-2", "test_phi"),
        (
            "tokenizer_600.json", { _ = try readPhi($0, trains: true) }, "is a file, and a Phi is a directory",
            "directory"
        ),
        ("phi/small/model.safetensors", { _ = try readPhi($0, trains: true) }, "only the weights", "phi/small"),
    ] as [(String, (String) throws -> Void, String, String)] {
        let error = userError { try read(try fixture(path)) }
        #expect(
            error?.message.contains(words) == true && error?.hint.contains(program) == true,
            "\(path): \(String(describing: error))")
    }
    expectMessage(["cannot read none"]) { _ = try readPhi("none", trains: false) }
}

// MARK: - writing

@Test func `config.json says what a Phi dropped in training, and reading it drops nothing`() throws {
    try withTemporaryDirectory { folder in
        let model = noisyPhi(tinyPhi)
        model.dropout = 0.15
        try HuggingFacePhi.write(model, nil, to: folder)
        let config = try JSON(Array(try bytes(folder + "/config.json")), name: "config")
        #expect(["attention_dropout", "embd_pdrop", "resid_pdrop"].allSatisfy { config[$0]?.number == 0.15 })
        #expect(try readPhi(folder, trains: true).dropout == 0)
    }
}

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a Phi comes back from its directory`(format: WeightFormat) throws {
    for config in [
        PhiConfiguration(maxT: 5, V: 61, L: 3, NH: 3, C: 60, FC: 37, R: 8, theta: 1234.5),
        PhiConfiguration(maxT: 7, V: 61, L: 1, NH: 1, C: 50, FC: 1, R: 28),
        PhiConfiguration(maxT: 7, V: 61, L: 2, NH: 2, C: 4, R: 2),
    ] {
        try withTemporaryDirectory { folder in
            let model = noisyPhi(config)
            try HuggingFacePhi.write(model, try smallTokenizer(), to: folder, format: format)
            let other = try readPhi(folder, trains: false)
            #expect(other.config == config)
            let expected = model.parameters.array(model.parameters.values).map {
                format == .float32 ? $0.bitPattern : UInt32($0.bfloat16) << 16
            }
            #expect(other.parameters.bits(of: \.values) == expected)
        }
    }
}

/// transformers rounds the product of a head's channels and the factor down.
@Test func `any even number of a head's channels survives as a fraction`() throws {
    try withTemporaryDirectory { folder in
        for HS in [2, 6, 14, 20, 22, 28, 46, 80, 98] {
            for R in stride(from: 2, through: HS, by: 2) {
                let config = PhiConfiguration(maxT: 1, V: 1, L: 1, NH: 1, C: HS, FC: 1, R: R)
                try FaultInjector()({ try HuggingFacePhi.write(Phi(config, trains: false), nil, to: folder) })
                #expect(try readPhiConfiguration(folder) == config)
            }
        }
    }
}

@Test func `what is written of a Phi is what transformers writes`() throws {
    try withTemporaryDirectory { folder in
        let fixed = try fixture("phi/small")
        let (path, model) = (folder + "/new/model", try readPhi(fixed, trains: false))
        try HuggingFacePhi.write(model, try smallTokenizer(), to: path)
        // The weights lie as theirs do, after a header that has a checksum as well.
        func data(_ path: String) throws -> ArraySlice<UInt8> {
            let file = try bytes(path + "/model.safetensors")
            return file[(8 + integer(file, at: 0, as: Int.self))...]
        }
        #expect(try data(path) == data(fixed))
        let ours = try JSON(try bytes(path + "/config.json"), name: "ours")
        let theirs = try JSON(try bytes(fixed + "/config.json"), name: "theirs")
        guard case .object(let members) = ours, case .object(let expected) = theirs else {
            throw UserError("no object", hint: "write the fixtures again")
        }
        // What transformers 4 looks for, theirs has in rope_parameters alone.
        let old = ["partial_rotary_factor", "rope_theta"]
        for key in members.map({ String(decoding: $0.key, as: UTF8.self) }) where key != "pad_token_id" {
            let wanted = old.contains(key) ? theirs["rope_parameters"]?[key] : theirs[key]
            #expect(ours[key]?.text() == wanted?.text(), "\(key)")
        }
        let names = Set(expected.map { String(decoding: $0.key, as: UTF8.self) })
        #expect(
            names.subtracting(members.map { String(decoding: $0.key, as: UTF8.self) }) == [
                "transformers_version", "use_cache",
            ])
        #expect(ours["eos_token_id"]?.int == 60 && ours["pad_token_id"]?.int == 59)
        #expect(
            Set(LLM.names(in: path)).isSuperset(of: [
                "tokenizer.json", "tokenizer_config.json", "generation_config.json",
            ]))
        #expect(!LLM.names(in: path).contains { $0.hasSuffix(".tmp") })
    }
}

@Test func `without a tokenizer a Phi's directory names no tokens`() throws {
    try withTemporaryDirectory { path in
        try HuggingFacePhi.write(Phi(tinyPhi, trains: false), nil, to: path)
        #expect(names(in: path) == ["config.json", "generation_config.json", "model.safetensors"])
        for name in ["config.json", "generation_config.json"] {
            let json = try JSON(try bytes("\(path)/\(name)"), name: name)
            for key in ["bos_token_id", "eos_token_id", "pad_token_id"] { #expect(json[key]?.isNull == true, "\(key)") }
        }
    }
}

// MARK: - the checksum

/// But in the name of the checksum, where a flipped bit hides it and leaves the weights as they are.
@Test func `a flipped bit anywhere in a Phi's weights is noticed`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/model.safetensors"
        try HuggingFacePhi.write(noisyPhi(tinyPhi), nil, to: folder)
        let whole = try bytes(path)
        let start = 8 + integer(whole, at: 0, as: Int.self)
        let name = try #require(Data(whole).range(of: Data("checksum".utf8)))
        try SafetensorsFile(path).checkSum()
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        func put(_ byte: UInt8, at place: Int) throws {
            try file.seek(toOffset: UInt64(place))
            try file.write(contentsOf: [byte])
        }
        for place in Array(0..<200) + stride(from: 200, to: whole.count, by: 7) {
            try put(whole[place] ^ 1 << (place % 8), at: place)
            let isNoticed = userError { try SafetensorsFile(path).checkSum() } != nil
            #expect(isNoticed || name.contains(place), "byte \(place)")
            try put(whole[place], at: place)
        }
        // Whoever reads the model looks at its checksum.
        for place in [start, whole.count - 1] {
            try put(whole[place] ^ 1, at: place)
            expectRefused(folder, "model.safetensors is damaged: its checksum does not fit its contents")
            try put(whole[place], at: place)
        }
    }
}

@Test func `a checksum that is none is refused, and a file without one is fine`() throws {
    try withTemporaryDirectory { path in
        try HuggingFacePhi.write(noisyPhi(tinyPhi), nil, to: path)
        let file = try bytes(path + "/model.safetensors")
        let start = 8 + integer(file, at: 0, as: Int.self)
        let header = String(decoding: file[8..<start], as: UTF8.self)
        let known = try #require(try header.firstMatch(of: Regex("\"checksum\":\"([0-9a-f]{16})\",")))
        let digits = String(try #require(known.output[1].substring))
        func put(_ member: String) throws {
            try write(
                safetensors(
                    Array(header.replacing(known.output[0].substring ?? "", with: member).utf8), Array(file[start...])),
                to: path + "/model.safetensors")
        }
        for strange in ["", "0", "\(digits)0", "sha256:\(digits)", digits.uppercased() + "!", "가나다라마바사아자차카타파하거너"] {
            try put("\"checksum\":\"\(strange)\",")
            expectRefused(
                path, "model.safetensors: the checksum \"\(strange)\" in __metadata__ is not 16 hexadecimal digits")
        }
        try put("\"checksum\":\"0123456789abcdef\",")
        expectRefused(path, "model.safetensors is damaged: its checksum does not fit")
        // As another program might write it again.
        try put("\"checksum\": \"\(digits)\", ")
        expectRefused(path, "is damaged")
        try put("\"checksum\":5,")
        expectRefused(path, "__metadata__ is not an object of strings")
        try put("")
        _ = try readPhi(path, trains: false)
        try put("\"checksum\":\"\(digits)\",")
        _ = try readPhi(path, trains: false)
    }
}
