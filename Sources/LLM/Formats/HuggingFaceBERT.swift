// A BERT or DistilBERT as a Hugging Face directory: transformers' BertModel, BertForMaskedLM and BertForPreTraining,
// DistilBertModel and DistilBertForMaskedLM. They differ in which parts their files have, the head and the pooler, and in
// a name before the encoder's. A directory that asks for anything that is not computed here is refused, and the error
// names the setting.
//
// The classifier is the embeddings' matrix; files that hold a second copy are read if it is equal. Files of
// before 2019 call a layer norm's weight and bias gamma and beta.

import Foundation

/// The reader and writer of BERT and DistilBERT as a Hugging Face directory.
package enum HuggingFaceBERT {
    // MARK: - config.json

    /// What config.json says: the sizes, without the parts, and the rates of dropout.
    private struct Settings {
        var config: BERTConfiguration
        var dropout, attentionDropout: Float
        /// Whether the classifier is tied to the embeddings.
        var isTied: Bool
    }

    private static func readSettings(_ directory: String) throws -> Settings {
        let json = try HuggingFaceConfig(
            directory,
            hint: "it must be a BERT or DistilBERT as transformers' BertModel or DistilBertModel has it, without "
                + "variations")
        let isDistil = json.modelType == "distilbert"
        if !isDistil { try json.requireModelType("bert") }
        let defaults = isDistil ? BERTConfiguration.distilBase : .base
        var config = BERTConfiguration(
            maxT: try json.size("max_position_embeddings", default: defaults.maxT),
            V: try json.size("vocab_size", default: defaults.V),
            L: try isDistil
                ? json.size("n_layers", "num_hidden_layers", default: defaults.L)
                : json.size("num_hidden_layers", default: defaults.L),
            NH: try isDistil
                ? json.size("n_heads", "num_attention_heads", default: defaults.NH)
                : json.size("num_attention_heads", default: defaults.NH),
            C: try isDistil
                ? json.size("dim", "hidden_size", default: defaults.C)
                : json.size("hidden_size", default: defaults.C),
            FC: try isDistil
                ? json.size("hidden_dim", default: defaults.FC) : json.size("intermediate_size", default: defaults.FC),
            isDistilBERT: isDistil)
        guard config.C % config.NH == 0 else {
            throw json.refuse(
                isDistil
                    ? "dim \(config.C) is not a multiple of n_heads \(config.NH)"
                    : "hidden_size \(config.C) is not a multiple of num_attention_heads \(config.NH)")
        }
        let (exact, tanh) = BERTConfiguration.variants
        let variant = try json.variant(
            isDistil ? "activation" : "hidden_act", default: "gelu", of: [exact, tanh])
        config.hasTanhGELU = variant == tanh
        func number(_ name: String, _ allowed: ClosedRange<Double>, default fallback: Double) throws -> Float {
            guard let (_, value) = json.value(name) else { return Float(fallback) }
            guard let number = value.number, allowed.contains(number) else {
                let range = String(format: "%g to %g", allowed.lowerBound, allowed.upperBound)
                throw json.refuse("\(name) is \(HuggingFaceConfig.shown(value)), not a number from \(range)")
            }
            return Float(number)
        }
        if !isDistil {
            config.segments = try json.size("type_vocab_size", default: 2)
            config.epsilon = try number("layer_norm_eps", 1e-30...1, default: 1e-12)
            try json.require(
                "position_embedding_type", { $0.text == "absolute" },
                "\"absolute\": relative positions are not computed here")
            for name in ["is_decoder", "add_cross_attention"] {
                try json.require(name, { $0.bool == false }, "false: a BERT here sees the whole text")
            }
        }
        try json.require(
            "pruned_heads", { if case .object(let members) = $0 { members.isEmpty } else { false } },
            "{}: heads that were taken out are not known here")
        try json.requireReadableWeights()
        let most = 0.999  // 1 would drop everything
        return Settings(
            config: config, dropout: try number(isDistil ? "dropout" : "hidden_dropout_prob", 0...most, default: 0.1),
            attentionDropout: try number(
                isDistil ? "attention_dropout" : "attention_probs_dropout_prob", 0...most, default: 0.1),
            isTied: json.value("tie_word_embeddings")?.value.bool ?? true)
    }

    /// The configuration of a directory's model: its sizes, and its parts.
    /// - Parameter head, pooler: whether it is to have them; nil is as the directory has.
    static func readConfiguration(
        _ directory: String, head: Bool? = nil, pooler: Bool? = nil
    ) throws -> BERTConfiguration {
        let names = Names(try SafetensorsFolder(directory), try readSettings(directory).config)
        return names.config(head: head, pooler: pooler)
    }

    // MARK: - the weights

    /// What a directory calls the tensors.
    private struct Names {
        let folder: SafetensorsFolder
        private let sizes: BERTConfiguration
        /// In front of the encoder's names, where its class had a head.
        private let prefix: String
        private let isPrefixed: Bool
        let hasHead, hasPooler: Bool

        init(_ folder: SafetensorsFolder, _ sizes: BERTConfiguration) {
            let prefix = sizes.isDistilBERT ? "distilbert." : "bert."
            let names = folder.entries.keys
            (self.folder, self.sizes, self.prefix) = (folder, sizes, prefix)
            isPrefixed = names.contains { $0.hasPrefix(prefix) }
            hasHead = names.contains {
                ($0.hasPrefix("cls.predictions.") || $0.hasPrefix("vocab_")) && !Names.isCopy($0)
            }
            hasPooler = names.contains { $0.hasPrefix("pooler.") || $0.hasPrefix("bert.pooler.") }
        }

        func config(head: Bool?, pooler: Bool?) -> BERTConfiguration {
            var config = sizes
            config.hasHead = head ?? hasHead
            config.hasPooler = (pooler ?? hasPooler) && !sizes.isDistilBERT
            return config
        }

        /// The directory's name of what the table calls so.
        func callAsFunction(_ name: String) -> String {
            var name = name
            if !Names.isHead(name) {
                if name.hasPrefix(prefix) { name.removeFirst(prefix.count) }
                if isPrefixed { name = prefix + name }
            }
            guard folder.entries[name] == nil else { return name }
            for (new, old) in [
                ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"),
                ("predictions.bias", "predictions.decoder.bias"),
            ] where name.hasSuffix(new) {
                let other = String(name.dropLast(new.count)) + old
                if folder.entries[other] != nil { return other }
            }
            return name
        }

        static func isHead(_ name: String) -> Bool { name.hasPrefix("cls.") || name.hasPrefix("vocab_") }
        /// The classifier, which is tied to the embeddings and to the head's bias.
        static func isCopy(_ name: String) -> Bool {
            ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "vocab_projector.weight"].contains(name)
        }
    }

    /// A model from a directory. Parts that it is to have, and that are not there, are made new, and a note says so.
    /// - Parameters:
    ///   - trains: whether to make room for gradients and moments.
    ///   - head, pooler: whether the model is to have them; nil is as the directory has. A DistilBERT has no pooler.
    static func read(_ directory: String, trains: Bool, head: Bool? = nil, pooler: Bool? = nil) throws -> BERT {
        let settings = try readSettings(directory)
        let folder = try SafetensorsFolder(directory)
        let names = Names(folder, settings.config)
        let config = names.config(head: head, pooler: pooler)
        let kind = config.isDistilBERT ? "DistilBERT" : "BERT"
        let tensors = BERTTensors(config)
        let newHead = names.hasHead ? [] : tensors.head?.tensors ?? []
        let newPooler = names.hasPooler ? [] : tensors.pooler?.tensors ?? []
        let new = Set((newHead + newPooler).map(\.index))
        let sentence = "cls.seq_relationship."
        let weights = try HuggingFaceWeights(
            folder, tensors.table.tensors.filter { !new.contains($0.index) }, kind: kind, task: "MaskedLM",
            name: { names($0) }
        ) {
            $0.hasSuffix("embeddings.position_ids") || $0.hasPrefix(sentence) || Names.isCopy($0)
                || !config.hasHead && Names.isHead($0) || !config.hasPooler && $0.contains("pooler.dense.")
        }
        if config.hasHead, names.hasHead { try checkCopies(names, isTied: settings.isTied) }
        if !newHead.isEmpty {
            note("note: \(directory) has no head for masked-language modelling; a new one begins at random")
        }
        if !newPooler.isEmpty { note("note: \(directory) has no pooler; a new one begins at random") }
        if folder.entries.keys.contains(where: { $0.hasPrefix(sentence) }) {
            note("note: \(directory): cls.seq_relationship, which predicts the next sentence, is left out")
        }
        try checkMemory(config.bytes(rows: 1, trains: trains), hint: "take a smaller model")
        let model = BERT(config, trains: trains)
        (model.dropout, model.attentionDropout) = (settings.dropout, settings.attentionDropout)
        model.parameters.initialize(seed: 42, newHead + newPooler)
        try weights.read(into: model.parameters)
        return model
    }

    /// Refuses a classifier that is not the embeddings' matrix, or has another bias than the head.
    private static func checkCopies(_ names: Names, isTied: Bool) throws {
        let (folder, wte) = (names.folder, names("embeddings.word_embeddings.weight"))
        var found = false
        for (copy, original) in [
            ("cls.predictions.decoder.weight", wte), ("vocab_projector.weight", wte),
            ("cls.predictions.decoder.bias", names("cls.predictions.bias")),
        ] where folder.entries[copy] != nil {
            if original == wte { found = true }
            guard try copy == original || folder.areEqual(copy, original) else {
                throw UserError(
                    "\(folder.path): \(copy) differs from \(original), and a BERT here has one for both",
                    hint: "take a model whose classifier is tied to its embeddings (tie_word_embeddings)")
            }
        }
        guard isTied || found else {
            throw UserError(
                "\(folder.path): the classifier's weight is missing, and tie_word_embeddings is false",
                hint: "download it again, or tie the embeddings")
        }
    }

    // MARK: - writing

    /// Writes a model and its tokenizer as a directory. No file gets its name before all are on the disk.
    package static func write(
        _ model: BERT, _ tokenizer: Tokenizer?, to directory: String, format: WeightFormat = .float32
    ) throws {
        let set = DurableFiles()
        try write(model, tokenizer, to: directory, format: format, in: set)
        try set.commit()
    }

    /// Writes the same files as files of `set`, which the caller commits.
    package static func write(
        _ model: BERT, _ tokenizer: Tokenizer?, to directory: String, format: WeightFormat = .float32,
        in set: DurableFiles
    ) throws {
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        let config = model.config
        let (exact, tanh) = BERTConfiguration.variants
        let activation = JSON.string(Array((config.hasTanhGELU ? tanh : exact).utf8))
        let (dropout, attentionDropout) = (decimal(model.dropout), decimal(model.attentionDropout))
        var settings: [String: JSON] = [
            "max_position_embeddings": number(config.maxT), "tie_word_embeddings": true, "vocab_size": number(config.V),
        ]
        if config.isDistilBERT {
            precondition(config.epsilon == 1e-12)
            settings.merge([
                "activation": activation,
                "architectures": [config.hasHead ? "DistilBertForMaskedLM" : "DistilBertModel"],
                "attention_dropout": attentionDropout, "dim": number(config.C), "dropout": dropout,
                "hidden_dim": number(config.FC), "model_type": "distilbert", "n_heads": number(config.NH),
                "n_layers": number(config.L), "sinusoidal_pos_embds": false,
            ]) { $1 }
        } else {
            settings.merge([
                "architectures": [config.hasHead ? "BertForMaskedLM" : "BertModel"],
                "attention_probs_dropout_prob": attentionDropout, "hidden_act": activation,
                "hidden_dropout_prob": dropout, "hidden_size": number(config.C),
                "intermediate_size": number(config.FC), "is_decoder": false,
                "layer_norm_eps": decimal(config.epsilon), "model_type": "bert",
                "num_attention_heads": number(config.NH), "num_hidden_layers": number(config.L),
                "type_vocab_size": number(config.segments),
            ]) { $1 }
        }
        try HuggingFaceWriter(directory: directory, format: format, tokenizer: tokenizer, template: nil).write(
            model.parameters, maxT: config.maxT, hasChecksum: true, generates: false, settings: settings, in: set)
    }
}
