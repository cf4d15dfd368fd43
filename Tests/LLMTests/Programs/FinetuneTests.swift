// finetune as a person runs it. What it computes is in LoRATests and ConversationLoaderTests.

import Foundation
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

@Test func `a run continues as it is, or not at all`() throws {
    try withModel { folder in
        try expectSuccess("finetune", options + ["-o", "out", "-n", "1", "-v", "0"], in: folder)
        for (option, value) in [
            ("rank", "4"), ("alpha", "64"), ("targets", "attention"), ("template", "alpaca"), ("dropout", "0.5"),
            ("full", "1"), ("tokenizer", "model"), ("freeze-embeddings", "1"), ("rslora", "1"),
        ] {
            try expectRefusal(
                "--\(option) was", hint: "leave it out", of: "finetune",
                ["-o", "out", "-y", "1", "-x", "3", "--\(option)", value], in: folder, status: 2)
        }
        try expectSuccess("finetune", ["-o", "out", "-y", "1", "-x", "3", "-l", "1e-4", "--rank", "8"], in: folder)
        // The model may have moved, and must be the same.
        try FileManager.default.moveItem(atPath: "\(folder)/model", toPath: "\(folder)/moved")
        try expectRefusal(
            "is not there", hint: "--model", of: "finetune", ["-o", "out", "-y", "1", "-x", "4"], in: folder)
        try expectSuccess("finetune", ["-o", "out", "-y", "1", "-x", "4", "--model", "moved"], in: folder)
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        let other = GPT2(GPT2Configuration(maxT: 64, V: tokenizer.vocabularySize, L: 1, NH: 2, C: 8), trains: false)
        other.parameters.initialize(seed: 2)
        try HuggingFaceGPT2.write(other, tokenizer, to: "\(folder)/other")
        try expectRefusal(
            "another model", hint: "--model", of: "finetune", ["-o", "out", "-y", "1", "-x", "5", "--model", "other"],
            in: folder)
        try expectRefusal("no whole checkpoint in none", of: "finetune", ["-o", "none", "-y", "1"], in: folder)
        // What is held out goes when nothing is.
        let again = options.map { $0 == "model" ? "moved" : $0 } + ["-o", "held", "-y", "0"]
        try expectSuccess("finetune", again, in: folder)
        #expect(fileExists("\(folder)/held/held_out.jsonl"))
        try expectSuccess("finetune", again + ["-v", "0"], in: folder)
        #expect(!fileExists("\(folder)/held/held_out.jsonl"))
    }
}

@Test func `targets are named, and nothing else`() throws {
    try withModel { folder in
        func trained(_ targets: String) throws -> String {
            let result = try run("finetune", options + ["--targets", targets, "--dry-run"], in: folder)
            #expect(result.status == 0, "\(result.errors)")
            return String(result.output.split(separator: "\n").first { $0.hasPrefix("model") } ?? "")
        }
        #expect(try trained("all").contains("on 4 layers") && trained("attention").contains("on 2 layers"))
        #expect(
            try trained("attention,c_fc").contains("on 3 layers") && trained("c_attn, c_fc").contains("on 2 layers"))
        try expectRefusal(
            "no linear layer is called foo", hint: "attention", of: "finetune", options + ["--targets", "c_attn,foo"],
            in: folder, status: 2)
    }
}
