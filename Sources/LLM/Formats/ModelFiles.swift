// Where a model comes from: llm.c's file, or a Hugging Face directory. Programs ask here and take either.

import Foundation

private let modelHint =
    "give a checkpoint such as gpt2_124M.bin or a Hugging Face directory, or make a model: make run"

/// The configuration of the model at a path.
package func readConfiguration(_ path: String) throws -> GPT2Configuration {
    if isHuggingFaceDirectory(path) { return try HuggingFaceGPT2.readConfiguration(path) }
    try refuseParts(path)
    return try LLMCModelFile.readConfiguration(InputFile(path, hint: modelHint))
}

/// The model at a path.
/// - Parameter trains: whether to make room for gradients and moments.
package func readModel(_ path: String, trains: Bool) throws -> GPT2 {
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

/// Whether a tokenizer can be that of a model with a vocabulary of V. Vocabularies are often padded, to a multiple of
/// 1,024 at most; a larger difference is taken for a mistake. Ids past the tokenizer are never drawn.
package func canBelong(_ tokenizer: Tokenizer, toVocabulary V: Int) -> Bool {
    (0..<1024).contains(V - tokenizer.vocabularySize)
}

/// Writes a model as llm.c's file.
package func writeModel(_ model: GPT2, to path: String) throws {
    try writeDurably(path) { try LLMCModelFile.write(model, to: $0) }
}
