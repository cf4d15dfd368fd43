// The exponential function on vectors.

/// The exponential eˣ, within 2 ulp for −87 ≤ x ≤ 88. Outside that range it is the value at the nearer end; NaN stays
/// NaN.
///
/// eˣ = 2ⁿ·eʳ with n = round(x·log₂e) and |r| ≤ ln 2 / 2, where Taylor's polynomial of degree 7 is exact to 5·10⁻⁹.
/// Adding 1.5·2²³ rounds to an integer and leaves it in the low bits of the float, from where it can be shifted into
/// the exponent. That avoids `rounded()` and a conversion to Int32, both of which Swift does lane by lane.
///
/// `@inline(__always)` is not enough: in large loops the compiler still calls the function, and passes the vector in
/// four pieces. That costs attention a tenth of its time.
@_transparent
func exponential(_ x: Vector) -> Vector {
    let x = x.maximum(Vector(repeating: -87)).minimum(Vector(repeating: 88))
    let magic = Vector(repeating: 0x1.8p23)
    let shifted = magic.adding(x, times: Vector(repeating: 1.442_695_04))
    let n = shifted - magic
    // ln 2 is split into two parts, so that x − n·ln 2 keeps its low bits.
    var r = x.adding(n, times: Vector(repeating: -0.693_359_375))
    r = r.adding(n, times: Vector(repeating: 2.121_944_4e-4))
    var sum = Vector(repeating: 1 / 5040)
    sum = Vector(repeating: 1 / 720).adding(sum, times: r)
    sum = Vector(repeating: 1 / 120).adding(sum, times: r)
    sum = Vector(repeating: 1 / 24).adding(sum, times: r)
    sum = Vector(repeating: 1 / 6).adding(sum, times: r)
    sum = Vector(repeating: 1 / 2).adding(sum, times: r)
    sum = Vector(repeating: 1).adding(sum, times: r)
    sum = Vector(repeating: 1).adding(sum, times: r)
    let exponent = unsafeBitCast(shifted, to: VectorOfInt32.self) &<< 23
    return unsafeBitCast(unsafeBitCast(sum, to: VectorOfInt32.self) &+ exponent, to: Vector.self)
}
