// adapter_config.json: the settings of an adapter as Hugging Face's peft writes them.
//
// peft passes over what it does not know, with a warning. Here that is refused: an adapter that asks for anything that is
// not computed would be another one without it.

import Foundation

/// What an adapter_config.json says.
struct PEFTSettings {
    /// Which biases of the model the adapter has in place of the model's.
    enum Bias: String, CaseIterable {
        case none, all
        /// Those of the layers that it is on.
        case ofTargets = "lora_only"
    }

    let configuration: LoRAConfiguration
    let basePath: String?
    let bias: Bias
    /// Ids of tokens whose rows are the adapter's own, by the module that has the rows: one of these names.
    let tokenRows: [(modules: [String], ids: [Int])]
    private let config: HuggingFaceConfig

    /// Settings that change nothing of what an adapter computes once it is trained, and those read below.
    private static let known: Set<String> = [
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "modules_to_save", "peft_type",
        "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
        "task_type", "trainable_token_indices", "use_rslora",
    ]

    init(_ directory: String) throws {
        config = try HuggingFaceConfig(
            directory, named: "adapter_config.json", hint: "it must be a LoRA of peft for a causal language model")
        guard let kind = config.value("peft_type")?.value else { throw config.refuse("peft_type is missing") }
        guard kind.text == "LORA" else {
            throw config.refuse(
                "peft_type is \(HuggingFaceConfig.shown(kind)), not \"LORA\": other kinds of adapters are not "
                    + "computed here")
        }
        try config.require("task_type", { $0.text == "CAUSAL_LM" }, "\"CAUSAL_LM\"")
        for name in config.names.sorted() where !PEFTSettings.known.contains(name) {
            try config.require(name, PEFTSettings.asksForNothing, "null or false: it is not computed here")
        }
        // PiSSA and others begin by taking a part of the model's own weights away.
        try config.require(
            "init_lora_weights", { $0.bool != nil || ["gaussian", "orthogonal", "eva"].contains($0.text) },
            "true: an adapter that began so belongs to a changed model; save it converted to LoRA")
        basePath = config.value("base_model_name_or_path")?.value.text
        let allowed = Bias.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " or ")
        try config.require("bias", { $0.text.flatMap(Bias.init) != nil }, allowed)
        bias = config.value("bias")?.value.text.flatMap(Bias.init) ?? .none
        configuration = try PEFTSettings.readConfiguration(config)
        tokenRows = try PEFTSettings.readTokenRows(config)
    }

    private static func asksForNothing(_ value: JSON) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .array(let values): values.isEmpty
        case .object(let members): members.isEmpty
        default: false
        }
    }

    private static func readConfiguration(_ config: HuggingFaceConfig) throws -> LoRAConfiguration {
        var result = LoRAConfiguration()
        result.rank = try config.size("r", default: 8)
        result.alpha = try number("lora_alpha", 0...1e9, in: config) ?? 8
        result.dropout = Float(try number("lora_dropout", 0...0.999, in: config) ?? 0)
        try config.require("use_rslora", { $0.bool != nil }, "true or false")
        result.isRankStabilized = config.value("use_rslora")?.value.bool ?? false
        // What peft takes where nothing is said: GPT-2's and Phi's.
        result.targets =
            try pattern("target_modules", in: config) ?? .names(["c_attn", "q_proj", "v_proj", "fc1", "fc2"])
        result.excluded = try pattern("exclude_modules", in: config)
        result.savedModules = try strings("modules_to_save", in: config) ?? []
        try check(result.savedModules, "modules_to_save", in: config)
        if let (_, found) = config.value("layers_to_transform") {
            let list = found.int.map { [$0] } ?? found.elements?.compactMap(\.int)
            guard let list, found.elements.map({ $0.count == list.count }) ?? true else {
                throw config.refuse("layers_to_transform is neither a number nor a list of numbers")
            }
            result.layers = list.isEmpty ? nil : list
        }
        result.layersPatterns = try strings("layers_pattern", in: config) ?? []
        try check(result.layersPatterns, "layers_pattern", in: config)
        switch result.targets {
        case .names: break
        case .expression, .allLinear:
            for name in ["layers_to_transform", "layers_pattern"] {
                try config.require(name, asksForNothing, "null: target_modules is not a list of names")
            }
        }
        result.ranks = try byPattern("rank_pattern", in: config).map { pattern, value in
            guard let rank = value.int, sizeLimit.contains(rank) else {
                throw config.refuse("rank_pattern: the rank of \(pattern) is \(HuggingFaceConfig.shown(value))")
            }
            return (pattern, rank)
        }
        result.alphas = try byPattern("alpha_pattern", in: config).map { pattern, value in
            guard let alpha = value.number, (0...1e9).contains(alpha) else {
                throw config.refuse("alpha_pattern: the alpha of \(pattern) is \(HuggingFaceConfig.shown(value))")
            }
            return (pattern, alpha)
        }
        return result
    }

    // MARK: - kinds of values

    private static func number(
        _ name: String, _ range: ClosedRange<Double>, in config: HuggingFaceConfig
    ) throws -> Double? {
        guard let (_, found) = config.value(name) else { return nil }
        guard let number = found.number, range.contains(number) else {
            throw config.refuse(
                "\(name) is \(HuggingFaceConfig.shown(found)), not a number "
                    + String(format: "from %g to %g", range.lowerBound, range.upperBound))
        }
        return number
    }

    private static func pattern(_ name: String, in config: HuggingFaceConfig) throws -> ModulePattern? {
        guard let text = config.value(name)?.value.text else {
            return try strings(name, in: config).map(ModulePattern.names)
        }
        guard text.lowercased() != "all-linear" else { return .allLinear }
        try check([text], name, in: config)
        return .expression(text)
    }

    /// A string, or a list of strings; nil if there is none.
    private static func strings(_ name: String, in config: HuggingFaceConfig) throws -> [String]? {
        guard let (_, found) = config.value(name) else { return nil }
        if let text = found.text { return [text] }
        let texts = found.elements?.compactMap(\.text)
        guard let texts, texts.count == found.elements?.count else {
            throw config.refuse("\(name) is \(HuggingFaceConfig.shown(found)), not a list of names")
        }
        return texts
    }

    private static func byPattern(_ name: String, in config: HuggingFaceConfig) throws -> [(String, JSON)] {
        guard let (_, found) = config.value(name) else { return [] }
        guard case .object(let members) = found else { throw config.refuse("\(name) is not a JSON object") }
        let patterns = members.map { (String(decoding: $0.key, as: UTF8.self), $0.value) }
        try check(patterns.map(\.0), name, in: config)
        return patterns
    }

    /// Refuses what is not an expression.
    private static func check(_ expressions: [String], _ name: String, in config: HuggingFaceConfig) throws {
        for text in expressions {
            do {
                _ = try Expression(text)
            } catch let error as UserError {
                throw UserError("\(config.path): \(name): \(error.message)", hint: error.hint)
            }
        }
    }

    /// trainable_token_indices: a list for the embeddings, or lists by module.
    private static func readTokenRows(_ config: HuggingFaceConfig) throws -> [(modules: [String], ids: [Int])] {
        guard let (name, found) = config.value("trainable_token_indices") else { return [] }
        func ids(_ value: JSON) throws -> [Int] {
            let ids = value.elements?.compactMap(\.int) ?? []
            guard let count = value.elements?.count, ids.count == count,
                ids.allSatisfy({ $0 >= 0 && $0 < sizeLimit.upperBound }), Set(ids).count == count
            else { throw config.refuse("\(name) is not made of lists of token ids") }
            return ids
        }
        if case .object(let members) = found {
            return try members.map { ([String(decoding: $0.key, as: UTF8.self)], try ids($0.value)) }
        }
        return [(["embed_tokens", "wte"], try ids(found))]
    }

    func refuse(_ what: String) -> UserError { config.refuse(what) }

    // MARK: - written

    /// adapter_config.json, with sorted keys, as peft writes it.
    /// - Parameter tokens: trainable_token_indices.
    static func written(for adapter: Adapter, basePath: String, tokens: JSON) -> JSON {
        let configuration = adapter.configuration
        func text(_ text: String) -> JSON { .string(Array(text.utf8)) }
        func list(_ names: [String]) -> JSON { names.isEmpty ? .null : .array(names.map(text)) }
        func number(_ value: Int) -> JSON { .number(Double(value)) }
        func pattern(_ pattern: ModulePattern?) -> JSON {
            switch pattern {
            case .names(let names)?: .array(names.map(text))
            case .expression(let expression)?: text(expression)
            case .allLinear?: "all-linear"
            case nil: .null
            }
        }
        return [
            "alpha_pattern": .object(configuration.alphas.map { (Array($0.pattern.utf8), .number($0.alpha)) }),
            "auto_mapping": .null, "base_model_name_or_path": text(basePath), "bias": "none",
            "exclude_modules": pattern(configuration.excluded),
            "fan_in_fan_out": .bool(adapter.products.contains { $0.module.isTransposed }), "inference_mode": true,
            "init_lora_weights": true, "layers_pattern": list(configuration.layersPatterns),
            "layers_to_transform": configuration.layers.map { .array($0.map(number)) } ?? .null,
            // As a person would write it: 0.05, not the float nearest to it.
            "lora_alpha": .number(configuration.alpha),
            "lora_dropout": .number(Double("\(configuration.dropout)") ?? 0), "modules_to_save": .null,
            "peft_type": "LORA", "r": number(configuration.rank),
            "rank_pattern": .object(configuration.ranks.map { (Array($0.pattern.utf8), number($0.rank)) }),
            "target_modules": pattern(targets(of: adapter)), "task_type": "CAUSAL_LM",
            "trainable_token_indices": tokens, "use_dora": false, "use_rslora": .bool(configuration.isRankStabilized),
        ]
    }

    /// The targets as peft can read them: it takes layers_to_transform only with a list of names.
    private static func targets(of adapter: Adapter) -> ModulePattern {
        if case .names = adapter.configuration.targets { return adapter.configuration.targets }
        guard adapter.configuration.layers != nil else { return adapter.configuration.targets }
        return .names(adapter.products.map(\.module.name).sorted())
    }
}
