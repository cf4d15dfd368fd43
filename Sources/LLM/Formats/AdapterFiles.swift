// The adapters that a command line names, the model that they go on, and the tokenizer that belongs to both.

import Foundation

/// An adapter under a name.
package struct NamedAdapter {
    package let name: String
    package let adapter: PEFTAdapter

    /// The adapters that a command line names, each as DIR or NAME=DIR. Without a name it is called as its directory.
    package static func open(_ words: [String]) throws -> [NamedAdapter] {
        var adapters: [NamedAdapter] = []
        for word in words {
            let (given, path) = split(word)
            try requireAdapter(path)
            let name = given ?? fileName(of: URL(fileURLWithPath: path).standardizedFileURL.path)
            guard !adapters.contains(where: { $0.name == name }) else {
                throw UserError(
                    "two adapters are called \(name)", hint: "give them names: --adapter one=DIR two=DIR", exitCode: 2)
            }
            adapters.append(NamedAdapter(name: name, adapter: try PEFTAdapter(path)))
        }
        return adapters
    }

    /// NAME and DIR; no name for a directory whose own name has the =.
    static func split(_ word: String) -> (name: String?, path: String) {
        // Among scalars: a combining mark after = would make another character of it.
        guard !fileExists(word), let equals = word.unicodeScalars.firstIndex(of: "="), equals > word.startIndex else {
            return (nil, word)
        }
        return (String(word[..<equals]), String(word[word.unicodeScalars.index(after: equals)...]))
    }
}

/// Refuses what is no adapter's directory.
package func requireAdapter(_ path: String) throws {
    if isDirectory(path) { try finishInterruptedWrites(in: path) }
    guard !PEFTAdapter.isAdapter(path) else { return }
    guard fileExists(path) else {
        throw UserError(
            "there is no adapter \(path)", hint: "name the directory that has its adapter_config.json: --adapter DIR")
    }
    guard isDirectory(path) else {
        let directory = folder(of: path)
        throw UserError(
            "\(path) is a file, and an adapter is a directory",
            hint: PEFTAdapter.isAdapter(directory)
                ? "name its directory: \(directory)" : "name the directory that has its adapter_config.json")
    }
    guard !isHuggingFaceDirectory(path) else {
        throw UserError("\(path) is a whole model, not an adapter", hint: "give it as --model")
    }
    // The best, or else the last; a longer name is a later step.
    let inside = names(in: path).filter { PEFTAdapter.isAdapter("\(path)/\($0)") && !$0.hasSuffix(".tmp") }
        .max { ($0.contains("best") ? 1 : 0, $0.utf8.count, $0) < ($1.contains("best") ? 1 : 0, $1.utf8.count, $1) }
    throw UserError(
        "\(path) is no adapter: it has no adapter_config.json",
        hint: inside.map { "name one of its adapters, such as \(path)/\($0)" }
            ?? "name a directory that finetune, or peft's save_pretrained, has written")
}

/// Where the model of some adapters is.
/// - Parameters:
///   - given: what the user wrote, if anything.
///   - other: where it is if the adapters do not say.
package func modelPath(of adapters: [NamedAdapter], given: String?, else other: String) throws -> String {
    if let given { return given }
    var found: (path: String, name: String)?
    for named in adapters {
        guard let path = named.adapter.basePath, !path.isEmpty else { continue }
        if let found, found.path != path {
            throw UserError(
                "\(found.name) is an adapter of \(found.path), and \(named.name) of \(path)",
                hint: "adapters together have one model: name it with --model, or take one adapter")
        }
        found = (path, named.name)
    }
    guard let found else { return other }
    guard fileExists(found.path) else {
        throw UserError(
            "\(found.name) is an adapter of \(found.path), which is not here", hint: "name that model with --model DIR")
    }
    return found.path
}

/// The model at a path, and adapters for it, of which none is on it yet. It gets as large a vocabulary as they need.
/// - Parameters:
///   - weights: the format that the linear layers' weights are kept in, where there is no adapter: one may replace some.
///   - refusesOthers: whether an adapter of another model is an error, and no note.
package func readModel(
    _ path: String, adapters: [PEFTAdapter], weights: WeightFormat = .float32, refusesOthers: Bool = false
) throws -> (model: any LanguageModel, adapters: [Adapter]) {
    guard !adapters.isEmpty else { return (try readModel(path, weights: weights), []) }
    let base = try readModel(path)
    let fingerprint = base.parameters.fingerprint
    let V = try adapters.reduce(base.V) { max($0, try $1.vocabulary(of: base.V)) }
    var model = base
    if V > base.V {
        var config = base.config
        config.V = V
        try checkMemory(config.bytes(rows: 1, trains: false), hint: "is it the right adapter?")
        model = base.grown(to: V)
        if let base = base as? GPT2, let grown = model as? GPT2 { grown.tokenizer = base.tokenizer }
    }
    return (model, try adapters.map { try $0.read(on: model, fingerprint: fingerprint, refusesOthers: refusesOthers) })
}

/// The vocabulary of the model at a path with an adapter on it; nil if there is no adapter.
package func vocabulary(ofModel path: String, with adapter: PEFTAdapter?) throws -> Int? {
    try adapter?.vocabulary(of: readConfiguration(path).V)
}

/// The tokenizer of a model with an adapter: the adapter's own, which may have more tokens, if its directory has one.
/// - Parameters:
///   - given: what the user wrote, if anything.
///   - other: where the tokenizer is that neither has beside it.
/// - Returns: also the place, as a person would name it.
package func readTokenizer(
    ofModel path: String, _ adapter: PEFTAdapter?, given: String?, else other: String
) throws -> (tokenizer: Tokenizer, place: String) {
    let own = adapter.flatMap { Tokenizer.file(in: $0.path) == nil ? nil : $0.path }
    let place = given ?? own ?? tokenizerPath(ofModel: path, given: nil, else: other)
    let tokenizer = try Tokenizer(at: place)
    try checkTokenizer(
        tokenizer, from: place, belongsTo: path, vocabulary: try vocabulary(ofModel: path, with: adapter))
    return (tokenizer, place)
}

/// The template of a model with an adapter: the one saved with the adapter, else with the model.
/// - Parameter given: what the user wrote, if anything.
package func readTemplate(ofModel path: String, _ adapter: PEFTAdapter?, given: String?) throws -> ChatTemplate {
    if let given { return try ChatTemplate(given) }
    for place in [adapter?.path, path] {
        if let place, isDirectory(place), let template = try ChatTemplate.saved(in: place) { return template }
    }
    throw UserError(
        "\(adapter?.path ?? path) has no template for conversations saved with it, as finetune does",
        hint: "tune it: finetune --model \(path) --data FILE --output DIR; or, if it was tuned elsewhere, say how: "
            + "--template \(ChatTemplate.names.joined(separator: "|"))")
}
