// What the tests of the twins share: numbers that look random, and the gradient that needs no backward pass.

/// Pseudorandom floats between −scale and scale, the same in every run (xorshift64*).
package func noise(_ count: Int, seed: UInt64, scale: Float = 1) -> [Float] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return (0..<count).map { _ in
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return (Float((state &* 0x2545_f491_4f6c_dd1d) >> 40) * 0x1p-23 - 1) * scale
    }
}

/// Pseudorandom integers from 0 up to, but not including, `bound`.
package func randomIndices(_ count: Int, below bound: Int, seed: UInt64) -> [Int32] {
    noise(count, seed: seed).map { min(Int32(($0 + 1) / 2 * Float(bound)), Int32(bound) - 1) }
}

/// A kernel's numbers in the precision of the twins.
package func doubles(_ values: [Float]) -> [Double] { values.map { Double($0) } }

/// The gradient ∂f/∂xᵢ for each i, by central differences: (f(x + ε) − f(x − ε)) / 2ε.
package func finiteDifferences(at x: [Double], epsilon: Double = 1e-5, _ f: ([Double]) -> Double) -> [Double] {
    x.indices.map { i in
        var (up, down) = (x, x)
        up[i] += epsilon
        down[i] -= epsilon
        return (f(up) - f(down)) / (2 * epsilon)
    }
}

/// The dot product Σ a·b. For a fixed dout, dot(out, dout) is a loss whose gradient with respect to out is dout.
package func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

/// The sum a + b, element by element.
package func sum(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 + $1 } }

/// ‖ours − expected‖ / ‖expected‖; of zeros ‖ours‖ itself.
package func relativeError(_ ours: [Double], _ expected: [Double]) -> Double {
    guard ours.count == expected.count else { return .infinity }
    let difference = zip(ours, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let norm = expected.reduce(0) { $0 + $1 * $1 }
    return norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
}
