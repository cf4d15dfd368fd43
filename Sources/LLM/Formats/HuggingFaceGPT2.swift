// A GPT-2 as a Hugging Face directory: config.json, and the weights in model.safetensors or in shards. The names and
// the orientation of the weights stand in the model's table (Models/GPT2.swift); what is here reads and writes by it.
//
// Hugging Face's GPT-2 keeps its linear weights as (in, out), which it calls Conv1D; ours are (out, in). Its
// classifier, lm_head, is wte, as here. A directory that describes another model than ours computes is refused by name.

import Foundation

/// GPT-2 in Hugging Face's files.
package enum HuggingFaceGPT2 {
    // MARK: - config.json

    /// The configuration in a directory's config.json. Settings that are not there have transformers' defaults.
    static func readConfiguration(_ directory: String) throws -> GPT2Configuration {
        let path = "\(directory)/config.json"
        let json = try readJSON(path)
        func refuse(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "llm.swift computes GPT-2 as OpenAI published it; take such a model")
        }
        guard case .object = json else { throw refuse("it is not a JSON object") }
        guard json["model_type"]?.text == "gpt2" else {
            let type = json["model_type"].map { String(decoding: $0.text(), as: UTF8.self) }
            throw refuse("model_type is \(type ?? "missing"), not \"gpt2\"")
        }
        /// A setting under one of its names; JSON's null counts as missing.
        func value(_ names: String...) -> (name: String, value: JSON)? {
            for name in names {
                if let value = json[name] {
                    if case .null = value { continue }
                    return (name, value)
                }
            }
            return nil
        }
        func size(_ name: String, _ other: String, default fallback: Int) throws -> Int {
            guard let (name, found) = value(name, other) else { return fallback }
            guard let size = found.int, GPT2Configuration.sizeLimit.contains(size) else {
                throw refuse("\(name) is not a whole number from 1 to \(GPT2Configuration.sizeLimit.upperBound)")
            }
            return size
        }
        func require(_ name: String, _ isRight: (JSON) -> Bool, _ wanted: String) throws {
            guard let (_, found) = value(name), !isRight(found) else { return }
            throw refuse("\(name) is \(String(decoding: found.text(), as: UTF8.self)), not \(wanted)")
        }
        let config = GPT2Configuration(
            maxT: try size("n_positions", "max_position_embeddings", default: 1024),
            V: try size("vocab_size", "vocab_size", default: 50257),
            L: try size("n_layer", "num_hidden_layers", default: 12),
            NH: try size("n_head", "num_attention_heads", default: 12),
            C: try size("n_embd", "hidden_size", default: 768))
        guard config.C % config.NH == 0 else {
            throw refuse("n_embd \(config.C) is not a multiple of n_head \(config.NH)")
        }
        try require("n_inner", { $0.int == 4 * config.C }, "4 · n_embd = \(4 * config.C)")
        try require(
            "activation_function", { ["gelu_new", "gelu_pytorch_tanh"].contains($0.text) }, "\"gelu_new\"")
        try require("layer_norm_epsilon", { $0.number.map { Float($0) } == 1e-5 }, "1e-5")
        try require("scale_attn_weights", { $0.bool == true }, "true")
        for name in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
            try require(name, { $0.bool == false }, "false")
        }
        try require("quantization_config", { _ in false }, "missing: the weights are quantized")
        return config
    }

    private static func readJSON(_ path: String) throws -> JSON {
        let file = try InputFile(path, hint: "give a Hugging Face directory with config.json in it")
        let largest = 1 << 20
        guard file.size <= largest else {
            throw UserError("\(path) has \(file.size) bytes, too many for a config.json", hint: "is it the right file?")
        }
        return try JSON(try file.read(file.size, of: UInt8.self, at: 0), name: path, allowsDuplicateKeys: false)
    }

    // MARK: - the weights

    /// A model from a directory.
    /// - Parameter trains: whether to make room for gradients and moments.
    static func read(_ directory: String, trains: Bool) throws -> GPT2 {
        let config = try readConfiguration(directory)
        let weights = try SafetensorsFolder(directory)
        func refuse(_ what: String, _ hint: String) -> UserError { UserError("\(directory): \(what)", hint: hint) }
        // Whether the names have the prefix depends on the class that saved them.
        let prefix = weights.entries.keys.contains { $0.hasPrefix("transformer.") } ? "transformer." : ""

        // Every tensor is there and has its shape; that is checked before memory is taken. And nothing else is there
        // but the classifier and mask buffers, which are not weights.
        let table = GPT2Tensors(config).table
        let (wte, head) = (prefix + "wte.weight", "lm_head.weight")
        let hasWte = weights.entries[wte] != nil || weights.entries[head] == nil
        func name(_ tensor: Tensor, _ l: Int) -> String {
            let name = tensor.nameAtHuggingFace(prefix, layer: l)
            return name == wte && !hasWte ? head : name
        }
        var names: Set = [head]
        for tensor in table.tensors {
            for l in 0..<tensor.layers {
                try weights.check(name(tensor, l), shape: tensor.shapeAtHuggingFace)
                names.insert(name(tensor, l))
            }
        }
        let mask = /(transformer\.)?h\.\d+\.attn\.(masked_)?bias/
        for name in weights.entries.keys.sorted() where !names.contains(name) && name.wholeMatch(of: mask) == nil {
            throw refuse(
                "tensor \(name) is not part of a GPT-2 with \(config.L) layers",
                "save the language model alone: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)")
        }
        if hasWte, weights.entries[head] != nil, try !weights.areEqual(head, wte) {
            throw refuse(
                "lm_head.weight differs from \(wte), and a GPT-2 here has one matrix for both",
                "take a model whose classifier is tied to its embeddings (tie_word_embeddings)")
        }
        try checkMemory(GPT2.bytes(config, rows: 1, trains: trains))
        let model = GPT2(config, trains: trains)
        for tensor in table.tensors {
            for l in 0..<tensor.layers {
                let (shape, values) = (tensor.shapeAtHuggingFace, model.parameters.values.at(tensor, l))
                if tensor.huggingFace?.isTransposed ?? false {
                    try weights.readTransposedFloats(name(tensor, l), shape: (shape[0], shape[1]), into: values)
                } else {
                    try weights.readFloats(name(tensor, l), shape: shape, into: values)
                }
            }
        }
        return model
    }

    /// Writes a model and its tokenizer as a directory that `AutoModelForCausalLM.from_pretrained` and
    /// `AutoTokenizer.from_pretrained` load. All files get their names at once.
    package static func write(
        _ model: GPT2, _ tokenizer: Tokenizer, to directory: String, precision: WeightPrecision = .float32
    ) throws {
        try createDirectory(directory)
        let set = DurableFiles()
        func write(_ name: String, _ body: (OutputFile) throws -> Void) throws {
            let file = try set.create("\(directory)/\(name)")
            try body(file)
            try set.finish(file)
        }
        var tensors: [SafetensorsTensor] = []
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                tensors.append(
                    SafetensorsTensor(
                        tensor.nameAtHuggingFace("transformer.", layer: l), shape: tensor.shapeAtHuggingFace,
                        floats: model.parameters.values.at(tensor, l),
                        isTransposed: tensor.huggingFace?.isTransposed ?? false))
            }
        }
        try write("model.safetensors") { try writeSafetensors(tensors, as: precision, to: $0) }
        let endOfText = tokenizer.endOfText.map { JSON.number(Double($0)) } ?? .null
        let padding = tokenizer.id(ofRole: "pad_token").map { JSON.number(Double($0)) }
        let newline = [UInt8(ascii: "\n")]
        try write("config.json") {
            try $0.write(configuration(model.config, endOfText, padding ?? .null, precision).text() + newline)
        }
        // Where no token is for padding, transformers' generate() takes the end of text, and says so unless told.
        let generation: JSON = [
            "_from_model_config": true, "bos_token_id": endOfText, "eos_token_id": endOfText,
            "pad_token_id": padding ?? endOfText,
        ]
        try write("generation_config.json") { try $0.write(generation.text() + newline) }
        let stale = try tokenizer.writeAll(to: directory, in: set)
        try set.commit(removing: stale)
    }

    /// config.json: the keys sorted, as transformers writes them. There was no dropout in training, so there is none
    /// where it continues.
    private static func configuration(
        _ config: GPT2Configuration, _ endOfText: JSON, _ padding: JSON, _ precision: WeightPrecision
    ) -> JSON {
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        return [
            "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0,
            "bos_token_id": endOfText, "dtype": .string(Array(precision.rawValue.utf8)), "embd_pdrop": 0,
            "eos_token_id": endOfText, "initializer_range": .number(0.02), "layer_norm_epsilon": .number(1e-5),
            "model_type": "gpt2",
            "n_embd": number(config.C), "n_head": number(config.NH), "n_inner": .null, "n_layer": number(config.L),
            "n_positions": number(config.maxT), "pad_token_id": padding, "resid_pdrop": 0,
            "tie_word_embeddings": true, "vocab_size": number(config.V),
        ]
    }
}

extension Tensor {
    /// The shape of one layer's tensor at Hugging Face, without padding.
    var shapeAtHuggingFace: [Int] {
        let shape = [usedRows] + layerShape.dropFirst()
        return huggingFace?.isTransposed ?? false ? shape.reversed() : shape
    }

    func nameAtHuggingFace(_ prefix: String, layer l: Int) -> String {
        guard let huggingFace else { preconditionFailure("\(name) has no name at Hugging Face") }
        return prefix + huggingFace(layer: l)
    }
}
