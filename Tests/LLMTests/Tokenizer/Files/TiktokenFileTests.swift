// tiktoken's rank files, and the vocabularies that are known by their tokens.

import Foundation
import LLM
import Testing

/// The small rank file of the patterns' fixture.
private func smallRanks() throws -> [UInt8] {
    let path = try fixture("tokenizer_patterns.json")
    guard case .string(let ranks)? = try JSON(try contents(of: path), name: path)["ranks"] else { return [] }
    return ranks
}

@Test func `a known vocabulary has its special tokens, at ids behind gaps`() throws {
    let ranks = try smallRanks()
    let tokenizer = try smallTiktoken(ranks, .cl100k)
    let count = ranks.count { $0 == UInt8(ascii: "\n") }
    #expect(tokenizer.vocabularySize == count + 6)
    #expect(tokenizer.endOfText == count + 1)
    #expect(tokenizer.bytes(of: count) == [] && tokenizer.bytes(of: count + 3) == [])
    let ids = try tokenizer.encode(Array("<|endofprompt|>a<|endoftext|>".utf8))
    #expect(ids.first == Int32(count + 5) && ids.last == Int32(count + 1) && ids.count == 3)
    // llm.c's format has no gaps.
    #expect(tokenizer.binary() == nil)
    try withTemporaryDirectory { directory in
        try tokenizer.write(to: directory)
        #expect(!FileManager.default.fileExists(atPath: directory + "/tokenizer.bin"))
        let read = try Tokenizer(directory: directory)
        #expect(read.spellings == tokenizer.spellings && read.addedTokens == tokenizer.addedTokens)
        #expect(read.fingerprint() == tokenizer.fingerprint())
        // A new token comes behind all of them.
        let larger = try read.adding([Array("newword".utf8)])
        #expect(try larger.encode(Array("newword".utf8)) == [Int32(count + 6)])
        // Its id is also in the vocabulary, for Hugging Face's library, which would count from the number of tokens.
        let json = try JSON(larger.json(), name: "json")
        #expect(json["model"]?["vocab"]?["newword"]?.int == count + 6)
        try write(larger.json(), to: directory + "/larger.json")
        let again = try Tokenizer(path: directory + "/larger.json")
        #expect(again.json() == larger.json() && again.vocabularySize == count + 7)
        #expect(try again.encode(Array("a newwords".utf8)) == larger.encode(Array("a newwords".utf8)))
    }
}

@Test func `a word that is a token is that token, whether merges lead to it or not`() throws {
    let tokenizer = try Tokenizer.readRanks(Array("YQ== 0\nYg== 1\nYw== 2\nYWJj 3\n".utf8), name: "x")
    #expect(try tokenizer.encode(Array("abc".utf8)) == [3])
    #expect(try tokenizer.encode(Array("abca".utf8)) == [0, 1, 2, 0])
}

@Test func `a file that only begins as a known vocabulary is refused`() throws {
    let ranks = try smallRanks()
    let lines = ranks.split(separator: UInt8(ascii: "\n"))
    let plain = try Tokenizer.readRanks(ranks, name: "x", known: [])
    let tokens = (0..<lines.count).map { plain.bytes(of: $0) }
    let known = TiktokenVocabulary("known", .o200k, [("<|endoftext|>", lines.count)], tokens: tokens)
    func error(_ lines: some Collection<ArraySlice<UInt8>>) -> UserError? {
        userError {
            _ = try Tokenizer.readRanks(Array(lines.joined(separator: [10])), name: "x.tiktoken", known: [known])
        }
    }
    #expect(error(lines) == nil)
    // As many tokens, and one of them another.
    var changed = lines
    changed[300] = Array("\(Data("§§§".utf8).base64EncodedString()) 300".utf8)[...]
    let count = lines.count
    let message = "x.tiktoken: its \(count) tokens begin as those of known, which are \(count), but are others"
    #expect(error(changed)?.message == message)
    #expect(error(changed)?.hint.contains("copy it again") == true)
    // The lines must be ranks in order, whatever the vocabulary.
    #expect(error(lines.dropFirst())?.message.contains("line 1 has rank 1, not 0") == true)
    #expect(error(lines[..<200] + lines[201...])?.message.contains("line 201 has rank 201, not 200") == true)
    #expect(error(lines[..<200] + [Array("AA== x".utf8)[...]])?.message.contains("line 201 is not a token") == true)
    // A vocabulary that does not resemble it has GPT-2's words.
    #expect(error(lines[..<260]) == nil)
}

@Test func `a file that was cut off is refused`() throws {
    let tokens = (0..<1200).map { rank in withUnsafeBytes(of: UInt32(rank)) { Array($0) } }
    let known = TiktokenVocabulary("known", .o200k, [("<|endoftext|>", 1200)], tokens: tokens)
    func read(_ count: Int) throws -> Tokenizer {
        let lines = tokens[..<count].enumerated().map { "\(Data($1).base64EncodedString()) \($0)\n" }
        return try Tokenizer.readRanks(Array(lines.joined().utf8), name: "x", known: [known])
    }
    #expect(try read(1200).vocabularySize == 1201)
    let error = userError { _ = try read(1100) }
    #expect(error?.message == "x: its 1,100 tokens begin as those of known, which are 1,200, but are others")
}

@Test func `cl100k_base and o200k_base are not other vocabularies of their size`() {
    for (count, name) in [(100_256, "cl100k_base"), (199_998, "o200k_base")] {
        var lines = ""
        for rank in 0..<count {
            lines += Data(withUnsafeBytes(of: UInt32(rank)) { Array($0) }).base64EncodedString() + " \(rank)\n"
        }
        let error = userError { _ = try Tokenizer.readRanks(Array(lines.utf8), name: "x") }
        #expect(error?.message.contains(name) == true)
    }
}

@Test func `a vocabulary has gaps before added tokens only`() throws {
    func error(_ vocabulary: String, _ added: String) throws -> UserError? {
        let text = """
            {"added_tokens": [\(added)], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": {\(vocabulary)}, "merges": []}}
            """
        var error: UserError?
        try withTemporaryDirectory { directory in
            try write(Array(text.utf8), to: directory + "/tokenizer.json")
            error = userError { _ = try Tokenizer(directory: directory) }
        }
        return error
    }
    let added = "{\"id\": 9, \"content\": \"<|x|>\", \"special\": true}"
    let vocabulary = "\"a\": 0, \"b\": 1, \"<|x|>\": 9"
    #expect(try error(vocabulary, added) == nil)
    #expect(try error(vocabulary, "")?.message.contains("id 9 is out of range: there are 3 tokens") == true)
    let gap = try error("\"a\": 0, \"b\": 2, \"<|x|>\": 9", added)
    #expect(gap?.message.contains("id 1 has no token, and id 2 has one") == true)
    let far = [vocabulary, added].map { $0.replacingOccurrences(of: "9", with: "99999") }
    #expect(try error(far[0], far[1])?.message.contains("out of range") == true)
}
