// The optimizer: AdamW (Loshchilov and Hutter, 2019), which applies weight decay directly to the parameters and not
// through Adam's gradient statistics.

/// The floats in a task.
private let chunk = 1 << 16

/// One AdamW step over `count` parameters. It also sets the gradients to zero, because they are in the cache here.
///
///     m = β₁·m + (1 − β₁)·g        v = β₂·v + (1 − β₂)·g²
///     parameter −= lr · ( (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε) + decay · parameter )
///
/// - Parameters:
///   - m, v: the running means of the gradient and of its square.
///   - gradientScale: the factor that turns a gradient into g (for clipping).
///   - step: t, counted from 1.
package func adamW(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    m: UnsafeMutablePointer<Float>, v: UnsafeMutablePointer<Float>, count: Int,
    learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, decay: Double, gradientScale: Float, step: Int
) {
    let start = startTiming()
    defer { endTiming(start, "adamw") }
    // The scalars are computed in double precision: in float32, 1 − 0.999 is off by 10⁻⁵.
    let stepSize = Float(learningRate / (1 - power(beta1, step)))
    let inverse2 = Float(1 / (1 - power(beta2, step)))
    let keep = Float(1 - learningRate * decay)
    let (keepM, takeM) = (Float(beta1), Vector(repeating: Float(1 - beta1)))
    let (keepV, takeV) = (Float(beta2), Vector(repeating: Float(1 - beta2)))
    let epsilon = Float(epsilon)
    forEachVector(count, chunk) { i, left in
        let g = Vector.load(gradients + i, upTo: left) * gradientScale
        let newM = (Vector.load(m + i, upTo: left) * keepM).adding(g, times: takeM)
        let newV = (Vector.load(v + i, upTo: left) * keepV).adding(g * g, times: takeV)
        let denominator = (newV * inverse2).squareRoot() + epsilon
        let p = Vector.load(parameters + i, upTo: left) * keep - newM / denominator * stepSize
        newM.store(m + i, upTo: left)
        newV.store(v + i, upTo: left)
        p.store(parameters + i, upTo: left)
        Vector(repeating: 0).store(gradients + i, upTo: left)
    }
}

/// The sum of the squares of `count` floats. The sums of fixed chunks are added in order, so the result has the same
/// bits for any number of threads.
package func sumOfSquares(_ x: UnsafePointer<Float>, count: Int) -> Double {
    let start = startTiming()
    defer { endTiming(start, "gradient norm") }
    let chunks = (count + chunk - 1) / chunk
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: max(chunks, 1)) { partial in
        guard let partial = partial.baseAddress else { return 0 }
        parallelFor(chunks) { task in
            var total = 0.0
            let end = min((task + 1) * chunk, count)
            for start in stride(from: task * chunk, to: end, by: 64 * Vector.scalarCount) {
                var sum = Vector(repeating: 0)
                for i in stride(from: start, to: min(start + 64 * Vector.scalarCount, end), by: Vector.scalarCount) {
                    let value = Vector.load(x + i, upTo: end - i)
                    sum = sum.adding(value, times: value)
                }
                total += Double(sumOfLanes(sum))
            }
            partial[task] = total
        }
        var total = 0.0
        for i in 0..<chunks { total += partial[i] }
        return total
    }
}

/// The power βᵗ, by repeated squaring.
private func power(_ beta: Double, _ t: Int) -> Double {
    var result = 1.0
    var square = beta
    var bits = t
    while bits > 0 {
        if bits & 1 == 1 { result *= square }
        square *= square
        bits >>= 1
    }
    return result
}
