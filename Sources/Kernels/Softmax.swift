// The softmax of one row of logits, from which generation samples a token.

/// The probabilities out (count) = softmax(inp). They are exactly zero where inp is −∞.
package func softmaxForward(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
    let w = Vector.scalarCount
    let maximum = largest(of: inp, count: count)
    var sum = Vector(repeating: 0)
    for i in stride(from: 0, to: count, by: w) {
        let x = Vector.load(inp + i, upTo: count - i, fill: -.infinity) - maximum
        // `exponential` stops at e⁻⁸⁷, which is small but not zero.
        let e = exponential(x).replacing(with: 0, where: x .< -87)
        e.store(out + i, upTo: count - i)
        sum += e
    }
    let inverse = 1 / sumOfLanes(sum)
    for i in stride(from: 0, to: count, by: w) {
        (Vector.load(out + i, upTo: count - i) * inverse).store(out + i, upTo: count - i)
    }
}
