// Batches of conversations: every one in an epoch once, none beside padding, and packed none seeing another.

import LLM
import Testing

/// Conversations of these lengths; the ids tell them apart, and the last ids of each are its answer.
private func conversations(_ lengths: [Int], answer: Int = 2) -> [ConversationTokens] {
    lengths.enumerated().map { i, length in
        ConversationTokens(
            ids: (0..<length).map { Int32(100 * i + $0) }, isAnswer: (0..<length).map { $0 >= length - answer })
    }
}

private func loader(
    _ lengths: [Int], B: Int = 2, T: Int = 9, packs: Bool = false, seed: UInt32? = 42
) -> ConversationLoader {
    ConversationLoader(conversations(lengths), B: B, T: T, packs: packs, answerEnd: 7, shuffleSeed: seed)
}

@Test func `a batch is conversations without padding, and only their answers count`() {
    let loader = loader([4, 3, 5], seed: nil)
    #expect(loader.batchesPerEpoch == 2 && loader.mostRows == 7)
    let first = loader.nextBatch()
    #expect(first.lengths == [3, 2])
    #expect(first.inputs == [0, 1, 2, 100, 101])
    #expect(first.targets == [-1, 2, 3, 101, 102])
    let second = loader.nextBatch()
    #expect(second.lengths == [4] && second.inputs == [200, 201, 202, 203] && second.targets == [-1, -1, 203, 204])
    #expect(loader.nextBatch().inputs == first.inputs, "the next epoch")
    #expect(loader.question(number: 4).tokens == [100] && loader.question(number: 0).end == 7)
}

@Test(arguments: [false, true]) func `an epoch has every conversation once, and the next another order`(packs: Bool) {
    var random = Xorshift(seed: 5)
    let lengths = (0..<57).map { _ in 2 + random.below(9) }
    let loader = loader(lengths, B: 4, packs: packs)
    var orders: [[Int32]] = []
    for _ in 0..<3 {
        var order: [Int32] = []
        for _ in 0..<loader.batchesPerEpoch {
            let batch = loader.nextBatch()
            #expect(batch.inputs.count <= loader.mostRows)
            var start = 0
            for length in batch.lengths {
                let i = Int(batch.inputs[start]) / 100
                order.append(Int32(i))
                #expect(length == lengths[i] - 1)
                #expect(Array(batch.inputs[start..<start + length]) == (0..<length).map { Int32(100 * i + $0) })
                #expect(batch.targets[start + length - 1] == Int32(100 * i + length))
                start += length
            }
        }
        #expect(order.sorted() == (0..<57).map { Int32($0) })
        orders.append(order)
    }
    #expect(Set(orders).count == 3)
}

@Test func `packed rows are full, and none longer than T`() {
    let lengths = [9, 8, 5, 4, 4, 3, 2, 2, 1, 1].map { $0 + 1 }
    let loader = loader(lengths, B: 1, packs: true, seed: nil)
    let rows = (0..<loader.batchesPerEpoch).map { _ in loader.nextBatch().inputs.count }
    // 39 tokens in rows of 9 are five rows at least.
    #expect(rows.count == 5 && rows.max() == 9 && rows.reduce(0, +) == 39)
    // Two rows, if the longest come first and each goes where it fills most: 7 + 3 and 6 + 2 + 2.
    #expect(ConversationLoader.packed([2, 2, 3, 6, 7], into: 10).count == 2)
}

@Test func `a loader resumes where another stood, and nowhere else`() throws {
    let lengths = [3, 4, 5, 6, 7, 8, 9]
    let whole = loader(lengths)
    for _ in 0..<6 { _ = whole.nextBatch() }
    let place = whole.position
    let skipping = loader(lengths)
    for _ in 0..<6 { skipping.skipBatch() }
    #expect(skipping.position == place)
    let second = loader(lengths)
    try second.resume(at: place)
    for _ in 0..<9 { #expect(second.nextBatch().inputs == whole.nextBatch().inputs) }
    for other in [loader(lengths + [3]), loader(lengths, seed: nil), loader([3, 4])] {
        expectUserError("another loader") { try other.resume(at: place) }
    }
    var outside = place
    outside.sample = 5
    expectUserError("past the end") { try second.resume(at: outside) }
}

@Test func `the data's checksum sees ids, answers and where conversations end`() {
    let all = [loader([3, 4]), loader([4, 3]), loader([7])].map { $0.check() }
    #expect(Set(all).count == 3)
    let other = ConversationLoader(
        conversations([3, 4], answer: 1), B: 2, T: 9, packs: false, answerEnd: nil, shuffleSeed: 1)
    #expect(other.check() != all[0])
    #expect(loader([3, 4], B: 1, seed: 3).check() == all[0], "neither the order nor the batch")
}
