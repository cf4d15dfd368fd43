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
    parallelFor(N) { n in
        let row = logits + n * rowStride
        let target = Int(targets[n])
        if target < 0 {
            (losses[n], correct[n]) = (0, 0)
            if gradientScale != nil { row.update(repeating: 0, count: V) }
            return
        }
        let targetLogit = row[target]
        let (maximum, logSum) = logSumExp(row, count: V)
        losses[n] = (maximum - targetLogit) + logSum
        var first = 0
        if targetLogit == maximum { while row[first] != maximum { first += 1 } }
        correct[n] = targetLogit == maximum && first == target ? 1 : 0
        if let gradientScale {
            scaledSoftmax(row, count: V, maximum: maximum, logSum: logSum, scale: gradientScale)
            row[target] -= gradientScale
        }
    }
}

// Functions of their own, for the reason given at `largest(of:count:)`.

/// - Returns: the largest of row (count), and log Σ exp(row − largest). Their sum is the log-sum-exp, but it would be
///   rounded at the size of the logits.
@inline(never)
private func logSumExp(_ row: UnsafePointer<Float>, count: Int) -> (maximum: Float, logSum: Float) {
    let w = Vector.scalarCount
    let maximum = largest(of: row, count: count)
    var sum = Vector(repeating: 0)
    // The lanes past the end hold e⁻⁸⁷, which vanishes beside the maximum's 1.
    for i in stride(from: 0, to: count, by: w) {
        sum += exponential(Vector.load(row + i, upTo: count - i, fill: -.infinity) - maximum)
    }
    return (maximum, log(sumOfLanes(sum)))
}

/// row (count) ← scale · softmax(row).
@inline(never)
private func scaledSoftmax(
    _ row: UnsafeMutablePointer<Float>, count: Int, maximum: Float, logSum: Float, scale: Float
) {
    for i in stride(from: 0, to: count, by: Vector.scalarCount) {
        (exponential(Vector.load(row + i, upTo: count - i) - maximum - logSum) * scale).store(row + i, upTo: count - i)
    }
}
