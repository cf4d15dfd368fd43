// What every program does with a command line, and the words of one that is nearly right.

import Foundation
import LLM
import Testing

@Test(arguments: ["lotto", "tokenize", "train_gpt2", "train_bert", "grow", "chat"])
func `a program says its version`(program: String) throws {
    try withTemporaryDirectory { folder in
        let result = try run(program, ["--version"], in: folder)
        #expect(result.status == 0 && result.output.hasPrefix("\(program) (llm.swift) \(projectVersion), vectors of "))
    }
}

@Test func `a prompt without its option is put into quotes`() throws {
    try withTemporaryDirectory { folder in
        try expectRefusal(
            "'a prompt' belongs to no option", hint: "--prompt 'a prompt'?", of: "generate", ["a prompt"], in: folder,
            status: 2)
        try expectRefusal(
            "there is no model data/model/model_best.bin in /", of: "generate", ["--prompt", "a"], in: folder)
    }
}

@Test func `a text may come through a pipe`() throws {
    try withTemporaryDirectory { folder in
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = [
            "-c", "printf '밥을 먹고 밥을 먹고' | \"$0\" --input /dev/stdin --vocab-size 260 --output t",
            executable("train_tokenizer").path,
        ]
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(try Tokenizer(directory: folder + "/t").vocabularySize == 260)
    }
}

@Test func `lotto score takes a pattern in quotes, and refuses a slip that the model has no room for`() throws {
    try withTemporaryDirectory { folder in
        try expectSuccess("lotto", ["generate", "--count", "20", "--max-tickets", "2", "-o", "."], in: folder)
        try expectSuccess(
            "train_tokenizer", ["--input", "lotto_train.txt", "--vocab-size", "369", "--output", "."], in: folder)
        let tokenizer = try Tokenizer(directory: folder)
        let model = GPT2(GPT2Configuration(maxT: 100, V: tokenizer.vocabularySize, L: 1, NH: 1, C: 8), trains: false)
        model.parameters.initialize(seed: 1)
        model.tokenizer = tokenizer.fingerprint()
        for step in ["1", "2"] {
            try writeDurably("\(folder)/model_0000000\(step).bin") { try LLMCModelFile.write(model, to: $0) }
        }
        let score = ["score", "--model", "model_0*.bin", "--tokenizer", ".", "--count", "2", "--max-tickets"]
        let result = try run("lotto", score + ["2"], in: folder)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("model_00000001.bin:") && result.output.contains("model_00000002.bin:"))
        try expectRefusal(
            "has a context of 100 tokens; a question with 10 games and its answer have", hint: "--max-tickets",
            of: "lotto", score + ["10"], in: folder)
    }
}

// MARK: - a time to train in

@Test func `--minutes chooses what is not given, once`() throws {
    try withTemporaryDirectory { folder in
        try writeShard(randomTokens(5000, below: 300, seed: 1), to: folder + "/train_0.bin")
        try writeShard(randomTokens(900, below: 300, seed: 2), to: folder + "/val_0.bin")
        let train = ["-i", ".", "-o", "out", "--vocab-size", "300", "-s", "0"]
        let result = try run("train_gpt2", train + ["--minutes", "0.05", "-b", "2", "-x", "3"], in: folder)
        #expect(result.status == 0, "\(result.errors)")
        // What it names makes the same run without it.
        let line = try #require(
            result.output.split(separator: "\n").first { $0.hasPrefix("chosen      for 0.05 minutes: ") })
        let words = line.split(separator: " ").dropFirst(4).map { String($0) }
        #expect(words.contains("muon") && words.contains("rows") && !words.contains("--batch-size"))
        #expect(line.contains("--warmup 0 ") && line.contains("--val-every 1 "), "\(line)")
        try expectSuccess(
            "train_gpt2", ["-i", ".", "-o", "twin", "--vocab-size", "300", "-s", "0", "-b", "2", "-x", "3"] + words,
            in: folder)
        for file in ["model_00000003.bin", "main.log"] {
            let (one, twin) = (
                try Data(contentsOf: URL(fileURLWithPath: "\(folder)/out/\(file)")),
                try Data(contentsOf: URL(fileURLWithPath: "\(folder)/twin/\(file)"))
            )
            #expect(one == twin, "\(file)")
        }
        // A run that goes on has its settings.
        let more = try run("train_gpt2", ["-o", "out", "-y", "1", "-x", "4", "--minutes", "9"], in: folder)
        #expect(more.status == 0 && more.errors.contains("--minutes is not used"), "\(more.errors)")
        #expect(more.output.contains("4/4") && !more.output.contains("chosen"))
        try expectRefusal(
            "--optimizer muon, and its means are not adamw's", of: "train_gpt2",
            ["-o", "out", "-y", "1", "-x", "5", "--optimizer", "adamw"], in: folder, status: 2)
        try expectRefusal(
            "--minutes chooses a new model, and --model names one", of: "train_gpt2",
            ["-i", ".", "-e", "out/model_00000003.bin", "--minutes", "1"], in: folder, status: 2)
        try expectRefusal(
            "a batch of", of: "train_gpt2", ["-i", ".", "--minutes", "0.05", "-b", "2000"], in: folder)
    }
}

@Test func `the steps are as many as the time is enough for`() throws {
    try withTemporaryDirectory { folder in
        try writeShard(randomTokens(200_000, below: 300, seed: 1), to: folder + "/train_0.bin")
        func steps(_ more: String...) throws -> Int {
            let result = try run(
                "train_gpt2", ["-i", ".", "--vocab-size", "300", "-v", "0", "--dry-run"] + more, in: folder)
            #expect(result.status == 0, "\(result.errors)")
            let words = result.output.split(separator: "\n").first { $0.hasPrefix("steps ") }?.split(separator: " ")
            let count = try #require(words)[1]
            return try #require(Int(count))
        }
        let (few, many) = (try steps("--minutes", "0.05"), try steps("--minutes", "0.5"))
        #expect(few > 0 && many > 2 * few, "\(few), \(many)")
        // One epoch: 200,000 tokens in batches of 8 · 64, but for the row that the beginnings need.
        #expect(try steps("--minutes", "0.05", "--epochs", "1") == (200_000 / 64 - 1) / 8)
        // A part of a shape, and another optimizer, with its rate.
        let result = try run(
            "train_gpt2",
            ["-i", ".", "--vocab-size", "300", "-v", "0", "--minutes", "0.05", "--layers", "1", "--optimizer", "adamw"]
                + ["-x", "1"], in: folder)
        #expect(result.output.contains("new: 1 layers, 4 heads, 128 channels"), "\(result.output)")
        #expect(result.output.contains("--learning-rate 2e-3") && !result.output.contains("--channels"))
    }
}

@Test(arguments: [(200, 300), (160 * 700, 700), (160 * 9000, 4096)])
func `a vocabulary that suits the text's size`(bytes: Int, tokens: Int) throws {
    try withTemporaryDirectory { folder in
        // Words of eight random letters, so that there are pairs enough.
        var random = Xorshift(seed: 1)
        var text: [UInt8] = []
        while text.count < bytes { text.append(text.count % 9 == 8 ? 32 : UInt8(97 + random.below(26))) }
        try Data(text).write(to: URL(fileURLWithPath: folder + "/text"))
        let result = try run(
            "train_tokenizer", ["--input", "text", "--vocab-size", "0", "--output", "t", "--min-frequency", "1"],
            in: folder)
        let size = try Tokenizer(directory: folder + "/t").vocabularySize
        #expect(result.status == 0 && size == tokens)
    }
}
