// Layer normalisation.

import Kernels
import Testing

// MARK: - naive references

/// The layer norm out (N,C): each row of inp (N,C) minus its mean, divided by its standard deviation, times weight (C),
/// plus bias (C). Also the rows' mean (N) and rstd (N) = 1 / √(variance + ε).
private func naiveLayerNormForward(
    inp: [Double], weight: [Double], bias: [Double], N: Int, C: Int, epsilon: Float = 1e-5
) -> (out: [Double], mean: [Double], rstd: [Double]) {
    var out = [Double](repeating: 0, count: N * C)
    var (means, rstds) = ([Double](), [Double]())
    for n in 0..<N {
        let x = inp[n * C..<(n + 1) * C]
        let mean = x.reduce(0, +) / Double(C)
        let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(C)
        let rstd = 1 / (variance + Double(epsilon)).squareRoot()
        for c in 0..<C { out[n * C + c] = (inp[n * C + c] - mean) * rstd * weight[c] + bias[c] }
        means.append(mean)
        rstds.append(rstd)
    }
    return (out, means, rstds)
}

/// The gradients. The forward pass was out = norm · weight + bias with norm = (inp − mean) · rstd. So dweight (C) and
/// dbias (C) are the sums of dout · norm and dout over all rows. dinp (N,C) is dnorm · rstd, minus the effect of a
/// channel on the mean (the same for all channels) and on the variance (proportional to norm).
private func naiveLayerNormBackward(
    dout: [Double], inp: [Double], weight: [Double], mean: [Double], rstd: [Double], N: Int, C: Int
) -> (dinp: [Double], dweight: [Double], dbias: [Double]) {
    var dinp = [Double](repeating: 0, count: N * C)
    var dweight = [Double](repeating: 0, count: C)
    var dbias = [Double](repeating: 0, count: C)
    for n in 0..<N {
        var (meanDnorm, meanDnormNorm) = (0.0, 0.0)
        for c in 0..<C {
            let norm = (inp[n * C + c] - mean[n]) * rstd[n]
            let dnorm = weight[c] * dout[n * C + c]
            meanDnorm += dnorm / Double(C)
            meanDnormNorm += dnorm * norm / Double(C)
        }
        for c in 0..<C {
            let norm = (inp[n * C + c] - mean[n]) * rstd[n]
            let dnorm = weight[c] * dout[n * C + c]
            dinp[n * C + c] = (dnorm - meanDnorm - norm * meanDnormNorm) * rstd[n]
            dweight[c] += dout[n * C + c] * norm
            dbias[c] += dout[n * C + c]
        }
    }
    return (dinp, dweight, dbias)
}

@Test func `the naive layer norm's backward pass is its forward pass's derivative`() {
    let (N, C) = (3, 5)
    let (inp, weight) = (doubles(noise(N * C, seed: 1)), doubles(noise(C, seed: 2)))
    let (bias, dout) = (doubles(noise(C, seed: 3)), doubles(noise(N * C, seed: 4)))
    func loss(_ inp: [Double], _ weight: [Double], _ bias: [Double]) -> Double {
        dot(naiveLayerNormForward(inp: inp, weight: weight, bias: bias, N: N, C: C).out, dout)
    }
    let kept = naiveLayerNormForward(inp: inp, weight: weight, bias: bias, N: N, C: C)
    let gradients = naiveLayerNormBackward(
        dout: dout, inp: inp, weight: weight, mean: kept.mean, rstd: kept.rstd, N: N, C: C)
    expectSameGradient(gradients.dinp, finiteDifferences(at: inp) { loss($0, weight, bias) })
    expectSameGradient(gradients.dweight, finiteDifferences(at: weight) { loss(inp, $0, bias) })
    expectSameGradient(gradients.dbias, finiteDifferences(at: bias) { loss(inp, weight, $0) })
}

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
