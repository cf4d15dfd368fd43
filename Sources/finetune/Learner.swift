import Kernels
import LLM

/// A model that learns to answer: with an adapter, or as a whole.
final class Learner: TrainableModel {
    let model: any LanguageModel
    /// nil where the model itself is trained.
    let adapter: Adapter?
    /// With the template's tokens.
    let tokenizer: Tokenizer
    let template: ChatTemplate
    private let path: String
    /// Of the model's parameters as they were read.
    private let fingerprint: UInt64

    var parameters: Parameters { model.parameters }
    func loss(of batch: Batch) -> Loss { model.loss(of: batch) }
    func flopsPerToken(T: Int) -> Double { model.flopsPerToken(T: T) }

    /// A new one.
    /// - Parameter path: the model's.
    init(of path: String, _ options: Options, _ settings: TrainingSettings) throws {
        self.path = path
        _ = try readConfiguration(path)  // What is no model is said before anything about its tokenizer.
        template = try Learner.template(options, path)
        // Before a large model is read.
        let place = tokenizerPath(ofModel: path, given: options.given("tokenizer"), else: folder(of: folder(of: path)))
        let known = try Tokenizer(at: place)
        try checkTokenizer(known, from: place, belongsTo: path)
        _ = try template.endOfText(of: known)
        if try template.splitsFirstWords(of: known) {
            note(
                "note: the template has a space before an answer, which in this vocabulary is part of the answer's first word: "
                    + "asked, the model may leave that word out; end what stands before {content} with a line end")
        }
        let missing = template.specialTokens.filter { content in
            !known.addedTokens.contains { $0.isSpecial && $0.content == content }
        }
        tokenizer = try missing.isEmpty ? known : known.adding(missing, special: true)
        let base = try readModel(path)
        fingerprint = base.parameters.fingerprint
        let V = tokenizer.vocabularySize
        model = V > base.V ? base.grown(to: V) : base
        let new = known.vocabularySize..<V
        if !missing.isEmpty {
            let names = missing.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " and ")
            note("note: the template's tokens \(names) are new to the model, and learnt")
        }
        guard !options.flag("full") else {
            adapter = nil
            train(options)
            return
        }
        adapter = try Adapter(try Learner.configuration(options, model), on: model.config)
        adapter?.initialize(seed: settings.seed)
        adapter?.tokens = Array(new)
        train(options)
    }

    /// One that continues.
    /// - Parameters:
    ///   - place: of the checkpoint.
    ///   - path: of the model that an adapter is for.
    init(resuming place: String, of path: String, _ options: Options) throws {
        self.path = path
        tokenizer = try Tokenizer(directory: place)
        template = try ChatTemplate.saved(in: place) ?? Learner.template(options, path)
        guard PEFTAdapter.isAdapter(place) else {
            model = try readModel(place)
            (adapter, fingerprint) = (nil, 0)
            train(options)
            return
        }
        let (base, adapters) = try readModel(path, adapters: [PEFTAdapter(place)])
        (model, adapter, fingerprint) = (base, adapters[0], adapters[0].modelFingerprint ?? 0)
        train(options)
    }

    /// Makes room for the gradients and moments of what is trained.
    private func train(_ options: Options) {
        let parameters = model.parameters
        guard let adapter else {
            model.dropout = Float(options.double("dropout"))
            let frozen = options.flag("freeze-embeddings") ? ["wte", "wpe"] : []
            return parameters.train(parameters.table.tensors.filter { !frozen.contains($0.name) })
        }
        let new = adapter.tokens.first.map { $0..<$0 + adapter.tokens.count } ?? 0..<0
        parameters.train([], rows: model.config.tokenTensors.map { ($0, new) }, adapter: adapter)
    }

    private static func template(_ options: Options, _ path: String) throws -> ChatTemplate {
        if let given = options.text("template") { return try ChatTemplate(given) }
        return try (isHuggingFaceDirectory(path) ? ChatTemplate.saved(in: path) : nil)
            ?? ChatTemplate(ChatTemplate.names[0])
    }

    /// The adapter that the options ask for.
    private static func configuration(_ options: Options, _ model: any LanguageModel) throws -> LoRAConfiguration {
        var configuration = LoRAConfiguration()
        configuration.rank = options.int("rank")
        configuration.alpha = options.double("alpha")
        configuration.isRankStabilized = options.flag("rslora")
        configuration.dropout = Float(options.double("dropout"))
        let isGPT2 = model is GPT2
        let groups = [
            "all": isGPT2 ? ["c_attn", "c_proj", "c_fc"] : ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"],
            "attention": isGPT2 ? ["c_attn", "attn.c_proj"] : ["q_proj", "k_proj", "v_proj", "dense"],
        ]
        var names: [String] = []
        for part in (options.text("targets") ?? "").split(separator: ",") {
            let name = part.trimmingPrefix { $0 == " " }.split(separator: " ").joined(separator: " ")
            let isLayer = model.config.linearModules.contains { $0.name == name || $0.name.hasSuffix("." + name) }
            guard groups[name] != nil || isLayer else {
                throw UserError(
                    "no linear layer is called \(name)",
                    hint:
                        "--targets is all, attention, or of \(groups["all", default: []].joined(separator: ",")) some",
                    exitCode: 2)
            }
            names += groups[name] ?? [name]
        }
        configuration.targets = .names(names)
        return configuration
    }

    var description: String {
        "\(path): \(model.config.summary)"
            + (adapter.map { ", with an adapter of rank \($0.configuration.rank) on \($0.products.count) layers" } ?? "")
    }

    /// Writes it as a directory that peft or transformers loads.
    func write(to directory: String, in files: DurableFiles) throws {
        guard let adapter else {
            switch model {
            case let model as GPT2: try HuggingFaceGPT2.write(model, tokenizer, template, to: directory, in: files)
            case let model as Phi: try HuggingFacePhi.write(model, tokenizer, template, to: directory, in: files)
            default: preconditionFailure("a model of an unknown kind")
            }
            return
        }
        try createDirectory(directory)
        try tokenizer.writeAll(to: directory, in: files, longestText: model.maxT, chatTemplate: template)
        try PEFTAdapter.write(adapter, on: model, basePath: path, fingerprint: fingerprint, to: directory, in: files)
    }
}
