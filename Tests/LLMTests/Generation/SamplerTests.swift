// Drawing the next token.

import Foundation
import LLM
import Testing

private func sample(_ logits: [Float], coin: Float) -> Int {
    logits.withUnsafeBufferPointer { sampleSoftmax($0, coin: coin) }
}

@Test func `tokens come as often as softmax says`() {
    let logits: [Float] = [1, -1, 2, 0.5, -3]
    let exponentials = logits.map { exp(Double($0)) }
    let sum = exponentials.reduce(0, +)
    var counts = [Int](repeating: 0, count: logits.count)
    var random = Xorshift(seed: 1)
    let draws = 50_000
    for _ in 0..<draws { counts[sample(logits, coin: random.uniform())] += 1 }
    for (count, exponential) in zip(counts, exponentials) {
        let p = exponential / sum
        // Five standard deviations of a binomial distribution.
        #expect(abs(Double(count) - p * Double(draws)) < 5 * (Double(draws) * p * (1 - p)).squareRoot())
    }
}

@Test func `a coin's ends give the first and the last token`() {
    let logits: [Float] = [0, 0, 0, 0]
    #expect(sample(logits, coin: 0) == 0)
    #expect(sample(logits, coin: Float(1).nextDown) == 3)
    #expect([0.24, 0.26, 0.49, 0.51, 0.74, 0.76].map { sample(logits, coin: $0) } == [0, 1, 1, 2, 2, 3])
    #expect(sample([7], coin: 0) == 0 && sample([7], coin: Float(1).nextDown) == 0)
}

@Test func `a token of no probability is never drawn`() {
    for coin in [0, 0.5, Float(1).nextDown] {
        #expect(sample([-.infinity, 3, -.infinity], coin: coin) == 1)
        #expect(sample([-1e30, 3, -1e30], coin: coin) == 1)
    }
}

@Test func `huge logits do not overflow`() {
    for coin in [0, 0.5, Float(1).nextDown] {
        #expect(sample([1e4, -1e4, 0], coin: coin) == 0)
        #expect(sample([-1e4, -9.8e3, -1e4], coin: coin) == 1)
        #expect(sample([-1e38, 0, 1e38], coin: coin) == 2)
    }
    #expect(sample([1e4, 1e4], coin: 0.49) == 0 && sample([1e4, 1e4], coin: 0.51) == 1)
}
