// The next token: from the model's scores (logits) to a choice.
//
// The steps, their order and their borders are those of transformers' logits processors, so that the same settings
// leave the same tokens to draw from, with the same probabilities:
//
//     logits → repetition penalty → ÷ temperature → top k → top p → min p → softmax → draw
//
// Greedy decoding takes the largest logit after the repetition penalty; the rest would not change which it is. Where
// a score would be too large for a Float, the settings still do what they mean: a temperature near 0 takes the
// likeliest token, of several equal ones any.
// Top p (nucleus sampling) is from Holtzman et al., 2020; the repetition penalty from Keskar et al., 2019 (CTRL).

import Foundation
import Kernels

/// A rule for choosing the next token. With its defaults a setting has no effect.
package struct Sampler {
    /// Whether to take the likeliest token instead of drawing one.
    package var isGreedy = false
    /// The logit s of every token that the context has becomes s / penalty, or s · penalty if it is below zero.
    package var repetitionPenalty: Float = 1
    /// Above 0. Logits are divided by it: below 1 the likely tokens become likelier still.
    package var temperature: Float = 1
    /// Only the k likeliest tokens, and those as likely as the last of them; 0 for all.
    package var topK = 0
    /// Only the likeliest tokens, as few as have this probability together, and at least one.
    package var topP: Float = 1
    /// Only tokens at least this probable, times the largest probability.
    package var minP: Float = 0

    package init() {}

    /// The next token.
    /// - Parameters:
    ///   - logits: (V), as the model gives them.
    ///   - context: the tokens so far, for the repetition penalty.
    package func next(
        _ logits: UnsafeBufferPointer<Float>, context: [Int32], random: inout Xorshift
    ) -> Int32 {
        if isGreedy && repetitionPenalty == 1 { return Int32(argmax(logits)) }
        var scores = Array(logits)
        return scores.withUnsafeMutableBufferPointer { scores in
            process(scores, context: context)
            return Int32(
                isGreedy
                    ? argmax(UnsafeBufferPointer(scores))
                    : sampleSoftmax(UnsafeBufferPointer(scores), coin: random.uniform()))
        }
    }

    /// The processors, in place. What must not be drawn becomes −∞.
    package func process(_ scores: UnsafeMutableBufferPointer<Float>, context: [Int32]) {
        if repetitionPenalty != 1 {
            var wide = scores.map { Double($0) }
            for token in Set(context) where Int(token) < scores.count {
                let score = wide[Int(token)]
                wide[Int(token)] = score < 0 ? score * Double(repetitionPenalty) : score / Double(repetitionPenalty)
            }
            store(wide, in: scores)
        }
        guard !isGreedy else { return }
        if temperature != 1 { store(scores.map { Double($0) / Double(temperature) }, in: scores) }
        if topK > 0, topK < scores.count { keepTopK(scores) }
        if topP < 1 { keepTopP(scores) }
        if minP > 0 { keepMinP(scores) }
    }

    /// Rounds scores to floats. A product or a quotient of two floats is never too large for a Double. Where the largest
    /// is too large for a Float, the distances to it are stored: nothing that follows asks for more.
    private func store(_ wide: [Double], in scores: UnsafeMutableBufferPointer<Float>) {
        let largest = wide.max() ?? 0
        let origin = Float(largest).isFinite ? 0 : largest
        for i in scores.indices { scores[i] = Float(wide[i] - origin) }
    }

    private func keepTopK(_ scores: UnsafeMutableBufferPointer<Float>) {
        // The k largest so far, the smallest of them first (a heap): most of the vocabulary is compared with that one
        // and left.
        var heap = Array(scores[..<topK]).sorted()
        for score in scores[topK...] where score > heap[0] {
            var hole = 0
            while true {
                var child = 2 * hole + 1
                if child >= topK { break }
                if child + 1 < topK, heap[child + 1] < heap[child] { child += 1 }
                if heap[child] >= score { break }
                heap[hole] = heap[child]
                hole = child
            }
            heap[hole] = score
        }
        for i in scores.indices where scores[i] < heap[0] { scores[i] = -.infinity }
    }

    private func keepTopP(_ scores: UnsafeMutableBufferPointer<Float>) {
        let probabilities = softmax(UnsafeBufferPointer(scores))
        // Sorting the whole vocabulary would take longer than a small model's step. Tokens less probable than this
        // would sum to less than 1 − p even if all were such, so none of them can stay. (llama2.c's idea)
        let floor = min((1 - topP) / Float(scores.count), probabilities.max() ?? 0)
        var candidates = scores.indices.filter { probabilities[$0] >= floor }
        candidates.sort { (probabilities[$0], $1) > (probabilities[$1], $0) }
        var sum = 0.0
        var kept = 0
        while kept < candidates.count, kept == 0 || sum < Double(topP) {
            sum += Double(probabilities[candidates[kept]])
            kept += 1
        }
        var isKept = [Bool](repeating: false, count: scores.count)
        for i in candidates[..<kept] { isKept[i] = true }
        for i in scores.indices where !isKept[i] { scores[i] = -.infinity }
    }

    private func keepMinP(_ scores: UnsafeMutableBufferPointer<Float>) {
        let probabilities = softmax(UnsafeBufferPointer(scores))
        let least = minP * (probabilities.max() ?? 0)
        for i in scores.indices where probabilities[i] < least { scores[i] = -.infinity }
    }
}

private func softmax(_ logits: UnsafeBufferPointer<Float>) -> [Float] {
    [Float](unsafeUninitializedCapacity: logits.count) { out, initialized in
        if let inp = logits.baseAddress, let out = out.baseAddress {
            softmaxForward(out: out, inp: inp, count: logits.count)
        }
        initialized = logits.count
    }
}

/// The index of the largest; of several, the first.
package func argmax(_ values: UnsafeBufferPointer<Float>) -> Int {
    var best = 0
    for i in values.indices where values[i] > values[best] { best = i }
    return best
}

/// An index of logits, drawn with the probabilities softmax gives them.
/// - Parameter coin: uniform in [0, 1).
package func sampleSoftmax(_ logits: UnsafeBufferPointer<Float>, coin: Float) -> Int {
    let probabilities = softmax(logits)
    var total = 0.0
    for probability in probabilities { total += Double(probability) }
    let threshold = Double(coin) * total
    var sum = 0.0
    for (i, probability) in probabilities.enumerated() {
        sum += Double(probability)
        if threshold < sum { return i }
    }
    return probabilities.lastIndex { $0 > 0 } ?? 0  // rounding
}
