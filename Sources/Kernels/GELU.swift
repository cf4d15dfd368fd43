// The Gaussian error linear unit (Hendrycks and Gimpel, 2016): x·Φ(x), where Φ is the normal distribution's cumulative
// function. BERT has it as it is, and GPT-2 in the paper's approximation:
//
//     exact   gelu(x) = ½·x·(1 + erf(x/√2))
//     tanh    gelu(x) = ½·x·(1 + tanh u),   u = √(2/π)·(x + 0.044715·x³)

/// The floats in a task.
private let chunk = 1 << 14

// MARK: - the tanh form
//
// Because ½·(1 + tanh u) = 1 / (1 + e⁻²ᵘ), it is x times a sigmoid: one exponential and no cancellation.

/// The factor −2·√(2/π): that of u, times the −2 of the exponent.
private let minusTwoRootTwoOverPi: Float = -1.595_769_1
/// The coefficient of x³.
private let cubic: Float = 0.044715

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

// MARK: - the exact form
//
// For t = |x| the tail Φ(−t) is e^(−t²/2) · R(t), and R falls slowly, from ½ to 1/(√(2π)·t). In s = 1 / (1 + 0.275·t) it
// is s times a polynomial (the substitution is that of Shepherd and Laframboise, 1981, for e^(x²)·erfc(x)); the
// coefficients minimise the largest relative error for t ≤ 14, 4·10⁻⁸ with degree 8. So gelu keeps its relative precision
// where it is tiny, and one exponential serves Φ and its derivative e^(−x²/2) / √(2π).

/// Φ(x), and e^(−x²/2).
@inline(__always)
private func normalDistribution(_ x: Vector) -> (cumulative: Vector, bell: Vector) {
    let one = Vector(repeating: 1)
    // From 14 on the tail is nothing, and the square of a huge number would be infinite.
    let t = x.replacing(with: -x, where: x .< 0).minimum(Vector(repeating: 20))
    let square = t * t
    // What t² lost by rounding, a factor of 1 − lost/2: far from zero it would be the largest error.
    let lost = (-square).adding(t, times: t)
    var bell = exponential(square * -0.5)
    bell = bell.adding(bell * -0.5, times: lost)
    let s = one / one.adding(t, times: Vector(repeating: 0.275))
    var sum = Vector(repeating: 0.026_249_737)
    sum = Vector(repeating: -0.106_022_41).adding(sum, times: s)
    sum = Vector(repeating: 0.120_186_135).adding(sum, times: s)
    sum = Vector(repeating: -0.023_348_251).adding(sum, times: s)
    sum = Vector(repeating: 0.079_605_274).adding(sum, times: s)
    sum = Vector(repeating: 0.082_601_03).adding(sum, times: s)
    sum = Vector(repeating: 0.101_236_33).adding(sum, times: s)
    sum = Vector(repeating: 0.109_789_44).adding(sum, times: s)
    sum = Vector(repeating: 0.109_702_74).adding(sum, times: s)
    let tail = sum * s * bell
    return ((one - tail).replacing(with: tail, where: x .< 0), bell)
}

/// The exact GELU of each element: out (count) = gelu(inp).
package func exactGELUForward(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
    let start = startTiming()
    defer { endTiming(start, "gelu forward") }
    forEachVector(count, chunk) { i, left in
        let x = Vector.load(inp + i, upTo: left)
        (x * normalDistribution(x).cumulative).store(out + i, upTo: left)
    }
}

/// The gradient of the exact GELU's input: dinp (count) = dout · gelu′(inp). `dinp` may be `dout` itself.
///
/// gelu = x·Φ(x), so gelu′ = Φ(x) + x·Φ′(x), and Φ′ is the bell curve e^(−x²/2) / √(2π).
package func exactGELUBackward(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, count: Int
) {
    let start = startTiming()
    defer { endTiming(start, "gelu backward") }
    forEachVector(count, chunk) { i, left in
        let x = Vector.load(inp + i, upTo: left)
        let (cumulative, bell) = normalDistribution(x)
        let slope = cumulative.adding(x * bell, times: Vector(repeating: 0.398_942_28))
        (slope * .load(dout + i, upTo: left)).store(dinp + i, upTo: left)
    }
}
