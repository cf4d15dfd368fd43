// Self-attention.

import Foundation
import Kernels

/// The probabilities prob [sequence][head][t][k] with which each token attends to the tokens of its sequence, causal to
/// those up to itself. qkv (N,3C) holds the query, key and value of each token, C floats each; a head has HS = C/NH channels of them.
/// The sequences lie one after another.
package func naiveProbabilities(
    qkv: [Double], lengths: [Int], C: Int, NH: Int, causal: Bool = true
) -> [[[[Double]]]] {
    let HS = C / NH
    return lengths.indices.map { s in
        let first = lengths[..<s].reduce(0, +)
        return (0..<NH).map { h in
            (0..<lengths[s]).map { t in
                let query = (first + t) * 3 * C + h * HS
                var scores: [Double] = []
                for k in 0..<(causal ? t + 1 : lengths[s]) {  // causal: nothing after t
                    let key = (first + k) * 3 * C + C + h * HS
                    var score = 0.0
                    for i in 0..<HS { score += qkv[query + i] * qkv[key + i] }
                    scores.append(score / Double(HS).squareRoot())
                }
                // softmax; the maximum is subtracted so that no exponential overflows
                let maximum = scores.max() ?? 0
                let exponentials = scores.map { exp($0 - maximum) }
                let sum = exponentials.reduce(0, +)
                return exponentials.map { $0 / sum }
            }
        }
    }
}

/// What a probability is multiplied by: 1 without dropout.
private func factor(
    _ dropout: (rate: Float, key: DropoutKey)?, first: Int, t: Int, k: Int, head: Int, NH: Int
) -> Double {
    dropout.map { naiveAttentionFactor(first: first, t: t, k: k, head: head, NH: NH, dropout: $0) } ?? 1
}

/// The attention out (N,C): for each head, the mean of the values, weighted by the probabilities.
package func naiveAttentionForward(
    qkv: [Double], lengths: [Int], C: Int, NH: Int, causal: Bool = true,
    dropout: (rate: Float, key: DropoutKey)? = nil
) -> [Double] {
    let HS = C / NH
    let prob = naiveProbabilities(qkv: qkv, lengths: lengths, C: C, NH: NH, causal: causal)
    var out = [Double](repeating: 0, count: lengths.reduce(0, +) * C)
    for (s, T) in lengths.enumerated() {
        let first = lengths[..<s].reduce(0, +)
        for h in 0..<NH {
            for t in 0..<T {
                for k in prob[s][h][t].indices {
                    let value = (first + k) * 3 * C + 2 * C + h * HS
                    let p = prob[s][h][t][k] * factor(dropout, first: first, t: t, k: k, head: h, NH: NH)
                    for i in 0..<HS { out[(first + t) * C + h * HS + i] += p * qkv[value + i] }
                }
            }
        }
    }
    return out
}

/// The gradient dqkv (N,3C) from dout (N,C), through the three steps in reverse: the weighted mean, the softmax, the
/// products.
package func naiveAttentionBackward(
    dout: [Double], qkv: [Double], lengths: [Int], C: Int, NH: Int, causal: Bool = true,
    dropout: (rate: Float, key: DropoutKey)? = nil
) -> [Double] {
    let HS = C / NH
    let scale = 1 / Double(HS).squareRoot()
    let probs = naiveProbabilities(qkv: qkv, lengths: lengths, C: C, NH: NH, causal: causal)
    var dqkv = [Double](repeating: 0, count: qkv.count)
    for (s, T) in lengths.enumerated() {
        let first = lengths[..<s].reduce(0, +)
        for h in 0..<NH {
            for t in 0..<T {
                let query = (first + t) * 3 * C + h * HS
                let d = (first + t) * C + h * HS
                let prob = probs[s][h][t]
                // out was Σ_k f · prob[k] · value_k, so both factors get dout times the other, and f.
                var dprob = [Double](repeating: 0, count: prob.count)
                for k in prob.indices {
                    let value = (first + k) * 3 * C + 2 * C + h * HS
                    let f = factor(dropout, first: first, t: t, k: k, head: h, NH: NH)
                    for i in 0..<HS {
                        dprob[k] += f * dout[d + i] * qkv[value + i]
                        dqkv[value + i] += f * prob[k] * dout[d + i]
                    }
                }
                // softmax: changing one score changes all probabilities, because they share one sum.
                var mean = 0.0
                for k in prob.indices { mean += prob[k] * dprob[k] }
                for k in prob.indices {
                    let dscore = prob[k] * (dprob[k] - mean) * scale
                    // score was query · key / √HS, so both factors get dscore times the other.
                    let key = (first + k) * 3 * C + C + h * HS
                    for i in 0..<HS {
                        dqkv[query + i] += dscore * qkv[key + i]
                        dqkv[key + i] += dscore * qkv[query + i]
                    }
                }
            }
        }
    }
    return dqkv
}
