// Where a model comes from: llm.c's file, or a Hugging Face directory. Programs ask here and take either.

import Foundation

private let modelHint = "give a checkpoint such as gpt2_124M.bin, or make one: make run"

/// The configuration of the model at a path.
package func readConfiguration(_ path: String) throws -> GPT2Configuration {
    try LLMCModelFile.readConfiguration(InputFile(path, hint: modelHint))
}

/// The model at a path.
/// - Parameter trains: whether to make room for gradients and moments.
package func readModel(_ path: String, trains: Bool) throws -> GPT2 {
    try LLMCModelFile.read(InputFile(path, hint: modelHint), trains: trains)
}

/// Writes a model as llm.c's file.
package func writeModel(_ model: GPT2, to path: String) throws {
    try writeDurably(path) { try LLMCModelFile.write(model, to: $0) }
}
