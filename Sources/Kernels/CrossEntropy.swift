// The loss: −log of the probability that softmax gives to the right token.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Row by row over logits (N, stride), of which the first V columns count:
///
///     losses (N) = log Σ exp(logits) − logits[target]
///
/// through the log-sum-exp, so that a tiny probability gives a large loss and never an infinite one.
/// - Parameters:
///   - targets: (N). A negative one does not count: its loss, `correct` and gradient are 0.
///   - correct: (N) gets 1 where the target is the most probable token (the first of equals), else 0.
///   - gradientScale: if not nil, the logits are overwritten by the loss's gradient times it:
///     (softmax − one-hot of the target) · gradientScale.
package func crossEntropy(
    losses: UnsafeMutablePointer<Float>, correct: UnsafeMutablePointer<Float>, logits: UnsafeMutablePointer<Float>,
    targets: UnsafePointer<Int32>, gradientScale: Float?, N: Int, V: Int, stride rowStride: Int
) {
    let start = startTiming()
    defer { endTiming(start, "cross entropy") }
    let w = Vector.scalarCount
    parallelFor(N) { n in
        let row = logits + n * rowStride
        let target = Int(targets[n])
        if target < 0 {
            (losses[n], correct[n]) = (0, 0)
            if gradientScale != nil { row.update(repeating: 0, count: V) }
            return
        }
        let targetLogit = row[target]
        var largest = Vector(repeating: -.infinity)
        for i in stride(from: 0, to: V, by: w) {
            largest = largest.maximum(.load(row + i, upTo: V - i, fill: -.infinity))
        }
        let maximum = largestLane(largest)
        var sum = Vector(repeating: 0)
        for i in stride(from: 0, to: V, by: w) {
            sum += exponential(Vector.load(row + i, upTo: V - i, fill: -.infinity) - maximum)
        }
        // The lanes past V hold e⁻⁸⁷, which vanishes beside the maximum's 1.
        // maximum + logSum is the log-sum-exp, but its sum would be rounded at the size of the logits.
        let logSum = log(sumOfLanes(sum))
        losses[n] = (maximum - targetLogit) + logSum
        var first = 0
        if targetLogit == maximum { while row[first] != maximum { first += 1 } }
        correct[n] = targetLogit == maximum && first == target ? 1 : 0

        if let gradientScale {
            for i in stride(from: 0, to: V, by: w) {
                (exponential(Vector.load(row + i, upTo: V - i) - maximum - logSum) * gradientScale).store(
                    row + i, upTo: V - i)
            }
            row[target] -= gradientScale
        }
    }
}
