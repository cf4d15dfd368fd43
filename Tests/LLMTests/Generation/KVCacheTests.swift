// The cache's bookkeeping: which rows a pass has, and which of them it goes on with.

import Foundation
import Kernels
import LLM
import Testing

@Test func `tokens enough for training's attention are a prompt, if they are the first`() {
    for (position, count, isPrompt) in [(0, 8, true), (0, 7, false), (1, 8, false), (0, 100, true), (5, 1, false)] {
        #expect(KVCache.Segment(sequence: 0, position: position, count: count).isPrompt == isPrompt)
    }
}

@Test func `a pass has the rows of its segments, one after the other`() {
    let cache = KVCache(L: 1, C: 2, NH: 1, sequences: 3, capacity: 20)
    cache.begin([
        .init(sequence: 2, position: 0, count: 9), .init(sequence: 0, position: 4, count: 1),
        .init(sequence: 1, position: 2, count: 3),
    ])
    #expect(cache.rows == 13 && cache.positions == [0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2, 3, 4])
    let context = Context.cache(cache)
    #expect(context.rows == 13 && context.positions == cache.positions)
    #expect(Context.batch(B: 2, T: 3).rows == 6 && Context.batch(B: 2, T: 3).positions == [0, 1, 2, 0, 1, 2])
    let various = Context.batch(lengths: [2, 0, 1, 3])
    #expect(various.rows == 6 && various.positions == [0, 1, 0, 0, 1, 2])
    cache.begin([.init(sequence: 1, position: 7, count: 1)])
    #expect(cache.rows == 1 && cache.positions == [7])
}

@Test(arguments: [[1], [5], [1, 1, 1], [9, 8, 3, 1, 2], [8, 1, 7, 1]])
func `the last tokens of segments of any lengths move to the front`(counts: [Int]) {
    let cache = KVCache(L: 1, C: 2, NH: 1, sequences: counts.count, capacity: 20)
    cache.begin(counts.enumerated().map { .init(sequence: $0, position: $1 >= 8 ? 0 : $0, count: $1) })
    let rows = counts.reduce(0, +)
    var narrow = (0..<rows).map { Float($0) }
    var wide = (0..<3 * rows).map { Float($0) }
    let kept = narrow.withUnsafeMutableBufferPointer { narrow in
        wide.withUnsafeMutableBufferPointer { wide in
            guard let one = narrow.baseAddress, let three = wide.baseAddress else { return 0 }
            return cache.keepLastTokens((one, 1), (three, 3))
        }
    }
    #expect(kept == counts.count)
    var last = -1
    for (i, count) in counts.enumerated() {
        last += count
        #expect(narrow[i] == Float(last))
        #expect(Array(wide[3 * i..<3 * i + 3]) == (0..<3).map { Float(3 * last + $0) })
    }
}

/// The textbook's attention over keys and values that were stored in several passes, by sequences of different lengths,
/// some of which share a prompt; in the second of two layers.
@Test func `a token attends to its own sequence, and to the prompt it shares`() {
    let (C, NH, capacity) = (6, 2, 16)
    let HS = C / NH
    let cache = KVCache(L: 2, C: C, NH: NH, sequences: 2, capacity: capacity)
    var random = Xorshift(seed: 1)
    func noise(_ rows: Int) -> [Float] { (0..<rows * 3 * C).map { _ in random.uniform() * 2 - 1 } }
    /// Rows of qkv that each place has seen: the two sequences, and the shared prompt.
    var seen = [[Float]](repeating: [], count: 3)
    func expectAttention(_ segments: [KVCache.Segment]) {
        cache.begin(segments)
        let qkv = noise(cache.rows)
        cache.store(noise(cache.rows), layer: 0)
        cache.store(qkv, layer: 1)
        var out = [Float](repeating: .nan, count: cache.rows * C)
        var lse = [Float](repeating: 0, count: cache.rows * NH)
        cache.attention(out: &out, lse: &lse, qkv: qkv, layer: 1)
        var row = 0
        for segment in segments {
            for _ in 0..<segment.count {
                let new = Array(qkv[row * 3 * C..<(row + 1) * 3 * C])
                seen[segment.sequence] += new
                let text = seen[segment.sequence]
                for h in 0..<NH {
                    let scores = (0..<text.count / (3 * C)).map { t in
                        exp(
                            (0..<HS).reduce(0.0) { $0 + Double(new[h * HS + $1] * text[t * 3 * C + C + h * HS + $1]) }
                                / Double(HS).squareRoot())
                    }
                    for i in 0..<HS {
                        let sum = scores.enumerated().reduce(0.0) {
                            $0 + $1.element * Double(text[$1.offset * 3 * C + 2 * C + h * HS + i])
                        }
                        let expected = sum / scores.reduce(0, +)
                        #expect(abs(Double(out[row * C + h * HS + i]) - expected) < 1e-5)
                    }
                }
                row += 1
            }
        }
    }
    expectAttention([.init(sequence: 1, position: 0, count: 8), .init(sequence: 0, position: 0, count: 3)])
    expectAttention([.init(sequence: 0, position: 3, count: 2), .init(sequence: 1, position: 8, count: 1)])
    expectAttention([.init(sequence: cache.sharedPlace, position: 0, count: 5)])
    cache.sharePrompt(5)
    (seen[0], seen[1]) = (seen[2], seen[2])
    expectAttention([.init(sequence: 1, position: 5, count: 1), .init(sequence: 0, position: 5, count: 3)])
    expectAttention([.init(sequence: 0, position: 8, count: 1), .init(sequence: 1, position: 6, count: 1)])
    cache.clear(1)
    seen[1] = []
    expectAttention([.init(sequence: 1, position: 0, count: 9), .init(sequence: 0, position: 9, count: 1)])
}
