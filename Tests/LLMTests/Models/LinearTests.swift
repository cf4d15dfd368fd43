// The one door of linear layers: whichever kernel it takes, the layer is the same.

import Foundation
import Kernels
import LLM
import Testing

private func noise(_ count: Int, seed: UInt64) -> [Float] {
    var random = Xorshift(seed: seed)
    return (0..<count).map { _ in random.uniform() * 2 - 1 }
}

/// Two layers of weights (OC,C) and biases, behind something else.
private func layers(C: Int, OC: Int) -> (parameters: Parameters, weight: Tensor, bias: Tensor) {
    var table = TensorTable()
    _ = table.add("other", 3)
    let bias = table.add("bias", layers: 2, OC)
    let weight = table.add("weight", layers: 2, OC, C)
    let parameters = Parameters(table, trains: true)
    parameters.values.update(from: noise(table.count, seed: 1), count: table.count)
    return (parameters, weight, bias)
}

/// Rows: one, a few, as many as the kernel for few takes at a time and one more, and from 128 on training's product.
/// Outputs: fewer than a vector has lanes, whole vectors, and a ragged last one.
@Test(arguments: [1, 2, 7, 12, 13, 127, 128, 131], [(24, 5), (7, 33), (16, 64), (65, 50)])
func `every number of rows gives the linear layer, with packed weights and without`(N: Int, shape: (C: Int, OC: Int)) {
    let (C, OC) = shape
    let (parameters, weight, bias) = layers(C: C, OC: OC)
    let inp = noise(N * C, seed: 2)
    let addend = noise(N * OC, seed: 3)
    let packed = PackedWeights(parameters)
    for (l, hasBias, hasResidual) in [(0, true, false), (1, true, true), (1, false, false), (0, false, true)] {
        var expected = [Float](repeating: .nan, count: N * OC)
        addend.withUnsafeBufferPointer {
            matmulForward(
                out: &expected, inp: inp, weight: parameters.values.at(weight, l),
                bias: hasBias ? UnsafePointer(parameters.values.at(bias, l)) : nil,
                residual: hasResidual ? $0.baseAddress : nil, N: N, C: C, OC: OC)
        }
        for packed in [nil, packed] {
            let linear = Linear(parameters: parameters, generates: true, packed: packed)
            let bias = hasBias ? bias : nil
            var out = [Float](repeating: .nan, count: N * OC)
            addend.withUnsafeBufferPointer {
                linear.forward(
                    out: &out, inp: inp, weight: weight, bias: bias, layer: l,
                    residual: hasResidual ? $0.baseAddress : nil, N: N, C: C, OC: OC)
            }
            #expect(relativeError(out, expected) <= 1e-5, "layer \(l), packed: \(packed != nil)")
            guard hasResidual else { continue }
            var inPlace = addend
            inPlace.withUnsafeMutableBufferPointer { buffer in
                guard let start = buffer.baseAddress else { return }
                linear.forward(
                    out: start, inp: inp, weight: weight, bias: bias, layer: l, residual: start, N: N, C: C, OC: OC)
            }
            #expect(inPlace == out)
        }
    }
}

/// In training, a batch may end in a chunk of one row. It must have the bits that it has among others.
@Test func `a row of a batch has the same bits alone and among others`() {
    let (N, C, OC) = (9, 300, 50)
    let (parameters, weight, bias) = layers(C: C, OC: OC)
    let inp = noise(N * C, seed: 2)
    let linear = Linear(parameters: parameters)
    var together = [Float](repeating: .nan, count: N * OC)
    linear.forward(out: &together, inp: inp, weight: weight, bias: bias, N: N, C: C, OC: OC)
    for n in 0..<N {
        var alone = [Float](repeating: .nan, count: OC)
        linear.forward(
            out: &alone, inp: Array(inp[n * C..<(n + 1) * C]), weight: weight, bias: bias, N: 1, C: C, OC: OC)
        #expect(alone == Array(together[n * OC..<(n + 1) * OC]), "row \(n)")
    }
}

/// The classifier computes V of a row's Vp logits.
@Test(arguments: [1, 2, 40]) func `rows may lie further apart than they are long`(N: Int) {
    let (C, OC, stride) = (20, 33, 48)
    let (parameters, weight, bias) = layers(C: C, OC: OC)
    let inp = noise(N * C, seed: 2)
    let linear = Linear(parameters: parameters)
    var dense = [Float](repeating: .nan, count: N * OC)
    linear.forward(out: &dense, inp: inp, weight: weight, bias: bias, layer: 1, N: N, C: C, OC: OC)
    var wide = [Float](repeating: 7, count: N * stride)
    linear.forward(out: &wide, inp: inp, weight: weight, bias: bias, layer: 1, N: N, C: C, OC: OC, outStride: stride)
    for n in 0..<N {
        #expect(Array(wide[n * stride..<n * stride + OC]) == Array(dense[n * OC..<(n + 1) * OC]))
        #expect(wide[n * stride + OC..<(n + 1) * stride].allSatisfy { $0 == 7 })
    }
}

@Test func `gradients go to their layer, on top of what is there`() {
    let (N, C, OC) = (9, 20, 33)
    let (parameters, weight, bias) = layers(C: C, OC: OC)
    let (inp, dout) = (noise(N * C, seed: 2), noise(N * OC, seed: 3))
    parameters.gradients.update(repeating: 1, count: parameters.table.count)
    var dinp = [Float](repeating: .nan, count: N * C)
    Linear(parameters: parameters).backward(
        dinp: &dinp, dout: dout, inp: inp, weight: weight, bias: bias, layer: 1, N: N, C: C, OC: OC)
    let values = parameters.array(parameters.values, weight)
    let (dweight, dbias) = (
        parameters.array(parameters.gradients, weight), parameters.array(parameters.gradients, bias)
    )
    #expect((dweight[..<(OC * C)] + dbias[..<OC]).allSatisfy { $0 == 1 }, "the other layer's")
    var (expectedWeight, expectedBias) = ([Float](repeating: 1, count: OC * C), [Float](repeating: 1, count: OC))
    var expectedInp = [Float](repeating: 0, count: N * C)
    for n in 0..<N {
        for o in 0..<OC {
            expectedBias[o] += dout[n * OC + o]
            for c in 0..<C {
                expectedWeight[o * C + c] += dout[n * OC + o] * inp[n * C + c]
                expectedInp[n * C + c] += dout[n * OC + o] * values[OC * C + o * C + c]
            }
        }
    }
    #expect(relativeError(Array(dweight[(OC * C)...]), expectedWeight) < 1e-5)
    #expect(relativeError(Array(dbias[OC...]), expectedBias) < 1e-5)
    #expect(relativeError(dinp, expectedInp) < 1e-5)
}

@Test func `rows that are trained alone have the gradients that they have among all`() {
    let (N, C, OC) = (9, 20, 33)
    let rows = 5..<12
    var table = TensorTable()
    let bias = table.add("bias", OC)
    let weight = table.add("weight", OC, C)
    let (inp, dout) = (noise(N * C, seed: 2), noise(N * OC, seed: 3))
    func gradients(_ train: (Parameters) -> Void) -> Parameters {
        let parameters = Parameters(table, trains: false)
        train(parameters)
        var dinp = [Float](repeating: 0, count: N * C)
        Linear(parameters: parameters).backward(
            dinp: &dinp, dout: dout, inp: inp, weight: weight, bias: bias, N: N, C: C, OC: OC)
        return parameters
    }
    let all = gradients { $0.train([bias, weight]) }
    let some = gradients { $0.train([], rows: [(bias, rows), (weight, rows)]) }
    let expected =
        all.array(all.gradients, bias)[rows]
        + all.array(all.gradients, weight)[rows.lowerBound * C..<rows.upperBound * C]
    #expect(some.trained.count == rows.count * (C + 1))
    let own = Array(UnsafeBufferPointer(start: some.gradients, count: rows.count * (C + 1)))
    #expect(relativeError(own, Array(expected)) < 1e-6)
}
