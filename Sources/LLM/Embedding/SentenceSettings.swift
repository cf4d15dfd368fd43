// How a model's vectors of tokens become one vector of a text, as the files of sentence-transformers say: modules.json
// names the steps, 1_Pooling/config.json the pooling, sentence_bert_config.json the longest text; its newer versions
// leave that to model_max_length in tokenizer_config.json, as transformers does.

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

    /// Whether texts become lower case first.
    package var lowercases = false

    package init() {}

    /// The settings in a model's directory; without the files the mean, as it is.
    /// - Parameters:
    ///   - C: the model's channels.
    ///   - chosen: the pooling, whatever the files say of it.
    /// - Throws: if a step is unknown, or does not fit the model.
    package init(directory: String, C: Int, pooling chosen: Pooling? = nil) throws {
        let tokenizer = "\(directory)/tokenizer_config.json"
        if fileExists(tokenizer) {
            let json = try JSON(try Tokenizer.contents(of: tokenizer), name: tokenizer)
            // A number beyond all lengths says that there is no limit.
            let limit = json["model_max_length"]?.number ?? .infinity
            if limit >= 1, limit < Double(sizeLimit.upperBound) { longest = Int(limit) }
        }
        let name = "sentence_bert_config.json"
        if fileExists("\(directory)/\(name)") {
            let config = try HuggingFaceConfig(
                directory, named: name, hint: "mend the file, or remove it: texts are then cut where positions end")
            if config.value("max_seq_length") != nil { longest = try config.size("max_seq_length", default: 1) }
            lowercases = config.value("do_lower_case")?.value.bool ?? false
        }
        for step in try SentenceSettings.steps(in: directory) {
            switch step.kind {
            case "Normalize": normalizes = true
            case "Pooling" where chosen == nil:
                pooling = try SentenceSettings.pooling(
                    step.folder.isEmpty ? directory : "\(directory)/\(step.folder)", C: C)
            default: break
            }
        }
        if let chosen { pooling = chosen }
    }

    /// The steps in modules.json, each with the folder of its files; none if there is no such file.
    /// - Throws: if one is unknown.
    private static func steps(in directory: String) throws -> [(kind: Substring, folder: String)] {
        let path = "\(directory)/modules.json"
        guard fileExists(path) else { return [] }
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(path): \(what)", hint: "take another model, or remove the file and say how: --pooling mean|cls")
        }
        let file = try InputFile(path, hint: "name a model's directory")
        guard file.size < 1 << 20 else { throw refuse("it is too long") }
        let json = try JSON(try file.read(file.size, of: UInt8.self, at: 0), name: path, allowsDuplicateKeys: false)
        guard case .array(let modules) = json else { throw refuse("it is not a list of modules") }
        return try modules.map { module in
            guard let type = module["type"]?.text else { throw refuse("a module has no type") }
            // The names before the last have changed from version to version.
            guard let kind = type.split(separator: ".").last, ["Transformer", "Pooling", "Normalize"].contains(kind)
            else { throw refuse("a step \(type), and there are Transformer, Pooling and Normalize here") }
            let folder = module["path"]?.text ?? ""
            guard !folder.contains("/"), ![".", ".."].contains(folder) else {
                throw refuse("a step's path is \(JSON.shown(Array(folder.utf8))), not a folder beside the file")
            }
            return (kind, folder)
        }
    }

    /// Copies the files, if there are any, for a model that was made of this one.
    /// - Parameter files: the set of the other directory's own files.
    /// - Throws: if the files are not settings that fit a model of C channels.
    package static func copyFiles(from directory: String, to other: String, C: Int, in files: DurableFiles) throws {
        let settings = try SentenceSettings(directory: directory, C: C)
        func contents(of name: String) throws -> [UInt8]? {
            let path = "\(directory)/\(name)"
            guard fileExists(path) else { return nil }
            let file = try InputFile(path, hint: "remove it if it is not the model's")
            guard file.size < 1 << 20 else {
                throw UserError("\(path) is too long", hint: "remove it if it is not the model's")
            }
            return try file.read(file.size, of: UInt8.self, at: 0)
        }
        // Those of the steps come first: without modules.json nobody reads them.
        for step in try steps(in: directory) where !step.folder.isEmpty {
            guard let bytes = try contents(of: "\(step.folder)/config.json") else { continue }
            try createDirectory("\(other)/\(step.folder)")
            try writeDurably("\(other)/\(step.folder)/config.json") { try $0.write(bytes) }
        }
        for name in ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"] {
            guard var bytes = try contents(of: name) else { continue }
            if name == "sentence_bert_config.json", let longest = settings.longest,
                case .object(var members) = try JSON(bytes, name: name)
            {
                // What tokenizer_config.json says of it is written anew, with the model's positions.
                members.removeAll { $0.key == Array("max_seq_length".utf8) }
                members.append((Array("max_seq_length".utf8), .number(Double(longest))))
                bytes = JSON.object(members).text() + [UInt8(ascii: "\n")]
            }
            try files.write("\(other)/\(name)") { try $0.write(bytes) }
        }
    }

    private static func pooling(_ directory: String, C: Int) throws -> Pooling {
        let config = try HuggingFaceConfig(directory, hint: "take another model, or say how: --pooling mean|cls")
        for name in ["word_embedding_dimension", "embedding_dimension"] {
            let width = try config.size(name, default: C)
            guard width == C else { throw config.refuse("\(name) is \(width), and the model has \(C) channels") }
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
