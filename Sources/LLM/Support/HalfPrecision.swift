// The two 16-bit floating-point formats of weights, as bits. Swift's Float16 would do for one of them, but Intel Macs
// have none.
//
//     float16 (IEEE 754 binary16)    1 sign, 5 exponent and 10 fraction bits
//     bfloat16                       1 sign, 8 exponent and 7 fraction bits: the upper half of a float32

extension Float {
    /// The value of a bfloat16, exactly; the bits of a NaN are kept.
    @inline(__always)
    package init(bfloat16 bits: UInt16) {
        self.init(bitPattern: UInt32(bits) << 16)
    }

    /// The value of a float16, exactly; the bits of a NaN are kept.
    @inline(__always)
    package init(float16 bits: UInt16) {
        let sign = UInt32(bits & 0x8000) << 16
        let magnitude = UInt32(bits & 0x7FFF) << 13
        // The exponent's bias is 15 there and 127 here. 31 stands for infinity and NaN, and becomes 255.
        let bias: UInt32 = magnitude >= 31 << 23 ? (255 - 31) << 23 : (127 - 15) << 23
        let normal = magnitude &+ bias
        // Exponent 0 is a subnormal, fraction · 2⁻²⁴: put behind a leading one of value 2⁻¹⁴, which is then taken away.
        let one: UInt32 = (127 - 14) << 23
        let subnormal = (Float(bitPattern: magnitude | one) - Float(bitPattern: one)).bitPattern
        self.init(bitPattern: sign | (magnitude < 1 << 23 ? subnormal : normal))
    }

    /// The nearest bfloat16, of two equally near ones the even one. What is too large becomes infinity; a NaN stays
    /// one.
    @inline(__always)
    package var bfloat16: UInt16 {
        let bits = bitPattern
        let rounded = (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16
        let quietNaN = bits >> 16 | 0x40
        return UInt16(truncatingIfNeeded: bits & 0x7FFF_FFFF > 0x7F80_0000 ? quietNaN : rounded)
    }
}
