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
    private let settings: PEFTSettings
    /// The fingerprint of its model's parameters; nil if it does not say.
    private let baseFingerprint: String?
    private let file: SafetensorsFile

    package var configuration: LoRAConfiguration { settings.configuration }
    /// Where its model was, as whoever trained it called the place; nil if it does not say.
    package var basePath: String? { settings.basePath }

    private static let prefix = "base_model.model."
    private static let rowsSuffix = ".token_adapter.trainable_tokens_delta"

    /// Whether a path is a directory with an adapter.
    package static func isAdapter(_ path: String) -> Bool {
        isDirectory(path) && fileExists("\(path)/adapter_config.json")
    }

    package init(_ path: String) throws {
        self.path = path
        try finishInterruptedWrites(in: path)
        settings = try PEFTSettings(path)
        let weights = "\(path)/adapter_model.safetensors"
        guard fileExists(weights) || !fileExists("\(path)/adapter_model.bin") else {
            throw UserError(
                "\(path) has its weights in adapter_model.bin, a pickle, which is not read",
                hint: "load and save it with a newer peft, which writes adapter_model.safetensors")
        }
        file = try SafetensorsFile(weights)
        baseFingerprint = file.metadata["base"]
    }

    // MARK: - onto a model

    /// The vocabulary that a model must have for it: larger than its own where the adapter has new words.
    /// - Parameter V: of its model.
    /// - Throws: if it has a token's rows far past the others.
    package func vocabulary(of V: Int) throws -> Int {
        let embeddings = /.*\.(wte|embed_tokens|lm_head)(\.token_adapter)?(\.base_layer)?\.weight/
        let resized = file.entries.compactMap { $0.key.wholeMatch(of: embeddings) == nil ? nil : $0.value.shape.first }
        let whole = max(V, resized.max() ?? 0)
        // Rows may be those of new words, one behind the other.
        let new = Set(settings.tokenRows.flatMap(\.ids)).filter { $0 >= whole }
        if let last = new.max(), last != whole + new.count - 1 {
            throw misfit("it has a row of token \(last), and the model a vocabulary of \(grouped(V))")
        }
        return whole + new.count
    }

    /// The adapter, for a model with a vocabulary as `vocabulary(of:)` says.
    /// - Parameters:
    ///   - fingerprint: of the model's parameters as they were read. If the adapter was trained on others, a note says so.
    ///   - refusesOthers: whether it is an error instead.
    package func read(
        on model: any LanguageModel, fingerprint: UInt64? = nil, refusesOthers: Bool = false
    ) throws -> Adapter {
        try file.checkSum()
        let adapter: Adapter
        do {
            adapter = try Adapter(configuration, on: model.config)
        } catch let error as UserError {
            throw misfit(error.message)
        }
        adapter.modelFingerprint = fingerprint
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
            guard !refusesOthers else {
                throw UserError(
                    "\(path) was trained on another model than this one", hint: "name the run's own with --model DIR")
            }
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
        var unseen = Set(configuration.savedModules)
        for tensor in model.parameters.table.tensors {
            let isTransposed = tensor.huggingFace?.isTransposed ?? false
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    let name = config.modulePrefix + part.name
                    let place = tensor.offset + l * tensor.layerStride + part.offset
                    var isThere = false
                    for kind in ["", ".base_layer", ".token_adapter.base_layer"] {
                        guard var values = try floats(PEFTAdapter.name(name, kind), part.shape) else { continue }
                        if isTransposed { values = transposed(values, columns: part.shape[1]) }
                        adapter.replace(place, by: values)
                        isThere = true
                    }
                    let saved = configuration.savedModules.filter { PEFTAdapter.is(name, in: $0) }
                    unseen.subtract(saved)
                    guard isThere || saved.isEmpty && !needsBias(name, adapter) else {
                        throw misfit("tensor \(PEFTAdapter.name(name, "")) is missing")
                    }
                }
            }
        }
        guard config.hasTiedHead, let wte = config.tokenTensors.first else {
            if let name = unseen.min() { throw misfit("modules_to_save names \(name), which the model does not have") }
            return
        }
        for kind in ["", ".token_adapter.base_layer"] {
            let shape = [wte.usedRows, wte.rowCount]
            let embeddings = try floats(PEFTAdapter.name(config.modulePrefix + "wte.weight", kind), shape)
            guard try embeddings == floats(PEFTAdapter.name("lm_head.weight", kind), shape) else { throw untied() }
            if embeddings != nil { unseen.remove("lm_head") }
        }
        if let name = unseen.min() { throw misfit("modules_to_save names \(name), which the model does not have") }
    }

    /// Whether a tensor belongs to a module, or to a part of it, that has a name as peft's modules_to_save gives it: the
    /// end of its whole name.
    private static func `is`(_ tensor: String, in module: String) -> Bool {
        tensor.indices.contains { tensor[$0] == "." && tensor[..<$0].hasSuffix(module) }
    }

    private func needsBias(_ tensor: String, _ adapter: Adapter) -> Bool {
        guard tensor.hasSuffix(".bias") else { return false }
        switch settings.bias {
        case .none: return false
        case .all: return true
        case .ofTargets: return adapter.products.contains { $0.module.name + ".bias" == tensor }
        }
    }

    /// Rows of tokens that the adapter has in place of the model's.
    private func readTokenRows(
        on model: any LanguageModel, into adapter: Adapter, _ floats: (String, [Int]) throws -> [Float]?
    ) throws {
        let config = model.config
        let modules = config.tokenModules + (config.hasTiedHead ? ["lm_head"] : [])
        func has(_ names: [String], _ module: String) -> Bool {
            names.contains { module == $0 || module.hasSuffix("." + $0) }
        }
        for (names, _) in settings.tokenRows where !modules.contains(where: { has(names, $0) }) {
            throw misfit("trainable_token_indices names \(names[0]), which is no embedding of the model")
        }
        for (tensor, module) in zip(config.tokenTensors, config.tokenModules) {
            guard let ids = settings.tokenRows.first(where: { has($0.modules, module) })?.ids else { continue }
            guard ids.allSatisfy({ $0 < config.V }) else { throw misfit("it has rows of tokens past the vocabulary") }
            let (name, width) = (PEFTAdapter.prefix + module + PEFTAdapter.rowsSuffix, tensor.rowCount)
            guard let values = try floats(name, [ids.count, width]) else { throw misfit("tensor \(name) is missing") }
            for (i, id) in ids.enumerated() {
                adapter.replace(tensor.offset + id * width, by: Array(values[i * width..<(i + 1) * width]))
            }
            adapter.tokens = ids
        }
        guard config.hasTiedHead else { return }
        // A tied classifier's rows may be there, too. Where both are named, the ids must be the same.
        let (ids, heads) = (adapter.tokens, settings.tokenRows.first { has($0.modules, "lm_head") }?.ids)
        let shape = [ids.count, config.C]
        let rows = try config.tokenModules.map { try floats(PEFTAdapter.prefix + $0 + PEFTAdapter.rowsSuffix, shape) }
        let head = try floats(PEFTAdapter.prefix + "lm_head" + PEFTAdapter.rowsSuffix, shape)
        guard heads ?? ids == ids, head == nil || head == rows.first else { throw untied() }
    }

    private func untied() -> UserError {
        misfit("it has another wte than lm_head, and a GPT-2 here has one matrix for both")
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

    /// Writes an adapter's files into a set, which the caller commits: A, B and the rows of its tokens. adapter_config.json,
    /// which makes the directory an adapter, is the last.
    ///
    /// A classifier of its own is written whole where the adapter has tokens. Its rows alone would be smaller, but peft
    /// forgets the bias of a layer that it has rows for (TrainableTokensLayer, 0.21).
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
        let head = adapter.tokens.isEmpty ? [] : config.headTensors
        for tensor in head {
            for part in tensor.partsAtHuggingFace(layer: 0) {
                tensors.append(
                    SafetensorsTensor(prefix + part.name, shape: part.shape, floats: model.parameters.values + tensor))
            }
        }
        for (i, module) in config.tokenModules.enumerated()
        where !adapter.tokens.isEmpty && !config.tokenTensors[i].isHead {
            let (tensor, buffer) = (config.tokenTensors[i], buffers[i])
            let width = tensor.rowCount
            for (i, id) in adapter.tokens.enumerated() {
                (buffer + i * width).update(from: model.parameters.values + tensor.offset + id * width, count: width)
            }
            tensors.append(
                SafetensorsTensor(prefix + module + rowsSuffix, shape: [adapter.tokens.count, width], floats: buffer))
            let last = module.split(separator: ".").last.map(String.init) ?? module
            indices.append((Array(last.utf8), .array(adapter.tokens.map { .number(Double($0)) })))
        }
        try set.write("\(directory)/adapter_model.safetensors") {
            try writeSafetensors(
                tensors, as: .float32, hasChecksum: true, metadata: [("base", hexadecimal(fingerprint))], to: $0)
        }
        let settings = PEFTSettings.written(
            for: adapter, basePath: basePath, tokens: indices.isEmpty ? .null : .object(indices),
            saved: head.isEmpty ? .null : ["lm_head"])
        try set.write("\(directory)/adapter_config.json") { try $0.write(settings.text() + [UInt8(ascii: "\n")]) }
    }
}
