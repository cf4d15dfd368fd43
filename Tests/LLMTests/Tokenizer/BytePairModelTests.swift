// Encoding with byte pairs, compared with the textbook.

import Foundation
import LLM
import Testing

@Test func `encoding is the textbook's, for words short and long`() throws {
    let tokenizer = try trainByteLevel(try contents(of: fixture("tokenizer_corpus.txt")), vocabularySize: 500)
    let merges = merges(tokenizer)
    var random = Xorshift(seed: 5)
    for round in 0..<60 {
        var text = hardText(&random, length: 12, invalid: round % 2 == 0)
        // One word past the length up to which ranks are searched, and past the length that is remembered.
        text += (0..<(round % 6 == 0 ? 300 : 70)).map { _ in Array("aaathexq".utf8)[random.below(8)] }
        let expected = naiveWords(text).flatMap { TextbookBytePairs.encode($0.map { [$0] }, merges) }
        let ids = try tokenizer.encode(text)
        #expect(ids.map { tokenizer.bytes(of: Int($0)) } == expected)
    }
}

/// Syllables that share bytes, so that bytes of neighbours merge before a syllable is whole; merges also in an
/// order that no training gives.
@Test func `syllables that begin as one token give the textbook's ids`() throws {
    var random = Xorshift(seed: 12)
    let syllables = ["가", "각", "갂", "나", "는", "늬", "바", "밬", "한", "日", "ァ", "a", " ", "é", "😀"].map { Array($0.utf8) }
    for round in 0..<30 {
        func text(_ length: Int) -> [UInt8] {
            let kinds = round % 3 == 0 ? syllables.count : 5 + random.below(8)
            return (0..<length).flatMap { _ in syllables[random.below(kinds)] }
        }
        var trainer = BytePairTrainer(
            countWords(text(400)), specialTokens: [], vocabularySize: 256 + 10 + random.below(120))
        let learnt = trainer.train()
        var merges = learnt.merges
        if round % 2 == 0 {
            for i in merges.indices.reversed() { merges.swapAt(i, random.below(i + 1)) }
        }
        let tokenizer = try Tokenizer(
            LearntBytePairs(spellings: learnt.spellings, merges: merges), addedTokens: [])
        let pairs = merges.map { [tokenizer.bytes(of: Int($0.left)), tokenizer.bytes(of: Int($0.right))] }
        for _ in 0..<40 {
            var text = text(1 + random.below(12))
            // A character cut short, too.
            if random.below(4) == 0 { text.remove(at: random.below(text.count)) }
            let expected = naiveWords(text).flatMap { TextbookBytePairs.encode($0.map { [$0] }, pairs) }
            #expect(try tokenizer.encode(text).map { tokenizer.bytes(of: Int($0)) } == expected)
        }
    }
}

@Test func `any bytes survive the round trip`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var random = Xorshift(seed: 6)
    for _ in 0..<500 {
        let bytes = (0..<random.below(100)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(try tokenizer.decode(tokenizer.encode(bytes)) == bytes)
    }
}

@Test func `a word of 100,000 letters does not take quadratic time`() throws {
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: 100_000)
    let tokenizer = try trainByteLevel(Array("aaaaaaaaaaaaaaaa aaaaaaaa".utf8), vocabularySize: 270)
    let start = now()
    let ids = try tokenizer.encode(text)
    #expect(now() - start < 2)
    #expect(tokenizer.decode(ids) == text)
}

@Test func `characters are merged as in the textbook, by search and by queue`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_whitespace.json"))
    guard case .bytePair(let model)? = tokenizer.model else {
        Issue.record("not a byte-pair model")
        return
    }
    let merges = model.merges.map { [tokenizer.spellings[Int($0.left)], tokenizer.spellings[Int($0.right)]] }
    var random = Xorshift(seed: 21)
    // Up to 96 symbols are searched.
    for length in [1, 2, 95, 96, 97, 98, 400] {
        for _ in 0..<5 {
            let word = (0..<length).map { _ in [Array("thequickobrwnf".utf8)[random.below(14)]] }
            let expected = TextbookBytePairs.encode(word, merges)
            #expect(try tokenizer.encode(word.flatMap { $0 }).map { tokenizer.spellings[Int($0)] } == expected)
        }
    }
}

@Test func `characters without a token become the bytes of their spelling, prefix and suffix included`() throws {
    let bytes = (0..<256).map { byte in
        let digits = String(byte, radix: 16, uppercase: true)
        return "\"<0x\(digits.count < 2 ? "0" : "")\(digits)>\": \(byte)"
    }
    let json = """
        {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "BPE", "byte_fallback": true,
        "continuing_subword_prefix": "#", "end_of_word_suffix": "/", "merges": [],
        "vocab": {\(bytes.joined(separator: ", ")), "a": 256, "#a": 257, "#a/": 258}}}
        """
    try withTemporaryDirectory { directory in
        try write(Array(json.utf8), to: directory + "/tokenizer.json")
        let tokenizer = try Tokenizer(directory: directory)
        #expect(try tokenizer.encode(Array("aaa".utf8)) == [256, 257, 258])
        #expect(try tokenizer.encode(Array("bab".utf8)) == [0x62, 257, 0x23, 0x62, 0x2F])
        #expect(try tokenizer.encode(Array("aé a".utf8)) == [256, 0x23, 0xC3, 0xA9, 0x2F, 0x61, 0x2F])
    }
}
