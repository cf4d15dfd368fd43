// Products with weights in 8 bits.

import Kernels
import Naive
import Testing

/// Groups of 64 numbers of each row as whole numbers of a scale, and back: what a product in 8 bits multiplies.
private func quantized(_ values: [Float], rows: Int, columns: Int) -> [Double] {
    var result = [Double](repeating: 0, count: values.count)
    for row in 0..<rows {
        for first in stride(from: 0, to: columns, by: 64) {
            let places = row * columns + first..<row * columns + min(first + 64, columns)
            let largest = values[places].map(abs).max() ?? 0
            // 17 bits of it.
            let scale = Float(bitPattern: ((largest / 127).bitPattern + 64) / 128 * 128)
            for i in places where scale > 0 {
                result[i] = (Double(values[i]) * Double(1 / scale)).rounded(.toNearestOrEven) * Double(scale)
            }
        }
    }
    return result
}

private func product(
    _ inp: Fenced, _ weight: Fenced, bias: Fenced? = nil, residual: Fenced? = nil, N: Int, C: Int, OC: Int
) -> Fenced {
    let blocks = Fenced(unwritten: int8Words(C: C, OC: OC))
    packInt8(blocks.pointer, weight: weight.pointer, C: C, OC: OC)
    let out = Fenced(unwritten: N * OC)
    matmulInt8(
        out: out.pointer, inp: inp.pointer, blocks: blocks.pointer, bias: bias?.pointer, residual: residual?.pointer,
        N: N, C: C, OC: OC)
    #expect(blocks.isFenceWhole)
    expectIntact(outputs: [out], inputs: [inp, weight] + [bias, residual].compactMap { $0 })
    return out
}

/// (C, OC): less than a group, a group, more, ragged; less than a block, blocks, a ragged last one; several tasks.
@Test(
    arguments: Array(1...11) + [23, 64, 131],
    [(1, 1), (5, 3), (63, 16), (64, 17), (65, 31), (128, 16), (200, 33), (300, 700)])
func `matmulInt8 multiplies what the groups of weights and inputs became`(N: Int, shape: (C: Int, OC: Int)) {
    let (C, OC) = shape
    let inp = Fenced(noise(N * C, seed: 1))
    let weight = Fenced(noise(OC * C, seed: 2, scale: 0.1))
    let (bias, residual) = (Fenced(noise(OC, seed: 3)), Fenced(noise(N * OC, seed: 4)))
    let expected = naiveMatmulForward(
        inp: quantized(inp.values, rows: N, columns: C), weight: quantized(weight.values, rows: OC, columns: C),
        bias: nil, N: N, C: C, OC: OC)
    // Of a number in the middle between two whole ones, but for the last bit, a processor without fused multiply-adds may take
    // the other one.
    let tolerance = 1e-4
    expectClose(product(inp, weight, N: N, C: C, OC: OC).values, expected, tolerance: tolerance)
    let (biases, residuals) = (doubles(bias.values), doubles(residual.values))
    expectClose(
        product(inp, weight, bias: bias, residual: residual, N: N, C: C, OC: OC).values,
        expected.indices.map { expected[$0] + biases[$0 % OC] + residuals[$0] }, tolerance: tolerance)
}

@Test func `the largest numbers of a group keep 17 bits in 8 bits, and zeros stay zeros`() {
    let C = 70
    var row = [Float](repeating: 0, count: C)
    (row[3], row[69]) = (-5, 3)
    var weights = [Float](repeating: 0, count: 2 * C)
    (weights[3], weights[69], weights[C]) = (2, 7, 1)
    let out = product(Fenced(row), Fenced(weights), N: 1, C: C, OC: 2)
    expectClose(out.values, [11, 0], tolerance: 1e-5)
    // Sums of the largest magnitudes, of either sign, which the bytes of a group just hold.
    for sign: Float in [1, -1] {
        let out = product(
            Fenced([Float](repeating: sign, count: 640)), Fenced([Float](repeating: -1, count: 640)), N: 1, C: 640,
            OC: 1)
        expectClose(out.values, [Double(-640 * sign)], tolerance: 1e-5)
    }
}

@Test func `what is not a number shows in the result of a product in 8 bits`() {
    func result(_ value: Float, at place: Int, inWeight: Bool) -> Float {
        var row = [Float](repeating: 1, count: 65)
        row[place] = value
        let (one, other) = (Fenced(row), Fenced([Float](repeating: 1, count: 65)))
        return product(inWeight ? other : one, inWeight ? one : other, N: 1, C: 65, OC: 1).values[0]
    }
    for inWeight in [false, true] {
        for value in [Float.nan, .infinity, -.infinity] {
            for place in [0, 5, 64] { #expect(!result(value, at: place, inWeight: inWeight).isFinite) }
        }
        // Too small for a scale, and a number so large that it leaves nothing of its neighbours.
        for value in [Float.leastNonzeroMagnitude, 0x1p-145] {
            expectClose([result(value, at: 64, inWeight: inWeight)], [64], tolerance: 1e-5)
        }
        expectClose([result(1e38, at: 64, inWeight: inWeight)], [1e38], tolerance: 1e-5)
    }
}

@Test(arguments: [(1, 1), (63, 3), (64, 16), (65, 17), (300, 33)])
func `the floats that weights in 8 bits stand for become the same whole numbers and scales again`(C: Int, OC: Int) {
    let weight = Fenced(noise(OC * C, seed: 5, scale: 0.1))
    func rounded(_ weight: Fenced) -> (q: [Int8], scales: Fenced, floats: Fenced) {
        let shape = int8Shape(C: C, OC: OC)
        var q = [Int8](repeating: 99, count: shape.reduce(1, *) + 1)
        let (scales, floats) = (Fenced(unwritten: shape[0] * shape[1]), Fenced(unwritten: OC * C))
        quantizeInt8(&q, scales: scales.pointer, weight: weight.pointer, C: C, OC: OC)
        dequantizeInt8(floats.pointer, q: q, scales: scales.pointer, C: C, OC: OC)
        expectIntact(outputs: [scales, floats], inputs: [weight])
        #expect(q.removeLast() == 99)
        return (q, scales, Fenced(floats.values))
    }
    let once = rounded(weight)
    let twice = rounded(once.floats)
    expectClose(once.floats.values, quantized(weight.values, rows: OC, columns: C))
    #expect(once.q == twice.q && once.scales.values == twice.scales.values && once.floats.values == twice.floats.values)
    #expect(once.q.contains(127) || once.q.contains(-127))
    // A product takes the floats for the weights themselves.
    let inp = Fenced(noise(3 * C, seed: 6))
    let same = product(inp, weight, N: 3, C: C, OC: OC).values == product(inp, once.floats, N: 3, C: C, OC: OC).values
    #expect(same)
}
