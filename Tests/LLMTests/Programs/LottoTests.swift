// The lottery machine's corpora as a person makes them.

import Foundation
import LLM
import Testing

private let changed = ["--price", "2000", "--prizes", "1000000000,50000000,2000000,100000,10000"]

@Test func `conversations have the tokens of the text's documents`() throws {
    try withTemporaryDirectory { folder in
        let small = ["--count", "40", "--val-count", "3", "--max-tickets", "2", "--output", "."] + changed
        try expectSuccess("lotto", ["generate"] + small, in: folder)
        try expectSuccess("lotto", ["generate", "--conversations"] + small, in: folder)
        let text = try bytes("\(folder)/lotto_train.txt")
        try trainByteLevel(text, vocabularySize: 350).write(to: folder)
        try expectSuccess(
            "tokenize", ["-k", ".", "-i", "lotto_train.txt", "--val-input", "lotto_val.txt", "-o", "."], in: folder)
        let tokenizer = try Tokenizer(directory: folder)
        let end = try #require(tokenizer.endOfText)
        var encoder = try ConversationEncoder(tokenizer, try ChatTemplate("\(folder)/lotto_template.json"))
        #expect(encoder.stop == .token(Int32(end)))
        let file = try ConversationFile(try #require(openTexts(["\(folder)/lotto_train.jsonl"]).first))
        #expect(file.conversations.count == 40)
        var all: [Int32] = []
        for conversation in file.conversations {
            let tokens = try encoder.encode(conversation)
            #expect(tokens.ids.last == Int32(end))
            all += tokens.ids.dropLast()
            let answer = zip(tokens.ids, tokens.isAnswer).filter(\.1).map(\.0)
            let question = tokens.ids.prefix(tokens.ids.count - answer.count)
            #expect(String(decoding: tokenizer.decode(Array(question)), as: UTF8.self).hasSuffix("\n결과\n"))
            #expect(tokens.isAnswer.firstIndex(of: true) == question.count)
        }
        let shard = try TokenShard("\(folder)/train_000000.bin")
        // The last document has no blank line after it.
        #expect(try shard.read(shard.count, at: 0) == all.dropLast())
    }
}

@Test func `lotto takes a rule, and refuses what is none`() throws {
    try withTemporaryDirectory { folder in
        let small = ["generate", "--count", "30", "--val-count", "2", "--seed", "5", "--output"]
        let exercise = ["--price", "1000", "--prizes", "2000000000,30000000,1500000,50000,5000"]
        for (name, more) in [("default", []), ("same", exercise), ("changed", changed)] {
            try expectSuccess("lotto", small + [name] + more, in: folder)
        }
        let texts = try ["default", "same", "changed"].map { try bytes("\(folder)/\($0)/lotto_train.txt") }
        #expect(texts[0] == texts[1])
        func questions(_ text: [UInt8]) -> [Substring] {
            String(decoding: text, as: UTF8.self).split(separator: "\n")
                .filter { line in !line.contains { "○×%천구".contains($0) } }
        }
        #expect(texts[0] != texts[2] && questions(texts[0]) == questions(texts[2]))
        for prizes in ["5", "1,2,3,4,5,6", "a,2,3,4,5", "1000,,1000,1000,1000"] {
            try expectRefusal(
                "--prizes \(prizes)", of: "lotto", small + ["x", "--prizes", prizes], in: folder, status: 2)
        }
        for verb in ["generate", "score"] {
            let arguments = verb == "score" ? ["score", "--model", "x"] : ["generate"]
            try expectRefusal(
                "a price of 1,500 won", hint: "whole thousands", of: "lotto", arguments + ["--price", "1500"],
                in: folder, status: 2)
        }
    }
}

@Test func `a question to ask is found among conversations`() throws {
    try withTemporaryDirectory { folder in
        // lotto score asks the validation questions of its seed, which is 7.
        try expectSuccess(
            "lotto", ["generate", "--count", "5", "--val-count", "3", "--seed", "7", "--conversations", "-o", "."],
            in: folder)
        let score = ["score", "--model", "none.bin", "--count", "3", "--train"]
        try expectRefusal(
            "lotto_val.jsonl contains a question to ask", of: "lotto", score + ["lotto_val.jsonl"], in: folder)
        let unseen = try run("lotto", score + ["lotto_train.jsonl"], in: folder)
        #expect(unseen.output.hasPrefix("3 questions, none of them among the 5 of lotto_train.jsonl\n"))
        try expectRefusal(
            "has 5 games per question, not 4", of: "lotto",
            score + ["lotto_train.jsonl", "--max-tickets", "4"], in: folder)
    }
}
