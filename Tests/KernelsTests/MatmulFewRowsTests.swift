// Matrix products with few rows. Their reference is `naiveMatmulForward`.

import Kernels
import Naive
import Testing

/// weight (OC,C) as `packBlocks` writes it, between fences. The floats after the last block, which `matmulBlocks` reads
/// and ignores, are NaN.
private func blocks(_ weight: Fenced, C: Int, OC: Int, _ precision: Precision = .float32) -> Fenced {
    let words = precision == .float32 ? C : (C + 1) / 2
    let packed = Fenced([Float](repeating: .nan, count: OC * words + vectorWidth))
    packBlocks(packed.pointer, weight: weight.pointer, C: C, OC: OC, precision: precision)
    #expect(packed.isFenceWhole)
    return Fenced(packed.values)
}

/// (C, OC), with edges that do not fit vectors, squares or tasks. (300, 700) has several tasks, each of at least 32,768
/// floats, of which the last is shorter.
private let shapes = [(1, 1), (5, 3), (16, 16), (37, 29), (64, 200), (300, 700), (9, 31)]
/// Blocks that are larger than a task should be, and tasks at the upper limit of 131,072 floats.
private let largeShapes = [(8200, 33), (1100, 2000)]

@Test(arguments: shapes + largeShapes)
func `packBlocks transposes blocks of weights`(C: Int, OC: Int) {
    let weight = Fenced(noise(OC * C, seed: 2))
    let packed = blocks(weight, C: C, OC: OC)
    let weights = weight.values
    var expected: [Float] = []
    for first in stride(from: 0, to: OC, by: vectorWidth) {
        for c in 0..<C {
            for o in first..<min(first + vectorWidth, OC) { expected.append(weights[o * C + c]) }
        }
    }
    let result = packed.values
    expectEqual(Array(result[..<(OC * C)]), expected)
    let isRestUntouched = result[(OC * C)...].allSatisfy { $0.isNaN }
    #expect(isRestUntouched)
    expectIntact(outputs: [], inputs: [weight])
}

/// `matmulBlocks`, and `matmulRow` where there is one row, with and without a bias and a residual; in bfloat16 also the
/// product for many rows.
private func expectReference(N: Int, C: Int, OC: Int, _ precision: Precision = .float32) {
    let inp = Fenced(noise(N * C, seed: 1))
    let weight = Fenced(noise(OC * C, seed: 2))
    let packed = blocks(weight, C: C, OC: OC, precision)
    let bias = Fenced(noise(OC, seed: 3))
    let residual = Fenced(noise(N * OC, seed: 4))
    let product = naiveMatmulForward(
        inp: factors(inp.values, precision), weight: factors(weight.values, precision), bias: nil, N: N, C: C, OC: OC)
    let (biases, residuals) = (doubles(bias.values), doubles(residual.values))
    for (hasBias, hasResidual) in [(true, true), (false, false), (true, false), (false, true)] {
        let expected = product.indices.map {
            product[$0] + (hasBias ? biases[$0 % OC] : 0) + (hasResidual ? residuals[$0] : 0)
        }
        let out = Fenced(unwritten: N * OC)
        matmulBlocks(
            out: out.pointer, inp: inp.pointer, blocks: packed.pointer, bias: hasBias ? bias.pointer : nil,
            residual: hasResidual ? residual.pointer : nil, N: N, C: C, OC: OC, precision: precision)
        expectClose(out.values, expected, "N \(N), C \(C), OC \(OC)")
        expectIntact(outputs: [out], inputs: [inp, packed, bias, residual])
        if precision == .bfloat16 {
            let many = Fenced(unwritten: N * OC)
            matmulForward(
                out: many.pointer, inp: inp.pointer, bfloat16Blocks: packed.pointer, bias: hasBias ? bias.pointer : nil,
                residual: hasResidual ? residual.pointer : nil, N: N, C: C, OC: OC)
            expectClose(many.values, expected, "as many, N \(N), C \(C), OC \(OC)")
            expectIntact(outputs: [many], inputs: [inp, packed, bias, residual])
            continue
        }
        guard N == 1 else { continue }
        let row = Fenced(unwritten: OC)
        matmulRow(
            out: row.pointer, inp: inp.pointer, weight: weight.pointer, bias: hasBias ? bias.pointer : nil,
            residual: hasResidual ? residual.pointer : nil, C: C, OC: OC)
        expectClose(row.values, expected, "one row, C \(C), OC \(OC)")
        expectIntact(outputs: [row], inputs: [inp, weight, bias, residual])
    }
}

/// Each number of rows that has a function of its own (1 to 10), and two and more groups of rows, some of them shorter.
@Test(arguments: Array(1...13) + [23, 25, 64], shapes)
func `matmulBlocks and matmulRow`(N: Int, shape: (C: Int, OC: Int)) {
    expectReference(N: N, C: shape.C, OC: shape.OC)
    expectReference(N: N, C: shape.C, OC: shape.OC, .bfloat16)
}

/// A sum in several parts (more than 3072 inputs), and several tasks of rows.
@Test(arguments: [(3, 3074, 50), (2, 6201, 5), (300, 33, 49)])
func `many rows with weights in blocks of bfloat16`(N: Int, C: Int, OC: Int) {
    expectReference(N: N, C: C, OC: OC, .bfloat16)
}

@Test(arguments: [1, 13], largeShapes)
func `matmulBlocks and matmulRow with large weights`(N: Int, shape: (C: Int, OC: Int)) {
    expectReference(N: N, C: shape.C, OC: shape.OC)
    expectReference(N: N, C: shape.C, OC: shape.OC, .bfloat16)
}

@Test func `the residual may be the output`() {
    let (N, C, OC) = (3, 20, 33)
    let (inp, weight) = (Fenced(noise(N * C, seed: 1)), Fenced(noise(OC * C, seed: 2)))
    let packed = blocks(weight, C: C, OC: OC)
    let old = noise(N * OC, seed: 4)
    let product = naiveMatmulForward(
        inp: doubles(inp.values), weight: doubles(weight.values), bias: nil, N: N, C: C, OC: OC)
    let expected = zip(product, old).map { $0 + Double($1) }
    let out = Fenced(old)
    matmulBlocks(
        out: out.pointer, inp: inp.pointer, blocks: packed.pointer, bias: nil, residual: out.pointer, N: N, C: C, OC: OC
    )
    expectClose(out.values, expected)
    let row = Fenced(Array(old[..<OC]))
    matmulRow(
        out: row.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, residual: row.pointer, C: C, OC: OC)
    expectClose(row.values, Array(expected[..<OC]))
    expectIntact(outputs: [out, row], inputs: [inp, weight, packed])
}

@Test func `a row has the same bits in any batch`() {
    let (N, C, OC) = (15, 70, 90)
    let (inp, weight) = (Fenced(noise(N * C, seed: 1)), Fenced(noise(OC * C, seed: 2)))
    let packed = blocks(weight, C: C, OC: OC)
    func product(of rows: Range<Int>) -> [UInt32] {
        let out = Fenced(unwritten: rows.count * OC)
        matmulBlocks(
            out: out.pointer, inp: inp.pointer + rows.lowerBound * C, blocks: packed.pointer, bias: nil, N: rows.count,
            C: C, OC: OC)
        return out.bits
    }
    let all = product(of: 0..<N)
    for first in 0..<N {
        for last in first..<N {
            expectEqual(
                product(of: first..<last + 1), Array(all[first * OC..<(last + 1) * OC]), "in rows \(first)...\(last)")
        }
    }
    expectIntact(outputs: [], inputs: [inp, packed])
}
