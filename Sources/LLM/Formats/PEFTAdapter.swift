// An adapter as a directory of Hugging Face's peft: adapter_config.json, and adapter_model.safetensors.
//
// Tensors are called base_model.model. and the name of their linear layer, .lora_A.weight (r, in) and .lora_B.weight
// (out, r). They are never transposed, whatever the layer's own weight is. New tokens' rows are called
// ….token_adapter.trainable_tokens_delta; they take the place of the embeddings' rows. Whole tensors that were trained or
// resized with the adapter have the name that they have in the model.
//
// An adapter that asks for anything that is not computed here is refused, and the error names the setting or tensor. So
// is one that lacks a tensor: peft itself would leave it as it was drawn, with a warning.

import Foundation

/// A directory with an adapter, opened and checked, but not yet against a model.
package struct PEFTAdapter {
    package let path: String
    package let configuration: LoRAConfiguration
    /// Where its model was, as whoever trained it called the place; nil if it does not say.
    package let basePath: String?
    /// The fingerprint of its model's parameters; nil if it does not say.
    private let baseFingerprint: String?
    /// Ids of tokens whose rows are the adapter's own, by the module that has the rows.
    private let tokenRows: [(module: String, ids: [Int])]
    private let file: SafetensorsFile

    private static let prefix = "base_model.model."
    private static let rowsSuffix = ".token_adapter.trainable_tokens_delta"

    /// Whether a path is a directory with an adapter.
    package static func isAdapter(_ path: String) -> Bool {
        isDirectory(path) && fileExists("\(path)/adapter_config.json")
    }

    package init(_ path: String) throws {
        self.path = path
        try finishInterruptedWrites(in: path)
        let config = try HuggingFaceConfig(
            path, named: "adapter_config.json", hint: "it must be a LoRA of peft for a causal language model")
        configuration = try PEFTAdapter.readConfiguration(config)
        basePath = config.value("base_model_name_or_path")?.value.text
        tokenRows = try PEFTAdapter.readTokenRows(config)
        let weights = "\(path)/adapter_model.safetensors"
        guard fileExists(weights) || !fileExists("\(path)/adapter_model.bin") else {
            throw UserError(
                "\(path) has its weights in adapter_model.bin, a pickle, which is not read",
                hint: "load and save it with a newer peft, which writes adapter_model.safetensors")
        }
        file = try SafetensorsFile(weights)
        baseFingerprint = file.metadata["base"]
    }

    // MARK: - adapter_config.json

    /// Settings of peft that are not computed here, and the values with which they ask for nothing.
    private static let unsupported = [
        "alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config", "layer_replication",
        "lora_bias", "lora_ga_config", "monteclora_config", "target_parameters", "use_bdlora", "use_dora",
        "use_qalora", "velora_config",
    ]

    private static func asksForNothing(_ value: JSON) -> Bool {
        switch value {
        case .null, .bool(false): true
        case .array(let values): values.isEmpty
        case .object(let members): members.isEmpty
        default: false
        }
    }

    private static func readConfiguration(_ config: HuggingFaceConfig) throws -> LoRAConfiguration {
        try config.require(
            "peft_type", { $0.text == "LORA" }, "\"LORA\": other kinds of adapters are not computed here")
        guard config.value("peft_type") != nil else { throw config.refuse("peft_type is missing") }
        try config.require("task_type", { $0.text == "CAUSAL_LM" }, "\"CAUSAL_LM\"")
        for name in unsupported {
            try config.require(name, asksForNothing, "null or false: it is not computed here")
        }
        func number(_ name: String, _ range: ClosedRange<Double>, default fallback: Double) throws -> Double {
            guard let (_, found) = config.value(name) else { return fallback }
            guard let number = found.number, range.contains(number) else {
                throw config.refuse(
                    "\(name) is \(HuggingFaceConfig.shown(found)), not a number from \(String(format: "%g", range.lowerBound))"
                        + String(format: " to %g", range.upperBound))
            }
            return number
        }
        func pattern(_ name: String) throws -> ModulePattern? {
            guard let (_, found) = config.value(name) else { return nil }
            switch found {
            case .string(let bytes):
                let text = String(decoding: bytes, as: UTF8.self)
                return text == "all-linear" ? .allLinear : .expression(try checked(text, name, config))
            case .array(let values):
                return .names(
                    try values.map {
                        guard let text = $0.text else { throw config.refuse("\(name) has a member that is no string") }
                        return text
                    })
            default: throw config.refuse("\(name) is neither a list of names nor an expression")
            }
        }
        func byPattern(_ name: String) throws -> [(String, JSON)] {
            guard let (_, found) = config.value(name) else { return [] }
            guard case .object(let members) = found else { throw config.refuse("\(name) is not a JSON object") }
            return try members.map { (try checked(String(decoding: $0.key, as: UTF8.self), name, config), $0.value) }
        }
        var result = LoRAConfiguration()
        result.rank = try config.size("r", default: 8)
        result.alpha = try number("lora_alpha", 0...1e9, default: 8)
        result.dropout = Float(try number("lora_dropout", 0...0.999, default: 0))
        result.isRankStabilized = config.value("use_rslora")?.value.bool ?? false
        // What peft takes where nothing is said: GPT-2's and Phi's.
        result.targets = try pattern("target_modules") ?? .names(["c_attn", "q_proj", "v_proj", "fc1", "fc2"])
        result.excluded = try pattern("exclude_modules")
        if let (_, found) = config.value("layers_to_transform") {
            let list = found.int.map { [$0] } ?? found.elements?.compactMap(\.int)
            guard let list, found.elements.map({ $0.count == list.count }) ?? true else {
                throw config.refuse("layers_to_transform is neither a number nor a list of numbers")
            }
            result.layers = list
        }
        result.ranks = try byPattern("rank_pattern").map { pattern, value in
            guard let rank = value.int, sizeLimit.contains(rank) else {
                throw config.refuse("rank_pattern: the rank of \(pattern) is \(HuggingFaceConfig.shown(value))")
            }
            return (pattern, rank)
        }
        result.alphas = try byPattern("alpha_pattern").map { pattern, value in
            guard let alpha = value.number, (0...1e9).contains(alpha) else {
                throw config.refuse("alpha_pattern: the alpha of \(pattern) is \(HuggingFaceConfig.shown(value))")
            }
            return (pattern, alpha)
        }
        return result
    }

    /// An expression that can be matched.
    private static func checked(_ text: String, _ name: String, _ config: HuggingFaceConfig) throws -> String {
        guard text.utf8.count <= 1000, (try? Regex(text)) != nil else {
            throw config.refuse("\(name): \(HuggingFaceConfig.shown(.string(Array(text.utf8)))) is not an expression")
        }
        return text
    }

    /// trainable_token_indices: a list for the embeddings, or lists by module.
    private static func readTokenRows(_ config: HuggingFaceConfig) throws -> [(module: String, ids: [Int])] {
        guard let (name, found) = config.value("trainable_token_indices") else { return [] }
        func ids(_ value: JSON) throws -> [Int] {
            let ids = value.elements?.compactMap(\.int) ?? []
            guard let count = value.elements?.count, ids.count == count,
                ids.allSatisfy({ $0 >= 0 && $0 < sizeLimit.upperBound }),
                Set(ids).count == count
            else { throw config.refuse("\(name) is not made of lists of token ids") }
            return ids
        }
        if case .object(let members) = found {
            return try members.map { (String(decoding: $0.key, as: UTF8.self), try ids($0.value)) }
        }
        return [("embed_tokens", try ids(found)), ("wte", try ids(found))]
    }

    // MARK: - onto a model

    /// The vocabulary that a model must have for it.
    /// - Parameter V: of its model.
    package func vocabulary(of V: Int) -> Int {
        let embeddings = /.*\.(wte|embed_tokens|lm_head)(\.token_adapter\.base_layer)?\.weight/
        let resized = file.entries.compactMap { $0.key.wholeMatch(of: embeddings) == nil ? nil : $0.value.shape.first }
        return resized.max() ?? max(V, (tokenRows.flatMap(\.ids).max() ?? -1) + 1)
    }

    /// The adapter, for a model with a vocabulary as `vocabulary(of:)` says.
    /// - Parameter fingerprint: of the model's parameters as they were read. If the adapter was trained on others, a note
    ///   says so.
    package func read(on model: any LanguageModel, fingerprint: UInt64? = nil) throws -> Adapter {
        try file.checkSum()
        let adapter: Adapter
        do {
            adapter = try Adapter(configuration, on: model.config)
        } catch let error as UserError {
            throw misfit(error.message)
        }
        var known: Set<String> = []
        /// A tensor's elements; nil if it is not there.
        func floats(_ name: String, _ shape: [Int]) throws -> [Float]? {
            guard let entry = file.entries[name] else { return nil }
            guard entry.shape == shape else {
                throw misfit("tensor \(name) is \(entry.shape), and the model has room for \(shape)")
            }
            var values = [Float](repeating: 0, count: entry.count)
            try values.withUnsafeMutableBufferPointer { buffer in
                if let start = buffer.baseAddress { try file.readFloats(name, shape: shape, into: start) }
            }
            guard values.allSatisfy(\.isFinite) else { throw misfit("tensor \(name) has NaN or infinite values") }
            known.insert(name)
            return values
        }
        for tensor in adapter.table.tensors {
            guard let values = try floats(PEFTAdapter.prefix + tensor.name, tensor.shape) else {
                throw misfit("tensor \(PEFTAdapter.prefix)\(tensor.name) is missing")
            }
            (adapter.values + tensor).update(from: values, count: values.count)
        }
        try readTensors(on: model, into: adapter, floats)
        try readTokenRows(on: model, into: adapter, floats)
        for name in file.entries.keys.sorted() where !known.contains(name) {
            if name.contains("lora_magnitude_vector") { throw misfit("\(name): DoRA is not computed here") }
            if name.contains("lora_embedding_") { throw misfit("\(name): LoRA on embeddings is not computed here") }
            throw misfit("tensor \(name) is no part of it")
        }
        if let fingerprint, let baseFingerprint, baseFingerprint != hexadecimal(fingerprint) {
            note(
                "warning: \(path) was trained on another model than this one"
                    + (basePath.map { ", on \($0)" } ?? "") + "; what it learnt may not fit")
        }
        return adapter
    }

    private func misfit(_ what: String) -> UserError {
        UserError(
            "\(path): \(what)",
            hint: "use it with the model it was trained on" + (basePath.map { ", which was \($0)" } ?? ""))
    }

    /// Whole tensors that the adapter has in place of the model's: they were trained with it, or resized.
    private func readTensors(
        on model: any LanguageModel, into adapter: Adapter, _ floats: (String, [Int]) throws -> [Float]?
    ) throws {
        let config = model.config
        for tensor in model.parameters.table.tensors {
            let isTransposed = tensor.huggingFace?.isTransposed ?? false
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    let name = config.modulePrefix + part.name
                    let place = tensor.offset + l * tensor.layerStride + part.offset
                    for kind in ["", ".base_layer", ".token_adapter.base_layer"] {
                        guard var values = try floats(PEFTAdapter.name(name, kind), part.shape) else { continue }
                        if isTransposed { values = transposed(values, columns: part.shape[1]) }
                        adapter.replace(place, by: values)
                    }
                }
            }
        }
        guard config.hasTiedHead, let wte = config.tokenTensors.first else { return }
        for kind in ["", ".token_adapter.base_layer"] {
            let shape = [wte.usedRows, wte.rowCount]
            let embeddings = try floats(PEFTAdapter.name(config.modulePrefix + "wte.weight", kind), shape)
            guard try embeddings == floats(PEFTAdapter.name("lm_head.weight", kind), shape) else { throw untied() }
        }
    }

    /// Rows of tokens that the adapter has in place of the model's.
    private func readTokenRows(
        on model: any LanguageModel, into adapter: Adapter, _ floats: (String, [Int]) throws -> [Float]?
    ) throws {
        let config = model.config
        for (tensor, module) in zip(config.tokenTensors, config.tokenModules) {
            guard let ids = tokenRows.first(where: { module == $0.module || module.hasSuffix("." + $0.module) })?.ids
            else { continue }
            guard ids.allSatisfy({ $0 < config.V }) else { throw misfit("it has rows of tokens past the vocabulary") }
            let (name, width) = (PEFTAdapter.prefix + module + PEFTAdapter.rowsSuffix, tensor.rowCount)
            guard let values = try floats(name, [ids.count, width]) else { throw misfit("tensor \(name) is missing") }
            for (i, id) in ids.enumerated() {
                adapter.replace(tensor.offset + id * width, by: Array(values[i * width..<(i + 1) * width]))
            }
            adapter.tokens = ids
            // peft writes a tied classifier's rows, too.
            let head = PEFTAdapter.prefix + "lm_head" + PEFTAdapter.rowsSuffix
            guard try !config.hasTiedHead || floats(head, [ids.count, width]) ?? values == values else {
                throw untied()
            }
        }
    }

    private func untied() -> UserError {
        misfit("it has a classifier that is not its embeddings, and a GPT-2 here has one matrix for both")
    }

    private static func name(_ tensor: String, _ kind: String) -> String {
        guard let dot = tensor.lastIndex(of: ".") else { return prefix + tensor + kind }
        return prefix + tensor[..<dot] + kind + tensor[dot...]
    }

    private func transposed(_ values: [Float], columns: Int) -> [Float] {
        let rows = values.count / max(1, columns)
        return (0..<values.count).map { values[$0 % rows * columns + $0 / rows] }
    }

    // MARK: - written

    /// Writes an adapter's files into a set, which the caller commits. adapter_config.json, which makes the directory an
    /// adapter, is the last.
    /// - Parameters:
    ///   - model: that it is on.
    ///   - basePath: where the model is.
    ///   - fingerprint: of the model's parameters as they were read.
    package static func write(
        _ adapter: Adapter, on model: any LanguageModel, basePath: String, fingerprint: UInt64, to directory: String,
        in set: DurableFiles
    ) throws {
        try createDirectory(directory)
        let config = model.config
        var tensors = adapter.table.tensors.map {
            SafetensorsTensor(prefix + $0.name, shape: $0.shape, floats: adapter.values + $0)
        }
        var indices: [(key: [UInt8], value: JSON)] = []
        // The rows of the new tokens, one after another.
        let buffers = config.tokenTensors.map { allocateFloats(adapter.tokens.count * $0.rowCount) }
        defer {
            for (tensor, buffer) in zip(config.tokenTensors, buffers) {
                freeFloats(buffer, count: adapter.tokens.count * tensor.rowCount)
            }
        }
        for (i, module) in config.tokenModules.enumerated() where !adapter.tokens.isEmpty {
            let (tensor, buffer) = (config.tokenTensors[i], buffers[i])
            let width = tensor.rowCount
            for (i, id) in adapter.tokens.enumerated() {
                (buffer + i * width).update(from: model.parameters.values + tensor.offset + id * width, count: width)
            }
            for module in config.hasTiedHead ? [module, "lm_head"] : [module] {
                tensors.append(
                    SafetensorsTensor(
                        prefix + module + rowsSuffix, shape: [adapter.tokens.count, width], floats: buffer))
            }
            let last = module.split(separator: ".").last.map(String.init) ?? module
            indices.append((Array(last.utf8), .array(adapter.tokens.map { .number(Double($0)) })))
        }
        try set.write("\(directory)/adapter_model.safetensors") {
            try writeSafetensors(
                tensors, as: .float32, hasChecksum: true, metadata: [("base", hexadecimal(fingerprint))], to: $0)
        }
        let settings = settings(
            adapter.configuration, isTransposed: adapter.products.contains { $0.module.isTransposed }, basePath,
            tokens: indices.isEmpty ? .null : .object(indices))
        try set.write("\(directory)/adapter_config.json") { try $0.write(settings.text() + [UInt8(ascii: "\n")]) }
    }

    /// adapter_config.json, with sorted keys, as peft writes it.
    private static func settings(
        _ configuration: LoRAConfiguration, isTransposed: Bool, _ basePath: String, tokens: JSON
    ) -> JSON {
        func text(_ text: String) -> JSON { .string(Array(text.utf8)) }
        func pattern(_ pattern: ModulePattern?) -> JSON {
            switch pattern {
            case .names(let names)?: .array(names.map(text))
            case .expression(let expression)?: text(expression)
            case .allLinear?: "all-linear"
            case nil: .null
            }
        }
        func number(_ value: Double) -> JSON { .number(value) }
        return [
            "alpha_pattern": .object(configuration.alphas.map { (Array($0.pattern.utf8), number($0.alpha)) }),
            "auto_mapping": .null, "base_model_name_or_path": text(basePath), "bias": "none",
            "exclude_modules": pattern(configuration.excluded), "fan_in_fan_out": .bool(isTransposed),
            "inference_mode": true, "init_lora_weights": true, "layers_pattern": .null,
            "layers_to_transform": configuration.layers.map { .array($0.map { .number(Double($0)) }) } ?? .null,
            // As a person would write it: 0.05, not the float nearest to it.
            "lora_alpha": number(configuration.alpha),
            "lora_dropout": number(Double("\(configuration.dropout)") ?? 0), "modules_to_save": .null,
            "peft_type": "LORA", "r": number(Double(configuration.rank)),
            "rank_pattern": .object(configuration.ranks.map { (Array($0.pattern.utf8), number(Double($0.rank))) }),
            "target_modules": pattern(configuration.targets), "task_type": "CAUSAL_LM",
            "trainable_token_indices": tokens, "use_dora": false, "use_rslora": .bool(configuration.isRankStabilized),
        ]
    }
}
