// The matrix products of a linear layer, out = inp · weightᵀ + bias, and of its backward pass:
//
//     forward   out (N,OC)     = inp (N,C) · weight (OC,C)ᵀ
//     backward  dinp (N,C)     = dout (N,OC) · weight (OC,C)
//               dweight (OC,C) += dout (N,OC)ᵀ · inp (N,C)
//
// All three are one core: out (rows, columns) = Σ_k A (rows, k) · B (k, columns).
//
//  - A tile of `tileRows` × 3 vectors of the result stays in registers for the whole sum over k: 24 accumulators,
//    three vectors of B and two broadcasts are 29 of AVX-512's 32 registers.
//  - The columns are split into panels of three vectors (48 floats with AVX-512). A task packs one panel of B as (k,
//    48), so that the inner loop reads it sequentially, and keeps it in the L2 cache while it goes through the rows of
//    A. Each element of B is packed once, when it has to be read from memory in any case. So B can be the weights even
//    if there are few rows: slow memory is read once, and not again for each tile.
//  - A is not packed; its elements are read one by one and broadcast.
//  - For dweight, A is dout transposed, where the next k is a whole row of memory away. There a task packs some rows of
//    A, and goes through the panels of B, which are packed beforehand.
//  - In bfloat16 (BFloat16.swift) a word of A and of B holds two elements with consecutive k; k counts words, and half of
//    them make the same sum. There A is packed too, which converts it.
//  - A finished tile is stored directly in the output: 24 stores, as many as the processor can buffer without waiting.
//  - What a tile reads comes from far away only the first time, and then nothing else happens. So each tile asks for what
//    the next one reads (the next rows of A, the next panel for dweight) and writes, and packing for the rows that come
//    next. That is 2% of a product with 1024 rows, and 5% with 256, where there is less to do for each byte.
//
// The general method is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

/// The rows of a register tile.
#if REGISTERS_32
    let tileRows = 8
    private typealias TileColumn = InlineArray<8, Vector>
    private typealias TileRow = SIMD8<Float>
#else
    let tileRows = 4
    private typealias TileColumn = InlineArray<4, Vector>
    private typealias TileRow = SIMD4<Float>
#endif

/// The columns of a panel, and of a register tile.
let panelWidth = 3 * Vector.scalarCount
/// The longest part of a sum over k, in words, such that a panel of B (1536 × 48 floats, 295 kB) leaves room in the L2 cache for
/// rows of A.
private let maxPartK = 1536
/// The fewest rows of a task, enough to make packing its panel cheap.
private let minTaskRows = 128
/// The number of tasks per thread, enough to balance the threads.
private let tasksPerThread = 4
/// The most rows of dweight in a task.
private let maxWeightRows = 48

/// The most rows of dweight that are shared by all tasks, because there are too few for each task to have some.
private let maxSharedRows = 64

/// A second product of two thin matrices, added to the first one while that is in the cache: out += a (N,rank) · b.
package struct LowRank {
    package let a: UnsafePointer<Float>
    /// (OC,rank) in the forward pass, (rank,C) in the backward pass.
    package let b: UnsafePointer<Float>
    package let rank: Int

    package init(a: UnsafePointer<Float>, b: UnsafePointer<Float>, rank: Int) {
        (self.a, self.b, self.rank) = (a, b, rank)
    }
}

// MARK: - the three products

/// The output of a linear layer: out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
///   - outStride: floats from one row of `out` (and of `residual`) to the next, at least OC.
///   - lowRank: a (N,rank) · b (OC,rank)ᵀ, added to the result; nil for none.
///   - precision: the format of the factors.
package func matmulForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int, outStride: Int? = nil,
    lowRank: LowRank? = nil, precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "matmul forward") }
    func run<W: Words>(_: W.Type) {
        product(
            W.self, out: out, outStride: outStride ?? OC, rows: N, columns: OC, K: C, a: inp, aStride: C, bias: bias,
            addend: residual, lowRank: lowRank
        ) { panel, isLowRank, column, columns, firstK, countK in
            packTransposed(
                W.self, panel, from: isLowRank ? lowRank?.b ?? weight : weight, stride: isLowRank ? countK : C,
                firstColumn: column, columns: columns, firstK: firstK, countK: countK)
        }
    }
    switch precision {
    case .float32: run(Float32Words.self)
    case .bfloat16: run(BFloat16Words.self)
    }
}

/// The same in bfloat16, with weights as `packBlocks` writes them: for many rows where only the packed ones are kept.
package func matmulForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, bfloat16Blocks blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul forward") }
    product(
        BFloat16Words.self, out: out, outStride: OC, rows: N, columns: OC, K: C, a: inp, aStride: C, bias: bias,
        addend: residual, lowRank: nil
    ) { panel, _, column, _, firstK, countK in
        unpackBlocks(panel, from: blocks, C: C, OC: OC, firstColumn: column, firstK: firstK, countK: countK)
    }
}

/// The gradient of a linear layer's input: dinp (N,C) = or += dout (N,OC) · weight (OC,C).
/// - Parameters:
///   - doutStride: floats from one row of `dout` to the next, at least OC.
///   - accumulate: whether to add to what is in `dinp`.
///   - lowRank: a (N,rank) · b (rank,C), added to the result; nil for none.
///   - precision: the format of the factors.
package func matmulBackwardInput(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    N: Int, C: Int, OC: Int, doutStride: Int? = nil, accumulate: Bool = false, lowRank: LowRank? = nil,
    precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "matmul dinp") }
    func run<W: Words>(_: W.Type) {
        product(
            W.self, out: dinp, outStride: C, rows: N, columns: C, K: OC, a: dout, aStride: doutStride ?? OC, bias: nil,
            addend: accumulate ? UnsafePointer(dinp) : nil, lowRank: lowRank
        ) { panel, isLowRank, column, columns, firstK, countK in
            packStraight(
                W.self, panel, from: isLowRank ? lowRank?.b ?? weight : weight, stride: C, firstColumn: column,
                columns: columns, firstK: firstK, countK: countK, comesFromMemory: true)
        }
    }
    switch precision {
    case .float32: run(Float32Words.self)
    case .bfloat16: run(BFloat16Words.self)
    }
}

/// The gradients of a linear layer's parameters: dweight (OC,C) += dout (N,OC)ᵀ · inp (N,C), and dbias (OC) += the sum
/// of the rows of dout.
/// - Parameters:
///   - dbias: nil for none.
///   - doutStride, inpStride: floats from one row to the next, at least OC and at least C.
///   - precision: the format of the factors. dbias is a sum of floats in either.
package func matmulBackwardWeight(
    dweight: UnsafeMutablePointer<Float>, dbias: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Float>, N: Int, C: Int, OC: Int, doutStride: Int? = nil, inpStride: Int? = nil,
    precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "matmul dweight") }
    func run<W: Words>(_: W.Type) {
        if OC <= maxSharedRows, dbias == nil {
            backwardFewRows(
                W.self, dweight: dweight, dout: dout, inp: inp, N: N, C: C, OC: OC, doutStride: doutStride ?? OC,
                inpStride: inpStride ?? C)
        } else {
            backwardWeight(
                W.self, dweight: dweight, dbias: dbias, dout: dout, inp: inp, N: N, C: C, OC: OC,
                doutStride: doutStride ?? OC, inpStride: inpStride ?? C)
        }
    }
    switch precision {
    case .float32: run(Float32Words.self)
    case .bfloat16: run(BFloat16Words.self)
    }
}

/// dweight where each task has some of its rows: it packs those of doutᵀ, and goes through the panels of inp.
@inline(__always)
private func backwardWeight<W: Words>(
    _: W.Type, dweight: UnsafeMutablePointer<Float>, dbias: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Float>, N: Int, C: Int, OC: Int, doutStride: Int, inpStride: Int
) {
    let partN = partOfSum(W.self, N)
    let panels = (C + panelWidth - 1) / panelWidth
    let wantedRows = (OC / (tasksPerThread * threadCount) + tileRows - 1) / tileRows * tileRows
    let taskRows = max(tileRows, min(wantedRows, maxWeightRows))
    let packed = allocateAligned(panels * panelWidth * W.count(partN))
    defer { freeAligned(packed) }
    for n0 in stride(from: 0, to: N, by: partN) {
        let countN = min(partN, N - n0)
        let K = W.count(countN)
        parallelFor(panels) { panel in
            let column = panel * panelWidth
            packStraight(
                W.self, packed + column * K, from: inp, stride: inpStride, firstColumn: column,
                columns: min(panelWidth, C - column), firstK: n0, countK: countN)
        }
        parallelFor((OC + taskRows - 1) / taskRows) { task in
            let row = task * taskRows
            let rows = min(taskRows, OC - row)
            let a = allocateAligned(taskRows * K + roundedUp(taskRows))
            defer { freeAligned(a) }
            let sums = a + taskRows * K  // dbias's part
            for i in 0..<rows { sums[i] = 0 }
            // Few rows at a time, so that dout is still in the L2 cache when its sums read it: rows that lie a multiple
            // of a large power of two apart share so few of its sets that it does not hold many of them.
            for n in stride(from: 0, to: countN, by: rowsPerPartialSum) {
                let source = dout + (n0 + n) * doutStride + row
                let count = min(rowsPerPartialSum, countN - n)
                packStrips(
                    W.self, a + n / W.elements * tileRows, stripStride: tileRows * K, from: source,
                    stride: doutStride, rows: rows, countK: count)
                if dbias != nil { addColumnSums(sums, from: source, stride: doutStride, rows: count, columns: rows) }
            }
            if let dbias {
                for i in 0..<rows { dbias[row + i] += sums[i] }
            }
            for panel in 0..<panels {
                let column = panel * panelWidth
                let part = dweight + row * C + column
                multiplyPanel(
                    W.self, out: part, outStride: C, rows: rows, columns: min(panelWidth, C - column), K: K, a: a,
                    aRowStride: 1, aKStride: tileRows, aStripStride: tileRows * K, b: packed + column * K, bias: nil,
                    addend: UnsafePointer(part), next: packed + (panel + 1 < panels ? column + panelWidth : 0) * K)
            }
        }
    }
}

/// dweight of so few rows that the tasks split its columns: each packs a panel of inp, and all share the rows of doutᵀ.
/// The sums are the same, in the same order.
@inline(__always)
private func backwardFewRows<W: Words>(
    _: W.Type, dweight: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, N: Int,
    C: Int, OC: Int, doutStride: Int, inpStride: Int
) {
    let partN = partOfSum(W.self, N)
    let strips = (OC + tileRows - 1) / tileRows * tileRows
    let a = allocateAligned(strips * W.count(partN))
    defer { freeAligned(a) }
    for n0 in stride(from: 0, to: N, by: partN) {
        let countN = min(partN, N - n0)
        let K = W.count(countN)
        packStrips(
            W.self, a, stripStride: tileRows * K, from: dout + n0 * doutStride, stride: doutStride, rows: OC,
            countK: countN)
        parallelFor((C + panelWidth - 1) / panelWidth) { panel in
            let column = panel * panelWidth
            let columns = min(panelWidth, C - column)
            let b = allocateAligned(panelWidth * (K + strips))
            defer { freeAligned(b) }
            let sums = b + panelWidth * K  // (strips, panelWidth)
            packStraight(
                W.self, b, from: inp, stride: inpStride, firstColumn: column, columns: columns, firstK: n0,
                countK: countN)
            multiplyPanel(
                W.self, out: sums, outStride: panelWidth, rows: OC, columns: columns, K: K, a: a, aRowStride: 1,
                aKStride: tileRows, aStripStride: tileRows * K, b: b, bias: nil, addend: nil)
            addPanel(dweight + column, stride: C, from: sums, rows: OC, columns: columns)
        }
    }
}

/// The end of a panel of dweight: out (rows, columns) += sums (rows, panelWidth).
@inline(__always)
private func addPanel(
    _ out: UnsafeMutablePointer<Float>, stride: Int, from sums: UnsafePointer<Float>, rows: Int, columns: Int
) {
    for i in 0..<rows {
        let destination = out + i * stride
        for j in Swift.stride(from: 0, to: columns, by: Vector.scalarCount) {
            let sum = Vector.load(sums + i * panelWidth + j) + .load(destination + j, upTo: columns - j)
            sum.store(destination + j, upTo: columns - j)
        }
    }
}

// MARK: - the core

/// The product out (rows, columns) = Σ_k A (rows, k) · B (k, columns) + bias (columns) + addend (rows, columns).
/// - Parameters:
///   - a: the rows of A, `aStride` floats apart.
///   - addend: has the strides of `out`, and may be `out` itself.
///   - pack: writes one panel (words of countK, panelWidth) of B: (destination, whether of lowRank's, first column,
///     columns, first k, count of k).
@inline(__always)
private func product<W: Words>(
    _: W.Type, out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, K: Int,
    a: UnsafePointer<Float>,
    aStride: Int, bias: UnsafePointer<Float>?, addend: UnsafePointer<Float>?, lowRank: LowRank?,
    pack: (UnsafeMutablePointer<Float>, Bool, Int, Int, Int, Int) -> Void
) {
    let panels = (columns + panelWidth - 1) / panelWidth
    // The number of tasks does not change the result: each element is one sum, in the order of k.
    let wantedRowTasks = max(1, min(rows / minTaskRows, (tasksPerThread * threadCount + panels - 1) / panels))
    let taskRows = ((rows + wantedRowTasks - 1) / wantedRowTasks + tileRows - 1) / tileRows * tileRows
    let rowTasks = (rows + taskRows - 1) / taskRows
    let partK = partOfSum(W.self, K)
    let rowsOfA = RowsOfA(W.self, a, stride: aStride, rows: rows, K: K)
    let rowsOfLowRank = lowRank.map { RowsOfA(W.self, $0.a, stride: $0.rank, rows: rows, K: $0.rank) }
    defer {
        rowsOfA.free()
        rowsOfLowRank?.free()
    }
    parallelFor(panels * rowTasks) { task in
        let column = task % panels * panelWidth
        let row = task / panels * taskRows
        let count = min(panelWidth, columns - column)
        let b = allocateAligned(panelWidth * W.count(max(partK, lowRank?.rank ?? 0)))
        defer { freeAligned(b) }
        let part = out + row * outStride + column
        for k0 in stride(from: 0, to: K, by: partK) {
            let countK = min(partK, K - k0)
            pack(b, false, column, count, k0, countK)
            multiplyPanel(
                W.self, out: part, outStride: outStride, rows: min(taskRows, rows - row), columns: count,
                K: W.count(countK), a: rowsOfA.words + row * rowsOfA.stride + k0 / W.elements,
                aRowStride: rowsOfA.stride, aKStride: 1, aStripStride: tileRows * rowsOfA.stride, b: b,
                bias: k0 == 0 ? bias.map { $0 + column } : nil,
                addend: k0 == 0 ? addend.map { $0 + row * outStride + column } : UnsafePointer(part))
        }
        guard let lowRank, let rowsOfLowRank else { return }
        // The part is in the L2 cache; a product of its own would take it through memory once more.
        pack(b, true, column, count, 0, lowRank.rank)
        multiplyPanel(
            W.self, out: part, outStride: outStride, rows: min(taskRows, rows - row), columns: count,
            K: W.count(lowRank.rank), a: rowsOfLowRank.words + row * rowsOfLowRank.stride,
            aRowStride: rowsOfLowRank.stride, aKStride: 1, aStripStride: tileRows * rowsOfLowRank.stride, b: b,
            bias: nil, addend: UnsafePointer(part))
    }
}

/// The elements of a sum over K in each of its parts; whole words, but for the last part.
private func partOfSum<W: Words>(_: W.Type, _ K: Int) -> Int {
    let words = W.count(K)
    let parts = (words + maxPartK - 1) / maxPartK
    return (words + parts - 1) / parts * W.elements
}

/// The rows of A as words: the floats themselves, or a packed copy.
private struct RowsOfA {
    let words: UnsafePointer<Float>
    /// Words from one row to the next.
    let stride: Int
    private let copy: UnsafeMutablePointer<Float>?

    /// - Parameter stride: floats from one row of `a` to the next.
    @inline(__always)
    init<W: Words>(_: W.Type, _ a: UnsafePointer<Float>, stride: Int, rows: Int, K: Int) {
        guard W.areConverted else {
            (words, self.stride, copy) = (a, stride, nil)
            return
        }
        let wordsPerRow = W.count(K)
        let copy = allocateAligned(rows * wordsPerRow)
        let rowsPerTask = max(1, packedFloats / max(K, 1))
        parallelFor((rows + rowsPerTask - 1) / rowsPerTask) { task in
            let row = task * rowsPerTask
            packRows(
                W.self, copy + row * wordsPerRow, from: a + row * stride, stride: stride,
                rows: min(rowsPerTask, rows - row), columns: K)
        }
        (words, self.stride, self.copy) = (UnsafePointer(copy), wordsPerRow, copy)
    }

    func free() { if let copy { freeAligned(copy) } }
}

/// The floats that a task converts to words: enough to balance the threads, and not to wait for each other.
private let packedFloats = 1 << 16

/// The product with one panel: out (rows, columns) = A (rows, K) · b (K, panelWidth) + bias (columns) + addend (rows,
/// columns), with K words.
/// - Parameters:
///   - a: the element (row, k) of A is at row / tileRows · aStripStride + row % tileRows · aRowStride + k · aKStride.
///   - addend: has the strides of `out`.
///   - next: the panel that the same rows of A are multiplied with next; nil for other rows and the same panel.
@inline(__always)
private func multiplyPanel<W: Words>(
    _: W.Type, out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, K: Int,
    a: UnsafePointer<Float>,
    aRowStride: Int, aKStride: Int, aStripStride: Int, b: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
    addend: UnsafePointer<Float>?, next: UnsafePointer<Float>? = nil
) {
    withUnsafeTemporaryAllocation(byteCount: tileRows * panelWidth * 4, alignment: 64) { memory in
        // (tileRows, panelWidth), for tiles at an edge of `out`, and for the sum of bias and addend.
        let edgeTile = memory.assumingMemoryBound(to: Float.self).baseAddress.unsafelyUnwrapped
        let vectors = (columns + Vector.scalarCount - 1) / Vector.scalarCount
        for row in stride(from: 0, to: rows, by: tileRows) {
            let tileCount = min(tileRows, rows - row)
            let isWhole = tileCount == tileRows && columns % Vector.scalarCount == 0
            let destination = out + row * outStride
            var start = addend.map { $0 + row * outStride }
            var startStride = outStride
            if bias != nil || !isWhole && start != nil {
                addRows(
                    edgeTile, stride: panelWidth, bias: bias, from: start, stride: outStride, rows: tileCount,
                    columns: columns)
                start = UnsafePointer(edgeTile)
                startStride = panelWidth
            }
            for i in 0..<tileRows {
                for v in 0..<3 {
                    let line = destination + (tileRows + i) * outStride + v * Vector.scalarCount
                    prefetch(line, write: 1, caches: 2, kind: 1)
                }
            }
            let strip = a + row / tileRows * aStripStride
            multiplyTile(
                W.self, isWhole ? destination : edgeTile, tileStride: isWhole ? outStride : panelWidth, strip,
                rows: tileCount, rowStride: aRowStride, kStride: aKStride, b, K: K, vectors: vectors, start: start,
                startStride: startStride, next: next.map { $0 + row * K } ?? strip + aStripStride,
                nextStride: next == nil ? aRowStride : K)
            if !isWhole {
                addRows(
                    destination, stride: outStride, bias: nil, from: edgeTile, stride: panelWidth, rows: tileCount,
                    columns: columns)
            }
        }
    }
}

/// A copy of a tile: out (rows, columns) ← bias (columns) + inp (rows, columns). Each of the two may be nil.
@inline(__always)
private func addRows(
    _ out: UnsafeMutablePointer<Float>, stride outStride: Int, bias: UnsafePointer<Float>?,
    from inp: UnsafePointer<Float>?, stride: Int, rows: Int, columns: Int
) {
    for j in Swift.stride(from: 0, to: columns, by: Vector.scalarCount) {
        let count = columns - j
        let first = bias.map { Vector.load($0 + j, upTo: count) } ?? Vector(repeating: 0)
        for i in 0..<rows {
            let sum = inp.map { first + .load($0 + i * stride + j, upTo: count) } ?? first
            sum.store(out + i * outStride + j, upTo: count)
        }
    }
}

/// The product of one register tile: tile (tileRows, vectors) = Σ_k a (row, k) · b (k, column) + start (tileRows,
/// vectors).
/// - Parameters:
///   - tileStride, bStride, startStride: floats from one row to the next.
///   - rows: the number of rows of `a`. Past them the last row is read again, and the caller ignores the result.
///   - vectors: the number of vectors in a row of the tile, up to three.
///   - start: nil for zero; may be the tile itself. It is added last, which keeps more digits in a sum over many parts.
///   - next: what the next tile reads, (tileRows, K) words with rows `nextStride` apart; by default the next rows of `a`.
@inline(__always)
func multiplyTile<W: Words>(
    _: W.Type, _ tile: UnsafeMutablePointer<Float>, tileStride: Int = panelWidth, _ a: UnsafePointer<Float>, rows: Int,
    rowStride: Int, kStride: Int, _ b: UnsafePointer<Float>, bStride: Int = panelWidth, K: Int, vectors: Int,
    start: UnsafePointer<Float>?, startStride: Int = 0, next: UnsafePointer<Float>? = nil, nextStride: Int? = nil
) {
    var offsets = InlineArray<8, Int>(repeating: 0)
    for i in 0..<tileRows { offsets[i] = min(i, rows - 1) * rowStride }
    if vectors == 3 {
        multiplyTile3(
            W.self, tile, tileStride, a, offsets, kStride, b, bStride, K, start, startStride,
            next ?? a + tileRows * rowStride, nextStride ?? rowStride)
    } else if vectors == 2 {
        multiplyTile2(W.self, tile, tileStride, a, offsets, kStride, b, bStride, K, start, startStride)
    } else {
        multiplyTile1(W.self, tile, tileStride, a, offsets, kStride, b, bStride, K, start, startStride)
    }
}

/// A tile of three vectors per row: the inner loop of all products.
@inline(never)
private func multiplyTile3<W: Words>(
    _: W.Type, _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>,
    _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ start: UnsafePointer<Float>?,
    _ startStride: Int, _ next: UnsafePointer<Float>, _ nextStride: Int
) {
    let w = Vector.scalarCount
    var c0 = TileColumn(repeating: Vector(repeating: 0))
    var c1 = c0
    var c2 = c0
    var a = a
    var b = b
    for k in 0..<K {
        // The rows in turn, each cache line once.
        if k & tileRows == 0 {
            prefetch(next + (k & (tileRows - 1)) * nextStride + k, write: 0, caches: 2, kind: 1)
        }
        let b0 = Vector.load(b)
        let b1 = Vector.load(b + w)
        let b2 = Vector.load(b + 2 * w)
        for i in 0..<tileRows {
            let value = Vector(repeating: a[offsets[i]])
            c0[i] = W.adding(c0[i], value, times: b0)
            c1[i] = W.adding(c1[i], value, times: b1)
            c2[i] = W.adding(c2[i], value, times: b2)
        }
        a += kStride
        b += bStride
    }
    if let start {
        for i in 0..<tileRows {
            c0[i] += .load(start + i * startStride)
            c1[i] += .load(start + i * startStride + w)
            c2[i] += .load(start + i * startStride + 2 * w)
        }
    }
    for i in 0..<tileRows {
        c0[i].store(tile + i * tileStride)
        c1[i].store(tile + i * tileStride + w)
        c2[i].store(tile + i * tileStride + 2 * w)
    }
}

/// A tile of two vectors per row, for the last columns of a product: two thirds of the registers, at nearly the same rate.
@inline(never)
private func multiplyTile2<W: Words>(
    _: W.Type, _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>,
    _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ start: UnsafePointer<Float>?,
    _ startStride: Int
) {
    let w = Vector.scalarCount
    var c0 = TileColumn(repeating: Vector(repeating: 0))
    var c1 = c0
    var a = a
    var b = b
    for _ in 0..<K {
        let b0 = Vector.load(b)
        let b1 = Vector.load(b + w)
        for i in 0..<tileRows {
            let value = Vector(repeating: a[offsets[i]])
            c0[i] = W.adding(c0[i], value, times: b0)
            c1[i] = W.adding(c1[i], value, times: b1)
        }
        a += kStride
        b += bStride
    }
    for i in 0..<tileRows {
        if let start {
            c0[i] += .load(start + i * startStride)
            c1[i] += .load(start + i * startStride + w)
        }
        c0[i].store(tile + i * tileStride)
        c1[i].store(tile + i * tileStride + w)
    }
}

/// A tile of one vector per row, for the last columns of a product. It waits for loads: one for each multiply-add.
@inline(never)
private func multiplyTile1<W: Words>(
    _: W.Type, _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>,
    _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ start: UnsafePointer<Float>?,
    _ startStride: Int
) {
    var c = TileColumn(repeating: Vector(repeating: 0))
    var a = a
    var b = b
    for _ in 0..<K {
        let b0 = Vector.load(b)
        for i in 0..<tileRows { c[i] = W.adding(c[i], Vector(repeating: a[offsets[i]]), times: b0) }
        a += kStride
        b += bStride
    }
    if let start {
        for i in 0..<tileRows { c[i] += .load(start + i * startStride) }
    }
    for i in 0..<tileRows { c[i].store(tile + i * tileStride) }
}

// MARK: - packing

/// A panel of the transpose: panel (words of countK, panelWidth) ← inp (N, stride)ᵀ, where column j of the panel is row
/// firstColumn + j of inp. Columns past the end are zero.
///
/// Rows that must be converted become words first, so many at a time that they stay in the L1 cache, and the words are
/// transposed as floats are.
@inline(__always)
func packTransposed<W: Words>(
    _: W.Type, _ panel: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, firstColumn: Int,
    columns: Int, firstK: Int, countK: Int
) {
    guard W.areConverted else {
        return packTransposed(
            panel, from: inp, stride: stride, firstColumn: firstColumn, columns: columns, firstK: firstK,
            countK: countK)
    }
    withVectors(panelWidth * convertedVectors) { rows in
        let words = convertedVectors * Vector.scalarCount
        for k in Swift.stride(from: 0, to: countK, by: words * W.elements) {
            let count = min(words * W.elements, countK - k)
            packRows(
                W.self, rows, from: inp + firstColumn * stride + firstK + k, stride: stride, rows: columns,
                columns: count)
            packTransposed(
                panel + k / W.elements * panelWidth, from: rows, stride: W.count(count), firstColumn: 0,
                columns: columns, firstK: 0, countK: W.count(count))
        }
    }
}

/// The vectors of words that `packTransposed` converts of each row at a time.
private let convertedVectors = 4

/// A panel of the transpose: panel (countK, panelWidth) ← inp (N, stride)ᵀ, where column j of the panel is row
/// firstColumn + j of inp. Columns past the end are zero.
func packTransposed(
    _ panel: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, firstColumn: Int, columns: Int,
    firstK: Int, countK: Int
) {
    let w = Square.width
    for j0 in Swift.stride(from: 0, to: panelWidth, by: w) {
        let source = inp + (firstColumn + j0) * stride + firstK
        let destination = panel + j0
        if columns - j0 >= w {
            for k in Swift.stride(from: 0, to: countK / w * w, by: w) {
                for j in 0..<w { prefetch(source + (w + j) * stride + k, write: 0, caches: 2, kind: 1) }
                Square(rows: source + k, stride: stride).transposed().store(
                    destination + k * panelWidth, stride: panelWidth)
            }
            for k in countK / w * w..<countK {
                for j in 0..<w { destination[k * panelWidth + j] = source[j * stride + k] }
            }
        } else {
            let rows = max(0, columns - j0)
            for k in 0..<countK {
                for j in 0..<rows { destination[k * panelWidth + j] = source[j * stride + k] }
                for j in rows..<w { destination[k * panelWidth + j] = 0 }
            }
        }
    }
}

/// A panel of the matrix as it is: panel (words of countK, panelWidth) ← columns of inp (N, stride). Columns past the
/// end are zero.
/// - Parameter comesFromMemory: whether the matrix is too large for the caches.
@inline(__always)
func packStraight<W: Words>(
    _: W.Type, _ panel: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, firstColumn: Int,
    columns: Int, firstK: Int, countK: Int, comesFromMemory: Bool = false
) {
    for word in 0..<W.count(countK) {
        let k = word * W.elements
        let source = inp + (firstK + k) * stride + firstColumn
        let destination = panel + word * panelWidth
        for v in 0..<3 where comesFromMemory {
            prefetch(source + rowsAhead * stride + v * Vector.scalarCount, write: 0, caches: 2, kind: 1)
        }
        for v in 0..<3 {
            let column = v * Vector.scalarCount
            W.interleaved(source + column, stride: stride, rows: countK - k, upTo: columns - column).store(
                destination + column)
        }
    }
}

/// How far ahead of its copy a row of a large matrix is asked for.
private let rowsAhead = 16

/// The rows of A for dweight: strips (rows / tileRows, words of countK, tileRows) ← inp (countK, stride), whose columns
/// are the rows of A. The missing rows of the last strip are zero.
/// - Parameter stripStride: words from one strip to the next.
@inline(__always)
private func packStrips<W: Words>(
    _: W.Type, _ strips: UnsafeMutablePointer<Float>, stripStride: Int, from inp: UnsafePointer<Float>, stride: Int,
    rows: Int, countK: Int
) {
    for word in 0..<W.count(countK) {
        let k = word * W.elements
        let destination = strips + word * tileRows
        for n in k + rowsAhead..<k + rowsAhead + W.elements {
            for row in Swift.stride(from: 0, to: rows, by: Vector.scalarCount) {
                prefetch(inp + n * stride + row, write: 0, caches: 2, kind: 1)
            }
        }
        for row in Swift.stride(from: 0, to: rows, by: Vector.scalarCount) {
            let words = W.interleaved(inp + k * stride + row, stride: stride, rows: countK - k, upTo: rows - row)
            #if SIMD_4
                // A strip is one or two vectors wide.
                words.store(destination + row / tileRows * stripStride + row % tileRows)
            #else
                // A vector is two strips wide.
                UnsafeMutableRawPointer(destination + row / tileRows * stripStride).storeBytes(
                    of: words.lowHalf, as: TileRow.self)
                if row + tileRows < rows {
                    UnsafeMutableRawPointer(destination + (row / tileRows + 1) * stripStride).storeBytes(
                        of: words.highHalf, as: TileRow.self)
                }
            #endif
        }
        #if SIMD_4
            // The rest of a strip that is two vectors wide.
            for row in Swift.stride(from: roundedUp(rows), to: roundedUp(rows, to: tileRows), by: 1) {
                destination[row / tileRows * stripStride + row % tileRows] = 0
            }
        #endif
    }
}

/// A panel from blocks of weights: panel (words of countK, panelWidth), three blocks of bfloat16 side by side. Columns
/// past the end are zero.
@inline(__always)
private func unpackBlocks(
    _ panel: UnsafeMutablePointer<Float>, from blocks: UnsafePointer<Float>, C: Int, OC: Int, firstColumn: Int,
    firstK: Int, countK: Int
) {
    let w = Vector.scalarCount
    let words = BFloat16Blocks.words(C)
    for v in 0..<3 {
        let column = firstColumn + v * w
        let count = min(w, OC - column)
        let block = blocks + column * words
        for k in 0..<BFloat16Words.count(countK) {
            let place = firstK + k * BFloat16Words.elements
            let word = Vector.load(block + place / 2 * max(count, 0), upTo: count)
            let value = BFloat16Words.elements == 2 ? word : place % 2 == 0 ? lowerHalves(word) : upperHalves(word)
            value.store(panel + k * panelWidth + v * w)
        }
    }
}
