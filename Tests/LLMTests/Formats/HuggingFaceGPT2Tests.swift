// GPT-2 in Hugging Face's files, checked against transformers (dev/reference/huggingface_fixtures.py) and against
// llm.c's file of the same model.

import Foundation
import LLM
import Testing

private func directory(_ name: String) throws -> String { try fixture("huggingface/\(name)") }

// MARK: - reading

@Test(arguments: ["float32", "sharded", "old"])
func `a Hugging Face GPT-2 has the bits of llm.c's file`(name: String) throws {
    let expected = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
    #expect(try readGPT2Configuration(try directory(name)) == expected.config)
    let model = try readGPT2(try directory(name), trains: true)
    #expect(model.config == expected.config && model.parameters.trains)
    #expect(model.parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
}

@Test(arguments: ["float32", "float16", "bfloat16"])
func `logits are transformers'`(format: String) throws {
    let path = try fixture("huggingface/logits.json")
    let json = try JSON(try contents(of: path), name: path)
    guard case .array(let rows)? = json["inputs"], case .array(let values)? = json[format] else {
        Issue.record("the fixture is incomplete")
        return
    }
    let inputs = rows.flatMap { row -> [Int32] in
        guard case .array(let ids) = row else { return [] }
        return ids.compactMap { $0.int.map { Int32($0) } }
    }
    let expected = values.compactMap { $0.number.map { Float($0) } }
    let model = try readGPT2(try directory(format), trains: false)
    let (B, T) = (rows.count, inputs.count / rows.count)
    model.forward(inputs, B: B, T: T)
    #expect(relativeError(model.logits(B: B, T: T), expected) <= 1e-5)
}

/// Any model directory, with the logits that dev/reference/huggingface_logits.py wrote into it.
@Test(.enabled(if: ProcessInfo.processInfo.environment["LLM_TEST_HF_DIR"] != nil))
func `the model of LLM_TEST_HF_DIR has transformers' logits`() throws {
    let path = try #require(ProcessInfo.processInfo.environment["LLM_TEST_HF_DIR"])
    let name = path + "/llm_logits.json"
    let json = try JSON(try contents(of: name), name: name)
    func numbers(_ json: JSON?) -> [Double] {
        switch json {
        case .array(let values): values.flatMap { numbers($0) }
        case .number(let value): [value]
        default: []
        }
    }
    guard case .array(let rows)? = json["ids"] else { throw UserError("no ids", hint: "write it again") }
    let inputs = numbers(json["ids"]).map { Int32($0) }
    let positions = numbers(json["positions"]).map { Int($0) }
    let (B, T) = (rows.count, inputs.count / rows.count)
    let (logits, V): ([Float], Int)
    if try modelKind(path) == .bert {
        let model = try readBERT(path, trains: false, head: true, pooler: false)
        V = model.V
        model.forward(inputs: inputs, lengths: .init(repeating: T, count: B))
        logits = [Float](unsafeUninitializedCapacity: B * T * V) { buffer, count in
            if let base = buffer.baseAddress { model.logits(into: base, rows: Array(0..<B * T)) }
            count = B * T * V
        }
    } else {
        let model = try readModel(path)
        V = model.V
        model.forward(inputs: inputs, .batch(B: B, T: T))
        logits = model.logits(B: B, T: T)
    }
    var ours: [Float] = []
    for b in 0..<B {
        for position in positions {
            let row = (b * T + position) * V
            ours += logits[row..<row + V]
        }
    }
    let error = relativeError(ours, numbers(json["logits"]).map { Float($0) })
    #expect(error <= 1e-5)
    print("\(path): relative error \(error)")
}

// MARK: - what is refused

@Test func `a classifier of its own is refused`() throws {
    expectRefused(try directory("untied"), "lm_head.weight differs from transformer.wte.weight")
}

/// Every setting that would make it another model than ours.
@Test(
    arguments: [
        ("\"gpt2\"", "\"gpt_neo\"", "model_type is \"gpt_neo\""),
        ("\"model_type\"", "\"type\"", "model_type is missing"),
        ("\"n_inner\": null", "\"n_inner\": 97", "n_inner is 97"),
        ("\"gelu_new\"", "\"relu\"", "activation_function is \"relu\""),
        ("\"gelu_new\"", "\"gelu\"", "activation_function is \"gelu\""), ("1e-05", "1e-06", "layer_norm_epsilon"),
        ("\"scale_attn_weights\": true", "\"scale_attn_weights\": false", "scale_attn_weights is false"),
        (
            "\"scale_attn_by_inverse_layer_idx\": false", "\"scale_attn_by_inverse_layer_idx\": true",
            "scale_attn_by_inverse_layer_idx is true"
        ),
        ("\"add_cross_attention\": false", "\"add_cross_attention\": 1", "add_cross_attention is 1"),
        ("\"use_cache\": true", "\"quantization_config\": {}", "quantization_config"),
        ("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "lm_head.weight is missing"),
        ("\"n_head\": 3", "\"n_head\": 5", "is not a multiple"), ("\"n_head\": 3", "\"n_head\": 0", "n_head"),
        ("\"n_layer\": 2", "\"n_layer\": -1", "n_layer"), ("\"n_layer\": 2", "\"n_layer\": 2.5", "n_layer"),
        ("\"n_embd\": 24", "\"n_embd\": 1e300", "n_embd"), ("\"n_positions\": 16", "\"n_positions\": \"16\"", "n_pos"),
        ("\"vocab_size\": 61", "\"vocab_size\": 16777217", "vocab_size"),
        // What fits a model, but not these weights.
        ("\"n_layer\": 2", "\"n_layer\": 3", "h.2.ln_1.weight\" is missing"),
        ("\"n_layer\": 2", "\"n_layer\": 16777216", "h.2.ln_1.weight\" is missing"),
        ("\"n_layer\": 2", "\"n_layer\": 1", "h.1.attn.c_attn.bias is not part"),
        ("\"n_positions\": 16", "\"n_positions\": 17", "wpe.weight\" has the shape [16, 24], not [17, 24]"),
        ("\"vocab_size\": 61", "\"vocab_size\": 62", "wte.weight\" has the shape [61, 24], not [62, 24]"),
        ("\"n_embd\": 24", "\"n_embd\": 27", "has the shape"),
        ("\"n_embd\": 24", "\"n_embd\": 16777215", "has the shape"),
        // Not JSON, or not as it should be.
        ("{", "[", "config.json"), ("\"n_layer\": 2", "\"n_layer\": 2, \"n_layer\": 2", "twice"),
    ])
func `a configuration of another model is refused by name`(old: String, new: String, words: String) throws {
    try withCopy(of: "huggingface/float32") { path in
        try replace(old, with: new, in: path + "/config.json")
        expectRefused(path, words)
    }
}

@Test func `settings may be missing, or have their other names`() throws {
    try withCopy(of: "huggingface/float32") { path in
        let expected = try readGPT2Configuration(path)
        for (old, new) in [
            ("n_positions", "max_position_embeddings"), ("n_embd", "hidden_size"), ("n_layer", "num_hidden_layers"),
            ("n_head", "num_attention_heads"), ("gelu_new", "gelu_pytorch_tanh"),
            ("\"n_inner\": null", "\"n_inner\": 96"),
        ] { try replace(old, with: new, in: path + "/config.json") }
        #expect(try readGPT2Configuration(path) == expected)
        try Data("{\"model_type\": \"gpt2\"}".utf8).write(to: URL(fileURLWithPath: path + "/config.json"))
        #expect(try readGPT2Configuration(path) == GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768))
    }
}

@Test func `weights that are not numbers are refused`() throws {
    try withTemporaryDirectory { folder in
        let model = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
        for bad in [Float.nan, .infinity] {
            (model.parameters.values + model.tensors.fcw)[7] = bad
            try HuggingFaceGPT2.write(model, try smallTokenizer(), to: folder)
            expectRefused(folder, "NaN or infinite")
        }
    }
}

// MARK: - writing

/// Where the tokenizer has a token for each role, and where one is for all.
@Test(arguments: [
    (["<s>", "</s>", "<pad>"], [0, 1, 2]), (["<|endoftext|>"], [0, 0, 0]), (["[EOS]", "[PAD]"], [0, 0, 1]),
])
func `the ids of special tokens are the tokenizer's`(special: [String], ids: [Int]) throws {
    try withTemporaryDirectory { folder in
        let tokens = special + (special.count..<61).map { "t\($0)" }
        let added = special.indices.map { "{\"id\": \($0), \"content\": \"\(special[$0])\", \"special\": true}" }
        let vocabulary = tokens.indices.map { "\"\(tokens[$0])\": \($0)" }
        let json = """
            {"added_tokens": [\(added.joined(separator: ", "))],
            "model": {"type": "BPE", "merges": [], "vocab": {\(vocabulary.joined(separator: ", "))}}}
            """
        try Data(json.utf8).write(to: URL(fileURLWithPath: folder + "/tokenizer.json"))
        let model = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
        try HuggingFaceGPT2.write(model, try Tokenizer(directory: folder), to: folder + "/model")
        let hasPadding = special.contains { $0.lowercased().contains("pad") }
        for (name, padding) in [("config", hasPadding), ("generation_config", true)] {
            let path = "\(folder)/model/\(name).json"
            let json = try JSON(try contents(of: path), name: path)
            let found = [json["bos_token_id"]?.int, json["eos_token_id"]?.int, json["pad_token_id"]?.int]
            #expect(found == [ids[0], ids[1], padding ? ids[2] : nil], "\(name)")
        }
        let path = folder + "/model/tokenizer_config.json"
        #expect(try JSON(try contents(of: path), name: path)["model_max_length"]?.int == model.maxT)
    }
}

@Test func `what is written is what transformers writes`() throws {
    try withTemporaryDirectory { folder in
        let model = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
        try HuggingFaceGPT2.write(model, try smallTokenizer(), to: folder + "/new/model")
        let path = folder + "/new/model"
        #expect(
            try contents(of: path + "/model.safetensors")
                == contents(of: try directory("float32") + "/model.safetensors"))
        // The settings that matter are theirs, too, but for what transformers has by default.
        let ours = try JSON(try contents(of: path + "/config.json"), name: "ours")
        let theirs = try JSON(
            try contents(of: try directory("float32") + "/config.json"), name: "theirs")
        guard case .object(let members) = ours else { throw UserError("no object", hint: "") }
        for (key, value) in members where !key.elementsEqual("pad_token_id".utf8) {
            let name = String(decoding: key, as: UTF8.self)
            #expect(value.text() == theirs[name]?.text(), "\(name)")
        }
        #expect(ours["eos_token_id"]?.int == 60 && ours["pad_token_id"]?.int == 59)
        let generation = try JSON(try contents(of: path + "/generation_config.json"), name: "generation")
        #expect(generation["eos_token_id"]?.int == 60 && generation["pad_token_id"]?.int == 59)
        #expect(Set(names(in: path)).isSuperset(of: ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]))
        #expect(!names(in: path).contains { $0.hasSuffix(".tmp") })
    }
}

@Test func `config.json says what was dropped in training, and reading it drops nothing`() throws {
    try withTemporaryDirectory { folder in
        let model = try readGPT2(try fixture("gpt2_small.bin"), trains: false)
        model.dropout = 0.1
        try HuggingFaceGPT2.write(model, try smallTokenizer(), to: folder)
        let config = try JSON(try contents(of: folder + "/config.json"), name: "config")
        #expect(["attn_pdrop", "embd_pdrop", "resid_pdrop"].allSatisfy { config[$0]?.number == 0.1 })
        #expect(try readGPT2(folder, trains: true).dropout == 0)
    }
}

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a model comes back from Hugging Face's format`(format: WeightFormat) throws {
    try withTemporaryDirectory { folder in
        // Odd sizes, larger than the blocks of 32 that are transposed at a time.
        let model = GPT2(GPT2Configuration(maxT: 5, V: 61, L: 3, NH: 3, C: 51), trains: false)
        var random = MersenneTwister(seed: 1)
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                random.fillNormal(
                    UnsafeMutableBufferPointer(
                        start: model.parameters.values.at(tensor, l), count: tensor.usedCount), deviation: 1)
            }
        }
        try HuggingFaceGPT2.write(model, try smallTokenizer(), to: folder, format: format)
        let other = try readGPT2(folder, trains: false)
        #expect(other.config == model.config)
        let expected = model.parameters.array(model.parameters.values).map {
            format == .float32 ? $0.bitPattern : UInt32($0.bfloat16) << 16
        }
        #expect(other.parameters.bits(of: \.values) == expected)
    }
}
