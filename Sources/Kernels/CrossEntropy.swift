// The loss: −log of the probability that softmax gives to the target token.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The cross entropy of each row of logits (N, stride), whose first V columns are used:
///
///     losses (N) = log Σ exp(logits) − logits[target]
///
/// It is computed from the log-sum-exp, so that a tiny probability gives a large loss and never an infinite one.
/// - Parameters:
///   - correct: (N), 1 where the target is the most probable token (the first one in a tie), else 0.
///   - targets: (N). A negative target is ignored: its loss, `correct` and gradient are 0.
///   - gradientScale: if not nil, the logits are overwritten with the scaled gradient of the loss:
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

// Not inlined, for the reason given at `largest(of:count:)`.

/// The two parts of the log-sum-exp of row (count): the maximum, and log Σ exp(row − maximum). Their sum would be
/// rounded to the precision of the logits.
@inline(never)
private func logSumExp(_ row: UnsafePointer<Float>, count: Int) -> (maximum: Float, logSum: Float) {
    let w = Vector.scalarCount
    let maximum = largest(of: row, count: count)
    var sum = Vector(repeating: 0)
    // The lanes past the end hold e⁻⁸⁷, which is negligible next to the maximum's 1.
    for i in stride(from: 0, to: count, by: w) {
        sum += exponential(Vector.load(row + i, upTo: count - i, fill: -.infinity) - maximum)
    }
    return (maximum, log(sumOfLanes(sum)))
}

/// The scaled probabilities of a row, in place: row (count) ← scale · softmax(row).
@inline(never)
private func scaledSoftmax(
    _ row: UnsafeMutablePointer<Float>, count: Int, maximum: Float, logSum: Float, scale: Float
) {
    for i in stride(from: 0, to: count, by: Vector.scalarCount) {
        (exponential(Vector.load(row + i, upTo: count - i) - maximum - logSum) * scale).store(row + i, upTo: count - i)
    }
}
