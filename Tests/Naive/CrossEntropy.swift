// The loss.

import Foundation

/// losses (N) = −log softmax(logits (N,V))[target (N)], and dlogits (N,V), the gradient of their sum times `scale`:
/// the probabilities, minus 1 at the target. Both are 0 in a row whose target is negative: it does not count.
package func naiveCrossEntropy(
    logits: [Double], targets: [Int32], scale: Double, N: Int, V: Int
) -> (losses: [Double], dlogits: [Double]) {
    var (losses, dlogits) = ([Double](), [Double]())
    for n in 0..<N {
        guard targets[n] >= 0 else {
            losses.append(0)
            dlogits += [Double](repeating: 0, count: V)
            continue
        }
        let row = logits[n * V..<(n + 1) * V]
        let maximum = row.max() ?? 0
        let sum = row.reduce(0) { $0 + exp($1 - maximum) }
        // log(sum), and not the log of a probability that may underflow to 0.
        losses.append(log(sum) + maximum - logits[n * V + Int(targets[n])])
        for i in 0..<V {
            let probability = exp(logits[n * V + i] - maximum) / sum
            dlogits.append((probability - (i == Int(targets[n]) ? 1 : 0)) * scale)
        }
    }
    return (losses, dlogits)
}
