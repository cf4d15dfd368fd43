// The Gaussian error linear unit.

import Foundation
import Kernels
import Testing

// MARK: - naive references

/// The GELU of one element: ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
private func naiveGELU(_ x: Double) -> Double {
    0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
}

/// The derivative of `naiveGELU`, by the product rule and tanh′ = 1 − tanh².
private func naiveGELUSlope(_ x: Double) -> Double {
    let t = tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (2 / Double.pi).squareRoot() * (1 + 3 * 0.044715 * x * x)
}

@Test func `the naive GELU's slope is its derivative`() {
    let x = stride(from: -4, through: 4, by: 0.37).map { $0 }
    let differences = x.map { x in finiteDifferences(at: [x]) { naiveGELU($0[0]) }[0] }
    expectSameGradient(x.map { naiveGELUSlope($0) }, differences)
}

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
