// Where a model comes from: llm.c's file, or a Hugging Face directory. Programs ask here and take either.

import Foundation

private let modelHint =
    "give a checkpoint such as gpt2_124M.bin or a Hugging Face directory, or make a model: make run"

/// The configuration of the model at a path.
package func readConfiguration(_ path: String) throws -> GPT2Configuration {
    try finishInterruptedWrites(in: isDirectory(path) ? path : folder(of: path))
    if isHuggingFaceDirectory(path) { return try HuggingFaceGPT2.readConfiguration(path) }
    try refuseParts(path)
    return try LLMCModelFile.readHeader(InputFile(path, hint: modelHint)).config
}

/// The model at a path.
/// - Parameter trains: whether to make room for gradients and moments.
package func readModel(_ path: String, trains: Bool) throws -> GPT2 {
    try finishInterruptedWrites(in: isDirectory(path) ? path : folder(of: path))
    if !isHuggingFaceDirectory(path) { try refuseParts(path) }
    let model =
        try isHuggingFaceDirectory(path)
        ? HuggingFaceGPT2.read(path, trains: trains)
        : LLMCModelFile.read(InputFile(path, hint: modelHint), trains: trains)
    guard model.parameters.areFinite else {
        throw UserError(
            "\(path) has parameters that are NaN or infinite",
            hint: "its training diverged: take an earlier checkpoint, and a smaller learning rate")
    }
    return model
}

/// Refuses a folder that is not a Hugging Face model, and a part of one.
private func refuseParts(_ path: String) throws {
    guard !path.hasSuffix(".safetensors") else {
        throw UserError("\(path) is only the weights of a model", hint: "name its directory: \(folder(of: path))")
    }
    guard isDirectory(path) else { return }
    let inside = names(in: path).last { $0.hasPrefix("model_") && $0.hasSuffix(".bin") }
    throw UserError(
        "\(path) is a directory without config.json",
        hint: inside.map { "name one of its models, such as \(path)/\($0)" } ?? modelHint)
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
package func checkTokenizer(
    _ tokenizer: Tokenizer, from place: String, belongsTo path: String,
    hint: String = "name the model's with --tokenizer DIR, or train again"
) throws {
    let V: Int
    let known: TokenizerFingerprint?
    if isHuggingFaceDirectory(path) {
        V = try HuggingFaceGPT2.readConfiguration(path).V
        // Its own; where that is of a kind that cannot be read here, it is not known.
        known = place == path ? tokenizer.fingerprint() : try? Tokenizer(directory: path).fingerprint()
    } else {
        try refuseParts(path)
        let header = try LLMCModelFile.readHeader(InputFile(path, hint: modelHint))
        (V, known) = (header.config.V, header.tokenizer)
    }
    let size = tokenizer.vocabularySize
    if let known, known != tokenizer.fingerprint(ofFirst: known.count) {
        throw UserError(
            "\(path) was trained with another tokenizer of \(grouped(known.count)) tokens than the one in \(place)"
                + (size == known.count ? "" : ", which has \(grouped(size))"), hint: hint)
    }
    guard known == nil ? (0..<1024).contains(V - size) : size <= V else {
        throw UserError(
            "the tokenizer in \(place) has \(grouped(size)) tokens, and \(path) a vocabulary of \(grouped(V))",
            hint: hint)
    }
}

/// Writes a model as llm.c's file.
package func writeModel(_ model: GPT2, to path: String) throws {
    try writeDurably(path) { try LLMCModelFile.write(model, to: $0) }
}
