// The vocabularies of other programs.

import Foundation
import LLM
import Testing

@Test func `vocabularies of other programs are read`() throws {
    try withTemporaryDirectory { directory in
        try write(Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\nIfc\n".utf8), to: directory + "/vocab.txt")
        var tokenizer = try Tokenizer(directory: directory)
        #expect(try tokenizer.encode(Array("unaffable Ifc ifc".utf8)) == [2, 4, 5, 6, 7, 1, 3])
        try write(Array("{\"do_lower_case\": true}".utf8), to: directory + "/tokenizer_config.json")
        tokenizer = try Tokenizer(directory: directory)
        #expect(try tokenizer.encode(Array("UN".utf8)) == [2, 4, 3])

        // "b" "a" "ba" "aba": of the pairs in "aba", ba has the lower rank.
        try write(Array("Yg== 0\nYQ== 1\nYmE= 2\nYWJh 3\nYWI= 4\n".utf8), to: directory + "/x.tiktoken")
        tokenizer = try Tokenizer(path: directory + "/x.tiktoken")
        #expect(try tokenizer.encode(Array("aba".utf8)) == [3])
        #expect(try tokenizer.encode(Array("ababa".utf8)) == [3, 2])
        #expect(tokenizer.endOfText == 5)
        // A word long enough for the queue of pairs: ba comes before ab, although ab is on the left.
        try write(Array("Yg== 0\nYQ== 1\nYmE= 2\nYWI= 3\n".utf8), to: directory + "/y.tiktoken")
        tokenizer = try Tokenizer(path: directory + "/y.tiktoken")
        let long = [UInt8](repeatElement(Array("ab".utf8), count: 60).joined()) + [97]
        #expect(try tokenizer.encode(long) == [1] + [Int32](repeating: 2, count: 60))

        try write(Array("{\"a\": 0, \"b\": 1, \"ab\": 2, \"<|endoftext|>\": 3}".utf8), to: directory + "/encoder.json")
        #expect(
            userError { _ = try Tokenizer(path: directory + "/encoder.json") }?.message.contains("two files") == true)
        try write(Array("#version: 0.2\na b\n".utf8), to: directory + "/vocab.bpe")
        tokenizer = try Tokenizer(path: directory + "/vocab.bpe")
        #expect(try tokenizer.encode(Array("aba<|endoftext|>".utf8)) == [2, 0, 3])
        try write(Array("#version: 0.2\na c\n".utf8), to: directory + "/vocab.bpe")
        #expect(userError { _ = try Tokenizer(path: directory + "/vocab.bpe") }?.message.contains("\"c\"") == true)
    }
}

@Test(
    arguments: [
        // Words, do_lower_case, what is said.
        ("Word\nword", true, "1 tokens with capital letters"), ("Word\nword", false, nil),
        ("word\n[unused1]", true, nil),
        ("word\nof\n##s", false, "no token has one"), ("영화\n##를\na", true, "2 tokens with syllables"),
        ("영화\n##를\na", false, nil), ("word\nof\n영화", nil, "1 tokens with syllables"),
    ] as [(String, Bool?, String?)])
func `a vocabulary that its settings keep out of texts is noticed`(words: String, lowercases: Bool?, wanted: String?)
    throws
{
    try withTemporaryDirectory { directory in
        try write(Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\(words)\n".utf8), to: directory + "/vocab.txt")
        if let lowercases {
            try write(Array("{\"do_lower_case\": \(lowercases)}".utf8), to: directory + "/tokenizer_config.json")
        }
        let said = try Tokenizer(directory: directory).lostWords
        #expect(said?.contains(wanted ?? "") == wanted.map { _ in true }, "\(said ?? "nothing")")
        let result = try run("tokenize", ["--tokenizer", ".", "--text", "x"], in: directory)
        #expect(result.errors.contains("warning") == (wanted != nil))
    }
}

@Test func `tokens that are found before text becomes lower case are not lost`() throws {
    try withTemporaryDirectory { directory in
        // The second kind only look like special tokens, as BERT's unused ones do.
        try write(Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[UNUSED1]\nword\n".utf8), to: directory + "/vocab.txt")
        try write(Array("{\"do_lower_case\": true}".utf8), to: directory + "/tokenizer_config.json")
        let tokenizer = try Tokenizer(directory: directory)
        #expect(tokenizer.lostWords == nil)
        #expect(try tokenizer.adding([Array("NewWord".utf8)]).lostWords == nil)
    }
}

/// Reads a CodeGenTokenizer's vocab.json and merges.txt, with other files of transformers beside them.
private func read(_ files: [String: JSON]) throws -> Tokenizer {
    var tokenizer: Tokenizer?
    try withTemporaryDirectory { directory in
        try writeGPT2Files(codeGenTokenizer(), to: directory)
        for (name, json) in files { try write(json.text(), to: "\(directory)/\(name)") }
        tokenizer = try Tokenizer(directory: directory)
    }
    return try #require(tokenizer)
}

@Test func `the added tokens beside GPT-2's files are read, in either form`() throws {
    let tokenizer = try codeGenTokenizer()
    let text = Array("if x:\n        return\t\t1  <|endoftext|>".utf8)
    func flags(_ token: AddedToken) -> JSON {
        ["content": .string(token.content), "normalized": .bool(token.isNormalized), "special": .bool(token.isSpecial)]
    }
    let decoder = JSON.object(tokenizer.addedTokens.map { (Array("\($0.id)".utf8), flags($0)) })
    let ids = JSON.object(tokenizer.addedTokens.reversed().map { ($0.content, JSON(integerLiteral: Int($0.id))) })
    let map: JSON = ["bos_token": "<|endoftext|>", "additional_special_tokens": [["content": "  "]]]

    let new = try read(["tokenizer_config.json": ["added_tokens_decoder": decoder], "added_tokens.json": ["x": 320]])
    #expect(new.addedTokens == tokenizer.addedTokens)
    #expect(try new.encode(text) == tokenizer.encode(text))
    #expect(new.fingerprint() == tokenizer.fingerprint())

    let old = try read(["tokenizer_config.json": ["model_max_length": 2048], "added_tokens.json": ids])
    #expect(old.addedTokens == tokenizer.addedTokens && old.fingerprint() == tokenizer.fingerprint())
    let named = try read(["added_tokens.json": ids, "special_tokens_map.json": map])
    #expect(
        named.addedTokens.filter(\.isSpecial).map(\.content) == [Array("<|endoftext|>".utf8), Array("  ".utf8)])
    #expect(named.addedTokens.allSatisfy { $0.isSpecial != $0.isNormalized })

    // <|endoftext|> is one of them whether a file says so or not.
    let few = try read(["added_tokens.json": ["  ": 320]])
    #expect(few.addedTokens.map(\.id) == [319, 320] && few.endOfText == 319)
    #expect(try read([:]).addedTokens.map(\.id) == [319])
    #expect(try read(["tokenizer_config.json": ["add_prefix_space": true]]).encode([97]) == tokenizer.encode([32, 97]))

    // Damaged, or of another vocabulary.
    for (file, json, what) in [
        ("added_tokens.json", ["  ": 321] as JSON, "out of range"),
        ("added_tokens.json", ["  ": "a"], "not an integer"),
        ("added_tokens.json", ["!": 320], "in the vocabulary"), ("added_tokens.json", ["  ": 5], "in the vocabulary"),
        ("added_tokens.json", ["  ": 320, "   ": 320], "occurs twice"),
        ("tokenizer_config.json", ["added_tokens_decoder": ["a": ["content": "  "]]], "not an integer"),
        ("tokenizer_config.json", ["added_tokens_decoder": ["320": "  "]], "no content"),
    ] {
        let error = userError { _ = try read([file: json]) }
        #expect(error?.message.contains(what) == true, "\(what): \(error?.message ?? "none")")
        #expect(error?.message.contains("/\(file): ") == true, "\(error?.message ?? "none")")
    }
}
