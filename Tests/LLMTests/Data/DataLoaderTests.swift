// The loader's order against llm.c's, written again from its description; and everything that can be wrong with data.

import Foundation
import LLM
import Testing

// MARK: - the twin

/// MT19937 as its paper and llm.c write it.
private struct TwinTwister {
    var words: [UInt32]
    var left = 1
    var nextIndex = 0

    init(seed: UInt32) {
        words = [seed]
        for j in 1..<624 { words.append(1_812_433_253 &* (words[j - 1] ^ (words[j - 1] >> 30)) &+ UInt32(j)) }
    }

    mutating func next() -> UInt32 {
        left -= 1
        if left <= 0 {
            for j in 0..<624 {
                let y = (words[j] & 0x8000_0000) | (words[(j + 1) % 624] & 0x7fff_ffff)
                words[j] = words[(j + 397) % 624] ^ (y >> 1) ^ (y % 2 == 1 ? 0x9908_b0df : 0)
            }
            (left, nextIndex) = (624, 0)
        }
        var y = words[nextIndex]
        nextIndex += 1
        y ^= y >> 11
        y ^= y << 7 & 0x9d2c_5680
        y ^= y << 15 & 0xefc6_0000
        return y ^ (y >> 18)
    }

    /// Fisher–Yates from the end.
    mutating func shuffle(_ order: inout [Int]) {
        var i = order.count - 1
        while i > 0 {
            let j = Int(next() % UInt32(i + 1))
            let value = order[j]
            order[j] = order[i]
            order[i] = value
            i -= 1
        }
    }
}

/// The first `batches` samples, each B·T + 1 tokens, in llm.c's order: all shards' tokens in memory, epoch by epoch.
/// The order of shards is shuffled again and again; each shard's order of samples begins again from 0, 1, 2, …
private func twinSamples(_ shards: [[Int32]], size: Int, seed: UInt32?, batches: Int) -> [[Int32]] {
    var result: [[Int32]] = []
    var random = TwinTwister(seed: seed ?? 0)
    var shardOrder = Array(shards.indices)
    while true {
        if seed != nil { random.shuffle(&shardOrder) }
        for shard in shardOrder {
            var order = Array(0..<(shards[shard].count - 1) / size)
            if seed != nil { random.shuffle(&order) }
            for sample in order {
                if result.count == batches { return result }
                result.append(Array(shards[shard][sample * size...sample * size + size]))
            }
        }
    }
}

/// The first `batches` batches of B rows, each T + 1 tokens, where rows are shuffled: the first of a shard's order of rows
/// says at which token, below T, the rows begin. Rows that fill no batch are left out.
private func twinRows(_ shards: [[Int32]], B: Int, T: Int, seed: UInt32, batches: Int) -> [[[Int32]]] {
    var result: [[[Int32]]] = []
    var random = TwinTwister(seed: seed)
    var shardOrder = Array(shards.indices)
    while true {
        random.shuffle(&shardOrder)
        for shard in shardOrder {
            var order = Array(0..<shards[shard].count / T - 1)
            random.shuffle(&order)
            let start = order[0] * T / order.count
            while order.count >= B {
                if result.count == batches { return result }
                result.append(order[..<B].map { Array(shards[shard][start + $0 * T...start + $0 * T + T]) })
                order.removeFirst(B)
            }
        }
    }
}

/// Writes shards of these lengths; their tokens.
private func makeShards(_ lengths: [Int], in directory: String, vocabulary: Int = 500) throws -> [[Int32]] {
    try lengths.enumerated().map { i, length in
        let tokens = randomTokens(length, below: vocabulary, seed: UInt64(i + 1))
        try writeShard(tokens, to: directory + "/train_\(i).bin")
        return tokens
    }
}

private func loader(
    _ directory: String, B: Int = 2, T: Int = 5, vocabularySize: Int = 500, seed: UInt32? = 42, rows: Bool = false,
    shrinks: Bool = false, counted: DataLoader.Targets = .all
) throws -> DataLoader {
    try DataLoader(
        pattern: directory + "/train_*.bin", B: B, T: T, vocabularySize: vocabularySize, shuffleSeed: seed,
        shufflesRows: rows, shrinks: shrinks, counted: counted)
}

// MARK: - the order

@Test(arguments: [nil, 42, 7] as [UInt32?])
func `samples come in llm.c's order over shards and epochs`(seed: UInt32?) throws {
    try withTemporaryDirectory { directory in
        // 10 tokens a sample and one more: 20 tokens are one sample, 21 two.
        let shards = try makeShards([57, 20, 21, 111, 3071], in: directory)
        let loader = try loader(directory, seed: seed)
        #expect(loader.tokenCount == shards.reduce(0) { $0 + $1.count })
        #expect(loader.batchesPerEpoch == 5 + 1 + 2 + 11 + 307)
        let expected = twinSamples(shards, size: 10, seed: seed, batches: 1500)
        for sample in expected {
            let batch = try loader.nextBatch()
            try #require(batch.inputs == Array(sample.dropLast()) && batch.targets == Array(sample.dropFirst()))
        }
    }
}

@Test func `rows come in an order of their own, and begin elsewhere in each epoch`() throws {
    try withTemporaryDirectory { directory in
        // A batch of three rows of five takes 20 tokens, because the rows begin at any of five.
        let shards = try makeShards([20, 57, 24, 111, 19], in: directory)
        let loader = try loader(directory, B: 3, rows: true)
        #expect(loader.tokenCount == 20 + 57 + 24 + 111 && loader.batchesPerEpoch == 1 + 3 + 1 + 7)
        var starts = Set<Int32>()
        for rows in twinRows(Array(shards[..<4]), B: 3, T: 5, seed: 42, batches: 300) {
            let batch = try loader.nextBatch()
            try #require(batch.inputs == rows.flatMap { $0.dropLast() })
            try #require(batch.targets == rows.flatMap { $0.dropFirst() } && batch.lengths == [5, 5, 5])
            starts.formUnion(rows.map { $0[0] })
        }
        // Most tokens have been the first of a row.
        #expect(starts.count > 130)
        expectUserError("a row short") {
            _ = try DataLoader(
                pattern: directory + "/train_4.bin", B: 3, T: 5, vocabularySize: 500, shuffleSeed: 1, shufflesRows: true
            )
        }
    }
}

@Test func `a shard too short for a sample is passed over`() throws {
    try withTemporaryDirectory { directory in
        let shards = try makeShards([31, 10, 45], in: directory)
        let loader = try loader(directory)
        #expect(loader.batchesPerEpoch == 7 && loader.tokenCount == 76)
        for sample in twinSamples([shards[0], shards[2]], size: 10, seed: 42, batches: 30) {
            try #require(try loader.nextBatch().inputs == Array(sample.dropLast()))
        }
    }
}

@Test(arguments: [(nil, false), (42, false), (42, true)] as [(UInt32?, Bool)])
func `a loader resumes at any place`(seed: UInt32?, rows: Bool) throws {
    try withTemporaryDirectory { directory in
        _ = try makeShards([57, 20, 41, 111], in: directory)
        let whole = try loader(directory, seed: seed, rows: rows)
        // Three epochs, with the position before every batch.
        var places: [DataLoader.Position] = []
        var batches: [[Int32]] = []
        for _ in 0..<3 * whole.batchesPerEpoch {
            places.append(whole.position)
            batches.append(try whole.nextBatch().inputs)
        }
        let skipping = try loader(directory, seed: seed, rows: rows)
        for place in places {
            try #require(skipping.position == place)
            skipping.skipBatch()
        }
        for start in places.indices {
            let resumed = try loader(directory, seed: seed, rows: rows)
            try resumed.resume(at: places[start])
            for batch in batches[start...].prefix(25) {
                try #require(try resumed.nextBatch().inputs == batch)
            }
        }
    }
}

@Test func `a new epoch on demand begins with its first sample`() throws {
    try withTemporaryDirectory { directory in
        let shards = try makeShards([57, 41], in: directory)
        let loader = try loader(directory, seed: nil)
        for _ in 0..<2 {
            for _ in 0..<3 { try loader.nextBatch() }
            loader.startEpoch()
            #expect(try loader.nextBatch().inputs == Array(shards[0][..<10]))
        }
    }
}

@Test func `the fingerprint depends on every token, and on the shards' lengths`() throws {
    try withTemporaryDirectory { directory in
        func fingerprint(_ length: Int, changing index: Int? = nil) throws -> UInt64 {
            var tokens = randomTokens(length, below: 400, seed: 1)
            if let index { tokens[index] += 1 }
            try writeShard(tokens, to: directory + "/train_0.bin")
            return try loader(directory).check()
        }
        let first = try fingerprint(5000)
        #expect(try fingerprint(5000) == first)
        #expect(try fingerprint(5001) != first)
        for index in [0, 1, 2500, 4095, 4096, 4999] { #expect(try fingerprint(5000, changing: index) != first) }
        // The same tokens in two shards.
        let tokens = randomTokens(5000, below: 400, seed: 1)
        try writeShard(Array(tokens[..<2500]), to: directory + "/train_0.bin")
        try writeShard(Array(tokens[2500...]), to: directory + "/train_1.bin")
        #expect(try loader(directory).check() != first)
    }
}

// MARK: - small data

@Test(
    arguments: [
        // tokens, then B and T that come of 4 × 8
        (33, 4, 8), (32, 3, 8), (17, 2, 8), (16, 1, 8), (9, 1, 8), (8, 1, 7), (3, 1, 2), (2, 1, 1),
    ])
func `small validation data shrinks the batch`(tokens: Int, B: Int, T: Int) throws {
    try withTemporaryDirectory { directory in
        let shards = try makeShards([tokens], in: directory)
        let loader = try loader(directory, B: 4, T: 8, seed: nil, shrinks: true)
        #expect(loader.B == B && loader.T == T && loader.batchesPerEpoch == 1)
        let batch = try loader.nextBatch()
        #expect(batch.inputs == Array(shards[0][..<(B * T)]) && batch.targets == Array(shards[0][1...B * T]))
        if tokens <= 32 {
            expectUserError("\(tokens) tokens without shrinking") {
                _ = try DataLoader(
                    pattern: directory + "/train_*.bin", B: 4, T: 8, vocabularySize: 500, shuffleSeed: nil)
            }
        }
    }
}

// MARK: - errors

@Test func `no shards, too short ones, and batches larger than anything`() throws {
    try withTemporaryDirectory { directory in
        expectUserError("no shards") { _ = try loader(directory) }
        _ = try makeShards([10], in: directory)
        expectUserError("one token short") { _ = try loader(directory) }
        expectUserError("an overflow") { _ = try loader(directory, B: 1 << 40, T: 1 << 40) }
        let shrunk = try loader(directory, B: 1 << 40, T: 1 << 40, shrinks: true)
        #expect(shrunk.B == 1 && shrunk.T == 9)
    }
    try withTemporaryDirectory { directory in
        _ = try makeShards([1], in: directory)
        expectUserError("a single token, even if it shrinks") { _ = try loader(directory, shrinks: true) }
    }
}

@Test func `a token outside the vocabulary`() throws {
    try withTemporaryDirectory { directory in
        var tokens = randomTokens(41, below: 100, seed: 1)
        tokens[25] = 100
        try writeShard(tokens, to: directory + "/train_0.bin")
        let short = try loader(directory, vocabularySize: 100, seed: nil)
        try short.nextBatch()
        try short.nextBatch()
        expectUserError("token 100 of 100") { try short.nextBatch() }
        let long = try loader(directory, vocabularySize: 101, seed: nil)
        for _ in 0..<4 { try long.nextBatch() }
    }
}

@Test func `a place on other data is refused`() throws {
    try withTemporaryDirectory { directory in
        _ = try makeShards([57, 41], in: directory)
        let shuffled = try loader(directory)
        let straight = try loader(directory, seed: nil)
        var places: [(String, DataLoader.Position)] = []
        func change(_ what: String, _ change: (inout DataLoader.Position) -> Void) {
            var place = shuffled.position
            change(&place)
            places.append((what, place))
        }
        change("shard 2 of 2") { $0.shard = 2 }
        change("shard −1") { $0.shard = -1 }
        change("a sample too many") { $0.sample = 1 + ($0.shuffle?.samples.count ?? 0) }
        change("sample −1") { $0.sample = -1 }
        change("three shards") { $0.shuffle?.shards = [0, 1, 2] }
        change("no shards") { $0.shuffle?.shards = [] }
        change("a shard twice") { $0.shuffle?.shards = [1, 1] }
        change("a negative shard") { $0.shuffle?.shards = [-1, 0] }
        change("no samples") { $0.shuffle?.samples = [] }
        change("a sample twice") { $0.shuffle?.samples[0...1] = [2, 2] }
        change("a negative sample") { $0.shuffle?.samples[0] = -1 }
        change("not shuffled") { $0.shuffle = nil }
        for (what, place) in places {
            let before = shuffled.position
            expectUserError(what) { try shuffled.resume(at: place) }
            #expect(shuffled.position == before)
        }
        expectUserError("shuffled") { try straight.resume(at: shuffled.position) }
        var place = straight.position
        place.sample = 6
        expectUserError("sample 6 of 5") { try straight.resume(at: place) }
        place.sample = 5  // the end of a shard: the next batch is the next shard's
        try straight.resume(at: place)
        try straight.nextBatch()
        #expect(straight.position.shard == 1)
    }
}

// MARK: - the targets that count

/// Which targets count, for a stream in which 0 ends a text and the mark is 7 8: written again, the other way round,
/// from what is asked for. The token at i counts if, going back from it within its row, a whole mark is met before a 0.
private func twinCounts(_ row: [Int32]) -> [Bool] {
    (1..<row.count).map { i in
        var back = i - 1
        while back >= 0 {
            if row[back] == 0 { return false }
            if back >= 1, row[back - 1] == 7, row[back] == 8 { return true }
            back -= 1
        }
        return false
    }
}

@Test func `only answers count`() throws {
    try withTemporaryDirectory { directory in
        // Tokens 0…9, so that ends, marks and halves of marks are everywhere.
        let tokens = randomTokens(4001, below: 10, seed: 5).enumerated().map { i, token in
            i % 11 == 3 ? 7 : i % 11 == 4 ? 8 : token
        }
        try writeShard(tokens, to: directory + "/train_0.bin")
        let answers = DataLoader.Targets.answers(mark: [7, 8], endOfText: 0)
        let someLoader = try loader(directory, B: 4, T: 25, seed: 3, counted: answers)
        let allLoader = try loader(directory, B: 4, T: 25, seed: 3)
        var counted = 0
        for _ in 0..<60 {
            let (some, all) = (try someLoader.nextBatch(), try allLoader.nextBatch())
            #expect(some.inputs == all.inputs)
            for row in stride(from: 0, to: 100, by: 25) {
                let whole = Array(all.inputs[row..<row + 25]) + [all.targets[row + 24]]
                let expected = zip(twinCounts(whole), whole.dropFirst()).map { $0 ? $1 : -1 }
                try #require(Array(some.targets[row..<row + 25]) == expected)
                counted += expected.count { $0 >= 0 }
            }
        }
        #expect((1000...5000).contains(counted))
    }
}

@Test func `a row of one question and its answer`() throws {
    try withTemporaryDirectory { directory in
        // Two rows of nine: end of text, question, mark 7 8, answer, padding; and one token more.
        let tokens: [Int32] = [0, 1, 2, 7, 8, 3, 4, 0, 0] + [0, 5, 7, 8, 6, 6, 6, 6, 6] + [0]
        try writeShard(tokens, to: directory + "/train_0.bin")
        let answers = DataLoader.Targets.answers(mark: [7, 8], endOfText: 0)
        let loader = try loader(directory, B: 2, T: 9, seed: nil, counted: answers)
        #expect(try loader.nextBatch().targets == [-1, -1, -1, -1, 3, 4, 0, -1, -1] + [-1, -1, -1, 6, 6, 6, 6, 6, 0])
        #expect(try loader.question(number: 0).tokens == [0, 1, 2, 7, 8])
        #expect(try loader.question(number: 3).tokens == [0, 5, 7, 8])
    }
}

@Test func `padding does not count, and the end of a text does`() throws {
    try withTemporaryDirectory { directory in
        // Texts of two, three, four and five tokens after their end-of-text, in rows of four, and a row of padding.
        let rows: [[Int32]] = [
            [0, 1, 2, 0], [0, 1, 2, 3], [0, 1, 2, 3], [4, 0, 0, 0], [0, 1, 2, 3], [4, 5, 0, 0], [0, 0, 0, 0],
        ]
        try writeShard(rows.flatMap { $0 } + [0], to: directory + "/train_0.bin")
        func textLoader() throws -> DataLoader {
            try loader(directory, B: 7, T: 4, seed: nil, counted: .text(endOfText: 0))
        }
        let batch = try textLoader().nextBatch()
        #expect(batch.inputs == rows.flatMap { $0 })
        #expect(
            batch.targets == [
                1, 2, 0, -1,  // the next row is another text's
                1, 2, 3, 0,  // the end of a text that fills its row is the next one's beginning
                1, 2, 3, 4,  // a text that was cut goes on
                0, -1, -1, -1, 1, 2, 3, 4, 5, 0, -1, -1, -1, -1, -1, -1,
            ])
        #expect(batch.counted == 3 + 4 + 4 + 1 + 4 + 2)
        #expect(try textLoader().hasTarget())
        try writeShard([Int32](repeating: 0, count: 29), to: directory + "/train_0.bin")
        #expect(try !textLoader().hasTarget())
    }
}
