// bfloat16: the conversion, and what is not a number.

import Kernels
import Naive
import Testing

/// A product of one number with 1, the way a number is converted.
private func converted(_ x: Float) -> Float {
    let (inp, weight, out) = (Fenced([x]), Fenced([1]), Fenced(unwritten: 1))
    matmulForward(
        out: out.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, N: 1, C: 1, OC: 1, precision: .bfloat16)
    return out.values[0]
}

@Test func `floats are rounded to the nearest bfloat16, ties to even`() {
    #expect(converted(1) == 1)
    #expect(converted(-1.00390625) == -1)  // half a step above 1, which is even
    #expect(converted(1.01171875) == 1.015625)  // half a step above 1.0078125, which is odd
    #expect(converted(1.0039064) == 1.0078125)
    #expect(converted(.greatestFiniteMagnitude) == .infinity)
    #expect(converted(-3e38) == Float(naiveBFloat16(-3e38)))
    for x in noise(1000, seed: 1) + noise(1000, seed: 2, scale: 1e30) + noise(1000, seed: 3, scale: 1e-30) {
        #expect(converted(x) == Float(naiveBFloat16(x)))
    }
}

@Test func `infinities and NaN survive in every place of a sum`() {
    for (value, place) in [
        (Float.infinity, 0), (-.infinity, 1), (.nan, 0), (.nan, 1), (Float(bitPattern: 0x7f80_0001), 6),
    ] {
        var row = [Float](repeating: 1, count: 7)
        row[place] = value
        let (inp, weight) = (Fenced(row), Fenced([Float](repeating: 1, count: 7 * 50)))
        let out = Fenced(unwritten: 50)
        matmulForward(
            out: out.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, N: 1, C: 7, OC: 50,
            precision: .bfloat16)
        #expect(out.values.allSatisfy { value.isNaN ? $0.isNaN : $0 == value })
        let dinp = Fenced(unwritten: 50)
        matmulBackwardInput(
            dinp: dinp.pointer, dout: inp.pointer, weight: weight.pointer, N: 1, C: 50, OC: 7, precision: .bfloat16)
        #expect(dinp.values.allSatisfy { value.isNaN ? $0.isNaN : $0 == value })
    }
}

@Test(arguments: [0, 1, 15, 16, 17, 100, 40_000]) func `floats kept as bfloat16 come back rounded`(count: Int) {
    let inp = Fenced(noise(count, seed: 1))
    let halves = Fenced(unwritten: (count + 1) / 2)
    let out = Fenced(unwritten: count)
    roundToBFloat16(out: halves.pointer, inp: inp.pointer, count: count)
    floatsOfBFloat16(out: out.pointer, inp: halves.pointer, count: count)
    #expect(zip(out.values, inp.values).allSatisfy { Double($0) == naiveBFloat16($1) })
    expectIntact(outputs: [out], inputs: [inp])
}

@Test func `what is not a number stays so in bfloat16`() {
    let values: [Float] = [
        .infinity, -.infinity, .nan, Float(bitPattern: 0x7f80_0001), -0.0, .greatestFiniteMagnitude, 0x1p-140,
    ]
    let (inp, halves, out) = (Fenced(values), Fenced(unwritten: 4), Fenced(unwritten: 7))
    roundToBFloat16(out: halves.pointer, inp: inp.pointer, count: 7)
    floatsOfBFloat16(out: out.pointer, inp: halves.pointer, count: 7)
    let back = out.values
    #expect(back[0] == .infinity && back[1] == -.infinity && back[2].isNaN && back[3].isNaN)
    #expect(back[4] == 0 && back[4].sign == .minus && back[5] == .infinity)
    #expect(back[6] == 0 || back[6] == 0x1p-133)
}
