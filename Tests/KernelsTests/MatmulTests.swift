// The linear layer, forward and backward.

import Kernels
import Naive
import Testing

// MARK: - the kernels

/// (N, C, OC), with edges that do not fit vectors, tiles, panels or tasks. In the last one the tasks of
/// dweight have 48 rows, the most allowed, if there are few threads.
private let sizes = [
    (1, 1, 1), (1, 7, 3), (2, 3, 1), (3, 2, 17), (1, 100, 193), (7, 17, 33), (17, 33, 49), (33, 1, 47), (47, 47, 97),
    (48, 48, 96), (49, 100, 193), (100, 97, 7), (193, 49, 100), (250, 17, 10), (97, 8, 16), (31, 193, 195),
    (20, 50, 461),
]
/// (length of the sum, other, other): sums that are split into parts of at most 1536. Where the second
/// number of the last one is N, it has several tasks of rows (at least 128 each).
private let longSums = [(1535, 5, 9), (1536, 97, 97), (1537, 1, 100), (3073, 3, 5), (3100, 49, 97), (1600, 401, 2)]

/// The numbers that a product multiplies.
func factors(_ values: [Float], _ precision: Precision) -> [Double] {
    precision == .bfloat16 ? values.map(naiveBFloat16) : doubles(values)
}

/// The copy of `values` (rows, columns) with `stride` floats from row to row, and NaN in the gaps.
private func spread(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float] {
    var result = [Float](repeating: .nan, count: rows * stride)
    for row in 0..<rows {
        for column in 0..<columns { result[row * stride + column] = values[row * columns + column] }
    }
    return result
}

/// The inverse of `spread`; nil if a gap is no longer NaN.
private func gathered(_ values: [Float], rows: Int, columns: Int, stride: Int) -> [Float]? {
    for row in 0..<rows {
        for column in columns..<stride where !values[row * stride + column].isNaN { return nil }
    }
    return (0..<rows * columns).map { values[$0 / columns * stride + $0 % columns] }
}

/// A sum over k in bfloat16 has a word for two of its elements, and parts of twice the length.
private let longerSums = [(3071, 2, 9), (3073, 3, 50), (6200, 17, 5)]

@Test(arguments: (sizes + (longSums + longerSums).map { (K, a, b) in (N: a, C: K, OC: b) }), Precision.allCases)
func `matmulForward`(size: (N: Int, C: Int, OC: Int), precision: Precision) throws {
    let (N, C, OC) = size
    let inp = Fenced(noise(N * C, seed: 1))
    let weight = Fenced(noise(OC * C, seed: 2))
    let bias = Fenced(noise(OC, seed: 3))
    let residual = noise(N * OC, seed: 4)
    let product = naiveMatmulForward(
        inp: factors(inp.values, precision), weight: factors(weight.values, precision), bias: nil, N: N, C: C, OC: OC)
    let biases = doubles(bias.values)
    let withBias = product.enumerated().map { $1 + biases[$0 % OC] }
    let withBoth = zip(withBias, residual).map { $0 + Double($1) }

    let plain = Fenced(unwritten: N * OC)
    matmulForward(
        out: plain.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, N: N, C: C, OC: OC,
        precision: precision)
    expectClose(plain.values, product)

    let biased = Fenced(unwritten: N * OC)
    matmulForward(
        out: biased.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer, N: N, C: C, OC: OC,
        precision: precision)
    expectClose(biased.values, withBias)

    // The residual as another array, and as the output itself.
    let added = Fenced(unwritten: N * OC)
    let addend = Fenced(residual)
    matmulForward(
        out: added.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer, residual: addend.pointer,
        N: N, C: C, OC: OC, precision: precision)
    expectClose(added.values, withBoth)
    let inPlace = Fenced(residual)
    matmulForward(
        out: inPlace.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer, residual: inPlace.pointer,
        N: N, C: C, OC: OC, precision: precision)
    expectEqual(inPlace.bits, added.bits)

    // Rows with gaps between them, which must not be written.
    let stride = OC + 5
    let withGaps = Fenced(spread(residual, rows: N, columns: OC, stride: stride))
    let residualWithGaps = Fenced(withGaps.values)
    matmulForward(
        out: withGaps.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer,
        residual: residualWithGaps.pointer, N: N, C: C, OC: OC, outStride: stride, precision: precision)
    let result = try #require(gathered(withGaps.values, rows: N, columns: OC, stride: stride))
    expectEqual(result.map { $0.bitPattern }, added.bits)
    expectIntact(
        outputs: [plain, biased, added, inPlace, withGaps], inputs: [inp, weight, bias, addend, residualWithGaps])
}

@Test(arguments: (sizes + (longSums + longerSums).map { (K, a, b) in (N: a, C: b, OC: K) }), Precision.allCases)
func `matmulBackwardInput`(size: (N: Int, C: Int, OC: Int), precision: Precision) {
    let (N, C, OC) = size
    let dout = Fenced(noise(N * OC, seed: 1))
    let weight = Fenced(noise(OC * C, seed: 2))
    let old = noise(N * C, seed: 3)
    let zeros = [Double](repeating: 0, count: N * C)
    let expected = naiveMatmulBackward(
        dout: factors(dout.values, precision), inp: zeros, weight: factors(weight.values, precision), N: N, C: C, OC: OC
    ).dinp

    let dinp = Fenced(unwritten: N * C)
    matmulBackwardInput(
        dinp: dinp.pointer, dout: dout.pointer, weight: weight.pointer, N: N, C: C, OC: OC, precision: precision)
    expectClose(dinp.values, expected)

    let accumulated = Fenced(old)
    matmulBackwardInput(
        dinp: accumulated.pointer, dout: dout.pointer, weight: weight.pointer, N: N, C: C, OC: OC, accumulate: true,
        precision: precision)
    expectClose(accumulated.values, zip(old, expected).map { Double($0) + $1 })

    let stride = OC + 3
    let withGaps = Fenced(spread(dout.values, rows: N, columns: OC, stride: stride))
    let fromGaps = Fenced(unwritten: N * C)
    matmulBackwardInput(
        dinp: fromGaps.pointer, dout: withGaps.pointer, weight: weight.pointer, N: N, C: C, OC: OC, doutStride: stride,
        precision: precision)
    expectEqual(fromGaps.bits, dinp.bits)
    expectIntact(outputs: [dinp, accumulated, fromGaps], inputs: [dout, weight, withGaps])
}

@Test(arguments: (sizes + (longSums + longerSums).map { (K, a, b) in (N: K, C: a, OC: b) }), Precision.allCases)
func `matmulBackwardWeight`(size: (N: Int, C: Int, OC: Int), precision: Precision) {
    let (N, C, OC) = size
    let dout = Fenced(noise(N * OC, seed: 1))
    let inp = Fenced(noise(N * C, seed: 2))
    let oldWeight = noise(OC * C, seed: 3)
    let oldBias = noise(OC, seed: 4)
    let zeros = [Double](repeating: 0, count: OC * C)
    let gradients = naiveMatmulBackward(
        dout: factors(dout.values, precision), inp: factors(inp.values, precision), weight: zeros, N: N, C: C, OC: OC)
    var sums = [Double](repeating: 0, count: OC)  // of floats, in either precision
    for (i, value) in dout.values.enumerated() { sums[i % OC] += Double(value) }

    let dweight = Fenced(oldWeight)
    let dbias = Fenced(oldBias)
    matmulBackwardWeight(
        dweight: dweight.pointer, dbias: dbias.pointer, dout: dout.pointer, inp: inp.pointer, N: N, C: C, OC: OC,
        precision: precision)
    expectClose(dweight.values, zip(oldWeight, gradients.dweight).map { Double($0) + $1 })
    expectClose(dbias.values, zip(oldBias, sums).map { Double($0) + $1 })

    let stride = OC + 3
    let withGaps = Fenced(spread(dout.values, rows: N, columns: OC, stride: stride))
    let fromGaps = Fenced(oldWeight)
    matmulBackwardWeight(
        dweight: fromGaps.pointer, dbias: nil, dout: withGaps.pointer, inp: inp.pointer, N: N, C: C, OC: OC,
        doutStride: stride, precision: precision)
    expectEqual(fromGaps.bits, dweight.bits)

    let inpWithGaps = Fenced(spread(inp.values, rows: N, columns: C, stride: C + 2))
    for bias in [nil, Fenced(oldBias)] {
        let fromGaps = Fenced(oldWeight)
        matmulBackwardWeight(
            dweight: fromGaps.pointer, dbias: bias?.pointer, dout: dout.pointer, inp: inpWithGaps.pointer, N: N, C: C,
            OC: OC, inpStride: C + 2, precision: precision)
        expectEqual(fromGaps.bits, dweight.bits)
    }
    expectIntact(outputs: [dweight, dbias, fromGaps], inputs: [dout, inp, withGaps, inpWithGaps])
}

/// A product of thin matrices that is added to the first one, in both directions.
@Test(
    arguments: sizes,
    [(1, Precision.float32), (3, .bfloat16), (8, .float32), (8, .bfloat16), (17, .float32), (17, .bfloat16)])
func `products with a low-rank part`(size: (N: Int, C: Int, OC: Int), _ part: (rank: Int, precision: Precision)) {
    let ((N, C, OC), (rank, precision)) = (size, part)
    let inp = Fenced(noise(N * C, seed: 1))
    let weight = Fenced(noise(OC * C, seed: 2))
    let bias = Fenced(noise(OC, seed: 3))
    let a = Fenced(noise(N * rank, seed: 4))
    let b = Fenced(noise(OC * rank, seed: 5))
    let nothing = [Double](repeating: 0, count: OC)
    let thin = naiveMatmulForward(
        inp: factors(a.values, precision), weight: factors(b.values, precision), bias: nothing, N: N, C: rank, OC: OC)
    let whole = naiveMatmulForward(
        inp: factors(inp.values, precision), weight: factors(weight.values, precision), bias: doubles(bias.values),
        N: N, C: C, OC: OC)
    let stride = OC + 5
    let out = Fenced([Float](repeating: 7, count: N * stride))
    matmulForward(
        out: out.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer, N: N, C: C, OC: OC,
        outStride: stride, lowRank: LowRank(a: a.pointer, b: b.pointer, rank: rank), precision: precision)
    for n in 0..<N {
        expectClose(
            Array(out.values[n * stride..<n * stride + OC]),
            (0..<OC).map { whole[n * OC + $0] + thin[n * OC + $0] }, tolerance: 4e-6)
        #expect(out.values[n * stride + OC..<(n + 1) * stride].allSatisfy { $0 == 7 })
    }

    let dout = Fenced(noise(N * OC, seed: 6))
    let second = Fenced(noise(rank * C, seed: 7))
    let dinp = Fenced(unwritten: N * C)
    matmulBackwardInput(
        dinp: dinp.pointer, dout: dout.pointer, weight: weight.pointer, N: N, C: C, OC: OC,
        lowRank: LowRank(a: a.pointer, b: second.pointer, rank: rank), precision: precision)
    let zeros = [Double](repeating: 0, count: N * C)
    let own = naiveMatmulBackward(
        dout: factors(dout.values, precision), inp: zeros, weight: factors(weight.values, precision), N: N, C: C, OC: OC
    ).dinp
    let added = naiveMatmulBackward(
        dout: factors(a.values, precision), inp: zeros, weight: factors(second.values, precision), N: N, C: C, OC: rank
    ).dinp
    expectClose(dinp.values, zip(own, added).map { $0 + $1 }, tolerance: 4e-6)
    expectIntact(outputs: [out, dinp], inputs: [inp, weight, bias, a, b, dout, second])
}

/// If all numbers have the same sign, rounding errors accumulate; one float32 sum over all rows, as in llm.c, loses two
/// digits here, and one over each part of 1429 rows half a digit, which is what the tolerance rules out.
@Test func `a bias's gradient over thousands of rows keeps its digits`() {
    let (N, OC) = (20_000, 33)
    let values = noise(N * OC, seed: 1).map { $0 + 2 }
    let dout = Fenced(values)
    let inp = Fenced([Float](repeating: 0, count: N))
    let dweight = Fenced([Float](repeating: 0, count: OC))
    let dbias = Fenced([Float](repeating: 0, count: OC))
    matmulBackwardWeight(
        dweight: dweight.pointer, dbias: dbias.pointer, dout: dout.pointer, inp: inp.pointer, N: N, C: 1, OC: OC)
    var expected = [Double](repeating: 0, count: OC)
    for (i, value) in values.enumerated() { expected[i % OC] += Double(value) }
    expectClose(dbias.values, expected, tolerance: 1.2e-7)
    expectIntact(outputs: [dweight, dbias], inputs: [dout, inp])
}
