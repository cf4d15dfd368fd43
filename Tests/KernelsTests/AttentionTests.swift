// Self-attention.

import Foundation
import Kernels
import Naive
import Testing

private let someDropout: (rate: Float, key: DropoutKey)? =
    (0.3, DropoutKey(seed: 42, microBatch: 3).at(site: 1, layer: 2))

// MARK: - the kernels

/// A forward and a backward pass over queries, keys and values of the given scale.
private struct Pass {
    let lengths: [Int]
    let C, NH: Int
    let causal: Bool
    let dropout: (rate: Float, key: DropoutKey)?
    let precision: Precision
    let qkv, out, lse, dout, dqkv: Fenced

    init(
        lengths: [Int], C: Int, NH: Int, scale: Float = 1, causal: Bool = true,
        dropout: (rate: Float, key: DropoutKey)? = nil, precision: Precision = .float32
    ) {
        (self.lengths, self.C, self.NH, self.causal, self.dropout) = (lengths, C, NH, causal, dropout)
        self.precision = precision
        let N = lengths.reduce(0, +)
        qkv = Fenced(noise(N * 3 * C, seed: 1, scale: scale))
        out = Fenced(unwritten: N * C)
        lse = Fenced(unwritten: N * NH)
        dout = Fenced(noise(N * C, seed: 2))
        dqkv = Fenced(unwritten: N * 3 * C)
        attentionForward(
            out: out.pointer, lse: lse.pointer, qkv: qkv.pointer, lengths: lengths, C: C, NH: NH, causal: causal,
            dropout: dropout, precision: precision)
        attentionBackward(
            dqkv: dqkv.pointer, dout: dout.pointer, qkv: qkv.pointer, out: out.pointer, lse: lse.pointer,
            lengths: lengths, C: C, NH: NH, causal: causal, dropout: dropout, precision: precision)
    }

    /// In bfloat16 probabilities and the gradients of scores are rounded, too; here they are not, which the tolerance
    /// allows for: half a unit in the last of eight places is 2⁻⁸ of a number, and dscores are differences.
    func expectReference(tolerance given: Double? = nil) {
        let tolerance = given ?? (precision == .float32 ? 2e-6 : 0x1p-7)
        let values = factors(qkv.values, precision)
        expectClose(
            out.values,
            naiveAttentionForward(qkv: values, lengths: lengths, C: C, NH: NH, causal: causal, dropout: dropout),
            tolerance: tolerance, "of out")
        let expected = naiveAttentionBackward(
            dout: factors(dout.values, precision), qkv: values, lengths: lengths, C: C, NH: NH, causal: causal,
            dropout: dropout)
        let ours = dqkv.values
        // The gradients of queries, keys and values are compared separately, because they differ in size.
        for (part, name) in ["dquery", "dkey", "dvalue"].enumerated() {
            let places = ours.indices.filter { $0 % (3 * C) / C == part }
            expectClose(places.map { ours[$0] }, places.map { expected[$0] }, tolerance: tolerance, "of \(name)")
        }
        expectIntact(outputs: [out, lse, dqkv], inputs: [qkv, dout])
    }
}

/// (B, T, C, NH): odd head sizes, heads wider than a panel (48 with AVX-512), sequences shorter than a tile, longer
/// than a panel of keys (48), and longer than one or two blocks of queries (64).
@Test(
    arguments: [
        (1, 1, 1, 1), (1, 1, 3, 1), (3, 2, 6, 2), (1, 3, 5, 1), (2, 7, 21, 3), (1, 17, 34, 2), (2, 33, 64, 1),
        (1, 47, 13, 1), (1, 48, 96, 2), (1, 49, 100, 1), (1, 64, 48, 3), (1, 65, 64, 1), (1, 97, 99, 3),
        (2, 130, 96, 2), (1, 193, 128, 2), (1, 200, 47, 1),
    ], [true, false])
func `attentionForward and attentionBackward`(sizes: (B: Int, T: Int, C: Int, NH: Int), causal: Bool) {
    for precision in Precision.allCases {
        Pass(
            lengths: Array(repeating: sizes.T, count: sizes.B), C: sizes.C, NH: sizes.NH, causal: causal,
            precision: precision
        ).expectReference()
    }
}

@Test(
    arguments: [
        ([1, 7, 64, 65, 130], 34, 2), ([130, 1, 49, 1, 48], 21, 3), ([64, 65], 96, 1),
        (Array(repeating: 15, count: 64), 10, 2), ([0, 5, 0], 4, 1), ([], 4, 1),
    ], [true, false])
func `sequences of any lengths attend to themselves alone`(
    sizes: (lengths: [Int], C: Int, NH: Int), causal: Bool
) {
    let (lengths, C, NH) = sizes
    let all = Pass(lengths: lengths, C: C, NH: NH, causal: causal)
    all.expectReference()
    // Alone, each has the same bits.
    for (s, T) in lengths.enumerated() {
        let first = lengths[..<s].reduce(0, +)
        func rows(_ memory: Fenced, _ width: Int) -> [UInt32] {
            Array(memory.bits[first * width..<(first + T) * width])
        }
        let (out, lse, dqkv) = (Fenced(unwritten: T * C), Fenced(unwritten: T * NH), Fenced(unwritten: T * 3 * C))
        attentionForward(
            out: out.pointer, lse: lse.pointer, qkv: all.qkv.pointer + first * 3 * C, lengths: [T], C: C, NH: NH,
            causal: causal)
        attentionBackward(
            dqkv: dqkv.pointer, dout: all.dout.pointer + first * C, qkv: all.qkv.pointer + first * 3 * C,
            out: out.pointer, lse: lse.pointer, lengths: [T], C: C, NH: NH, causal: causal)
        expectEqual(out.bits + lse.bits + dqkv.bits, rows(all.out, C) + rows(all.lse, NH) + rows(all.dqkv, 3 * C))
        expectIntact(outputs: [out, lse, dqkv], inputs: [all.qkv, all.dout])
    }
}

/// The same sizes, and blocks of queries that begin anywhere in eight.
@Test(
    arguments: [
        ([1], 1, 1), ([3, 3], 6, 2), ([1, 7, 64, 65, 130], 34, 2), ([97], 99, 3), ([193], 128, 2),
        ([48, 47, 49], 13, 1),
    ], [true, false])
func `attention drops its probabilities`(sizes: (lengths: [Int], C: Int, NH: Int), causal: Bool) {
    let (lengths, C, NH) = sizes
    Pass(lengths: lengths, C: C, NH: NH, causal: causal, dropout: someDropout).expectReference()
    Pass(lengths: lengths, C: C, NH: NH, causal: causal, dropout: someDropout, precision: .bfloat16).expectReference()
    // Dropping none changes no bit, and the log-sum-exps do not know of it.
    let plain = Pass(lengths: lengths, C: C, NH: NH, causal: causal)
    let none = Pass(lengths: lengths, C: C, NH: NH, causal: causal, dropout: someDropout.map { (0, $0.key) })
    expectEqual(none.out.bits + none.lse.bits + none.dqkv.bits, plain.out.bits + plain.lse.bits + plain.dqkv.bits)
    let half = Pass(lengths: lengths, C: C, NH: NH, causal: causal, dropout: someDropout.map { (0.5, $0.key) })
    expectEqual(half.lse.bits, plain.lse.bits)
    for pass in [plain, none, half] {
        expectIntact(outputs: [pass.out, pass.lse, pass.dqkv], inputs: [pass.qkv, pass.dout])
    }
}

@Test(arguments: [true, false]) func `attention gives the log-sum-exp of each row of scores`(causal: Bool) {
    let (lengths, NH, HS) = ([33, 5, 33], 2, 7)
    let C = NH * HS
    let pass = Pass(lengths: lengths, C: C, NH: NH, causal: causal)
    let qkv = doubles(pass.qkv.values)
    var expected: [Double] = []
    for (s, T) in lengths.enumerated() {
        let first = lengths[..<s].reduce(0, +)
        for h in 0..<NH {
            for t in 0..<T {
                let query = (first + t) * 3 * C + h * HS
                let scores = (0..<(causal ? t + 1 : T)).map { k in
                    let key = (first + k) * 3 * C + C + h * HS
                    return (0..<HS).reduce(0) { $0 + qkv[query + $1] * qkv[key + $1] } / Double(HS).squareRoot()
                }
                expected.append(log(scores.reduce(0) { $0 + exp($1) }))
            }
        }
    }
    expectClose(pass.lse.values, expected, tolerance: 5e-7)
    expectIntact(outputs: [pass.out, pass.lse, pass.dqkv], inputs: [pass.qkv, pass.dout])
}

/// Scores in the thousands: each softmax is nearly one-hot. The tolerance is for the rounding of the scores, 10⁻⁷ of
/// 10³ to 10⁴.
@Test(arguments: [(1, 65, 64, 1), (1, 33, 14, 2)])
func `scores in the thousands do not overflow`(B: Int, T: Int, C: Int, NH: Int) {
    Pass(lengths: Array(repeating: T, count: B), C: C, NH: NH, scale: 60).expectReference(tolerance: 1e-2)
}
