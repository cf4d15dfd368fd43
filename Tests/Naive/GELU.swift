// The Gaussian error linear unit.

import Foundation

/// The GELU of one element: ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
package func naiveGELU(_ x: Double) -> Double {
    0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
}

/// The derivative of `naiveGELU`, by the product rule and tanh′ = 1 − tanh².
package func naiveGELUSlope(_ x: Double) -> Double {
    let t = tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (2 / Double.pi).squareRoot() * (1 + 3 * 0.044715 * x * x)
}

// MARK: - the exact form

/// The normal distribution's cumulative function Φ(x) = ½·erfc(−x/√2), and the exact GELU x·Φ(x).
private func naiveCumulative(_ x: Double) -> Double { 0.5 * erfc(-x / 2.0.squareRoot()) }
package func naiveExactGELU(_ x: Double) -> Double { x * naiveCumulative(x) }

/// The derivative, by the product rule; Φ′ is the bell curve.
package func naiveExactGELUSlope(_ x: Double) -> Double {
    naiveCumulative(x) + x * exp(-x * x / 2) / (2 * Double.pi).squareRoot()
}
