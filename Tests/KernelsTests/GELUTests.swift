// The Gaussian error linear unit.

import Foundation
import Kernels
import Naive
import Testing

// MARK: - the kernels

@Test(arguments: [1, 2, 3, 7, 17, 33, 49, 100, 193, 16_384, 16_385, 50_001])
func `geluForward and geluBackward`(count: Int) {
    let inp = Fenced(noise(count, seed: 1, scale: 5))
    let out = Fenced(unwritten: count)
    geluForward(out: out.pointer, inp: inp.pointer, count: count)
    expectClose(out.values, inp.values.map { naiveGELU(Double($0)) }, tolerance: 2e-6)

    let dout = Fenced(noise(count, seed: 2))
    let dinp = Fenced(unwritten: count)
    geluBackward(dinp: dinp.pointer, dout: dout.pointer, inp: inp.pointer, count: count)
    let expected = zip(inp.values, dout.values).map { naiveGELUSlope(Double($0)) * Double($1) }
    expectClose(dinp.values, expected, tolerance: 2e-6)

    let inPlace = Fenced(dout.values)
    geluBackward(dinp: inPlace.pointer, dout: inPlace.pointer, inp: inp.pointer, count: count)
    expectEqual(inPlace.bits, dinp.bits)
    expectIntact(outputs: [out, dinp, inPlace], inputs: [inp, dout])
}

/// Far from zero the exponential leaves float32's range; GELU must become x on one side and 0 on the other.
@Test func `GELU at its ends`() {
    let x: [Float] = [0, -0.0, 1e-30, 1e-6, -1e-6, 3, -3, 6, -6, 10, -10, 13, -13, 50, -50, 1000, -1000, 1e6, -1e6]
    let inp = Fenced(x)
    let ones = Fenced([Float](repeating: 1, count: x.count))
    let out = Fenced(unwritten: x.count)
    let slope = Fenced(unwritten: x.count)
    geluForward(out: out.pointer, inp: inp.pointer, count: x.count)
    geluBackward(dinp: slope.pointer, dout: ones.pointer, inp: inp.pointer, count: x.count)
    for (i, x) in x.enumerated() {
        let (value, expected) = (Double(out.values[i]), naiveGELU(Double(x)))
        #expect(abs(value - expected) <= 1e-6 * abs(expected) + 1e-6, "gelu(\(x))")
        #expect(abs(Double(slope.values[i]) - naiveGELUSlope(Double(x))) <= 2e-6, "gelu′(\(x))")
    }
    expectIntact(outputs: [out, slope], inputs: [inp, ones])
}

// MARK: - the exact form

@Test(arguments: [1, 2, 3, 7, 17, 33, 49, 100, 193, 16_384, 16_385, 50_001])
func `exactGELUForward and exactGELUBackward`(count: Int) {
    let inp = Fenced(noise(count, seed: 1, scale: 5))
    let out = Fenced(unwritten: count)
    exactGELUForward(out: out.pointer, inp: inp.pointer, count: count)
    // Each element has its own precision, six ulps, even where the function is tiny. (Without FMA it is 60 there.)
    let wrong = zip(inp.values, out.values).first { x, value in
        let expected = naiveExactGELU(Double(x))
        return !(abs(Double(value) - expected) <= 7e-7 * abs(expected) + 5e-9)
    }
    #expect(wrong == nil)

    let dout = Fenced(noise(count, seed: 2))
    let dinp = Fenced(unwritten: count)
    exactGELUBackward(dinp: dinp.pointer, dout: dout.pointer, inp: inp.pointer, count: count)
    let (x, d, slopes) = (inp.values, dout.values, dinp.values)
    let wrongSlope = x.indices.first {
        !(abs(Double(slopes[$0]) - naiveExactGELUSlope(Double(x[$0])) * Double(d[$0])) <= 3e-7)
    }
    #expect(wrongSlope.map { x[$0] } == nil)

    let inPlace = Fenced(dout.values)
    exactGELUBackward(dinp: inPlace.pointer, dout: inPlace.pointer, inp: inp.pointer, count: count)
    expectEqual(inPlace.bits, dinp.bits)
    expectIntact(outputs: [out, dinp, inPlace], inputs: [inp, dout])
}

@Test func `the exact GELU at its ends`() {
    let x: [Float] = [0, -0.0, 1e-30, 1e-6, -1e-6, 3, -3, 6, -6, 10, -10, 13, -13, 50, -50, 1e6, -1e6, 1e30, -1e30]
    let inp = Fenced(x)
    let ones = Fenced([Float](repeating: 1, count: x.count))
    let (out, slope) = (Fenced(unwritten: x.count), Fenced(unwritten: x.count))
    exactGELUForward(out: out.pointer, inp: inp.pointer, count: x.count)
    exactGELUBackward(dinp: slope.pointer, dout: ones.pointer, inp: inp.pointer, count: x.count)
    for (i, x) in x.enumerated() {
        let (value, expected) = (Double(out.values[i]), naiveExactGELU(Double(x)))
        #expect(abs(value - expected) <= 7e-7 * abs(expected) + 5e-9, "gelu(\(x))")
        #expect(abs(Double(slope.values[i]) - naiveExactGELUSlope(Double(x))) <= 5e-7, "gelu′(\(x))")
    }
    expectIntact(outputs: [out, slope], inputs: [inp, ones])
}
