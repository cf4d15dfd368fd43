// The words that are worth a token: compared with trying every word of a small text.

import Foundation
import LLM
import Testing

/// Korean nouns with their particles, in a random order: the nouns alone are rarer than with a particle.
private func domainText(_ random: inout Xorshift, lines: Int) -> String {
    let nouns = ["여호와", "이스라엘", "제사장", "예루살렘", "성막", "covenant", "tabernacle"]
    let particles = ["", "가", "를", "의", "에게", "로부터", "께서", ",", "."]
    return (0..<lines).map { _ in
        (0..<1 + random.below(6)).map { _ in
            random.below(4) == 0
                ? "바람이" : nouns[min(random.below(7), random.below(7))] + particles[random.below(particles.count)]
        }.joined(separator: " ") + "\n"
    }.joined()
}

private func suggest(_ count: Int, _ text: String, _ tokenizer: Tokenizer) throws -> WordSuggestions {
    var result: WordSuggestions?
    try withTemporaryDirectory { directory in
        try write(Array(text.utf8), to: directory + "/text")
        result = try tokenizer.suggestedWords(count, for: try openTexts([directory + "/text"]))
    }
    return try #require(result)
}

private func tokens(_ text: String, _ tokenizer: Tokenizer) throws -> Int {
    var encoder = try tokenizer.makeEncoder()
    var ids: [Int32] = []
    Array(text.utf8).withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
    return ids.count
}

/// Tokenizers of each kind, learnt from another text.
private func tokenizers() throws -> [(String, Tokenizer)] {
    let wordPieces = "[UNK] 여 ##여 ##호 ##와 이 ##스 ##라 ##엘 ##가 ##를 ##의 의 가 를 , . 바람이 c t ##a ##b ##e"
    var result: [(String, Tokenizer)] = []
    try withTemporaryDirectory { directory in
        try write(Array(wordPieces.replacingOccurrences(of: " ", with: "\n").utf8), to: directory + "/vocab.txt")
        result = [
            ("bytes", try Tokenizer(path: fixture("tokenizer_600.json"))),
            ("prefix", try Tokenizer(path: fixture("tokenizer_prefix.json"))),
            ("word pieces", try Tokenizer(directory: directory)),
        ]
    }
    return result
}

@Test func `the first word saves what is said, and no other word saves more`() throws {
    var random = Xorshift(seed: 3)
    for (name, tokenizer) in try tokenizers() where name != "word pieces" {
        for _ in 0..<5 {
            let text = domainText(&random, lines: 12)
            let before = try tokens(text, tokenizer)
            let found = try suggest(1, text, tokenizer)
            let best = try #require(found.words.first)
            #expect(found.before.tokens == before)
            let saved = before - (try tokens(text, tokenizer.adding([best.content])))
            #expect(best.saved == saved && found.after.tokens == before - saved, "\(name)")
            #expect(best.pieces > 1 && best.count > 0)
            // Every word of the text, as the pre-tokenizer has it.
            var words: Set<[UInt8]> = []
            for line in text.split(separator: "\n") {
                Array(line.utf8).withUnsafeBufferPointer { line in
                    let split = name == "bytes" ? PreTokenizer.words(.gpt2) : .bert
                    split.forEachWord(in: line) { words.insert(Array($0)) }
                }
            }
            for word in words {
                let other = before - (try tokens(text, tokenizer.adding([word])))
                #expect(other <= saved, "\(name): \(word) saves \(other), \(best.content) \(saved)")
            }
        }
    }
}

@Test func `together the words save what is said of each`() throws {
    var random = Xorshift(seed: 4)
    for (name, tokenizer) in try tokenizers() {
        let text = domainText(&random, lines: 60)
        let found = try suggest(12, text, tokenizer)
        #expect(Set(found.words.map(\.content)).count == found.words.count && found.words.count > 4)
        #expect(found.words.map(\.saved) == found.words.map(\.saved).sorted(by: >), "\(name)")
        let larger = try tokenizer.adding(found.words.map(\.content))
        #expect(found.after.tokens == (try tokens(text, larger)))
        // What was unknown counts as its characters; the tokens saved are fewer then.
        if tokenizer.unknown == nil || found.before.unknown == 0 {
            #expect(found.words.reduce(0) { $0 + $1.saved } == found.before.tokens - found.after.tokens, "\(name)")
        } else {
            #expect(found.after.unknown < found.before.unknown, "\(name)")
        }
        // What has been added is not suggested again.
        let again = try suggest(50, text, larger)
        #expect(Set(again.words.map(\.content)).isDisjoint(with: found.words.map(\.content)), "\(name)")
    }
}

@Test func `a tokenizer without words has none to suggest`() throws {
    let text = Array("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}".utf8)
    try withTemporaryDirectory { directory in
        try write(text, to: directory + "/tokenizer.json")
        let tokenizer = try Tokenizer(directory: directory)
        #expect(userError { _ = try suggest(1, "a a", tokenizer) }?.message.contains("no word to suggest") == true)
    }
}

@Test func `a word's count and pieces are those of the text, and its letters may be marks or digits`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    // A word with digits, one with a combining mark, single letters.
    let text = "zqzq zqzq\nzqzq\nx9y8z7 x9y8z7 x9y8z7\nqe\u{301}x qe\u{301}x\nζ ζ ζ ζ ζ\n"
    for word in try suggest(20, text, tokenizer).words {
        #expect(word.pieces == (try tokenizer.encode(word.content)).count)
        #expect(String(decoding: word.content, as: UTF8.self).drop { $0 == " " }.unicodeScalars.count > 1)
    }
    let words = try suggest(20, text, Tokenizer(path: fixture("tokenizer_prefix.json"))).words
    #expect(words.map(\.content) == ["x9y8z7", "zqzq", "qe\u{301}x"].map { Array($0.utf8) })
    #expect(words.map(\.count) == [3, 3, 2] && words[0].pieces == 6)
    // A part that is in a word twice counts twice.
    let twice = try suggest(1, "zqvw\nzqvwzqvw\n", tokenizer).words
    #expect(twice.map(\.content) == [Array("zqvw".utf8)] && twice.map(\.count) == [3])
}

/// A word of it has its mark in the vocabulary, and a space in the text.
@Test func `a word behind a mark is suggested with its space`() throws {
    let vocabulary = ["<unk>", "▁", "q", "z"].enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ", ")
    let json = """
        {"model": {"type": "BPE", "unk_token": "<unk>", "vocab": {\(vocabulary)}, "merges": []},
         "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}}
        """
    try withTemporaryDirectory { directory in
        try write(Array(json.utf8), to: directory + "/tokenizer.json")
        let found = try suggest(1, "qzzq qzzq qzzq\n", Tokenizer(directory: directory)).words
        #expect(found.map { String(decoding: $0.content, as: UTF8.self).drop { $0 == " " } } == ["qzzq"])
    }
}
