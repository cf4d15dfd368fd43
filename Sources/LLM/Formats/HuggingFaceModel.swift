// What every model has in common as a Hugging Face directory: config.json, and the weights in model.safetensors or in
// shards. The names of the tensors are in each model's table; what is here reads and writes by it. What each kind
// of model requires of config.json is in its own file (HuggingFaceGPT2.swift, HuggingFacePhi.swift).

import Foundation
import Kernels

/// The settings in a directory's config.json.
struct HuggingFaceConfig {
    let path: String
    private let json: JSON
    /// What a user can do about a setting that is refused.
    private let hint: String

    /// - Throws: if there is no such file, or it is damaged.
    init(
        _ directory: String, named name: String = "config.json",
        hint: String = "give a Hugging Face directory of a GPT-2, a Phi, a BERT or a DistilBERT"
    ) throws {
        path = "\(directory)/\(name)"
        self.hint = hint
        let file = try InputFile(path, hint: "give a Hugging Face directory with \(name) in it")
        let largest = 1 << 20
        guard file.size <= largest else {
            throw UserError("\(path) has \(file.size) bytes, too many for a \(name)", hint: "is it the right file?")
        }
        json = try JSON(try file.read(file.size, of: UInt8.self, at: 0), name: path, allowsDuplicateKeys: false)
        guard case .object = json else { throw refuse("it is not a JSON object") }
    }

    /// The names of all settings.
    var names: [String] {
        guard case .object(let members) = json else { return [] }
        return members.map { String(decoding: $0.key, as: UTF8.self) }
    }

    /// The kind of model, such as `gpt2`; nil if it does not say.
    var modelType: String? { json["model_type"]?.text }

    func refuse(_ what: String) -> UserError { UserError("\(path): \(what)", hint: hint) }

    /// A setting under one of its names; JSON's null counts as missing.
    func value(_ names: String...) -> (name: String, value: JSON)? { value(names) }

    private func value(_ names: [String]) -> (name: String, value: JSON)? {
        for name in names {
            if let value = json[name] {
                if case .null = value { continue }
                return (name, value)
            }
        }
        return nil
    }

    /// A size under one of its names.
    func size(_ names: String..., default fallback: Int) throws -> Int {
        guard let (name, found) = value(names) else { return fallback }
        guard let size = found.int, sizeLimit.contains(size) else {
            throw refuse("\(name) is not a whole number from 1 to \(sizeLimit.upperBound)")
        }
        return size
    }

    /// Refuses a setting that is there and not as it must be.
    func require(_ name: String, _ isRight: (JSON) -> Bool, _ wanted: String) throws {
        guard let (_, found) = value(name), !isRight(found) else { return }
        throw refuse("\(name) is \(HuggingFaceConfig.shown(found)), not \(wanted)")
    }

    /// Refuses a model of another variant than those that are computed here.
    /// - Parameters:
    ///   - setting: where the kind of model has the activation.
    ///   - fallback: what transformers computes where there is no such setting.
    /// - Returns: the model's.
    func variant(_ setting: String, default fallback: String, of computed: [String]) throws -> String {
        let found = value(setting)?.value ?? .string(Array(fallback.utf8))
        // transformers has two names for this one.
        let name = found.text == "gelu_pytorch_tanh" ? "gelu_new" : found.text
        guard let name, computed.contains(name) else {
            let wanted = computed.map { "\"\($0)\"" }.joined(separator: " or ")
            throw refuse("\(setting) is \(HuggingFaceConfig.shown(found)), not \(wanted)")
        }
        return name
    }

    /// Refuses a model of another kind.
    func requireModelType(_ wanted: String) throws {
        guard modelType == wanted else {
            throw refuse(
                "model_type is \(json["model_type"].map(HuggingFaceConfig.shown) ?? "missing"), not \"\(wanted)\"")
        }
    }

    /// Whether the weights are in int8, as `convert` writes them.
    var isInt8: Bool { value("quantization_config")?.value["quant_method"]?.text == int8Method }

    /// Refuses weights in a format of others.
    func requireReadableWeights() throws {
        guard value("quantization_config") == nil || isInt8 else {
            throw refuse("quantization_config: the weights are quantized")
        }
    }

    /// A value as it stands in the file, or the beginning of it.
    static func shown(_ value: JSON) -> String {
        let text = value.text()
        return String(decoding: text.prefix(60), as: UTF8.self) + (text.count > 60 ? "…" : "")
    }
}

/// The name of our int8 in config.json. transformers does not know it, and refuses the weights instead of misreading them.
private let int8Method = "int8-groups-of-64"

/// What a size in a file can be. Products of a few of them saturate in the table instead of overflowing.
package let sizeLimit = 1...(1 << 24)

/// A float as it was typed: 0.1, and not the 0.10000000149011612 that it is in double precision.
func decimal(_ value: Float) -> JSON { .number(Double(value.description) ?? Double(value)) }

extension Tensor {
    /// A tensor's counterpart at Hugging Face, or one of several: its name, its shape there, without padding, and where
    /// it begins in one layer of ours.
    func partsAtHuggingFace(layer l: Int) -> [(name: String, shape: [Int], offset: Int)] {
        guard let huggingFace else { preconditionFailure("\(name) has no name at Hugging Face") }
        let names = huggingFace(layer: l)
        let shape = [usedRows / names.count] + layerShape.dropFirst()
        let count = layerCount / names.count
        return names.enumerated().map { i, name in
            (name, huggingFace.isTransposed ? shape.reversed() : shape, i * count)
        }
    }
}

/// The weights of a Hugging Face directory, read by a model's table.
struct HuggingFaceWeights {
    private let folder: SafetensorsFolder
    private let tensors: [Tensor]
    private let name: (String) -> String

    /// Every tensor must be there and have its shape; that is checked before memory is taken. No other tensor may be
    /// there, except buffers.
    /// - Parameters:
    ///   - tensors: of the table, those that are to be read.
    ///   - kind: what to call the model.
    ///   - task: what transformers' automatic classes call such models.
    ///   - name: the name in this directory of a tensor that the table calls so.
    ///   - isIgnored: whether a tensor that the table does not have is a buffer.
    init(
        _ folder: SafetensorsFolder, _ tensors: [Tensor], kind: String, task: String = "CausalLM",
        name: @escaping (String) -> String = { $0 }, isIgnored: (String) -> Bool
    ) throws {
        (self.folder, self.tensors, self.name) = (folder, tensors, name)
        var names: Set<String> = []
        for tensor in tensors {
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    let name = name(part.name)
                    names.insert(name)
                    guard isInt8(tensor, name) else {
                        try folder.check(name, shape: part.shape)
                        continue
                    }
                    let shape = int8Shape(tensor, part.shape)
                    try folder.check(name, shape: shape, isInt8: true)
                    try folder.check(int8ScaleName(name), shape: Array(shape.dropLast()))
                    names.insert(int8ScaleName(name))
                }
            }
        }
        for name in folder.entries.keys.sorted() where !names.contains(name) && !isIgnored(name) {
            throw UserError(
                "\(folder.path): tensor \(name) is not part of a \(kind) with "
                    + "\(tensors.map(\.layers).max() ?? 0) layers",
                hint: "save the language model alone: "
                    + "AutoModelFor\(task).from_pretrained(DIR).save_pretrained(NEW_DIR)")
        }
    }

    /// Fills the parameters' values. Weights in int8 become the floats that they stand for, exactly.
    /// - Throws: if the file has a checksum that does not fit it.
    func read(into parameters: Parameters) throws {
        try folder.checkSums()
        for tensor in tensors {
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    let (name, shape) = (name(part.name), part.shape)
                    let values = parameters.values.at(tensor, l) + part.offset
                    if isInt8(tensor, name) {
                        try readInt8(tensor, name, shape, into: values)
                    } else if tensor.huggingFace?.isTransposed ?? false {
                        try folder.readTransposedFloats(name, shape: (shape[0], shape[1]), into: values)
                    } else {
                        try folder.readFloats(name, shape: shape, into: values)
                    }
                }
                parameters.finishReading(tensor, layer: l)
            }
        }
    }

    private func isInt8(_ tensor: Tensor, _ name: String) -> Bool {
        tensor.isRoundedInInt8 && folder.entries[name]?.dtype == .int8
    }

    private func readInt8(
        _ tensor: Tensor, _ name: String, _ shape: [Int], into values: UnsafeMutablePointer<Float>
    ) throws {
        let whole = int8Shape(tensor, shape)
        let scales = UnsafeMutablePointer<Float>.allocate(capacity: whole[0] * whole[1])
        defer { scales.deallocate() }
        try folder.readFloats(int8ScaleName(name), shape: Array(whole.dropLast()), into: scales)
        try folder.withInt8(name, shape: whole) {
            dequantizeInt8(values, q: $0, scales: scales, C: tensor.rowCount, OC: whole[0])
        }
    }

    /// The shape of a part's whole numbers. They lie as here, whichever way Hugging Face's floats do.
    private func int8Shape(_ tensor: Tensor, _ shape: [Int]) -> [Int] {
        Kernels.int8Shape(C: tensor.rowCount, OC: shape.reduce(1, *) / max(1, tensor.rowCount))
    }
}

/// A model's directory, written so that transformers' `AutoModelForCausalLM.from_pretrained` (a BERT's: `AutoModel` and
/// `AutoModelForMaskedLM`) and `AutoTokenizer.from_pretrained` load it.
struct HuggingFaceWriter {
    let directory: String
    let format: WeightFormat
    /// Written with the model; nil writes none.
    let tokenizer: Tokenizer?
    /// Of the conversations that the model learnt from; nil if it did not.
    let template: ChatTemplate?

    /// Writes the files into a set, which the caller commits. config.json, which makes the directory a model, is the
    /// last.
    /// - Parameters:
    ///   - prefix: of the names in the table.
    ///   - maxT: tokens of a text at most.
    ///   - hasChecksum: whether the weights are to notice if they are damaged later. Without it they are the bytes that
    ///     Hugging Face's library writes.
    ///   - generates: whether the model generates text, for which transformers reads generation_config.json.
    ///   - settings: config.json, without the tokens' ids.
    func write(
        _ parameters: Parameters, prefix: String = "", maxT: Int, hasChecksum: Bool, generates: Bool = true,
        settings: [String: JSON], in set: DurableFiles
    ) throws {
        try createDirectory(directory)
        func write(_ name: String, _ body: (OutputFile) throws -> Void) throws {
            try set.write("\(directory)/\(name)", body)
        }
        var tensors: [SafetensorsTensor] = []
        for tensor in parameters.table.tensors {
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    tensors.append(
                        SafetensorsTensor(
                            prefix + part.name, shape: part.shape,
                            floats: parameters.values.at(tensor, l) + part.offset,
                            isTransposed: tensor.huggingFace?.isTransposed ?? false,
                            isWeight: tensor.isRoundedInInt8))
                }
            }
        }
        try write("model.safetensors") {
            try writeSafetensors(tensors, as: format, hasChecksum: hasChecksum, to: $0)
        }
        try tokenizer?.writeAll(to: directory, in: set, longestText: maxT, chatTemplate: template)
        func id(_ role: String, else other: Int?) -> JSON? {
            (tokenizer?.id(ofRole: role) ?? other).map { .number(Double($0)) }
        }
        let beginning = id("bos_token", else: tokenizer?.endOfText) ?? .null
        let end = id("eos_token", else: tokenizer?.endOfText) ?? .null
        let padding = id("pad_token", else: nil)
        // Where no token is for padding, transformers' generate() takes the end of text, and says so unless told.
        // An answer may end with another token than a text.
        let answerEnd = template?.endMark.flatMap { mark in
            tokenizer?.addedTokens.first { $0.isSpecial && $0.content == mark }.map { JSON.number(Double($0.id)) }
        }
        let generation: JSON = [
            "bos_token_id": beginning, "eos_token_id": answerEnd.map { .array([$0, end]) } ?? end,
            "pad_token_id": padding ?? end,
        ]
        let newline = [UInt8(ascii: "\n")]
        if generates {
            try write("generation_config.json") { try $0.write(generation.text() + newline) }
        }
        var settings = settings
        settings["bos_token_id"] = beginning
        settings["eos_token_id"] = end
        settings["pad_token_id"] = padding ?? .null
        settings["dtype"] = .string(Array((format == .int8 ? .float32 : format).rawValue.utf8))
        if format == .int8 {
            settings["quantization_config"] = [
                "bits": 8, "group_size": 64, "quant_method": .string(Array(int8Method.utf8)),
            ]
        }
        settings["initializer_range"] = .number(0.02)
        // The keys sorted, as transformers writes them.
        let members = settings.sorted { $0.key < $1.key }.map { (key: Array($0.key.utf8), value: $0.value) }
        try write("config.json") { try $0.write(JSON.object(members).text() + newline) }
    }
}
