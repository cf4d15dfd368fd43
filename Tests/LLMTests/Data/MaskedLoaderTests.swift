// Masked-language modelling's batches: which tokens are asked for, what stands in their place, and that a resumed run
// sees the same.

import LLM
import Testing

private let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

/// A vocabulary of pieces with ##, five special tokens first.
private func tokenizer() throws -> Tokenizer {
    let text = String(decoding: try contents(of: fixture("tokenizer_corpus.txt")), as: UTF8.self)
    var result: Tokenizer?
    try withTemporaryDirectory { folder in
        try write(Array(text.utf8), to: "\(folder)/text.txt")
        try expectSuccess(
            "train_tokenizer",
            ["--input", "text.txt", "--scheme", "prefix", "--vocab-size", "500", "--output", "t", "--special"]
                + special,
            in: folder)
        result = try Tokenizer(directory: "\(folder)/t")
    }
    return try #require(result)
}

private func masks(_ text: [Int32], _ masking: Masking, seed: UInt64) -> (inputs: [Int32], targets: [Int32]) {
    var (inputs, random) = (text, Xorshift(seed: seed))
    let targets = masking.hide(&inputs, &random)
    return (inputs, targets)
}

@Test func `fifteen of a hundred tokens are asked for, and most of them hidden`() throws {
    let tokenizer = try tokenizer()
    let (masking, V) = (try Masking(tokenizer), tokenizer.vocabularySize)
    let text = randomTokens(200_000, below: V - 5, seed: 1).map { $0 + 5 }
    let (inputs, targets) = masks(text, masking, seed: 2)
    let asked = text.indices.filter { targets[$0] >= 0 }
    #expect(abs(Double(asked.count) / 200_000 - 0.15) < 0.003)
    for n in text.indices {
        #expect(targets[n] == (targets[n] < 0 ? -1 : text[n]) && (targets[n] >= 0 || inputs[n] == text[n]))
    }
    func share(_ isIt: (Int) -> Bool) -> Double { Double(asked.count { isIt($0) }) / Double(asked.count) }
    #expect(abs(share { inputs[$0] == masking.mask } - 0.8) < 0.01)
    #expect(abs(share { inputs[$0] == text[$0] } - 0.1) < 0.01)
    // Any other token, special ones among them.
    let others = asked.map { inputs[$0] }.filter { $0 != masking.mask }
    #expect(Set(others).count > V * 9 / 10 && others.contains { $0 < 5 })
}

@Test func `special tokens are never asked for, and a short text has one that is`() throws {
    let masking = try Masking(tokenizer())
    for seed in 1...200 as ClosedRange<UInt64> {
        let (inputs, targets) = masks([2, 30, 3], masking, seed: seed)
        #expect(targets == [-1, 30, -1] && inputs[0] == 2 && inputs[2] == 3)
        #expect(masks([2, 3, 0], masking, seed: seed).targets == [-1, -1, -1])
    }
}

@Test func `a word is asked for as a whole`() throws {
    let tokenizer = try tokenizer()
    let masking = try Masking(tokenizer, hidesWords: true)
    let pieces = tokenizer.spellings.map { $0.starts(with: Array("##".utf8)) }
    let text = randomTokens(100_000, below: pieces.count - 5, seed: 1).map { $0 + 5 }
    let targets = masks(text, masking, seed: 2).targets
    let words = text.indices.dropFirst().filter { !pieces[Int(text[$0])] }
    #expect(abs(Double(words.count { targets[$0] >= 0 }) / Double(words.count) - 0.15) < 0.01)
    for n in text.indices.dropFirst() where pieces[Int(text[n])] {
        #expect((targets[n] >= 0) == (targets[n - 1] >= 0))
    }
}

@Test func `rows stand between their ends, without padding, and a resumed loader draws the same masks`() throws {
    let tokenizer = try tokenizer()
    try withTemporaryDirectory { folder in
        // Rows of eight: full ones, one with padding, one of padding alone.
        var ids = randomTokens(8 * 12, below: tokenizer.vocabularySize - 5, seed: 1).map { $0 + 5 }
        for i in 8 * 3 + 5..<8 * 4 { ids[i] = 3 }
        for i in 8 * 7..<8 * 8 { ids[i] = 3 }
        try writeShard(ids + [3], to: "\(folder)/train_0.bin")
        func loader(_ seed: UInt32?) throws -> MaskedLoader {
            let rows = try DataLoader(
                pattern: "\(folder)/train_*.bin", B: 2, T: 8, vocabularySize: tokenizer.vocabularySize,
                shuffleSeed: seed)
            return MaskedLoader(rows, try Masking(tokenizer), seed: 9)
        }
        let plain = try loader(nil)
        var all: [Batch] = []
        for b in 0..<6 {
            let batch = try plain.nextBatch()
            all.append(batch)
            var start = 0
            let wanted = (2 * b..<2 * b + 2).map { [10, 10, 10, 7, 10, 10, 10, 0][$0 < 8 ? $0 : 0] }.filter { $0 > 0 }
            #expect(batch.lengths == wanted)
            for length in batch.lengths {
                #expect(batch.inputs[start] == 2 && batch.inputs[start + length - 1] == 3)
                start += length
            }
        }
        let text: [Int32] = all.flatMap { batch -> [Int32] in
            let tokens: [Int32] = zip(batch.inputs, batch.targets).map { $1 >= 0 ? $1 : $0 }
            return tokens.filter { $0 != 2 && $0 != 3 }
        }
        #expect(text == ids.filter { $0 != 3 })
        // To validate: the same masks in every epoch. To train: others.
        #expect(try plain.nextBatch().targets == all[0].targets)
        let shuffled = try loader(42)
        let epochs: [[[Int32]]] = try (0..<2).map { _ in try (0..<6).map { _ in try shuffled.nextBatch().targets } }
        #expect(Set(epochs.flatMap { $0 }).count == 12)
        let whole = try loader(42)
        for _ in 0..<8 { _ = try whole.nextBatch() }
        let resumed = try loader(42)
        for _ in 0..<8 { resumed.skipBatch() }
        #expect(resumed.position == whole.position)
        try resumed.resume(at: whole.position)
        for _ in 0..<6 {
            let (a, b) = (try whole.nextBatch(), try resumed.nextBatch())
            #expect(a.inputs == b.inputs && a.targets == b.targets)
        }
    }
}

@Test func `the share of what is asked for is as given, and a lonely text's token is any`() throws {
    let tokenizer = try tokenizer()
    let text = randomTokens(50_000, below: tokenizer.vocabularySize - 5, seed: 1).map { $0 + 5 }
    let targets = masks(text, try Masking(tokenizer, share: 0.5), seed: 2).targets
    #expect(abs(Double(targets.count { $0 >= 0 }) / 50_000 - 0.5) < 0.01)
    // Nothing is asked for by chance, so one of three is.
    let nothing = try Masking(tokenizer, share: 0)
    var counts = [0, 0, 0]
    for seed in 1...600 as ClosedRange<UInt64> {
        let targets = masks([2, 30, 31, 32, 3], nothing, seed: seed).targets
        #expect(targets.count { $0 >= 0 } == 1)
        for i in 0..<3 where targets[i + 1] >= 0 { counts[i] += 1 }
    }
    #expect(counts.allSatisfy { 140...260 ~= $0 }, "\(counts)")
}

/// A text that begins inside a word, as one does that was cut there.
@Test func `the rest of a word is asked for as a word`() throws {
    let tokenizer = try tokenizer()
    let masking = try Masking(tokenizer, hidesWords: true, share: 0.5)
    let piece = Int32(try #require(tokenizer.spellings.firstIndex { $0.starts(with: Array("##".utf8)) }))
    var (counts, together) = ([0, 0, 0], 0)
    for seed in 1...600 as ClosedRange<UInt64> {
        // In the middle a special token, which ends a word.
        let targets = masks([piece, piece, 3, piece, 30, piece], masking, seed: seed).targets
        #expect((targets[0] >= 0) == (targets[1] >= 0) || targets.count { $0 >= 0 } == 1)
        #expect((targets[4] >= 0) == (targets[5] >= 0) || targets.count { $0 >= 0 } == 1)
        for (i, n) in [0, 3, 4].enumerated() where targets[n] >= 0 { counts[i] += 1 }
        if (targets[1] >= 0) == (targets[3] >= 0) { together += 1 }
    }
    #expect(counts.allSatisfy { 220...400 ~= $0 } && 200...400 ~= together, "\(counts) \(together)")
}

@Test func `masks are of the seed, the shard and the place, and padding may be in front`() throws {
    let tokenizer = try tokenizer()
    try withTemporaryDirectory { folder in
        // The same row over and over, in two shards.
        var row = randomTokens(64, below: tokenizer.vocabularySize - 5, seed: 1).map { $0 + 5 }
        (row[0], row[1], row[63]) = (3, 3, 3)
        let ids: [Int32] = row + row + row + row + [3]
        for i in 0..<2 { try writeShard(ids, to: "\(folder)/train_\(i).bin") }
        func batches(seed: UInt32, order: UInt32? = nil) throws -> [Batch] {
            let rows = try DataLoader(
                pattern: "\(folder)/train_*.bin", B: 1, T: 64, vocabularySize: tokenizer.vocabularySize,
                shuffleSeed: order)
            let loader = MaskedLoader(rows, try Masking(tokenizer), seed: seed)
            return try (0..<8).map { _ in try loader.nextBatch() }
        }
        let (first, second) = (try batches(seed: 9), try batches(seed: 10))
        #expect(first.allSatisfy { $0.lengths == [63] && $0.inputs.first == 2 && $0.inputs.last == 3 })
        #expect(Set((first + second).map(\.targets)).count == 16)
        #expect(try batches(seed: 9).map(\.targets) == first.map(\.targets))
        // In one order of the rows, too.
        let (third, fourth) = (try batches(seed: 9, order: 42), try batches(seed: 10, order: 42))
        #expect(Set((third + fourth).map(\.targets)).count == 16)
    }
}
