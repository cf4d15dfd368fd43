// BERT and DistilBERT in Hugging Face's files, checked against transformers' own (dev/reference/bert_fixtures.py). What its
// hidden states and logits are is in BERTTests.swift.

import Foundation
import LLM
import Testing

/// Expects that whoever reads the model is told these words, and what to do.
private func expectBERTRefused(
    _ path: String, head: Bool? = nil, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
) {
    expectMessage(words, path, sourceLocation: sourceLocation) { _ = try readBERT(path, trains: false, head: head) }
}

private func parameters(_ model: BERT, _ tensors: [Tensor]) -> [Float] {
    tensors.flatMap { model.parameters.array(model.parameters.values, $0) }
}

// MARK: - reading

@Test func `a BERT's configuration is transformers'`() throws {
    var small = BERTConfiguration(maxT: 13, V: 59, L: 2, NH: 3, C: 24, FC: 37)
    small.epsilon = 1e-3
    #expect(try readBERTConfiguration(try fixture("bert/small")) == small)
    small.hasHead = false
    #expect(try readBERTConfiguration(try fixture("bert/small"), head: false) == small)
    #expect(
        try readBERTConfiguration(try fixture("bert/distil"))
            == BERTConfiguration(maxT: 11, V: 43, L: 2, NH: 5, C: 20, FC: 30, isDistilBERT: true))
    var pooled = BERTConfiguration(maxT: 8, V: 31, L: 1, NH: 1, C: 16, FC: 24)
    (pooled.hasHead, pooled.hasPooler, pooled.hasTanhGELU) = (false, true, true)
    #expect(try readBERTConfiguration(try fixture("bert/pooled")) == pooled)
    let (one, other) = (
        try readBERT(try fixture("bert/small"), trains: true), try readBERT(try fixture("bert/pooled"), trains: false)
    )
    #expect(one.dropout == 0.1 && one.attentionDropout == 0.1 && other.dropout == 0 && other.attentionDropout == 0)
}

@Test func `settings that are not there are BERT-base's`() throws {
    for (type, expected) in [("bert", BERTConfiguration.base), ("distilbert", .distilBase)] {
        try withCopy(of: type == "bert" ? "bert/small" : "bert/distil") { path in
            try write(Array("{\"model_type\": \"\(type)\"}".utf8), to: path + "/config.json")
            #expect(try readBERTConfiguration(path) == expected)
        }
    }
}

/// Of before transformers 3: TensorFlow's names of the layer norms, and copies of what is tied.
@Test func `old names of a BERT's weights are read, and copies that are equal`() throws {
    for name in ["small", "distil", "pooled"] {
        try withCopy(of: "bert/" + name) { path in
            let expected = try readBERT(path, trains: false)
            let isDistil = expected.config.isDistilBERT
            try changeWeights(path) { weights in
                for (name, tensor) in weights where name.contains("LayerNorm.") {
                    weights[name] = nil
                    weights[
                        name.replacing("LayerNorm.weight", with: "LayerNorm.gamma")
                            .replacing("LayerNorm.bias", with: "LayerNorm.beta")] = tensor
                }
                let base = isDistil ? "distilbert." : expected.config.hasHead ? "bert." : ""
                weights[base + "embeddings.position_ids"] = ([1, 3], [0, 1, 2])
                if expected.config.hasHead {
                    weights[isDistil ? "vocab_projector.weight" : "cls.predictions.decoder.weight"] =
                        weights[base + "embeddings.word_embeddings.weight"]
                }
                if name == "small" { weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"] }
            }
            let model = try readBERT(path, trains: false)
            #expect(model.config == expected.config)
            #expect(model.parameters.bits(of: \.values) == expected.parameters.bits(of: \.values), "\(name)")
        }
    }
}

@Test func `a bias that is only the decoder's is the head's`() throws {
    try withCopy(of: "bert/small") { path in
        let expected = try readBERT(path, trains: false)
        try changeWeights(path) {
            $0["cls.predictions.decoder.bias"] = $0["cls.predictions.bias"]
            $0["cls.predictions.bias"] = nil
        }
        #expect(
            try readBERT(path, trains: false).parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
    }
}

/// Names without `bert.`, though there is a head; or with it, though there is none.
@Test(arguments: ["small", "distil"]) func `the encoder's prefix may be there or not`(name: String) throws {
    try withCopy(of: "bert/" + name) { path in
        let expected = try readBERT(path, trains: false)
        let prefix = name == "small" ? "bert." : "distilbert."
        try changeWeights(path) { weights in
            for (name, tensor) in weights where name.hasPrefix(prefix) {
                weights[name] = nil
                weights[String(name.dropFirst(prefix.count))] = tensor
            }
        }
        #expect(
            try readBERT(path, trains: false).parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
    }
    try withCopy(of: "bert/" + name) { path in
        let expected = try readBERT(path, trains: false, head: false)
        #expect(
            !expected.config.hasHead
                && expected.tensors.wte.huggingFace?(layer: 0) == ["embeddings.word_embeddings.weight"])
        try changeWeights(path) { weights in
            for name in weights.keys where name.hasPrefix("cls.") || name.hasPrefix("vocab_") { weights[name] = nil }
        }
        let model = try readBERT(path, trains: false)
        #expect(!model.config.hasHead)
        #expect(model.parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
    }
}

// MARK: - parts

@Test func `a head or pooler that is missing is made new`() throws {
    let pooled = try fixture("bert/pooled")
    let (expected, model) = (try readBERT(pooled, trains: false), try readBERT(pooled, trains: true))
    #expect(model.config.hasHead && model.config.hasPooler && !expected.config.hasHead)
    let encoder = expected.parameters.table.count
    let head = try #require(model.tensors.head)
    let new = head.tensors.reduce(0) { $0 + $1.count }
    #expect(model.parameters.table.count == encoder + new)
    for tensor in expected.parameters.table.tensors {
        let same = try #require(model.parameters.table.tensors.first { $0.name == tensor.name })
        #expect(parameters(model, [same]) == parameters(expected, [tensor]), "\(tensor.name)")
    }
    #expect(parameters(model, [head.transb, head.lnfb, head.headb]).allSatisfy { $0 == 0 })
    #expect(parameters(model, [head.lnfw]).allSatisfy { $0 == 1 })
    let dense = parameters(model, [head.transw])
    #expect(Set(dense).count > 200 && dense.allSatisfy { abs($0) < 0.12 })

    let small = try fixture("bert/small")
    let more = try readBERT(small, trains: false, pooler: true)
    let pooler = try #require(more.tensors.pooler)
    #expect(
        Set(parameters(more, [pooler.poolw])).count > 400 && parameters(more, [pooler.poolb]).allSatisfy { $0 == 0 })
    #expect(try !readBERT(try fixture("bert/distil"), trains: false, pooler: true).config.hasPooler)
}

@Test func `who reads a BERT of pretraining is told what is left out`() throws {
    try withTemporaryDirectory { folder in
        try FileManager.default.copyItem(atPath: try fixture("bert/small"), toPath: folder + "/pretraining")
        try changeWeights(folder + "/pretraining") {
            $0["cls.seq_relationship.weight"] = ([2, 24], .init(repeating: 1, count: 48))
            $0["cls.seq_relationship.bias"] = ([2], [1, 2])
            $0["bert.pooler.dense.weight"] = ([24, 24], .init(repeating: 1, count: 576))
            $0["bert.pooler.dense.bias"] = ([24], .init(repeating: 1, count: 24))
        }
        let model = try readBERT(folder + "/pretraining", trains: true)
        #expect(model.config.hasPooler && model.config.hasHead)
        #expect(try !readBERT(folder + "/pretraining", trains: true, pooler: false).config.hasPooler)
        let reference = try fixture("bert/small_reference.safetensors")
        let result = try run("test_bert", ["pretraining", reference], in: folder)
        #expect(
            result.errors.contains(
                "note: pretraining: cls.seq_relationship, which predicts the next sentence, is left out"))
        try expectSuccess("test_bert", [try fixture("bert/small"), reference], in: folder)
    }
}

@Test func `who trains a BERT without its parts is told what begins at random`() throws {
    try withTemporaryDirectory { folder in
        try FileManager.default.copyItem(atPath: try fixture("bert/pooled"), toPath: folder + "/pooled")
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + (5..<31).map { "w\($0)" }
        try createDirectory(folder + "/data")
        try write(Array(words.joined(separator: "\n").utf8 + [10]), to: folder + "/data/vocab.txt")
        try writeShard(randomTokens(200, below: 26, seed: 1).map { $0 + 5 }, to: folder + "/data/train_0.bin")
        let result = try run(
            "train_bert",
            [
                "-e", "pooled", "--tokenizer", "data", "-i", "data/train_*.bin", "-b", "2", "-t", "8", "-v", "0",
                "--dry-run",
            ],
            in: folder)
        let note = "note: pooled has no head for masked-language modelling; a new one begins at random"
        #expect(result.status == 0 && result.errors.contains(note), "\(result.errors)")
    }
}

/// The classifier of an untied model is there, and is the embeddings all the same; or it is all that there is of a head.
@Test func `a classifier that equals the embeddings is no head of its own`() throws {
    try withCopy(of: "bert/small") { path in
        let expected = try readBERT(path, trains: false)
        try replace("\"tie_word_embeddings\": true", with: "\"tie_word_embeddings\": false", in: path + "/config.json")
        try changeWeights(path) {
            $0["cls.predictions.decoder.weight"] = $0["bert.embeddings.word_embeddings.weight"]
        }
        #expect(
            try readBERT(path, trains: false).parameters.bits(of: \.values) == expected.parameters.bits(of: \.values))
        try changeWeights(path) { weights in
            for name in weights.keys where name.hasPrefix("cls.") && !name.contains("decoder") { weights[name] = nil }
        }
        #expect(try !readBERTConfiguration(path).hasHead)
    }
    try withCopy(of: "bert/distil") { path in
        try changeWeights(path) {
            $0["vocab_projector.weight"] = $0["distilbert.embeddings.word_embeddings.weight"]
            $0["vocab_projector.weight"]?.floats[7] += 1
        }
        expectBERTRefused(path, "vocab_projector.weight differs from")
    }
}

@Test func `rates of dropout that are not there are transformers'`() throws {
    for name in ["small", "distil"] {
        try withCopy(of: "bert/" + name) { path in
            for key in ["hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"] {
                let text = try String(contentsOfFile: path + "/config.json", encoding: .utf8)
                try write(Array(text.replacing("\"\(key)\"", with: "\"x_\(key)\"").utf8), to: path + "/config.json")
            }
            let model = try readBERT(path, trains: false)
            #expect(model.dropout == 0.1 && model.attentionDropout == 0.1)
        }
    }
}

// MARK: - what is refused

@Test(
    arguments: [
        ("\"bert\"", "\"roberta\"", "model_type is \"roberta\", not \"gpt2\", \"phi\", \"bert\" or \"distilbert\""),
        ("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", "hidden_act is \"relu\", not \"gelu\""),
        ("\"layer_norm_eps\": 0.001", "\"layer_norm_eps\": 0", "layer_norm_eps is 0, not a number from"),
        ("\"layer_norm_eps\": 0.001", "\"layer_norm_eps\": \"0.001\"", "layer_norm_eps is \"0.001\""),
        (
            "\"use_cache\": true", "\"position_embedding_type\": \"relative_key\"",
            "position_embedding_type is \"relative_key\""
        ),
        ("\"is_decoder\": false", "\"is_decoder\": true", "is_decoder is true"),
        ("\"add_cross_attention\": false", "\"add_cross_attention\": true", "add_cross_attention is true"),
        ("\"use_cache\": true", "\"pruned_heads\": {\"1\": [0]}", "pruned_heads is {"),
        ("\"use_cache\": true", "\"quantization_config\": {}", "the weights are quantized"),
        (
            "\"hidden_dropout_prob\": 0.1", "\"hidden_dropout_prob\": 1",
            "hidden_dropout_prob is 1, not a number from 0 to"
        ),
        (
            "\"attention_probs_dropout_prob\": 0.1", "\"attention_probs_dropout_prob\": -1",
            "attention_probs_dropout_prob is -1"
        ),
        ("\"num_attention_heads\": 3", "\"num_attention_heads\": 7", "is not a multiple of num_attention_heads 7"),
        ("\"type_vocab_size\": 2", "\"type_vocab_size\": 0", "type_vocab_size is not a whole number"),
        ("\"vocab_size\": 59", "\"vocab_size\": 1e300", "vocab_size"),
        ("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "the classifier's weight is missing"),
        // What fits a model, but not these weights.
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "layer.2.attention.self.query.weight\" is missing"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "is not part of a BERT with 1 layers"),
        ("\"vocab_size\": 59", "\"vocab_size\": 60", "has the shape [59, 24], not [60, 24]"),
        ("\"type_vocab_size\": 2", "\"type_vocab_size\": 3", "has the shape [2, 24], not [3, 24]"),
        ("\"max_position_embeddings\": 13", "\"max_position_embeddings\": 16777216", "has the shape [13, 24]"),
    ])
func `a configuration of another BERT is refused by name`(old: String, new: String, words: String) throws {
    try withCopy(of: "bert/small") { path in
        try replace(old, with: new, in: path + "/config.json")
        expectBERTRefused(path, words)
    }
}

@Test(
    arguments: [
        ("\"activation\": \"gelu\"", "\"activation\": \"relu\"", "activation is \"relu\", not \"gelu\""),
        ("\"n_heads\": 5", "\"n_heads\": 3", "dim 20 is not a multiple of n_heads 3"),
        ("\"dropout\": 0.1", "\"dropout\": true", "dropout is true"),
        ("\"n_layers\": 2", "\"n_layers\": 3", "transformer.layer.2.attention.q_lin.weight\" is missing"),
        ("\"hidden_dim\": 30", "\"hidden_dim\": 31", "has the shape [30, 20], not [31, 20]"),
    ])
func `a configuration of another DistilBERT is refused by name`(old: String, new: String, words: String) throws {
    try withCopy(of: "bert/distil") { path in
        try replace(old, with: new, in: path + "/config.json")
        expectBERTRefused(path, words)
    }
}

@Test func `weights of another BERT are refused by name`() throws {
    let wte = "bert.embeddings.word_embeddings.weight"
    for (words, change) in [
        ("cls.predictions.transform.dense.bias\" is missing", { $0["cls.predictions.transform.dense.bias"] = nil }),
        ("self.key.bias\" is missing", { $0["bert.encoder.layer.1.attention.self.key.bias"] = nil }),
        ("classifier.weight is not part of a BERT", { $0["classifier.weight"] = ([2], [1, 2]) }),
        (
            "cls.predictions.decoder.weight differs from \(wte)",
            {
                $0["cls.predictions.decoder.weight"] = $0[wte]
                $0["cls.predictions.decoder.weight"]?.floats[7] += 1
            }
        ),
        (
            "cls.predictions.decoder.bias differs from cls.predictions.bias",
            { $0["cls.predictions.decoder.bias"] = ([59], .init(repeating: 7, count: 59)) }
        ),
        ("NaN or infinite", { $0["cls.predictions.bias"]?.floats[7] = .nan }),
    ] as [(String, (inout [String: (shape: [Int], floats: [Float])]) -> Void)] {
        try withCopy(of: "bert/small") { path in
            try changeWeights(path, change)
            expectBERTRefused(path, words)
        }
    }
    // A head that is not wanted may be anything.
    try withCopy(of: "bert/small") { path in
        try changeWeights(path) { $0["cls.predictions.bias"] = ([1], [.nan]) }
        _ = try readBERT(path, trains: false, head: false)
        expectBERTRefused(path, head: true, "has the shape [1], not [59]")
    }
}

@Test func `a BERT where another model is wanted is refused, and the other way round`() throws {
    for (path, read, words, program) in [
        (
            "bert/small", { _ = try readModel($0) }, "is a BERT, which does not predict the next token",
            "train_bert"
        ),
        ("bert/distil", { _ = try readConfiguration($0) }, "is a BERT, which does not predict the next token", "embed"),
        ("bert/small", { _ = try readPhi($0, trains: false) }, "is a BERT, not a Phi", "train_bert"),
        ("phi/small", { _ = try readBERT($0, trains: false) }, "is a Phi, not a BERT", "train_phi"),
        ("gpt2_small.bin", { _ = try readBERT($0, trains: false) }, "is a GPT-2, not a BERT", "train_gpt2"),
        (
            "tokenizer_600.json", { _ = try readBERT($0, trains: false) }, "is a file, and a BERT is a directory",
            "BERT's"
        ),
    ] as [(String, (String) throws -> Void, String, String)] {
        let error = userError { try read(try fixture(path)) }
        #expect(
            error?.message.contains(words) == true && error?.hint.contains(program) == true,
            "\(path): \(String(describing: error))")
    }
}

@Test func `a reference that is not this model's is refused`() throws {
    let config = try readBERTConfiguration(try fixture("bert/small"))
    let path = try fixture("bert/small_reference.safetensors")
    for (change, words) in [
        ({ $0.V = 20 }, "inputs has"), ({ $0.maxT = 12 }, "its inputs are missing, or do not fit"),
        ({ $0.C = 12 }, "has the shape"), ({ $0.segments = 1 }, "segments has 1.0"),
    ] as [((inout BERTConfiguration) -> Void, String)] {
        var other = config
        change(&other)
        expectMessage([words]) { _ = try MaskedReference(path, config: other) }
    }
}

// MARK: - writing

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a BERT comes back from its directory`(format: WeightFormat) throws {
    var (gelu, plain, distil) = (
        tinyBERT(hasPooler: true), tinyBERT(hasHead: false, hasPooler: true), tinyBERT(isDistilBERT: true)
    )
    (gelu.hasTanhGELU, gelu.epsilon, gelu.segments) = (true, 1e-5, 3)
    plain.epsilon = 1e-7
    distil.hasTanhGELU = true
    for config in [
        tinyBERT(), gelu, plain, tinyBERT(hasHead: false), distil, tinyBERT(isDistilBERT: true, hasHead: false),
    ] {
        try withTemporaryDirectory { folder in
            let model = noisyBERT(config, trains: false)
            (model.dropout, model.attentionDropout) = (0.15, 0.25)
            try HuggingFaceBERT.write(model, nil, to: folder, format: format)
            let other = try readBERT(folder, trains: false)
            #expect(other.config == config && other.dropout == 0.15 && other.attentionDropout == 0.25)
            let expected = model.parameters.array(model.parameters.values).map {
                format == .float32 ? $0.bitPattern : UInt32($0.bfloat16) << 16
            }
            #expect(other.parameters.bits(of: \.values) == expected)
            #expect(names(in: folder) == ["config.json", "model.safetensors"])
        }
    }
}

@Test(arguments: ["small", "distil", "pooled"]) func `what is written of a BERT is what transformers writes`(
    name: String
) throws {
    try withTemporaryDirectory { folder in
        let fixed = try fixture("bert/" + name)
        let path = folder + "/model"
        try HuggingFaceBERT.write(try readBERT(fixed, trains: false), try smallTokenizer(), to: path)
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
        let tokens = ["bos_token_id", "eos_token_id", "pad_token_id"]
        for key in members.map({ String(decoding: $0.key, as: UTF8.self) }) where !tokens.contains(key) {
            #expect(ours[key]?.text() == theirs[key]?.text(), "\(key)")
        }
        // What has transformers' default anyway.
        let missing = Set(expected.map { String(decoding: $0.key, as: UTF8.self) })
            .subtracting(members.map { String(decoding: $0.key, as: UTF8.self) })
        #expect(
            missing.isSubset(of: [
                "transformers_version", "use_cache", "add_cross_attention", "classifier_dropout", "qa_dropout",
                "seq_classif_dropout",
            ]))
        #expect(ours["pad_token_id"]?.int == 59)
        let files = names(in: path)
        #expect(files.contains("tokenizer.json") && !files.contains("generation_config.json"))
    }
}
