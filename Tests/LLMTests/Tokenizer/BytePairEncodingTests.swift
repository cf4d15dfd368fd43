// Byte-pair encoding against the textbook, which stands in BytePairEncoding.swift, and against Hugging Face.

import Foundation
import LLM
import Testing

private func train(
    _ text: [UInt8], vocabularySize: Int, minimumFrequency: Int = 0, rare: Int64? = nil
) throws -> Tokenizer {
    var trainer = BytePairTrainer(
        count(text), specialTokens: [Array("<|endoftext|>".utf8)], vocabularySize: vocabularySize,
        rare: rare)
    let learnt = trainer.train(minimumFrequency: minimumFrequency)
    return try Tokenizer(learnt, addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
}

/// In several partitions, as threads have them.
private func count(_ text: [UInt8], partitions: Int = 3) -> WordCounts {
    var words = WordCounts(partitions: partitions)
    text.withUnsafeBufferPointer { words.add(linesOf: $0, .byteLevel(addsPrefixSpace: false, splits: true)) }
    return words
}

private func merges(_ tokenizer: Tokenizer) -> [[[UInt8]]] {
    guard case .bytePair(let model)? = tokenizer.model else { return [] }
    return model.merges.map { [tokenizer.bytes(of: Int($0.left)), tokenizer.bytes(of: Int($0.right))] }
}

@Test func `training is the textbook's, ties and repeated letters included`() throws {
    var random = Xorshift(seed: 4)
    for round in 0..<40 {
        // Few letters make many ties, overlaps (aaaa) and tokens that can be spelt in two ways.
        var text = (0..<150).map { _ in Array("aab \n".utf8)[random.below(5)] }
        if round % 2 == 0 { text += hardText(&random, length: 80) }
        var counts: [[UInt8]: Int] = [:]
        for line in text.split(separator: 10, omittingEmptySubsequences: false).dropLast() {
            for word in naiveWords(line + [10]) { counts[word, default: 0] += 1 }
        }
        let last = Array(text.split(separator: 10, omittingEmptySubsequences: false).last ?? [])
        for word in naiveWords(last) { counts[word, default: 0] += 1 }
        // 0 is the special token.
        var vocabulary = [Array("<|endoftext|>".utf8)] + ByteAlphabet.bytesInOrder.map { [$0] }
        let symbols = Dictionary(uniqueKeysWithValues: counts.map { ($0.key.map { [$0] }, $0.value) })
        let expected = TextbookBytePairs.train(symbols, vocabulary: &vocabulary, vocabularySize: 290)
        #expect(merges(try train(text, vocabularySize: 290)) == expected)
        // Pairs that were not listed at first are reached, too.
        let rare = Int64(1 + random.below(60))
        #expect(merges(try train(text, vocabularySize: 290, rare: rare)) == expected)
    }
}

@Test func `training on the fixture gives Hugging Face's file, byte for byte`() throws {
    let file = try InputFile(try fixture("tokenizer_corpus.txt"), hint: "")
    var trainer = BytePairTrainer(
        try WordCounts.counting(linesOf: [file]).words, specialTokens: [Array("<|endoftext|>".utf8)],
        vocabularySize: 600)
    let tokenizer = try Tokenizer(
        trainer.train(),
        addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
    #expect(try tokenizer.json() == contents(of: fixture("tokenizer_600.json")))
}

@Test func `the tokens counted by training are those of encoding`() throws {
    let text = try contents(of: fixture("tokenizer_corpus.txt"))
    var trainer = BytePairTrainer(count(text), specialTokens: [], vocabularySize: 400)
    let tokenizer = try Tokenizer(trainer.train(), addedTokens: [])
    let lines = text.split(separator: 10, omittingEmptySubsequences: false).map { Array($0) }
    let encoded = try lines.enumerated().flatMap {
        try tokenizer.encode($1 + ($0 + 1 < lines.count ? [10] : []))
    }
    #expect(trainer.tokenCount == encoded.count)
    #expect(trainer.tokenCounts() == (0..<400).map { id in encoded.count { $0 == id } })
}

@Test func `words are spread over the partitions of a count`() throws {
    let words = count(try contents(of: fixture("tokenizer_corpus.txt")), partitions: 4)
    #expect(words.tables.allSatisfy { 6 * $0.count > words.count })
}

@Test func `the limits of training`() throws {
    let text = Array("ab ab ab cd cd e".utf8)
    #expect(try train(text, vocabularySize: 1).vocabularySize == 257)  // never without the bytes
    // ab, " ab", cd, " cd", " e": no pair is left
    #expect(try train(text, vocabularySize: 100_000).vocabularySize == 262)
    #expect(merges(try train(text, vocabularySize: 100_000, minimumFrequency: 3)).count == 1)
    #expect(merges(try train([], vocabularySize: 300)).isEmpty)
}

@Test func `encoding is the textbook's, for words short and long`() throws {
    let tokenizer = try train(try contents(of: fixture("tokenizer_corpus.txt")), vocabularySize: 500)
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

/// Syllables that share bytes, so that partitions of neighbours merge before a syllable is whole; merges also in an
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
            count(text(400)), specialTokens: [], vocabularySize: 256 + 10 + random.below(120))
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

@Test func `an encoder that remembers words gives the ids of one that does not`() throws {
    let tokenizer = try train(try contents(of: fixture("tokenizer_corpus.txt")), vocabularySize: 500)
    var encoder = try tokenizer.makeEncoder()
    var random = Xorshift(seed: 8)
    for _ in 0..<300 {
        let text = hardText(&random, length: 1 + random.below(60), invalid: true)
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        #expect(try ids == tokenizer.encode(text))
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

@Test func `a word of 100,000 letters takes no square of time`() throws {
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: 100_000)
    let tokenizer = try train(Array("aaaaaaaaaaaaaaaa aaaaaaaa".utf8), vocabularySize: 270)
    let start = now()
    let ids = try tokenizer.encode(text)
    #expect(now() - start < 2)
    #expect(tokenizer.decode(ids) == text)
}

@Test func `the byte alphabet is GPT-2's`() {
    #expect(String(decoding: ByteAlphabet.characters(for: Array(" a\né".utf8)), as: UTF8.self) == "ĠaĊÃ©")
    #expect(ByteAlphabet.bytesInOrder.count == 256)
    #expect(ByteAlphabet.bytesInOrder.firstIndex(of: 32) == 220)
    #expect(ByteAlphabet.bytesInOrder.firstIndex(of: 10) == 198)
    for byte in UInt8.min...UInt8.max {
        #expect(ByteAlphabet.bytes(for: ByteAlphabet.characters(for: [byte])) == [byte])
    }
    #expect(ByteAlphabet.bytes(for: Array("가".utf8)) == nil)
}

@Test func `a training text that is not UTF-8 is refused with line and byte`() throws {
    try inNewDirectory { directory in
        let path = directory + "/text.txt"
        try write(Array("first\nsec".utf8) + [0xFF] + Array("ond\n".utf8), to: path)
        let error = userError { _ = try WordCounts.counting(linesOf: try openTexts([path])) }
        #expect(error?.message == "\(path), line 2, byte 4: not UTF-8")
        try write([], to: path)
        #expect(userError { _ = try openTexts([path]) }?.message == "\(path) is empty")
        #expect(userError { _ = try openTexts([directory + "/none.txt"]) } != nil)
    }
}
