// Products with few rows, attention to a cache, probabilities: what generating uses.

import Foundation
import Kernels
import Testing

// MARK: - naive twins

/// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
private func naiveLinear(
    inp: [Double], weight: [Double], bias: [Double]?, residual: [Double]?, N: Int, C: Int, OC: Int
) -> [Double] {
    var out = [Double](repeating: 0, count: N * OC)
    for n in 0..<N {
        for o in 0..<OC {
            var sum = bias?[o] ?? 0
            for c in 0..<C { sum += inp[n * C + c] * weight[o * C + c] }
            out[n * OC + o] = sum + (residual?[n * OC + o] ?? 0)
        }
    }
    return out
}

/// The attention (C) of the last token of qkv (T,3C) to all of them: a mean of the values, weighted by the softmax of
/// query · key / √HS, for every head by itself.
private func naiveAttentionOfLast(qkv: [Double], T: Int, C: Int, NH: Int) -> [Double] {
    let HS = C / NH
    var out = [Double](repeating: 0, count: C)
    for h in 0..<NH {
        let query = (T - 1) * 3 * C + h * HS
        let scores = (0..<T).map { t in
            (0..<HS).reduce(0) { $0 + qkv[query + $1] * qkv[t * 3 * C + C + h * HS + $1] } / Double(HS).squareRoot()
        }
        let maximum = scores.max() ?? 0
        let exponentials = scores.map { exp($0 - maximum) }
        let sum = exponentials.reduce(0, +)
        for t in 0..<T {
            for i in 0..<HS { out[h * HS + i] += exponentials[t] / sum * qkv[t * 3 * C + 2 * C + h * HS + i] }
        }
    }
    return out
}

// MARK: - products

/// weight (OC,C) in blocks, between fences; the floats past the last block that are read, and their product ignored, are
/// NaN.
private func blocks(_ weight: Fenced, C: Int, OC: Int) -> Fenced {
    let packed = Fenced([Float](repeating: .nan, count: OC * C + vectorWidth))
    packBlocks(packed.pointer, weight: weight.pointer, C: C, OC: OC)
    #expect(packed.isFenceWhole)
    return Fenced(packed.values)
}

/// Widths and heights that are no multiple of a vector or of a square; more than one task.
private let shapes = [(1, 1), (5, 3), (16, 16), (37, 29), (64, 200), (300, 700), (9, 31)]

@Test(arguments: shapes)
func `blocks are the weights turned around`(C: Int, OC: Int) {
    let weight = Fenced(noise(OC * C, seed: 2))
    let packed = blocks(weight, C: C, OC: OC)
    var expected: [Float] = []
    for first in stride(from: 0, to: OC, by: vectorWidth) {
        for c in 0..<C {
            for o in first..<min(first + vectorWidth, OC) { expected.append(weight.values[o * C + c]) }
        }
    }
    #expect(Array(packed.values[..<(OC * C)]) == expected)
    let isRestUntouched = packed.values[(OC * C)...].allSatisfy { $0.isNaN }
    #expect(isRestUntouched)
    expectIntact(outputs: [], inputs: [weight])
}

/// Every number of rows that has a function of its own, and more than one group of them.
@Test(arguments: Array(1...13) + [23], shapes)
func `a product with few rows is its naive twin`(N: Int, shape: (C: Int, OC: Int)) {
    let (C, OC) = shape
    for (hasBias, hasResidual) in [(true, true), (false, false), (true, false), (false, true)] {
        let inp = Fenced(noise(N * C, seed: 1))
        let weight = Fenced(noise(OC * C, seed: 2))
        let packed = blocks(weight, C: C, OC: OC)
        let bias = Fenced(noise(OC, seed: 3))
        let residual = Fenced(noise(N * OC, seed: 4))
        let expected = naiveLinear(
            inp: doubles(inp.values), weight: doubles(weight.values), bias: hasBias ? doubles(bias.values) : nil,
            residual: hasResidual ? doubles(residual.values) : nil, N: N, C: C, OC: OC)
        let out = Fenced(unwritten: N * OC)
        matmulBlocks(
            out: out.pointer, inp: inp.pointer, blocks: packed.pointer, bias: hasBias ? bias.pointer : nil,
            residual: hasResidual ? residual.pointer : nil, N: N, C: C, OC: OC)
        expectClose(out.values, expected, "N \(N), C \(C), OC \(OC)")
        expectIntact(outputs: [out], inputs: [inp, packed, bias, residual])
        guard N == 1 else { continue }
        let row = Fenced(unwritten: OC)
        matmulRow(
            out: row.pointer, inp: inp.pointer, weight: weight.pointer, bias: hasBias ? bias.pointer : nil,
            residual: hasResidual ? residual.pointer : nil, C: C, OC: OC)
        expectClose(row.values, expected, "one row, C \(C), OC \(OC)")
        expectIntact(outputs: [row], inputs: [inp, weight, bias, residual])
    }
}

@Test func `the residual may be the output`() {
    let (N, C, OC) = (3, 20, 33)
    let (inp, weight) = (Fenced(noise(N * C, seed: 1)), Fenced(noise(OC * C, seed: 2)))
    let packed = blocks(weight, C: C, OC: OC)
    let old = noise(N * OC, seed: 4)
    let expected = naiveLinear(
        inp: doubles(inp.values), weight: doubles(weight.values), bias: nil, residual: doubles(old), N: N, C: C, OC: OC)
    let out = Fenced(old)
    matmulBlocks(
        out: out.pointer, inp: inp.pointer, blocks: packed.pointer, bias: nil, residual: out.pointer, N: N, C: C, OC: OC
    )
    expectClose(out.values, expected)
    let row = Fenced(Array(old[..<OC]))
    matmulRow(
        out: row.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, residual: row.pointer, C: C, OC: OC)
    expectClose(row.values, Array(expected[..<OC]))
    #expect(out.isFenceWhole && row.isFenceWhole)
}

@Test func `a row has the same bits in any company`() {
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
            let isSame = product(of: first..<last + 1) == Array(all[first * OC..<(last + 1) * OC])
            #expect(isSame, "rows \(first)...\(last)")
        }
    }
    expectIntact(outputs: [], inputs: [inp, packed])
}

// MARK: - attention to a cache

/// Three sequences of different lengths, of which the first two share a beginning; one token of each at a time.
@Test(arguments: [(8, 1), (24, 3), (25, 5), (64, 1), (128, 2), (300, 3)])
func `attention to a cache is attention`(C: Int, NH: Int) {
    let T = 41
    let width = cacheRowWidth(C: C, NH: NH)
    let shared = 19
    let begin = noise(shared * 3 * C, seed: 1)
    let lengths = [35, 20, 7]
    let texts = lengths.enumerated().map { i, length in
        (i < 2 ? begin : []) + noise((length - (i < 2 ? shared : 0)) * 3 * C, seed: UInt64(i + 2))
    }
    // One more place, for what is shared. All of it NaN but where something was stored, and the padding of the heads,
    // which the caller's memory has to have as zeros.
    let zeros = [Float](repeating: 0, count: 4 * T * width)
    let (keys, values) = (Fenced(zeros), Fenced(zeros))
    func place(_ i: Int) -> Int { i * T * width }
    func store(_ qkv: [Float], at i: Int, position: Int) {
        storeKeysAndValues(
            keys: keys.pointer + place(i), values: values.pointer + place(i), qkv: qkv, count: qkv.count / (3 * C),
            position: position, T: T, C: C, NH: NH)
    }
    store(begin, at: 3, position: 0)
    var sequences: [CachedSequence] = []
    var last: [Float] = []
    for (i, text) in texts.enumerated() {
        let already = i < 2 ? shared : 0
        // In two parts, the second of one token.
        let own = Array(text[(already * 3 * C)...])
        store(Array(own.dropLast(3 * C)), at: i, position: already)
        store(Array(own.suffix(3 * C)), at: i, position: lengths[i] - 1)
        last += text.suffix(3 * C)
        sequences.append(
            CachedSequence(
                keys: keys.pointer + place(i), values: values.pointer + place(i), sharedKeys: keys.pointer + place(3),
                sharedValues: values.pointer + place(3), shared: already))
    }
    let qkv = Fenced(last)
    let out = Fenced(unwritten: 3 * C)
    attentionToCache(
        out: out.pointer, qkv: qkv.pointer, sequences: sequences, positions: lengths.map { $0 - 1 }, rows: 3, T: T,
        C: C, NH: NH)
    for (i, text) in texts.enumerated() {
        expectClose(
            Array(out.values[i * C..<(i + 1) * C]),
            naiveAttentionOfLast(qkv: doubles(text), T: lengths[i], C: C, NH: NH), "sequence \(i)")
    }
    expectIntact(outputs: [out, keys, values], inputs: [qkv])

    // Earlier tokens see only what was there then, even where the shared part is longer than they are.
    for position in [0, 4, shared - 1, shared, 30] {
        let row = Fenced(Array(texts[0][position * 3 * C..<(position + 1) * 3 * C]))
        let early = Fenced(unwritten: C)
        attentionToCache(
            out: early.pointer, qkv: row.pointer, sequences: [sequences[0]], positions: [position], rows: 1, T: T,
            C: C, NH: NH)
        expectClose(
            early.values,
            naiveAttentionOfLast(
                qkv: doubles(Array(texts[0][..<((position + 1) * 3 * C)])), T: position + 1, C: C, NH: NH),
            "position \(position)")
        expectIntact(outputs: [early], inputs: [row])
    }
}

@Test func `large scores do not overflow`() {
    let (C, NH, T) = (16, 2, 3)
    let width = cacheRowWidth(C: C, NH: NH)
    let qkv = noise(T * 3 * C, seed: 1, scale: 60)
    let memory = Fenced([Float](repeating: 0, count: 2 * T * width))
    let (keys, values) = (memory.pointer, memory.pointer + T * width)
    storeKeysAndValues(keys: keys, values: values, qkv: qkv, count: T, position: 0, T: T, C: C, NH: NH)
    let out = Fenced(unwritten: C)
    let sequence = CachedSequence(keys: keys, values: values, sharedKeys: keys, sharedValues: values, shared: 0)
    attentionToCache(
        out: out.pointer, qkv: Array(qkv.suffix(3 * C)), sequences: [sequence], positions: [T - 1], rows: 1, T: T,
        C: C, NH: NH)
    expectClose(out.values, naiveAttentionOfLast(qkv: doubles(qkv), T: T, C: C, NH: NH), tolerance: 1e-4)
    expectIntact(outputs: [out, memory], inputs: [])
}

// MARK: - probabilities

@Test(arguments: [1, 3, 16, 17, 100])
func `softmax is its naive twin`(count: Int) {
    var logits = noise(count, seed: UInt64(count), scale: 30)
    if count > 4 { (logits[1], logits[count - 1]) = (-.infinity, -.infinity) }
    let inp = Fenced(logits)
    let out = Fenced(unwritten: count)
    softmaxForward(out: out.pointer, inp: inp.pointer, count: count)
    let maximum = Double(logits.max() ?? 0)
    let exponentials = logits.map { exp(Double($0) - maximum) }
    let sum = exponentials.reduce(0, +)
    expectClose(out.values, exponentials.map { $0 / sum })
    for (value, logit) in zip(out.values, logits) where logit == -.infinity { #expect(value == 0) }
    expectIntact(outputs: [out], inputs: [inp])
}
