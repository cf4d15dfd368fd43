// A GPT-2 as a Hugging Face directory: config.json, and the weights in model.safetensors or in shards. The names and
// the orientation of the weights are in the model's table (Models/GPT2.swift); what is here reads and writes by it.
//
// Hugging Face's GPT-2 keeps its linear weights as (in, out), which it calls Conv1D; ours are (out, in). Its
// classifier, lm_head, is wte, as here. A directory that asks for anything that is not computed here is refused, and
// the error names the setting.

import Foundation

/// The reader and writer of GPT-2 as a Hugging Face directory.
package enum HuggingFaceGPT2 {
    // MARK: - config.json

    /// The configuration in a directory's config.json. Settings that are not there have transformers' defaults.
    static func readConfiguration(_ directory: String) throws -> GPT2Configuration {
        try readSettings(directory).config
    }

    /// The configuration, and whether the classifier is tied to the embeddings.
    private static func readSettings(_ directory: String) throws -> (config: GPT2Configuration, isTied: Bool) {
        let path = "\(directory)/config.json"
        let json = try readJSON(path)
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(path): \(what)",
                hint: "it must be a GPT-2 as OpenAI published it: gelu_new, n_inner of 4 · n_embd, tied embeddings")
        }
        guard case .object = json else { throw refuse("it is not a JSON object") }
        guard json["model_type"]?.text == "gpt2" else {
            throw refuse("model_type is \(json["model_type"].map(shown) ?? "missing"), not \"gpt2\"")
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
            throw refuse("\(name) is \(shown(found)), not \(wanted)")
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
        guard value("quantization_config") == nil else {
            throw refuse("quantization_config: the weights are quantized")
        }
        return (config, json["tie_word_embeddings"]?.bool ?? true)
    }

    /// A value as it stands in the file, or the beginning of it.
    private static func shown(_ value: JSON) -> String {
        let text = value.text()
        return String(decoding: text.prefix(60), as: UTF8.self) + (text.count > 60 ? "…" : "")
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
        let (config, isTied) = try readSettings(directory)
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
        guard isTied || weights.entries[head] != nil else {
            throw refuse(
                "\(head) is missing, and tie_word_embeddings is false", "download it again, or tie the embeddings")
        }
        if hasWte, weights.entries[head] != nil, try !weights.areEqual(head, wte) {
            throw refuse(
                "lm_head.weight differs from \(wte), and a GPT-2 here has one matrix for both",
                "take a model whose classifier is tied to its embeddings (tie_word_embeddings)")
        }
        try checkMemory(GPT2.bytes(config, rows: 1, trains: trains), hint: "take a smaller model")
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
    /// `AutoTokenizer.from_pretrained` load. No file gets its name before all are on the disk; config.json, which makes
    /// the directory a model, is the last.
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
        let stale = try tokenizer.writeAll(to: directory, in: set, longestText: model.maxT)
        let ids = SpecialIDs(tokenizer)
        // Where no token is for padding, transformers' generate() takes the end of text, and says so unless told.
        let generation: JSON = [
            "bos_token_id": ids.beginning, "eos_token_id": ids.end, "pad_token_id": ids.padding ?? ids.end,
        ]
        let newline = [UInt8(ascii: "\n")]
        try write("generation_config.json") { try $0.write(generation.text() + newline) }
        try write("config.json") { try $0.write(configuration(model.config, ids, precision).text() + newline) }
        try set.commit(removing: stale)
    }

    /// The ids of a tokenizer's special tokens, for config.json.
    private struct SpecialIDs {
        let beginning, end: JSON
        let padding: JSON?

        init(_ tokenizer: Tokenizer) {
            func id(_ role: String, else other: Int?) -> JSON? {
                (tokenizer.id(ofRole: role) ?? other).map { .number(Double($0)) }
            }
            beginning = id("bos_token", else: tokenizer.endOfText) ?? .null
            end = id("eos_token", else: tokenizer.endOfText) ?? .null
            padding = id("pad_token", else: nil)
        }
    }

    /// config.json: the keys sorted, as transformers writes them. There was no dropout in training, so there is none
    /// where it continues.
    private static func configuration(
        _ config: GPT2Configuration, _ ids: SpecialIDs, _ precision: WeightPrecision
    ) -> JSON {
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        return [
            "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0,
            "bos_token_id": ids.beginning, "dtype": .string(Array(precision.rawValue.utf8)), "embd_pdrop": 0,
            "eos_token_id": ids.end, "initializer_range": .number(0.02), "layer_norm_epsilon": .number(1e-5),
            "model_type": "gpt2",
            "n_embd": number(config.C), "n_head": number(config.NH), "n_inner": .null, "n_layer": number(config.L),
            "n_positions": number(config.maxT), "pad_token_id": ids.padding ?? .null, "resid_pdrop": 0,
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
