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

/// Probabilities are floats, and their sum may be less than the largest coin.
@Test func `rounding does not draw a token of no probability`() {
    for count in 1...200 {
        let logits = (0..<count).map { Float($0 % 7) / 3 }
        #expect(sample(logits + [-.infinity], coin: Float(1).nextDown) == count - 1, "\(count)")
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

// MARK: - settings at their ends

private func processed(_ logits: [Float], _ sampler: Sampler, context: [Int32] = []) -> [Float] {
    var scores = logits
    scores.withUnsafeMutableBufferPointer { sampler.process($0, context: context) }
    return scores
}

private func next(_ logits: [Float], _ sampler: Sampler, context: [Int32] = [], seed: UInt64) -> Int32 {
    var random = Xorshift(seed: seed)
    return logits.withUnsafeBufferPointer { sampler.next($0, context: context, random: &random) }
}

private let smallest = Float.leastNonzeroMagnitude

@Test(arguments: [1e-38, 1e-30, smallest, 1e-9])
func `a temperature near 0 takes the likeliest token`(temperature: Float) {
    var sampler = Sampler()
    sampler.temperature = temperature
    for seed in 0..<20 as Range<UInt64> {
        #expect(next([1, 3, 2], sampler, seed: seed) == 1)
        #expect(next([-30, -10, -20], sampler, seed: seed) == 1)
        #expect(next([-3e38, 3e38, 0], sampler, seed: seed) == 1)
        #expect(next([5, 2, 5, 5], sampler, seed: seed) != 1)
    }
    // Equal ones are equally likely.
    let drawn = (0..<300).map { next([5, 2, 5], sampler, seed: $0) }
    let first = drawn.count { $0 == 0 }
    #expect((100...200).contains(first) && drawn.count { $0 == 2 } == 300 - first)
}

@Test func `a repetition penalty near 0 or very large stays one`() {
    for isGreedy in [false, true] {
        var sampler = Sampler()
        sampler.isGreedy = isGreedy
        for penalty: Float in [smallest, 1e-38, 1e-30] {
            // Of the tokens that have occurred, the likeliest.
            sampler.repetitionPenalty = penalty
            #expect(next([9, 2, 3, -1], sampler, context: [1, 2, 3, 1], seed: 1) == 2)
            #expect(next([9, 3e38, 3.1e38, -3e38], sampler, context: [1, 2, 3], seed: 1) == 2)
        }
        // Of those that have not.
        sampler.repetitionPenalty = 3e38
        #expect(next([-1, -2, -3, -4], sampler, context: [0, 1], seed: 1) != 0)
        #expect(next([-3e38, -2e38], sampler, context: [0, 1], seed: 1) == 1)
        #expect(next([3e38, -3e38, 0.5], sampler, context: [0, 1], seed: 1) != 1)
    }
}

@Test func `no settings and no logits make a score NaN, or leave nothing to draw from`() {
    let extremes: [Float] = [smallest, 1e-38, 1e-6, 0.3, 1, 7, 1e6, 3e38]
    let values: [Float] = [0, -0.0, 1, -1, smallest, -smallest, 30, -30, 1e20, -1e20, 3.4e38, -3.4e38]
    var random = Xorshift(seed: 4)
    for round in 0..<3000 {
        let logits = (0..<1 + random.below(8)).map { _ in values[random.below(values.count)] }
        var sampler = Sampler()
        sampler.temperature = extremes[random.below(extremes.count)]
        sampler.repetitionPenalty = extremes[random.below(extremes.count)]
        sampler.topK = random.below(4)
        sampler.topP = [1, 0.5, 0][random.below(3)]
        sampler.minP = [0, 0.5, 1][random.below(3)]
        sampler.isGreedy = random.below(4) == 0
        let context = (0..<random.below(5)).map { _ in Int32(random.below(logits.count)) }
        let scores = processed(logits, sampler, context: context)
        #expect(scores.allSatisfy { $0 < .infinity } && scores.contains { $0 > -.infinity }, "\(sampler) \(logits)")
        let token = Int(next(logits, sampler, context: context, seed: UInt64(round)))
        #expect(scores[token] > -.infinity, "\(sampler) \(logits)")
    }
}

@Test func `ordinary settings are float arithmetic, bit for bit`() {
    var random = Xorshift(seed: 5)
    for _ in 0..<200 {
        let logits = (0..<50).map { _ in 40 * random.uniform() - 25 }
        var sampler = Sampler()
        sampler.temperature = random.below(3) == 0 ? 1 : 0.1 + 2 * random.uniform()
        sampler.repetitionPenalty = random.below(3) == 0 ? 1 : 0.5 + random.uniform()
        var expected = logits
        for token in Set((0..<20).map { $0 * $0 % 50 }) {
            let score = expected[token]
            expected[token] = score < 0 ? score * sampler.repetitionPenalty : score / sampler.repetitionPenalty
        }
        let context = (0..<20).map { Int32($0 * $0 % 50) }
        expected = expected.map { $0 / sampler.temperature }
        #expect(processed(logits, sampler, context: context).map(\.bitPattern) == expected.map(\.bitPattern))
    }
}
