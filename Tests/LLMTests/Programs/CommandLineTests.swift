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
