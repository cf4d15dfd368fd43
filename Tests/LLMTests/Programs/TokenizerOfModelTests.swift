// Every program that is given a model and a tokenizer asks whether they belong together.

import Foundation
import LLM
import Testing

private func train(_ more: String...) -> [String] {
    ["-o", "data/model", "-b", "1", "-t", "250", "-v", "0", "-s", "1", "-g", "5", "-n", "1"] + more
}

private let newModel = ["--layers", "1", "--heads", "1", "--channels", "4"]
private let model = "data/model/model_00000001.bin"
private let score = ["score", "--model", model, "--count", "1", "--max-tickets", "1"]

@Test func `no program takes another tokenizer than the model's, even of the same size`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        try expectSuccess("train_gpt2", train("-x", "1") + newModel, in: folder)
        let expected = try Tokenizer(directory: folder + "/a").fingerprint()
        #expect(try readGPT2("\(folder)/\(model)", trains: false).tokenizer == expected)

        try putTokenizer("b", in: folder)
        func expectOther(_ program: String, _ arguments: [String]) throws {
            try expectRefusal(
                "\(model) was trained with another tokenizer of 300 tokens than the one in data", of: program,
                arguments, in: folder)
        }
        let kept = try filesInside(folder + "/data/model")
        try expectOther("generate", ["--model", model, "--prompt", "a", "-n", "2"])
        try expectOther("lotto", score)
        try expectOther("train_gpt2", train("-x", "2", "-y", "1"))
        try expectOther("train_gpt2", ["-e", model] + train("-x", "1", "-y", "0"))
        try expectOther("convert", ["--from", model, "--to", "huggingface"])
        try expectOther("convert", ["--from", model, "--to", "other/model.bin"])
        #expect(try filesInside(folder + "/data/model") == kept)
        #expect(!fileExists(folder + "/huggingface/config.json") && !fileExists(folder + "/other/model.bin"))

        // Named, the right one is taken.
        let named = ["--tokenizer", "a"]
        try expectSuccess("generate", ["--model", model, "--prompt", "a", "-n", "2"] + named, in: folder)
        try expectSuccess("lotto", score + named, in: folder)
        try expectSuccess("train_gpt2", train("-x", "2", "-y", "1") + named, in: folder)
        try expectSuccess("convert", ["--from", model, "--to", "huggingface"] + named, in: folder)

        // A directory's tokenizer is the one in it, and comes along.
        try expectSuccess("generate", ["--model", "huggingface", "--prompt", "a", "-n", "2"], in: folder)
        try expectRefusal(
            "huggingface was trained with another tokenizer of 300 tokens than the one in b", of: "generate",
            ["--model", "huggingface", "--prompt", "a", "--tokenizer", "b"], in: folder)
        try expectSuccess("convert", ["--from", "huggingface", "--to", "back/model.bin"], in: folder)
        #expect(try bytes("\(folder)/back/model.bin") == bytes("\(folder)/\(model)"))
    }
}

@Test(arguments: [512, 5300])
func `a vocabulary larger than the tokenizer does everywhere`(V: Int) throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        try expectSuccess("train_gpt2", train("-x", "1", "--vocab-size", "\(V)") + newModel, in: folder)
        try expectSuccess("generate", ["--model", model, "--prompt", "a", "-n", "2"], in: folder)
        try expectSuccess("lotto", score, in: folder)
        try expectSuccess("convert", ["--from", model, "--to", "huggingface"], in: folder)
        try expectSuccess("generate", ["--model", "huggingface", "--prompt", "a", "-n", "2"], in: folder)
        try expectSuccess("convert", ["--from", "huggingface", "--to", "back/model.bin"], in: folder)
        #expect(try bytes("\(folder)/back/model.bin") == bytes("\(folder)/\(model)"))
        try expectSuccess("train_gpt2", train("-x", "2", "-y", "1"), in: folder)
        // There is room for tokens of its own, and from then on it needs them.
        try expectSuccess(
            "tokenize", ["--tokenizer", "a", "--add-token", "newword", "--output", "data"], in: folder)
        try expectSuccess("generate", ["--model", model, "--prompt", "newword", "-n", "2"], in: folder)
        try expectSuccess("train_gpt2", ["-e", model] + train("-x", "1", "-y", "0"), in: folder)
        try expectRefusal(
            "\(model) was trained with another tokenizer of 301 tokens than the one in a, which has 300",
            of: "generate", ["--model", model, "--prompt", "a", "--tokenizer", "a"], in: folder)
    }
}

@Test func `without a tokenizer a model has none, until it is trained with one or converted with one`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        for name in ["tokenizer.json", "tokenizer.bin"] {
            try FileManager.default.removeItem(atPath: "\(folder)/data/\(name)")
        }
        let path = "\(folder)/\(model)"
        try expectSuccess("train_gpt2", train("-x", "1", "--vocab-size", "300") + newModel, in: folder)
        #expect(try readGPT2(path, trains: false).tokenizer == nil)
        let written = try bytes(path)
        #expect((8..<12).allSatisfy { integer(written, at: 4 * $0, as: Int32.self) == 0 })
        let a = try Tokenizer(directory: folder + "/a").fingerprint()

        try expectSuccess("convert", ["--from", model, "--to", "other/model.bin", "--tokenizer", "a"], in: folder)
        #expect(try readGPT2(folder + "/other/model.bin", trains: false).tokenizer == a)

        // A run that starts from it knows its tokenizer; one that goes on is what it was.
        try putTokenizer("a", in: folder)
        try expectSuccess("train_gpt2", ["-e", model] + train("-x", "1", "-o", "data/second"), in: folder)
        #expect(try readGPT2("\(folder)/data/second/model_00000001.bin", trains: false).tokenizer == a)
        try expectSuccess("train_gpt2", train("-x", "2", "-y", "1"), in: folder)
        #expect(try readGPT2("\(folder)/data/model/model_00000002.bin", trains: false).tokenizer == nil)

        try expectRefusal(
            "the tokenizer in data has 300 tokens", of: "train_gpt2",
            train("-x", "1", "-y", "0", "--vocab-size", "299") + newModel, in: folder)
    }
}
