// Layer normalisation.

import Kernels
import Naive
import Testing

// MARK: - the kernels

/// A forward pass over the given input.
private struct Pass {
    let N, C: Int
    let inp, weight, bias, out, mean, rstd: Fenced

    init(N: Int, C: Int, inp values: [Float]) {
        (self.N, self.C) = (N, C)
        inp = Fenced(values)
        weight = Fenced(noise(C, seed: 2))
        bias = Fenced(noise(C, seed: 3))
        out = Fenced(unwritten: N * C)
        mean = Fenced(unwritten: N)
        rstd = Fenced(unwritten: N)
        layerNormForward(
            out: out.pointer, mean: mean.pointer, rstd: rstd.pointer, inp: inp.pointer, weight: weight.pointer,
            bias: bias.pointer, N: N, C: C)
    }

    var reference: (out: [Double], mean: [Double], rstd: [Double]) {
        naiveLayerNormForward(
            inp: doubles(inp.values), weight: doubles(weight.values), bias: doubles(bias.values), N: N, C: C)
    }

    func expectIntact() {
        KernelsTests.expectIntact(outputs: [out, mean, rstd], inputs: [inp, weight, bias])
    }
}

/// (N, C): one task of rows (16) and several with a shorter last one; one partial sum of rows (32) and several; one
/// block of columns (64 with AVX-512) and several.
private let sizes = [
    (1, 1), (3, 1), (1, 2), (5, 3), (2, 7), (17, 17), (16, 33), (33, 47), (31, 49), (32, 97), (100, 100), (7, 193),
    (65, 768), (1, 1601),
]

@Test(arguments: sizes)
func `layerNormForward and layerNormRecompute`(N: Int, C: Int) {
    let pass = Pass(N: N, C: C, inp: noise(N * C, seed: 1))
    let reference = pass.reference
    expectClose(pass.out.values, reference.out)
    expectClose(pass.mean.values, reference.mean)
    expectClose(pass.rstd.values, reference.rstd)
    let again = Fenced(unwritten: N * C)
    layerNormRecompute(
        out: again.pointer, mean: pass.mean.pointer, rstd: pass.rstd.pointer, inp: pass.inp.pointer,
        weight: pass.weight.pointer, bias: pass.bias.pointer, N: N, C: C)
    expectEqual(again.bits, pass.out.bits)
    expectIntact(outputs: [again], inputs: [])
    pass.expectIntact()
}

@Test(arguments: sizes)
func `layerNormBackward`(N: Int, C: Int) {
    let pass = Pass(N: N, C: C, inp: noise(N * C, seed: 1))
    let dout = Fenced(noise(N * C, seed: 4))
    let (oldInp, oldWeight, oldBias) = (noise(N * C, seed: 5), noise(C, seed: 6), noise(C, seed: 7))
    let dinp = Fenced(oldInp)
    let dweight = Fenced(oldWeight)
    let dbias = Fenced(oldBias)
    let mean = Fenced(pass.mean.values)
    let rstd = Fenced(pass.rstd.values)
    layerNormBackward(
        dinp: dinp.pointer, dweight: dweight.pointer, dbias: dbias.pointer, dout: dout.pointer,
        inp: pass.inp.pointer, weight: pass.weight.pointer, mean: mean.pointer, rstd: rstd.pointer, N: N, C: C)
    let reference = pass.reference
    let expected = naiveLayerNormBackward(
        dout: doubles(dout.values), inp: doubles(pass.inp.values), weight: doubles(pass.weight.values),
        mean: reference.mean, rstd: reference.rstd, N: N, C: C)
    expectClose(dinp.values, zip(oldInp, expected.dinp).map { Double($0) + $1 })
    expectClose(dweight.values, zip(oldWeight, expected.dweight).map { Double($0) + $1 })
    expectClose(dbias.values, zip(oldBias, expected.dbias).map { Double($0) + $1 })
    expectIntact(outputs: [dinp, dweight, dbias], inputs: [dout, mean, rstd])
    pass.expectIntact()
}

/// A variance that the usual ε would hide; and the output in the input's place.
@Test(arguments: [1e-12, 1e-5, 0.1] as [Float]) func `layerNormForward with another ε, in place`(epsilon: Float) {
    let (N, C) = (17, 33)
    let (inp, weight, bias) = (noise(N * C, seed: 1, scale: 1e-3), Fenced(noise(C, seed: 2)), Fenced(noise(C, seed: 3)))
    let (out, mean, rstd) = (Fenced(inp), Fenced(unwritten: N), Fenced(unwritten: N))
    layerNormForward(
        out: out.pointer, mean: mean.pointer, rstd: rstd.pointer, inp: out.pointer, weight: weight.pointer,
        bias: bias.pointer, N: N, C: C, epsilon: epsilon)
    let reference = naiveLayerNormForward(
        inp: doubles(inp), weight: doubles(weight.values), bias: doubles(bias.values), N: N, C: C, epsilon: epsilon)
    expectClose(out.values, reference.out)
    expectClose(rstd.values, reference.rstd)
    expectIntact(outputs: [out, mean, rstd], inputs: [weight, bias])
}

@Test func `a constant row becomes the bias`() {
    let (N, C) = (3, 33)
    let pass = Pass(N: N, C: C, inp: [Float](repeating: 7, count: N * C))
    expectEqual(pass.out.values, (0..<N).flatMap { _ in pass.bias.values })
    #expect(pass.rstd.values.allSatisfy { abs($0 - 316.2278) < 1e-3 })
    pass.expectIntact()
}

/// Σx² − (Σx)² in float32 would lose all its digits here.
@Test func `a mean far from zero does not hide the variance`() {
    let pass = Pass(N: 5, C: 768, inp: noise(5 * 768, seed: 1).map { $0 + 1000 })
    let reference = pass.reference
    expectClose(pass.out.values, reference.out, tolerance: 2e-4)
    expectClose(pass.rstd.values, reference.rstd, tolerance: 1e-5)
    pass.expectIntact()
}

/// If all numbers have the same sign, rounding errors accumulate; one float32 sum would lose two digits here.
@Test func `the gradients of weight and bias over thousands of rows keep their digits`() {
    let (N, C) = (20_000, 33)
    let (inp, dout) = (noise(N * C, seed: 1).map { $0 + 2 }, noise(N * C, seed: 2).map { $0 + 1 })
    let zeros = [Float](repeating: 0, count: N * C)
    let (x, d, dinp) = (Fenced(inp), Fenced(dout), Fenced(zeros))
    // The mean is 0 and rstd is 1, so that dweight is the sum of dout · inp, all of which are positive.
    let (mean, rstd) = (Fenced(Array(zeros[..<N])), Fenced([Float](repeating: 1, count: N)))
    let (weight, dweight, dbias) = (Fenced(noise(C, seed: 3)), Fenced(Array(zeros[..<C])), Fenced(Array(zeros[..<C])))
    layerNormBackward(
        dinp: dinp.pointer, dweight: dweight.pointer, dbias: dbias.pointer, dout: d.pointer, inp: x.pointer,
        weight: weight.pointer, mean: mean.pointer, rstd: rstd.pointer, N: N, C: C)
    var (expectedWeight, expectedBias) = ([Double](repeating: 0, count: C), [Double](repeating: 0, count: C))
    for i in 0..<N * C {
        expectedWeight[i % C] += Double(dout[i]) * Double(inp[i])
        expectedBias[i % C] += Double(dout[i])
    }
    expectClose(dweight.values, expectedWeight)
    expectClose(dbias.values, expectedBias)
    expectIntact(outputs: [dinp, dweight, dbias], inputs: [x, d, weight, mean, rstd])
}
