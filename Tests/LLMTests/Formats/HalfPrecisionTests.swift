// The 16-bit formats: every value, against arithmetic in float64 and not against other bit tricks.

import Foundation
import LLM
import Testing

/// What a 16-bit float of so many exponent and fraction bits is worth; nil for a NaN.
private func value(_ bits: UInt16, exponentBits: Int, fractionBits: Int) -> Double? {
    let exponent = Int(bits >> UInt16(fractionBits)) & (1 << exponentBits - 1)
    let fraction = Double(Int(bits) & (1 << fractionBits - 1)) / Double(1 << fractionBits)
    let sign = bits >> 15 == 0 ? 1.0 : -1.0
    let bias = 1 << (exponentBits - 1) - 1
    switch exponent {
    case 0: return sign * fraction * pow(2, Double(1 - bias))
    case 1 << exponentBits - 1: return fraction == 0 ? sign * .infinity : nil
    default: return sign * (1 + fraction) * pow(2, Double(exponent - bias))
    }
}

@Test func `every float16 becomes its float32`() {
    for bits in UInt16.min...UInt16.max {
        let float = Float(float16: bits)
        if let expected = value(bits, exponentBits: 5, fractionBits: 10) {
            #expect(Double(float) == expected && (float.sign == .minus) == (bits >> 15 == 1), "\(bits)")
        } else {
            // The sign and the fraction of a NaN are kept.
            let expected = UInt32(bits >> 15) << 31 | 0x7F80_0000 | UInt32(bits & 0x3FF) << 13
            #expect(float.isNaN && float.bitPattern == expected, "\(bits)")
        }
    }
}

@Test func `every bfloat16 becomes its float32 and comes back`() {
    for bits in UInt16.min...UInt16.max {
        let float = Float(bfloat16: bits)
        if let expected = value(bits, exponentBits: 8, fractionBits: 7) {
            #expect(Double(float) == expected && (float.sign == .minus) == (bits >> 15 == 1), "\(bits)")
            #expect(float.bfloat16 == bits)
        } else {
            #expect(float.isNaN && float.bitPattern == UInt32(bits) << 16, "\(bits)")
            #expect(float.bfloat16 == bits | 0x40, "a NaN stays one, and is quiet")
        }
    }
}

/// Between every two neighbours: just above the lower one, around the middle, and just below the upper one.
@Test func `a float32 becomes the nearest bfloat16, of two the even one`() {
    for lower in UInt16(0)..<0x7F80 {
        let middle = UInt32(lower) << 16 | 0x8000
        let even = lower % 2 == 0 ? lower : lower + 1
        for (bits, expected) in [
            (UInt32(lower) << 16, lower), (UInt32(lower) << 16 | 1, lower), (middle - 1, lower), (middle, even),
            (middle + 1, lower + 1), (middle | 0x7FFF, lower + 1),
        ] {
            #expect(Float(bitPattern: bits).bfloat16 == expected, "\(bits)")
            #expect(Float(bitPattern: bits | 1 << 31).bfloat16 == expected | 0x8000, "-\(bits)")
        }
    }
    for bits in [0x7F80_0001, 0x7F80_FFFF, 0x7FBF_FFFF, 0x7FC0_0000, 0x7FFF_FFFF, 0xFF80_0001, 0xFFFF_FFFF]
        as [UInt32]
    {
        let result = Float(bitPattern: bits).bfloat16
        #expect(Float(bfloat16: result).isNaN && result >> 15 == UInt16(bits >> 31), "\(bits)")
    }
}
