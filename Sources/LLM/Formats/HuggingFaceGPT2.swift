// A GPT-2 as a Hugging Face directory.
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
        let variant = GPT2Configuration.variant
        let json = try HuggingFaceConfig(
            directory,
            hint: "it must be a GPT-2 as OpenAI published it: \(variant), n_inner of 4 · n_embd, tied embeddings")
        try json.requireModelType("gpt2")
        let config = GPT2Configuration(
            maxT: try json.size("n_positions", "max_position_embeddings", default: 1024),
            V: try json.size("vocab_size", default: 50257),
            L: try json.size("n_layer", "num_hidden_layers", default: 12),
            NH: try json.size("n_head", "num_attention_heads", default: 12),
            C: try json.size("n_embd", "hidden_size", default: 768))
        guard config.C % config.NH == 0 else {
            throw json.refuse("n_embd \(config.C) is not a multiple of n_head \(config.NH)")
        }
        try json.require("n_inner", { $0.int == 4 * config.C }, "4 · n_embd = \(4 * config.C)")
        _ = try json.variant("activation_function", default: "gelu_new", of: [variant])
        try json.require("layer_norm_epsilon", { $0.number.map { Float($0) } == 1e-5 }, "1e-5")
        try json.require("scale_attn_weights", { $0.bool == true }, "true")
        for name in ["scale_attn_by_inverse_layer_idx", "add_cross_attention"] {
            try json.require(name, { $0.bool == false }, "false")
        }
        try json.requireReadableWeights()
        return (config, json.value("tie_word_embeddings")?.value.bool ?? true)
    }

    // MARK: - the weights

    /// A model from a directory.
    /// - Parameters:
    ///   - trains: whether to make room for gradients and moments.
    ///   - format: what the linear layers' weights are kept in.
    static func read(_ directory: String, trains: Bool, weights format: WeightFormat) throws -> GPT2 {
        let (config, isTied) = try readSettings(directory)
        let folder = try SafetensorsFolder(directory)
        // Whether the names have the prefix depends on the class that saved them.
        let prefix = folder.entries.keys.contains { $0.hasPrefix("transformer.") } ? "transformer." : ""
        let (wte, head) = (prefix + "wte.weight", "lm_head.weight")
        let hasWte = folder.entries[wte] != nil || folder.entries[head] == nil
        let mask = /(transformer\.)?h\.\d+\.attn\.(masked_)?bias/
        let weights = try HuggingFaceWeights(
            folder, GPT2Tensors(config).table.tensors, kind: "GPT-2",
            name: { $0 == "wte.weight" && !hasWte ? head : prefix + $0 }
        ) { $0 == head || $0.wholeMatch(of: mask) != nil }
        guard isTied || folder.entries[head] != nil else {
            throw UserError(
                "\(directory): \(head) is missing, and tie_word_embeddings is false",
                hint: "download it again, or tie the embeddings")
        }
        if hasWte, folder.entries[head] != nil, try !folder.areEqual(head, wte) {
            throw UserError(
                "\(directory): lm_head.weight differs from \(wte), and a GPT-2 here has one matrix for both",
                hint: "take a model whose classifier is tied to its embeddings (tie_word_embeddings)")
        }
        try checkMemory(config.bytes(rows: 1, trains: trains, weights: format), hint: "take a smaller model")
        let model = GPT2(config, trains: trains)
        if format != .float32 { model.parameters.pack(as: format) }
        try weights.read(into: model.parameters)
        return model
    }

    /// Writes a model and its tokenizer as a directory. No file gets its name before all are on the disk.
    package static func write(
        _ model: GPT2, _ tokenizer: Tokenizer, _ template: ChatTemplate? = nil, to directory: String,
        format: WeightFormat = .float32
    ) throws {
        let set = DurableFiles()
        try write(model, tokenizer, template, to: directory, format: format, hasChecksum: false, in: set)
        try set.commit()
    }

    /// Writes the same files as files of `set`, which the caller commits.
    /// - Parameter hasChecksum: whether the weights are to notice if they are damaged later.
    package static func write(
        _ model: GPT2, _ tokenizer: Tokenizer, _ template: ChatTemplate?, to directory: String,
        format: WeightFormat = .float32, hasChecksum: Bool = true, in set: DurableFiles
    ) throws {
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        let config = model.config
        // What continues the training there drops what was dropped here.
        let dropout = decimal(model.dropout)
        try HuggingFaceWriter(
            directory: directory, format: format, tokenizer: tokenizer, template: template
        ).write(
            model.parameters, prefix: "transformer.", maxT: config.maxT, hasChecksum: hasChecksum,
            settings: [
                "activation_function": .string(Array(GPT2Configuration.variant.utf8)),
                "architectures": ["GPT2LMHeadModel"], "attn_pdrop": dropout,
                "embd_pdrop": dropout, "layer_norm_epsilon": .number(1e-5), "model_type": "gpt2",
                "n_embd": number(config.C), "n_head": number(config.NH), "n_inner": .null,
                "n_layer": number(config.L), "n_positions": number(config.maxT), "resid_pdrop": dropout,
                "tie_word_embeddings": true, "vocab_size": number(config.V),
            ], in: set)
    }
}
