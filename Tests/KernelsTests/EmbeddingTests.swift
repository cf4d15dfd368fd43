// Token and position embeddings.

import Kernels
import Naive
import Testing

// MARK: - the kernels

/// (N, maxT, C, V). With V far below N, tokens repeat, and so do positions. The forward pass has 64 rows per task, and
/// the backward pass four vectors of columns: several sizes end with a shorter task.
@Test(
    arguments: [
        (1, 1, 1, 1), (3, 5, 2, 2), (4, 2, 7, 3), (21, 9, 17, 5), (65, 67, 33, 7), (68, 17, 64, 50), (165, 33, 65, 3),
        (200, 100, 97, 30), (147, 49, 193, 11),
    ])
func `embeddingForward and embeddingBackward`(N: Int, maxT: Int, C: Int, V: Int) {
    let inp = randomIndices(N, below: V, seed: 1)
    let positions = randomIndices(N, below: maxT, seed: 7)
    let wte = Fenced(noise(V * C, seed: 2))
    let wpe = Fenced(noise(maxT * C, seed: 3))
    let out = Fenced(unwritten: N * C)
    embeddingForward(
        out: out.pointer, inp: inp, positions: positions, wte: wte.pointer, wpe: wpe.pointer, N: N, C: C)
    expectClose(
        out.values,
        naiveEmbeddingForward(inp: inp, positions: positions, wte: doubles(wte.values), wpe: doubles(wpe.values), C: C),
        tolerance: 1e-7)

    let dout = Fenced(noise(N * C, seed: 4))
    let (oldWte, oldWpe) = (noise(V * C, seed: 5), noise(maxT * C, seed: 6))
    let dwte = Fenced(oldWte)
    let dwpe = Fenced(oldWpe)
    embeddingBackward(
        dwte: TrainedRows(rows: 0..<V, gradient: dwte.pointer), dwpe: dwpe.pointer, dout: dout.pointer, inp: inp,
        positions: positions, N: N, C: C)
    let expected = naiveEmbeddingBackward(
        dout: doubles(dout.values), inp: inp, positions: positions, V: V, maxT: maxT, C: C)
    expectClose(dwte.values, zip(oldWte, expected.dwte).map { Double($0) + $1 })
    expectClose(dwpe.values, zip(oldWpe, expected.dwpe).map { Double($0) + $1 })
    expectIntact(outputs: [out, dwte, dwpe], inputs: [wte, wpe, dout])
}

/// A BERT's embeddings have a third part. Its gradient's rows are sums over thousands of rows, which keep their digits.
@Test(arguments: [(1, 1, 1), (5, 17, 3), (70, 65, 2), (4097, 33, 2)], [true, false])
func `the embeddings of segments`(sizes: (N: Int, C: Int, count: Int), areGiven: Bool) {
    let (N, C, count) = sizes
    let segments = areGiven ? randomIndices(N, below: count, seed: 3) : nil
    let inp = randomIndices(N, below: 7, seed: 1)
    let positions = randomIndices(N, below: 9, seed: 2)
    let (wte, wpe) = (Fenced(noise(7 * C, seed: 2)), Fenced(noise(9 * C, seed: 3)))
    let wse = Fenced(noise(count * C, seed: 4))
    let out = Fenced(unwritten: N * C)
    embeddingForward(
        out: out.pointer, inp: inp, positions: positions, segments: segments, wte: wte.pointer, wpe: wpe.pointer,
        wse: UnsafePointer(wse.pointer), N: N, C: C)
    var expected = naiveEmbeddingForward(
        inp: inp, positions: positions, wte: doubles(wte.values), wpe: doubles(wpe.values), C: C)
    for i in expected.indices { expected[i] += Double(wse.values[Int(segments?[i / C] ?? 0) * C + i % C]) }
    expectClose(out.values, expected, tolerance: 2e-7)

    let dout = Fenced(noise(N * C, seed: 5).map { $0 + 1 })
    let old = noise(count * C, seed: 6)
    let dwse = Fenced(old)
    segmentEmbeddingBackward(dwse: dwse.pointer, dout: dout.pointer, segments: segments, N: N, C: C)
    var sums = doubles(old)
    for i in 0..<N * C { sums[Int(segments?[i / C] ?? 0) * C + i % C] += Double(dout.values[i]) }
    expectClose(dwse.values, sums, tolerance: 5e-7)
    expectIntact(outputs: [out, dwse], inputs: [wte, wpe, wse, dout])
}

/// Some rows of the table are trained, and no positions.
@Test(arguments: [0..<4, 3..<7, 6..<7]) func `embeddingBackward of the trained rows only`(rows: Range<Int>) {
    let (N, V, C) = (50, 7, 19)
    let inp = randomIndices(N, below: V, seed: 1)
    let dout = Fenced(noise(N * C, seed: 4))
    let old = noise(rows.count * C, seed: 5)
    let dwte = Fenced(old)
    let positions = [Int32](repeating: 0, count: N)
    embeddingBackward(
        dwte: TrainedRows(rows: rows, gradient: dwte.pointer), dwpe: nil, dout: dout.pointer, inp: inp,
        positions: positions, N: N, C: C)
    let all = naiveEmbeddingBackward(dout: doubles(dout.values), inp: inp, positions: positions, V: V, maxT: 1, C: C)
    expectClose(dwte.values, zip(old, all.dwte[rows.lowerBound * C..<rows.upperBound * C]).map { Double($0) + $1 })
    expectIntact(outputs: [dwte], inputs: [dout])
}
