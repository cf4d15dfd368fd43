// Where a model comes from: llm.c's file, or a Hugging Face directory. Programs ask here and take either, and any kind of
// model that they can work with.

import Foundation

private let modelHint =
    "give a checkpoint such as gpt2_124M.bin or a Hugging Face directory, or make a model: make run"

/// The kinds of language models. A DistilBERT is a BERT.
package enum ModelKind {
    case gpt2, phi, bert

    package var name: String {
        switch self {
        case .gpt2: "GPT-2"
        case .phi: "Phi"
        case .bert: "BERT"
        }
    }

    fileprivate var programs: String {
        switch self {
        case .gpt2: "train_gpt2 and test_gpt2"
        case .phi: "train_phi and test_phi"
        case .bert: "train_bert, embed and test_bert"
        }
    }
}

/// The kind of the model at a path.
package func modelKind(_ path: String) throws -> ModelKind {
    try finishInterruptedWrites(in: isDirectory(path) ? path : folder(of: path))
    guard isHuggingFaceDirectory(path) else {
        try refuseParts(path)
        return .gpt2
    }
    let config = try HuggingFaceConfig(path)
    switch config.modelType {
    case "gpt2": return .gpt2
    case "phi": return .phi
    case "bert", "distilbert": return .bert
    case let other:
        throw config.refuse(
            "model_type is \(other.map { "\"\($0)\"" } ?? "missing"), not \"gpt2\", \"phi\", \"bert\" or \"distilbert\""
        )
    }
}

/// The options that name a model that writes, and its tokenizer.
package let modelOptions: [Option] = [
    Option(
        "model", "m", .text, "FILE|DIR", default: "data/model/model_best.bin",
        "a checkpoint of train_gpt2 or train_phi, or a Hugging Face directory"),
    Option(
        "tokenizer", "k", .text, "DIR", default: "data",
        "the tokenizer it was trained with; a Hugging Face directory brings its own"),
]

/// Refuses what is no model before anything is said about its tokenizer.
/// - Parameter isDefault: whether it is the program's choice, not the user's.
package func requireModel(_ path: String, isDefault: Bool) throws {
    guard fileExists(path) else {
        throw UserError(
            "there is no model \(path)" + (path.hasPrefix("/") ? "" : " in \(currentFolder())"),
            hint: isDefault
                ? "make one with make run, or name one by --model FILE --tokenizer DIR"
                : "name a checkpoint of train_gpt2 or train_phi, or make one: make run")
    }
    _ = try modelKind(path)
}

/// The configuration of the causal model at a path.
package func readConfiguration(_ path: String) throws -> any CausalConfiguration {
    switch try modelKind(path) {
    case .gpt2: try readGPT2Configuration(path)
    case .phi: try HuggingFacePhi.readConfiguration(path)
    case .bert: throw isNotCausal(path)
    }
}

private func isNotCausal(_ path: String) -> UserError {
    UserError(
        "\(path) is a BERT, which does not predict the next token",
        hint: "for a BERT there are \(ModelKind.bert.programs); here give a GPT-2 or a Phi")
}

/// The configuration of the model at a path, causal or not.
package func readAnyConfiguration(_ path: String) throws -> any ModelConfiguration {
    try modelKind(path) == .bert ? readBERTConfiguration(path) : readConfiguration(path)
}

/// The model at a path, causal or not, to look at and to write.
package func readAnyModel(_ path: String) throws -> any Transformer {
    try modelKind(path) == .bert ? readBERT(path, trains: false) : readModel(path)
}

/// The causal model at a path, not to train.
/// - Parameter weights: the format that the linear layers' weights are kept in. Only generating takes another one than float32.
package func readModel(_ path: String, weights: WeightFormat = .float32) throws -> any LanguageModel {
    switch try modelKind(path) {
    case .gpt2: try readGPT2(path, trains: false, weights: weights)
    case .phi: try readPhi(path, trains: false, weights: weights)
    case .bert: throw isNotCausal(path)
    }
}

/// The GPT-2 at a path.
/// - Parameter trains: whether to make room for gradients and moments.
package func readGPT2(_ path: String, trains: Bool, weights: WeightFormat = .float32) throws -> GPT2 {
    try requireKind(.gpt2, at: path)
    let model =
        try isHuggingFaceDirectory(path)
        ? HuggingFaceGPT2.read(path, trains: trains, weights: weights)
        : LLMCModelFile.read(InputFile(path, hint: modelHint), trains: trains, weights: weights)
    try checkFinite(model, path)
    return model
}

/// The GPT-2 at a path, with room for the gradients and moments of a part.
package func readGPT2(_ path: String, training part: TrainedPart) throws -> GPT2 {
    let model = try readGPT2(path, trains: false)
    model.train(part)
    return model
}

/// The Phi in a directory, with room for the gradients and moments of a part.
package func readPhi(_ path: String, training part: TrainedPart) throws -> Phi {
    let model = try readPhi(path, trains: false)
    model.train(part)
    return model
}

/// The BERT in a directory, with room for the gradients and moments of a part.
package func readBERT(_ path: String, training part: TrainedPart) throws -> BERT {
    if part != .all, try !readBERTConfiguration(path).hasHead {
        throw UserError(
            "\(path) has no head for masked-language modelling, and a new one would stay as it begins: at random",
            hint: "train the model with a head first: --train all")
    }
    let model = try readBERT(path, trains: true)
    if part != .all { model.train(part) }
    return model
}

/// The Phi in a directory.
/// - Parameter trains: whether to make room for gradients and moments.
package func readPhi(_ path: String, trains: Bool, weights: WeightFormat = .float32) throws -> Phi {
    try requireKind(.phi, at: path)
    let model = try HuggingFacePhi.read(path, trains: trains, weights: weights)
    try checkFinite(model, path)
    return model
}

/// The BERT or DistilBERT in a directory. Parts that it is to have, and that are not there, are made new, and a note says
/// so.
/// - Parameters:
///   - trains: whether to make room for gradients and moments; needs the head.
///   - head, pooler: whether it is to have them; nil is as the directory has.
package func readBERT(_ path: String, trains: Bool, head: Bool? = nil, pooler: Bool? = nil) throws -> BERT {
    try requireKind(.bert, at: path)
    let model = try HuggingFaceBERT.read(path, trains: trains, head: trains ? true : head, pooler: pooler)
    try checkFinite(model, path)
    return model
}

package func readGPT2Configuration(_ path: String) throws -> GPT2Configuration {
    try requireKind(.gpt2, at: path)
    return try isHuggingFaceDirectory(path)
        ? HuggingFaceGPT2.readConfiguration(path)
        : LLMCModelFile.readHeader(InputFile(path, hint: modelHint)).config
}

package func readPhiConfiguration(_ path: String) throws -> PhiConfiguration {
    try requireKind(.phi, at: path)
    return try HuggingFacePhi.readConfiguration(path)
}

package func readBERTConfiguration(
    _ path: String, head: Bool? = nil, pooler: Bool? = nil
) throws -> BERTConfiguration {
    try requireKind(.bert, at: path)
    return try HuggingFaceBERT.readConfiguration(path, head: head, pooler: pooler)
}

/// Refuses a model of another kind than a program works with.
package func requireKind(_ wanted: ModelKind, at path: String) throws {
    let kind = try modelKind(path)
    guard kind != wanted else { return }
    if !isDirectory(path) {
        // A file is taken for a GPT-2 unless one looks into it.
        let hint = "give a \(wanted.name)'s Hugging Face directory"
        guard (try? LLMCModelFile.readHeader(InputFile(path, hint: hint))) != nil else {
            _ = try InputFile(path, hint: hint)
            throw UserError("\(path) is a file, and a \(wanted.name) is a directory", hint: hint)
        }
    }
    throw UserError(
        "\(path) is a \(kind.name), not a \(wanted.name)", hint: "for a \(kind.name) there are \(kind.programs)")
}

private func checkFinite(_ model: any TrainableModel, _ path: String) throws {
    guard model.parameters.areFinite else {
        throw UserError(
            "\(path) has parameters that are NaN or infinite",
            hint: "its training diverged: take an earlier checkpoint, and a smaller learning rate")
    }
}

/// Refuses a folder that is not a Hugging Face model, and a part of one.
private func refuseParts(_ path: String) throws {
    guard !path.hasSuffix(".safetensors") else {
        throw UserError("\(path) is only the weights of a model", hint: "name its directory: \(folder(of: path))")
    }
    guard isDirectory(path) else {
        let parts = ["config.json", "generation_config.json", "tokenizer.json", "state.bin"]
        guard parts.contains(fileName(of: path)), isHuggingFaceDirectory(folder(of: path)) else { return }
        throw UserError("\(path) is only a part of a model", hint: "name its directory: \(folder(of: path))")
    }
    guard !PEFTAdapter.isAdapter(path) else {
        throw UserError(
            "\(path) is an adapter, not a whole model",
            hint: "generate --adapter \(path) puts it on its model; convert --merge \(path) --to DIR makes one model "
                + "of both")
    }
    // The best, or else the last; a longer name is a later step.
    let inside = names(in: path).filter {
        $0.hasPrefix("model_") && $0.hasSuffix(".bin")
            || isHuggingFaceDirectory("\(path)/\($0)") && !$0.hasSuffix(".tmp")
    }.max { ($0.contains("best") ? 1 : 0, $0.utf8.count, $0) < ($1.contains("best") ? 1 : 0, $1.utf8.count, $1) }
    throw UserError(
        "\(path) is a directory without config.json",
        hint: inside.map { "name one of its models, such as \(path)/\($0)" } ?? modelHint)
}

/// The format that generating takes for the model at a path, unless it is told another: int8 where the file has that. In
/// bfloat16 the inputs are rounded, too, so a file of it is read as float32.
package func weightFormat(ofModel path: String) throws -> WeightFormat {
    try isHuggingFaceDirectory(path) && HuggingFaceConfig(path).isInt8 ? .int8 : .float32
}

/// Whether a path is a folder with a Hugging Face model in it.
package func isHuggingFaceDirectory(_ path: String) -> Bool {
    isDirectory(path) && fileExists("\(path)/config.json")
}

/// Where the tokenizer of a model is: in its Hugging Face directory, or beside its file, where `convert` puts it.
/// - Parameters:
///   - given: what the user wrote, if anything.
///   - other: where it is otherwise.
package func tokenizerPath(ofModel path: String, given: String?, else other: String) -> String {
    let own = isHuggingFaceDirectory(path) ? path : folder(of: path)
    return given ?? (isHuggingFaceDirectory(path) || fileExists("\(own)/tokenizer.json") ? own : other)
}

/// Refuses a tokenizer that is not the one a model was trained with. It may have grown since, where the vocabulary has
/// room. The vocabulary may be any larger than the tokenizer: ids past it are never drawn.
///
/// If the model does not say which tokenizer it is, the sizes decide. Vocabularies are often padded, to a multiple of
/// 1,024 at most; a larger difference is taken for a mistake.
/// - Parameters:
///   - place: where the tokenizer was read from.
///   - path: the model's file or directory.
///   - vocabulary: the model's, where an adapter makes it larger than it is in the file.
package func checkTokenizer(
    _ tokenizer: Tokenizer, from place: String, belongsTo path: String, vocabulary: Int? = nil,
    hint: String = "name the model's with --tokenizer DIR, or train again"
) throws {
    var V: Int
    let known: TokenizerFingerprint?
    if isHuggingFaceDirectory(path) {
        V = try modelKind(path) == .bert ? readBERTConfiguration(path).V : readConfiguration(path).V
        // Its own; where that is of a kind that cannot be read here, it is not known.
        known = place == path ? tokenizer.fingerprint() : try? Tokenizer(directory: path).fingerprint()
    } else {
        try refuseParts(path)
        let header = try LLMCModelFile.readHeader(InputFile(path, hint: modelHint))
        (V, known) = (header.config.V, header.tokenizer)
    }
    V = vocabulary ?? V
    let size = tokenizer.vocabularySize
    if let known, known != tokenizer.fingerprint(ofFirst: known.count) {
        throw UserError(
            "\(path) was trained with another tokenizer of \(grouped(known.count)) tokens than the one in \(place)"
                + (size == known.count ? "" : ", which has \(grouped(size))"), hint: hint)
    }
    if known != nil, size > V {
        throw UserError(
            "the tokenizer in \(place) has \(grouped(size)) tokens, and \(path) a vocabulary of \(grouped(V)): there is no "
                + "row for id \(V)",
            hint: "grow the model: grow --model \(path) --tokenizer \(place) --output DIR")
    }
    guard known == nil ? (0..<1024).contains(V - size) : size <= V else {
        throw UserError(
            "the tokenizer in \(place) has \(grouped(size)) tokens, and \(path) a vocabulary of \(grouped(V))",
            hint: hint)
    }
}

/// The tokens of the tokenizer that a model was trained with; nil if that is not known.
package func tokenCount(ofModel path: String) throws -> Int? {
    if isHuggingFaceDirectory(path) { return try? Tokenizer(directory: path).vocabularySize }
    return try LLMCModelFile.readHeader(InputFile(path, hint: modelHint)).tokenizer?.count
}

/// Writes a model as llm.c's file.
package func writeModel(_ model: GPT2, to path: String) throws {
    try writeDurably(path) { try LLMCModelFile.write(model, to: $0) }
}
