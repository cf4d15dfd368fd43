// tokenizer.md's examples and numbers, by the tokenizer itself.

import Foundation
import LLM
import Testing

/// The page's text, or one with another number of the first word.
private func wordsText(low: Int = 3) -> [UInt8] {
    let counts = [("low", low), ("lower", 2), ("newest", 6), ("widest", 3)]
    return Array(counts.flatMap { [String](repeating: $0.0 + "\n", count: $0.1) }.joined().utf8)
}

@Test func `every number of tokenizer md is computed`() throws {
    var page = try Page("dev/doc/tokenizer.md", measured: [])
    try expectMerges(&page)
    expectCharacters(&page)
    expectVisits(&page)
    expectWords(&page)
    try expectEncodings(&page)
    try expectDocuments(&page)
    expectSizes(&page)
    // What was chosen: the largest number of two bytes, GPT-2's vocabulary, and sizes and arguments of the examples.
    let chosen = ["65,536", "50,257", "4,096", "32,000", "0.1"]
    let left = page.numbers(but: Set(chosen + measured))
    #expect(left.isEmpty, "no test computes these: \(left)")
}

/// What the page says that was measured (dev/LOG.md).
private let measured = [
    "7.4", "986,000", "838,543", "20,516", "0.03", "1.98", "32.0", "4.0", "2.57", "2.85", "2,000", "4.11", "2.23",
    "2.15", "0.88", "4.35", "1.78", "6.04", "2.48",
]

// MARK: - training

private func expectMerges(_ page: inout Page) throws {
    let text = wordsText()
    let tokenizer = try trainByteLevel(text, vocabularySize: 300)
    let learnt = merges(tokenizer)
    // The words after each merge, by the textbook, and the totals of their pairs before it.
    let lines = text.split(separator: UInt8(ascii: "\n")).map { Array($0) }
    func words(_ count: Int) -> [[[UInt8]]] {
        lines.map { TextbookBytePairs.encode($0.map { [$0] }, Array(learnt[..<count])) }
    }
    func total(_ left: String, _ right: String, after count: Int) -> Int {
        words(count).reduce(0) { sum, word in
            sum + zip(word, word.dropFirst()).count { $0 == Array(left.utf8) && $1 == Array(right.utf8) }
        }
    }
    func spelt(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
    func after(_ count: Int, _ index: Int) -> String { words(count)[index].map(spelt).joined(separator: " ") }
    // Which of low (0), lower (3), newest (5) and widest (11) the row shows.
    let shown: [[Int]] = [[5, 11], [5, 11], [5], [5], [5], [0, 3], [0, 3]]
    for (i, which) in shown.enumerated() {
        let (left, right) = (spelt(learnt[i][0]), spelt(learnt[i][1]))
        let row = which.map { after(i + 1, $0) }.joined(separator: " · ")
        page.expect("| \(left) \(right) → \(left + right) | \(total(left, right, after: i)) | \(row) |")
    }
    func count(_ word: String) -> Int { lines.count { $0 == Array(word.utf8) } }
    page.expect(
        "low stands \(count("low")) times, lower \(count("lower")), newest \(count("newest")) and widest "
            + "\(count("widest")) times,")
    let (before, behind) = (total("w", "e", after: 0), total("w", "e", after: 1))
    #expect(behind == 2)
    page.expect("Before the first merge w e occurs \(before) times, nearly as often as e s. After it only twice:")
    let ties = [total("n", "e", after: 2), total("e", "w", after: 2), total("w", "est", after: 2)]
    #expect(Set(ties).count == 1 && total("s", "t", after: 0) == total("e", "s", after: 0))
    page.expect(
        "s t has the same \(total("s", "t", after: 0)) as e s, and n e, e w and w est all have \(ties[0]).")
    page.expect("The text has \(lines.count) words, and only \(Set(lines).count) of them are different.")
    page.expect("With all \(learnt.count) merges that the text above gives,")
}

private func expectCharacters(_ page: inout Page) {
    page.expect("Unicode has \(grouped(0xD7A3 - 0xAC00 + 1)) Hangul syllables alone")
    page.expect("GPT-2 begins with bytes. There are \(ByteAlphabet.bytesInOrder.count),")
    let bytes = "밥".utf8.map { String(format: "%02X", $0) }.joined(separator: " ")
    page.expect("a Hangul syllable three: 밥 is \(bytes).")
    page.expect("takes \("밥".decomposedStringWithCanonicalMapping.utf8.count) bytes;")
}

private func expectVisits(_ page: inout Page) {
    let merges = 32_000 - 257
    let visits = Double(merges * 986_000) / 1e9
    page.expect("\(grouped(merges)) times 986,000 words, \(decimal(visits, 0)) billion visits.")
}

// MARK: - encoding

private func expectWords(_ page: inout Page) {
    let text = "We'll eat 밥을 먹고, OK?"
    let words = naiveWords(Array(text.utf8)).map {
        String(decoding: $0, as: UTF8.self).replacingOccurrences(of: " ", with: "␣")
    }
    #expect(Array(words[5...]) == [",", "␣OK", "?"])
    page.expect("\"\(text)\" is \(words[..<5].joined(separator: ", ")), a comma, \(words[6]) and a question mark.")
}

private func trainWithPrefix(low: Int) throws -> Tokenizer {
    var words = WordCounts(partitions: 1)
    wordsText(low: low).withUnsafeBufferPointer { words.add(linesOf: $0, .bert) }
    var trainer = BytePairTrainer(
        words, alphabet: .characters(prefix: Array("##".utf8)),
        specialTokens: ["[UNK]", "<|endoftext|>"].map { Array($0.utf8) }, vocabularySize: 300)
    var characters = BytePairModel.Characters()
    characters.unknown = 0
    characters.prefix = Array("##".utf8)
    let components = Tokenizer.Components(
        preTokenizer: ["type": "BertPreTokenizer"],
        decoder: ["type": "WordPiece", "prefix": "##", "cleanup": true])
    return try Tokenizer(trainer.train(), characters: characters, addedTokens: [], components: components)
}

private func pieces(_ text: String, _ tokenizer: Tokenizer) throws -> [String] {
    try tokenizer.encode(Array(text.utf8)).map { String(decoding: tokenizer.spellings[Int($0)], as: UTF8.self) }
}

private func expectEncodings(_ page: inout Page) throws {
    let prefix = try trainWithPrefix(low: 3)
    guard case .bytePair(let model)? = prefix.model else {
        Issue.record("it is no byte-pair model")
        return
    }
    // lowest, merge by merge.
    let learnt = model.merges.map { [prefix.spellings[Int($0.left)], prefix.spellings[Int($0.right)]] }
    var symbols = ["l", "##o", "##w", "##e", "##s", "##t"].map { Array($0.utf8) }
    var steps = [symbols]
    while true {
        let pairs = zip(symbols, symbols.dropFirst()).map { [$0, $1] }
        let ranks = pairs.map { learnt.firstIndex(of: $0) ?? .max }
        guard let best = ranks.min(), best != .max, let at = ranks.firstIndex(of: best) else { break }
        symbols.replaceSubrange(at...at + 1, with: [symbols[at] + symbols[at + 1].dropFirst(2)])
        steps.append(symbols)
    }
    func spelt(_ symbols: [[UInt8]]) -> String {
        symbols.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
    }
    let merged = try pieces("lowest", prefix)
    #expect(spelt(symbols) == merged.joined(separator: " "))
    page.expect("order of merges \(steps.map(spelt).joined(separator: " → "))")

    // The same vocabulary as BERT's vocab.txt: the longest match.
    try withTemporaryDirectory { folder in
        try write(Array(prefix.spellings.map { $0 + [UInt8(ascii: "\n")] }.joined()), to: folder + "/vocab.txt")
        let longest = try pieces("lowest", Tokenizer(path: folder + "/vocab.txt"))
        page.expect("longest match \(longest.joined(separator: " "))")
        #expect(longest != merged)
    }
    page.expect("fox becomes three tokens, `\(try pieces("fox", prefix).joined(separator: " "))`.")
    let bytes = try trainByteLevel(wordsText(), vocabularySize: 300)
    let fox = try pieces("fox", bytes)
    page.expect("With bytes it would be \(fox[0]), \(fox[1]) and \(fox[2]).")
    #expect(try pieces("lowest", bytes) == ["low", "est"])

    // The exercise.
    var needed = 3
    while try pieces("lowest", trainWithPrefix(low: needed)) != ["low", "##est"], needed < 20 { needed += 1 }
    #expect(needed == 5)
    #expect(try pieces("lowest", trainWithPrefix(low: needed - 1)) == ["lo", "##west"])
    page.expect("In the text above low stands 3 times, and lowest is `\(merged.joined(separator: " "))`.")
}

// MARK: - documents and sizes

private func expectDocuments(_ page: inout Page) throws {
    let tokenizer = try trainByteLevel(wordsText(), vocabularySize: 300)
    try withTemporaryDirectory { folder in
        try write(Array("low\n\nnewest\n".utf8), to: folder + "/text")
        _ = try CorpusWriter(tokenizer: tokenizer, mode: .blank)
            .write(openTexts([folder + "/text"]), fraction: 0, seed: 1, to: folder)
        let shard = try TokenShard(folder + "/train_000000.bin")
        let ids = try shard.read(shard.count, at: 0)
        page.expect("are the ids \(ids.map(String.init).joined(separator: " ")): the mark, low, two line ends,")
        let header = try contents(of: folder + "/train_000000.bin").prefix(1024)
        let numbers = header.withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) }
        page.expect(
            "a header of \(numbers.count) numbers of four bytes, of which the first three are \(numbers[0]), the version "
                + "\(numbers[1]) and the number of tokens")
        #expect(Int(numbers[2]) == ids.count)
        // Two bytes a token, up to this size.
        #expect(try contents(of: folder + "/train_000000.bin").count == 1024 + 2 * ids.count)
    }
    let tokens = 64_000 * 167 + 1
    page.expect(
        "`make run` writes 64,000 rows of 167 tokens and one more, which the last token predicts: \(grouped(tokens)) "
            + "tokens, a file of \(grouped(1024 + 2 * tokens)) bytes.")
}

/// A vocabulary's row of the table: measured on Austen's novels, but for the share and the loss.
private struct Measured {
    let V: Int
    let bytes: Double
    let rare: Int
    var steps: Int?
    var bits: Double?
}

private func share(_ config: GPT2Configuration) -> Double {
    let tensors = GPT2Tensors(config).table.tensors
    let all = tensors.reduce(0) { $0 + $1.usedCount * $1.layers }
    return Double(config.V * config.C) / Double(all)
}

private func expectSizes(_ page: inout Page) {
    let rows = [
        Measured(V: 1024, bytes: 2.693, rare: 1, steps: 2423, bits: 1.708),
        Measured(V: 2048, bytes: 3.247, rare: 26, steps: 2274, bits: 1.666),
        Measured(V: 4096, bytes: 3.716, rare: 212, steps: 2024, bits: 1.632),
        Measured(V: 8192, bytes: 4.024, rare: 1411, steps: 1660, bits: 1.644),
        Measured(V: 28_101, bytes: 4.242, rare: 23_360),
    ]
    func loss(_ row: Measured) -> Double { (row.bits ?? 0) * log(2) * row.bytes }
    for row in rows {
        let part = share(GPT2Configuration(maxT: 128, V: row.V, L: 6, NH: 6, C: 192))
        let trained = row.bits.map { "\(grouped(row.steps ?? 0)) | \(decimal(loss(row), 2)) | \(decimal($0, 3))" }
        page.expect(
            "| \(grouped(row.V)) | \(decimal(row.bytes, 2)) | \(grouped(row.rare)) | \(decimal(100 * part, 0))% | "
                + "\(trained ?? "| |") |")
    }
    page.expect(
        "A loss of \(decimal(loss(rows[0]), 2)) with \(decimal(rows[0].bytes, 2)) bytes a token is "
            + "\(decimal(rows[0].bits ?? 0, 2)) bits a byte. One of \(decimal(loss(rows[3]), 2)) with "
            + "\(decimal(rows[3].bytes, 2)) looks worse, and is better: \(decimal(rows[3].bits ?? 0, 2)).")
    page.expect(
        "of \(grouped(rows[4].V)) tokens, which is all that this text gives, \(grouped(rows[4].rare)) are rare.")

    let best = rows[2].bits ?? 0
    let costs = [rows[1], rows[3]].map { decimal(100 * (($0.bits ?? 0) / best - 1), 1) }
    page.expect("Half as many tokens cost \(costs[0])%, twice as many \(costs[1])%.")

    func percent(_ V: Int, _ L: Int, _ NH: Int, _ C: Int, _ maxT: Int) -> String {
        "\(decimal(100 * share(GPT2Configuration(maxT: maxT, V: V, L: L, NH: NH, C: C)), 0))%"
    }
    page.expect(
        "\(percent(50257, 12, 12, 768, 1024)) in GPT-2 124M with 50,257 tokens; \(percent(4096, 4, 4, 96, 128)) in a model "
            + "of 4 layers of 96 channels with 4,096 tokens, and with 32,000 it would be \(percent(32000, 4, 4, 96, 128)):"
    )
}
