// The settings of known runs are words that the trainer knows.

import LLM
import Testing

/// The rows of the trainers' tables that say which model.
private let modelRows = [
    Option("model", "e", .text, "FILE", "a checkpoint or a shape"),
    Option("layers", nil, .integer(1...1000), "N", "layers"),
    Option("heads", nil, .integer(1...1000), "N", "heads"),
    Option("channels", nil, .integer(1...100_000), "N", "channels"),
    Option("vocab-size", nil, .integer(1...16_000_000), "N", "vocabulary"),
    Option("minutes", nil, .number(0.05...100_000), "X", "time"),
]

private func options(_ arguments: [String]) throws -> Options {
    try Options(
        program: "train_gpt2", about: "", table: TrainingSettings.table(model: modelRows) { $0 }, arguments: arguments)
}

@Test(arguments: ["lotto", "lotto-long", "text", "gpt2_124M", "phi"])
func `the trainer knows every word of a recipe`(name: String) throws {
    let arguments = Recipe(name).trainArguments()
    #expect(arguments.allSatisfy { !$0.contains("$") && !$0.contains("(") && !$0.isEmpty })
    _ = TrainingSettings(try options(arguments))
}

@Test func `the recipes' numbers are put in`() throws {
    let lotto = TrainingSettings(try options(Recipe("lotto").trainArguments()))
    #expect(lotto.B == 16 && lotto.newModelT == 167 && lotto.validateEvery == 500 && lotto.checkpointEvery == 500)
    #expect(lotto.answerMark != nil && lotto.learningRate == 5e-3 && lotto.finalFraction == 0)
    let text = TrainingSettings(try options(Recipe("text").trainArguments()))
    #expect(text.keep == 2 && text.answerMark == nil && text.sampleLength == 256)
    #expect(try options(Recipe("text").trainArguments()).double("minutes") == 5)
    let phi = TrainingSettings(try options(Recipe("phi").trainArguments()))
    #expect(phi.B == 4 && phi.newModelT == 512 && phi.keep == 5 && phi.bestBy == .accuracy && phi.decay == 0.1)
    #expect(try phi.microBatches(T: 512) == 4 && phi.finalFraction == 0 && phi.learningRate == 5e-4)
    let gpt2 = try options(Recipe("gpt2_124M").trainArguments())
    #expect(gpt2.text("model") == "gpt2_124M.bin" && gpt2.int("steps") == 40)
}
