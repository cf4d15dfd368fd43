// Each naive twin's backward pass against finite differences of its forward pass, in double precision.

import Kernels
import Naive
import Testing

@Test func `the naive embedding's backward pass is its forward pass's derivative`() {
    let (C, V, maxT) = (2, 4, 5)
    let inp: [Int32] = [3, 0, 3, 1, 3, 0]
    let positions: [Int32] = [0, 1, 2, 0, 4, 2]
    let (wte, wpe) = (doubles(noise(V * C, seed: 1)), doubles(noise(maxT * C, seed: 2)))
    let dout = doubles(noise(inp.count * C, seed: 3))
    func loss(_ wte: [Double], _ wpe: [Double]) -> Double {
        dot(naiveEmbeddingForward(inp: inp, positions: positions, wte: wte, wpe: wpe, C: C), dout)
    }
    let gradients = naiveEmbeddingBackward(dout: dout, inp: inp, positions: positions, V: V, maxT: maxT, C: C)
    expectSameGradient(gradients.dwte, finiteDifferences(at: wte) { loss($0, wpe) })
    expectSameGradient(gradients.dwpe, finiteDifferences(at: wpe) { loss(wte, $0) })
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

@Test func `the naive matmul's backward pass is its forward pass's derivative`() {
    let (N, C, OC) = (3, 4, 5)
    let (inp, weight) = (doubles(noise(N * C, seed: 1)), doubles(noise(OC * C, seed: 2)))
    let (bias, dout) = (doubles(noise(OC, seed: 3)), doubles(noise(N * OC, seed: 4)))
    func loss(_ inp: [Double], _ weight: [Double], _ bias: [Double]) -> Double {
        dot(naiveMatmulForward(inp: inp, weight: weight, bias: bias, N: N, C: C, OC: OC), dout)
    }
    let gradients = naiveMatmulBackward(dout: dout, inp: inp, weight: weight, N: N, C: C, OC: OC)
    expectSameGradient(gradients.dinp, finiteDifferences(at: inp) { loss($0, weight, bias) })
    expectSameGradient(gradients.dweight, finiteDifferences(at: weight) { loss(inp, $0, bias) })
    expectSameGradient(gradients.dbias, finiteDifferences(at: bias) { loss(inp, weight, $0) })
}

@Test(arguments: [([3, 3], 4, 2), ([4], 3, 1), ([1], 2, 1), ([1, 4, 2], 4, 2)], [true, false])
func `the naive attention's backward pass is its forward pass's derivative`(
    sizes: (lengths: [Int], C: Int, NH: Int), causal: Bool
) {
    let (lengths, C, NH) = sizes
    let N = lengths.reduce(0, +)
    let qkv = doubles(noise(N * 3 * C, seed: 1))
    let dout = doubles(noise(N * C, seed: 2))
    for dropout in [nil, someDropout] {
        let gradient = naiveAttentionBackward(
            dout: dout, qkv: qkv, lengths: lengths, C: C, NH: NH, causal: causal, dropout: dropout)
        expectSameGradient(
            gradient,
            finiteDifferences(at: qkv) {
                let out = naiveAttentionForward(
                    qkv: $0, lengths: lengths, C: C, NH: NH, causal: causal, dropout: dropout)
                return dot(out, dout)
            })
    }
}

@Test func `the naive GELU's slope is its derivative`() {
    let x = stride(from: -4, through: 4, by: 0.37).map { $0 }
    let differences = x.map { x in finiteDifferences(at: [x]) { naiveGELU($0[0]) }[0] }
    expectSameGradient(x.map { naiveGELUSlope($0) }, differences)
}

@Test func `the naive exact GELU's slope is its derivative`() {
    let x = stride(from: -4, through: 4, by: 0.37).map { $0 }
    let differences = x.map { x in finiteDifferences(at: [x]) { naiveExactGELU($0[0]) }[0] }
    expectSameGradient(x.map { naiveExactGELUSlope($0) }, differences)
}

@Test func `the naive cross entropy's gradient is its derivative`() {
    let (N, V) = (3, 5)
    let logits = doubles(noise(N * V, seed: 1, scale: 3))
    let targets: [Int32] = [4, -1, 2]
    let reference = naiveCrossEntropy(logits: logits, targets: targets, scale: 0.25, N: N, V: V)
    expectSameGradient(
        reference.dlogits,
        finiteDifferences(at: logits) {
            naiveCrossEntropy(logits: $0, targets: targets, scale: 1, N: N, V: V).losses.reduce(0, +) * 0.25
        })
}

@Test func `the naive rotary's backward pass is its forward pass's derivative`() {
    let (t, C, NH, R, theta) = (5, 8, 2, 4, 100.0)
    let row = doubles(noise(3 * C, seed: 1))
    let dout = doubles(noise(3 * C, seed: 2))
    let gradient = naiveRotaryBackward(dout, t: t, C: C, NH: NH, R: R, theta: theta)
    expectSameGradient(
        gradient,
        finiteDifferences(at: row) { dot(naiveRotary($0, t: t, C: C, NH: NH, R: R, theta: theta), dout) })
}

private let someDropout: (rate: Float, key: DropoutKey)? =
    (0.3, DropoutKey(seed: 42, microBatch: 3).at(site: 1, layer: 2))

/// A check that two gradients in double precision agree.
func expectSameGradient(
    _ ours: [Double], _ expected: [Double], sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(ours.count == expected.count, sourceLocation: sourceLocation)
    for (a, b) in zip(ours, expected) {
        #expect(abs(a - b) <= 1e-7 * max(1, abs(b)), sourceLocation: sourceLocation)
    }
}
