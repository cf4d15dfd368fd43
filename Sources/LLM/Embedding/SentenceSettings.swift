// How a model's vectors of tokens become one vector of a text, as the files of sentence-transformers say: modules.json
// names the steps, 1_Pooling/config.json the pooling, sentence_bert_config.json the longest text.

/// The steps from hidden states to the vector of a text.
package struct SentenceSettings: Equatable {
    package enum Pooling: String, CaseIterable {
        /// The mean over all tokens, [CLS] and [SEP] among them.
        case mean
        /// The first token's, [CLS]'s.
        case cls
    }

    package var pooling = Pooling.mean
    /// Whether vectors are divided by their length.
    package var normalizes = false
    /// Tokens of a text at most, [CLS] and [SEP] among them; nil is as many as the model has positions for.
    package var longest: Int?

    package init() {}

    /// The settings in a model's directory; without the files the mean, as it is.
    /// - Parameters:
    ///   - C: the model's channels.
    ///   - chosen: the pooling in place of the files'.
    /// - Throws: if a step is unknown, or does not fit the model.
    package init(directory: String, C: Int, pooling chosen: Pooling? = nil) throws {
        if let chosen { pooling = chosen }
        if fileExists("\(directory)/sentence_bert_config.json") {
            let config = try HuggingFaceConfig(directory, named: "sentence_bert_config.json")
            if config.value("max_seq_length") != nil { longest = try config.size("max_seq_length", default: 1) }
        }
        let path = "\(directory)/modules.json"
        guard fileExists(path) else { return }
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(path): \(what)", hint: "take another model, or remove the file and say how: --pooling mean|cls")
        }
        let file = try InputFile(path, hint: "name a model's directory")
        guard file.size < 1 << 20 else { throw refuse("it is too long") }
        let json = try JSON(try file.read(file.size, of: UInt8.self, at: 0), name: path, allowsDuplicateKeys: false)
        guard case .array(let modules) = json else { throw refuse("it is not a list of modules") }
        for module in modules {
            guard let type = module["type"]?.text else { throw refuse("a module has no type") }
            // The names before the last have changed from version to version.
            switch type.split(separator: ".").last {
            case "Pooling" where chosen == nil:
                let folder = module["path"]?.text ?? ""
                pooling = try SentenceSettings.pooling(folder.isEmpty ? directory : "\(directory)/\(folder)", C: C)
            case "Transformer", "Pooling": break
            case "Normalize": normalizes = true
            default: throw refuse("a step \(type), and there are Transformer, Pooling and Normalize here")
            }
        }
    }

    private static func pooling(_ directory: String, C: Int) throws -> Pooling {
        let config = try HuggingFaceConfig(directory, hint: "take another model, or say how: --pooling mean|cls")
        let width = try config.size("word_embedding_dimension", default: C)
        guard width == C else {
            throw config.refuse("word_embedding_dimension is \(width), and the model has \(C) channels")
        }
        if let (_, value) = config.value("pooling_mode") {
            guard let name = value.text, let pooling = Pooling(rawValue: name) else {
                throw config.refuse("pooling_mode is \(HuggingFaceConfig.shown(value)), not \"mean\" or \"cls\"")
            }
            return pooling
        }
        var chosen: [String] = []
        for name in config.names where name.hasPrefix("pooling_mode_") {
            if case .bool(true)? = config.value(name)?.value { chosen.append(name) }
        }
        switch chosen {
        case ["pooling_mode_mean_tokens"]: return .mean
        case ["pooling_mode_cls_token"]: return .cls
        default: throw config.refuse("the pooling is \(chosen.isEmpty ? "none" : chosen.joined(separator: " and "))")
        }
    }
}
