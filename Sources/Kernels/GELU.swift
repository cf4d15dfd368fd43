// The Gaussian error linear unit in GPT-2's tanh form (Hendrycks and Gimpel, 2016):
//
//     gelu(x) = ½·x·(1 + tanh u),   u = √(2/π)·(x + 0.044715·x³)
//
// Because ½·(1 + tanh u) = 1 / (1 + e⁻²ᵘ), it is x times a sigmoid: one exponential and no cancellation.

/// The factor −2·√(2/π): that of u, times the −2 of the exponent.
private let minusTwoRootTwoOverPi: Float = -1.595_769_1
/// The coefficient of x³.
private let cubic: Float = 0.044715
/// The floats in a task.
private let chunk = 1 << 14

/// The factor of x in gelu(x): 1 / (1 + e⁻²ᵘ).
@inline(__always)
private func sigmoidOfTwoU(_ x: Vector) -> Vector {
    let one = Vector(repeating: 1)
    let inner = one.adding(x * x, times: Vector(repeating: cubic))
    return one / (one + exponential(x * inner * minusTwoRootTwoOverPi))
}

/// The GELU of each element: out (count) = gelu(inp).
package func geluForward(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
    let start = startTiming()
    defer { endTiming(start, "gelu forward") }
    forEachVector(count, chunk) { i, left in
        let x = Vector.load(inp + i, upTo: left)
        (x * sigmoidOfTwoU(x)).store(out + i, upTo: left)
    }
}

/// The gradient of GELU's input: dinp (count) = dout · gelu′(inp). `dinp` may be `dout` itself.
///
/// With s = sigmoid(2u): gelu = x·s, s′ = s·(1 − s)·2u′, u′ = √(2/π)·(1 + 3·0.044715·x²).
package func geluBackward(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, count: Int
) {
    let start = startTiming()
    defer { endTiming(start, "gelu backward") }
    forEachVector(count, chunk) { i, left in
        let x = Vector.load(inp + i, upTo: left)
        let s = sigmoidOfTwoU(x)
        let one = Vector(repeating: 1)
        let twoUPrime = one.adding(x * x, times: Vector(repeating: 3 * cubic)) * -minusTwoRootTwoOverPi
        let slope = s.adding(x * s, times: (one - s) * twoUPrime)
        (slope * .load(dout + i, upTo: left)).store(dinp + i, upTo: left)
    }
}
