// finetune as a person runs it. What it computes is in LoRATests and ConversationLoaderTests.

import LLM
import Testing

/// A GPT-2 in model/ and ten conversations in chat.csv.
private func withModel(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        let config = GPT2Configuration(maxT: 64, V: tokenizer.vocabularySize, L: 1, NH: 2, C: 8)
        let model = GPT2(config, trains: false)
        model.parameters.initialize(seed: 1)
        let files = DurableFiles()
        try HuggingFaceGPT2.write(model, tokenizer, nil, to: "\(folder)/model", in: files)
        try files.commit()
        let lines = (0..<10).map { "question \($0),answer \($0)\n" }
        try write(Array(("Q,A\n" + lines.joined()).utf8), to: "\(folder)/chat.csv")
        try body(folder)
    }
}

private let options = ["--model", "model", "--data", "chat.csv", "-x", "2", "-b", "2", "-s", "0"]

@Test func `the conversations that are held out are written, and are not learnt from`() throws {
    try withModel { folder in
        let path = "\(folder)/out/held_out.jsonl"
        func heldOut() throws -> [String] {
            try ConversationFile(openTexts([path])[0]).conversations.map {
                String(decoding: $0.messages[0].content, as: UTF8.self)
            }
        }
        let result = try run("finetune", options + ["-o", "out", "--val-fraction", "0.3"], in: folder)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("train data  7 conversations") && result.output.contains("val data    3 "))
        let first = try heldOut()
        #expect(Set(first).count == 3 && first.allSatisfy { $0.hasPrefix("question ") })
        // The same seed holds out the same; another seed others. A dry run writes nothing.
        try expectSuccess("finetune", options + ["-o", "out", "-y", "0", "--val-fraction", "0.3"], in: folder)
        #expect(try heldOut() == first)
        try expectSuccess(
            "finetune", options + ["-o", "out", "-y", "0", "--val-fraction", "0.3", "--seed", "7", "--dry-run"],
            in: folder)
        #expect(try heldOut() == first)
        try expectSuccess(
            "finetune", options + ["-o", "out", "-y", "0", "--val-fraction", "0.3", "--seed", "7"], in: folder)
        #expect(try heldOut() != first)
        // With data of its own to validate with, or without any, nothing is held out.
        for other in [["--val-data", "chat.csv"], ["-v", "0"]] {
            try expectSuccess("finetune", options + other + ["-o", "other", "-y", "0"], in: folder)
            #expect(!fileExists("\(folder)/other/held_out.jsonl"))
        }
    }
}
