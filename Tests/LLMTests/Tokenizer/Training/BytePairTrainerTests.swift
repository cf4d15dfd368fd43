// Training of byte-pair encoding, compared with the textbook and with Hugging Face's files.

import Foundation
import LLM
import Testing

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
        #expect(merges(try trainByteLevel(text, vocabularySize: 290)) == expected)
        // Pairs that were not listed at first are reached, too.
        let rare = Int64(1 + random.below(60))
        #expect(merges(try trainByteLevel(text, vocabularySize: 290, rare: rare)) == expected)
    }
}

@Test func `training on the fixture gives Hugging Face's file, byte for byte`() throws {
    let files = try openTexts([try fixture("tokenizer_corpus.txt")])
    var trainer = BytePairTrainer(
        try WordCounts.counting(linesOf: files).words, specialTokens: [Array("<|endoftext|>".utf8)],
        vocabularySize: 600)
    let tokenizer = try Tokenizer(
        trainer.train(),
        addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
    #expect(try tokenizer.json() == contents(of: fixture("tokenizer_600.json")))
}

@Test func `the tokens counted by training are those of encoding`() throws {
    let text = try contents(of: fixture("tokenizer_corpus.txt"))
    var trainer = BytePairTrainer(countWords(text), specialTokens: [], vocabularySize: 400)
    let tokenizer = try Tokenizer(trainer.train(), addedTokens: [])
    let lines = text.split(separator: 10, omittingEmptySubsequences: false).map { Array($0) }
    let encoded = try lines.enumerated().flatMap {
        try tokenizer.encode($1 + ($0 + 1 < lines.count ? [10] : []))
    }
    #expect(trainer.tokenCount == encoded.count)
    #expect(trainer.tokenCounts() == (0..<400).map { id in encoded.count { $0 == id } })
}

@Test func `the limits of training`() throws {
    let text = Array("ab ab ab cd cd e".utf8)
    #expect(try trainByteLevel(text, vocabularySize: 1).vocabularySize == 257)  // never without the bytes
    // ab, " ab", cd, " cd", " e": no pair is left
    #expect(try trainByteLevel(text, vocabularySize: 100_000).vocabularySize == 262)
    #expect(merges(try trainByteLevel(text, vocabularySize: 100_000, minimumFrequency: 3)).count == 1)
    #expect(merges(try trainByteLevel([], vocabularySize: 300)).isEmpty)
}

private func learn(_ alphabet: Alphabet, _ words: PreTokenizer, size: Int, frequency: Int = 0, longest: Int = .max)
    throws
    -> LearntBytePairs
{
    let files = try openTexts([try fixture("tokenizer_corpus.txt")])
    var trainer = BytePairTrainer(
        try WordCounts.counting(linesOf: files, words).words, alphabet: alphabet,
        specialTokens: ["[UNK]", "<|endoftext|>"].map { Array($0.utf8) }, vocabularySize: size,
        longestToken: longest)
    return trainer.train(minimumFrequency: frequency)
}

private func check(_ learnt: LearntBytePairs, _ name: String, prefix: String) throws {
    let expected = try Tokenizer(path: fixture(name))
    var characters = BytePairModel.Characters()
    characters.unknown = 0
    characters.prefix = Array(prefix.utf8)
    let ours = try Tokenizer(
        learnt, characters: characters, addedTokens: expected.addedTokens, components: expected.components)
    #expect(ours.json() == (try contents(of: fixture(name))))
}

@Test func `the prefix scheme is Hugging Face's, in the order of its run`() throws {
    var order = Vocabulary()
    for (id, spelling) in try Tokenizer(path: fixture("tokenizer_prefix.json")).spellings.enumerated() {
        _ = order.insert(spelling, Int32(id))
    }
    let prefix = Array("##".utf8)
    try check(
        learn(.characters(prefix: prefix, insideOrder: order), .bert, size: 500), "tokenizer_prefix.json", prefix: "##")
    // Our own order is that of the code points.
    let own = try learn(.characters(prefix: prefix), .bert, size: 500)
    let inside = own.spellings.filter {
        $0.starts(with: prefix) && String(decoding: $0, as: UTF8.self).unicodeScalars.count == 3
    }
    #expect(inside == inside.sorted { $0.lexicographicallyPrecedes($1) } && !inside.isEmpty)
}

@Test func `the whitespace scheme is Hugging Face's, frequency and length included`() throws {
    try check(
        learn(.characters(limit: 10000), .whitespace, size: 300, frequency: 2, longest: 4), "tokenizer_whitespace.json",
        prefix: "")
}

@Test func `an alphabet can be limited to the most frequent characters`() throws {
    let learnt = try learn(.characters(limit: 5), .whitespace, size: 7)
    #expect(learnt.spellings.count == 7)
    #expect(learnt.spellings.dropFirst(2).allSatisfy { String(decoding: $0, as: UTF8.self).count == 1 })
}

/// Merges that visit hundreds of words, which the threads share, and touch words ahead in several groups.
@Test func `training on many words is the textbook's, in any number of partitions`() throws {
    var random = Xorshift(seed: 71)
    var counts: [[UInt8]: Int] = [:]
    for _ in 0..<1400 {
        let word = (0..<2 + random.below(9)).map { _ in UInt8(97 + random.below(5) * random.below(3)) }
        counts[word, default: 0] += 1 + random.below(20)
    }
    #expect(counts.count > 600)
    var vocabulary = ByteAlphabet.bytesInOrder.map { [$0] }
    let symbols = Dictionary(uniqueKeysWithValues: counts.map { ($0.key.map { [$0] }, $0.value) })
    let expected = TextbookBytePairs.train(symbols, vocabulary: &vocabulary, vocabularySize: 310)
    for (partitions, rare) in [(1, nil), (3, nil), (8, nil), (3, 1), (2, 40), (8, 10_000)] as [(Int, Int64?)] {
        var words = WordCounts(partitions: partitions)
        for (word, count) in counts { word.withUnsafeBufferPointer { words.add($0, count: Int64(count)) } }
        var trainer = BytePairTrainer(words, specialTokens: [], vocabularySize: 310, rare: rare)
        let tokenizer = try Tokenizer(trainer.train(), addedTokens: [])
        #expect(merges(tokenizer) == expected)
    }
}

/// More symbols than the plain table of pairs takes.
@Test func `training on thousands of characters is the textbook's`() {
    var random = Xorshift(seed: 72)
    var counts: [[[UInt8]]: Int] = [:]
    for _ in 0..<2200 {
        let word = (0..<1 + random.below(5)).map { _ -> [UInt8] in
            let scalar = random.below(2) == 0 ? 0xAC00 + random.below(1300) : 0xAC00 + random.below(6)
            return Array(String(UnicodeScalar(UInt16(scalar)).map(Character.init) ?? " ").utf8)
        }
        counts[word, default: 0] += 1 + random.below(5)
    }
    var words = WordCounts(partitions: 2)
    for (word, count) in counts {
        word.flatMap { $0 }.withUnsafeBufferPointer { words.add($0, count: Int64(count)) }
    }
    var vocabulary = Set(counts.keys.flatMap { $0 }).sorted { $0.lexicographicallyPrecedes($1) }
    let size = vocabulary.count + 25
    #expect(vocabulary.count > 1024)
    let expected = TextbookBytePairs.train(counts, vocabulary: &vocabulary, vocabularySize: size)
    var trainer = BytePairTrainer(words, alphabet: .characters(), specialTokens: [], vocabularySize: size)
    let learnt = trainer.train()
    #expect(learnt.spellings == vocabulary)
    #expect(learnt.merges.map { [learnt.spellings[Int($0.left)], learnt.spellings[Int($0.right)]] } == expected)
}
