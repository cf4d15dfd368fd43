// A Phi as a Hugging Face directory, transformers' PhiForCausalLM. Linear weights are (out, in), as here; queries, keys
// and values are three tensors there and one here. A directory that asks for anything that is not computed here is
// refused, and the error names the setting.

import Foundation

/// The reader and writer of Phi as a Hugging Face directory.
package enum HuggingFacePhi {
    // MARK: - config.json

    /// The configuration in a directory's config.json. Settings that are not there have transformers' defaults, which
    /// are Phi-1.5's. The rotary settings stand at the top, or since transformers 5 inside rope_parameters.
    static func readConfiguration(_ directory: String) throws -> PhiConfiguration {
        let json = try HuggingFaceConfig(
            directory, hint: "it must be a Phi-1.5 or Phi-2 as transformers' PhiForCausalLM has it, without variations")
        try json.requireModelType("phi")
        let defaults = PhiConfiguration.phi1_5
        let C = try json.size("hidden_size", default: defaults.C)
        let NH = try json.size("num_attention_heads", default: defaults.NH)
        guard C % NH == 0 else {
            throw json.refuse("hidden_size \(C) is not a multiple of num_attention_heads \(NH)")
        }
        let HS = C / NH
        try json.require(
            "num_key_value_heads", { $0.int == NH },
            "\(NH), as num_attention_heads: heads that share keys and values are not computed here")
        try json.require("head_dim", { $0.int == HS }, "\(HS), hidden_size / num_attention_heads")
        try json.require(
            "qk_layernorm", { $0.bool == false }, "false: layer norms of queries and keys are not computed here")
        _ = try json.variant("hidden_act", default: "gelu_new", of: [PhiConfiguration.variant])
        try json.require("layer_norm_eps", { $0.number.map { Float($0) } == 1e-5 }, "1e-5")
        try json.require(
            "tie_word_embeddings", { $0.bool == false }, "false: a Phi's classifier is a matrix of its own")
        try json.requireReadableWeights()
        if let (_, scaling) = json.value("rope_scaling") {
            throw json.refuse("rope_scaling is \(HuggingFaceConfig.shown(scaling)), not null: it is not computed here")
        }
        let rope = json.value("rope_parameters")?.value
        if let rope {
            guard case .object = rope else {
                throw json.refuse("rope_parameters is \(HuggingFaceConfig.shown(rope)), not a JSON object")
            }
        }
        if let type = rope?["rope_type"] ?? rope?["type"], type.text != "default" {
            throw json.refuse("rope_type is \(HuggingFaceConfig.shown(type)), not \"default\"")
        }
        func number(_ name: String, _ allowed: ClosedRange<Double>, default fallback: Double) throws -> Double {
            let found = [rope?[name], json.value(name)?.value].compactMap { $0 }.filter { !$0.isNull }
            for value in found where !(value.number.map(allowed.contains) ?? false) {
                let range = String(format: "%g to %g", allowed.lowerBound, allowed.upperBound)
                throw json.refuse("\(name) is \(HuggingFaceConfig.shown(value)), not a number from \(range)")
            }
            // transformers 4 and 5 would each take a different one.
            guard found.allSatisfy({ $0.number == found[0].number }) else {
                let shown = found.map(HuggingFaceConfig.shown)
                throw json.refuse("\(name) is \(shown[0]) in rope_parameters and \(shown[1]) beside it")
            }
            return found.first?.number ?? fallback
        }
        let factor = try number("partial_rotary_factor", 0...1, default: 0.5)
        let R = Int(Double(HS) * factor)
        guard R >= 2, R % 2 == 0 else {
            throw json.refuse(
                "partial_rotary_factor \(factor) turns \(R) of a head's \(HS) channels; it must be an even number of "
                    + "them, two or more")
        }
        return PhiConfiguration(
            maxT: try json.size("max_position_embeddings", default: defaults.maxT),
            V: try json.size("vocab_size", default: defaults.V),
            L: try json.size("num_hidden_layers", default: defaults.L), NH: NH, C: C,
            FC: try json.size("intermediate_size", default: defaults.FC), R: R,
            theta: Float(try number("rope_theta", 1...1e12, default: 10000)))
    }

    // MARK: - the weights

    /// A model from a directory.
    /// - Parameters:
    ///   - trains: whether to make room for gradients and moments.
    ///   - format: what the linear layers' weights are kept in.
    static func read(_ directory: String, trains: Bool, weights format: WeightFormat) throws -> Phi {
        let config = try readConfiguration(directory)
        let folder = try SafetensorsFolder(directory)
        if folder.entries.keys.contains(where: { $0.contains("Wqkv") || $0.contains("query_key_value") }) {
            throw UserError(
                "\(directory): its weights have the names used before transformers 4.37 (Wqkv or query_key_value)",
                hint: "take the model's newer revision, which has q_proj, k_proj and v_proj")
        }
        let buffer = /.*rotary_emb\.inv_freq/
        let weights = try HuggingFaceWeights(folder, PhiTensors(config).table.tensors, kind: "Phi") {
            $0.wholeMatch(of: buffer) != nil
        }
        try checkMemory(config.bytes(rows: 1, trains: trains, weights: format), hint: "take a smaller model")
        let model = Phi(config, trains: trains)
        if format != .float32 { model.parameters.pack(as: format) }
        try weights.read(into: model.parameters)
        return model
    }

    /// Writes a model and its tokenizer as a directory. No file gets its name before all are on the disk.
    package static func write(
        _ model: Phi, _ tokenizer: Tokenizer?, _ template: ChatTemplate? = nil, to directory: String,
        format: WeightFormat = .float32
    ) throws {
        let set = DurableFiles()
        try write(model, tokenizer, template, to: directory, format: format, in: set)
        try set.commit()
    }

    /// Writes the same files as files of `set`, which the caller commits.
    package static func write(
        _ model: Phi, _ tokenizer: Tokenizer?, _ template: ChatTemplate? = nil, to directory: String,
        format: WeightFormat = .float32, in set: DurableFiles
    ) throws {
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        let config = model.config
        let HS = config.C / config.NH
        // transformers rounds down, so the quotient must not be a bit too small.
        var factor = Double(config.R) / Double(HS)
        if Int(Double(HS) * factor) < config.R { factor = factor.nextUp }
        let dropout = decimal(model.dropout)
        let theta = JSON.number(Double(config.theta))
        try HuggingFaceWriter(
            directory: directory, format: format, tokenizer: tokenizer, template: template
        ).write(
            model.parameters, maxT: config.maxT, hasChecksum: true,
            settings: [
                "architectures": ["PhiForCausalLM"], "attention_dropout": dropout, "embd_pdrop": dropout,
                "hidden_act": .string(Array(PhiConfiguration.variant.utf8)), "hidden_size": number(config.C),
                "intermediate_size": number(config.FC),
                "layer_norm_eps": .number(1e-5), "max_position_embeddings": number(config.maxT), "model_type": "phi",
                "num_attention_heads": number(config.NH), "num_hidden_layers": number(config.L),
                "num_key_value_heads": number(config.NH),
                // Where transformers 4 looks, and where transformers 5 does.
                "partial_rotary_factor": .number(factor), "rope_theta": theta,
                "rope_parameters": [
                    "partial_rotary_factor": .number(factor), "rope_theta": theta, "rope_type": "default",
                ],
                "qk_layernorm": false, "resid_pdrop": dropout, "tie_word_embeddings": false,
                "vocab_size": number(config.V),
            ], in: set)
    }
}
