// Rounding to bfloat16.

/// The nearest bfloat16, which has eight bits of precision: the nearest multiple of 2⁻⁷ times the number's power of two.
package func naiveBFloat16(_ x: Float) -> Double {
    guard x != 0, x.isFinite else { return Double(x) }
    let unit = Float(sign: .plus, exponent: x.exponent - 7, significand: 1)
    return Double((x / unit).rounded(.toNearestOrEven) * unit)
}
