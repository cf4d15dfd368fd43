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
//  - The columns are cut into panels of three vectors (48 floats with AVX-512). A task takes a panel of B, copies it
//    together as (k, 48), so that the loop reads it in one line, and keeps it in its L2 cache while the rows of A come
//    by. Each element of B is copied once, at the moment when it must come from memory anyhow; so the weights can be B
//    even where there are few rows, and what memory gives slowly is copied once, not read again for every tile.
//  - A stays where it is; its elements are read one by one and broadcast.
//  - dweight's A is dout turned around, whose next k is a whole row of memory away. There a task takes rows of A, copies
//    those together, and lets the panels of B come by.
//  - A finished tile goes straight to its place: 24 stores, as many as the processor takes in without waiting. Storing
//    larger parts at a time costs 4% of the product, because the memory they go to is not in the cache.
//
// Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), has the general idea.

#if REGISTERS_32
    let tileRows = 8
    private typealias TileColumn = InlineArray<8, Vector>
    private typealias TileRow = SIMD8<Float>
#else
    let tileRows = 4
    private typealias TileColumn = InlineArray<4, Vector>
    private typealias TileRow = SIMD4<Float>
#endif

let panelWidth = 3 * Vector.scalarCount
/// The sum over k is cut into parts of at most this length, so that a panel of B (1536 × 48 floats, 295 kB) leaves room
/// in the L2 cache for the rows of A that come by.
private let partK = 1536
/// A task takes at least as many rows as make the copying of its panel cheap, and otherwise so many that the tasks can
/// be shared out evenly.
private let fewestRows = 128
private let tasksPerThread = 4
/// The rows of dweight that a task takes at most. Their sums are added to dweight all at once: memory answers many
/// requests in the time of one.
private let mostTurnedRows = 48

// MARK: - the three products

/// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
///   - outStride: floats from one row of `out` (and of `residual`) to the next, at least OC.
package func matmulForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int, outStride: Int? = nil
) {
    let start = startTiming()
    defer { endTiming(start, "matmul forward") }
    product(
        out: out, outStride: outStride ?? OC, rows: N, columns: OC, K: C, a: inp, aStride: C, bias: bias,
        addend: residual
    ) { packTransposed($0, from: weight, stride: C, firstColumn: $1, columns: $2, firstK: $3, countK: $4) }
}

/// dinp (N,C) = or += dout (N,OC) · weight (OC,C).
/// - Parameter accumulate: whether to add to what `dinp` holds.
package func matmulBackwardInput(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    N: Int, C: Int, OC: Int, doutStride: Int? = nil, accumulate: Bool = false
) {
    let start = startTiming()
    defer { endTiming(start, "matmul dinp") }
    let stride = doutStride ?? OC
    product(
        out: dinp, outStride: C, rows: N, columns: C, K: OC, a: dout, aStride: stride, bias: nil,
        addend: accumulate ? UnsafePointer(dinp) : nil
    ) { packStraight($0, from: weight, stride: C, firstColumn: $1, columns: $2, firstK: $3, countK: $4) }
}

/// dweight (OC,C) += dout (N,OC)ᵀ · inp (N,C), and dbias (OC) += the sum of dout's rows.
package func matmulBackwardWeight(
    dweight: UnsafeMutablePointer<Float>, dbias: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Float>, N: Int, C: Int, OC: Int, doutStride: Int? = nil
) {
    let start = startTiming()
    defer { endTiming(start, "matmul dweight") }
    let stride = doutStride ?? OC
    let parts = (N + partK - 1) / partK
    let longestK = (N + parts - 1) / parts
    let panels = (C + panelWidth - 1) / panelWidth
    let wantedRows = (OC / (tasksPerThread * threadCount) + tileRows - 1) / tileRows * tileRows
    let taskRows = max(tileRows, min(wantedRows, mostTurnedRows))

    let packed = allocateAligned(panels * panelWidth * longestK)
    defer { freeAligned(packed) }
    for n0 in Swift.stride(from: 0, to: N, by: longestK) {
        let K = min(longestK, N - n0)
        parallelFor(panels) { panel in
            let column = panel * panelWidth
            packStraight(
                packed + column * K, from: inp, stride: C, firstColumn: column,
                columns: min(panelWidth, C - column),
                firstK: n0, countK: K)
        }
        parallelFor((OC + taskRows - 1) / taskRows) { task in
            let row = task * taskRows
            let rows = min(taskRows, OC - row)
            let sums = allocateAligned(taskRows * (panelWidth + K))  // (taskRows, panelWidth)
            defer { freeAligned(sums) }
            let a = sums + taskRows * panelWidth
            let source = dout + n0 * stride + row
            copyTurned(a, from: source, stride: stride, rows: rows, K: K)
            if let dbias { addColumnSums(dbias + row, from: source, stride: stride, rows: K, columns: rows) }
            for panel in 0..<panels {
                let column = panel * panelWidth
                let columns = min(panelWidth, C - column)
                multiplyPanel(
                    out: sums, outStride: panelWidth, rows: rows, columns: columns, K: K, a: a, aRowStride: 1,
                    aKStride: tileRows, aStripStride: tileRows * K, b: packed + column * K, bias: nil, addend: nil)
                for i in 0..<rows {
                    let destination = dweight + (row + i) * C + column
                    for j in Swift.stride(from: 0, to: columns, by: Vector.scalarCount) {
                        let sum = Vector.load(sums + i * panelWidth + j) + .load(destination + j, upTo: columns - j)
                        sum.store(destination + j, upTo: columns - j)
                    }
                }
            }
        }
    }
}

// MARK: - the core

/// out (rows, columns) = Σ_k A (rows, k) · B (k, columns) + bias (columns) + addend (rows, columns).
/// - Parameters:
///   - a: the rows of A, `aStride` floats apart.
///   - addend: as `out`, and may be `out` itself.
///   - pack: writes one panel (countK, panelWidth) of B: (destination, first column, columns, first k, count of k).
@inline(__always)
private func product(
    out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, K: Int, a: UnsafePointer<Float>,
    aStride: Int, bias: UnsafePointer<Float>?, addend: UnsafePointer<Float>?,
    pack: (UnsafeMutablePointer<Float>, Int, Int, Int, Int) -> Void
) {
    let panels = (columns + panelWidth - 1) / panelWidth
    // How the work is cut never shows in the result: each of its elements is one sum, in the order of k.
    let wantedRowTasks = max(1, min(rows / fewestRows, (tasksPerThread * threadCount + panels - 1) / panels))
    let taskRows = ((rows + wantedRowTasks - 1) / wantedRowTasks + tileRows - 1) / tileRows * tileRows
    let rowTasks = (rows + taskRows - 1) / taskRows
    let parts = (K + partK - 1) / partK
    let longestK = (K + parts - 1) / parts
    parallelFor(panels * rowTasks) { task in
        let column = task % panels * panelWidth
        let row = task / panels * taskRows
        let count = min(panelWidth, columns - column)
        let b = allocateAligned(panelWidth * longestK)
        defer { freeAligned(b) }
        let part = out + row * outStride + column
        for k0 in stride(from: 0, to: K, by: longestK) {
            let countK = min(longestK, K - k0)
            pack(b, column, count, k0, countK)
            multiplyPanel(
                out: part, outStride: outStride, rows: min(taskRows, rows - row), columns: count, K: countK,
                a: a + row * aStride + k0, aRowStride: aStride, aKStride: 1, aStripStride: tileRows * aStride, b: b,
                bias: k0 == 0 ? bias.map { $0 + column } : nil,
                addend: k0 == 0 ? addend.map { $0 + row * outStride + column } : UnsafePointer(part))
        }
    }
}

/// out (rows, columns) = A (rows, K) · b (K, panelWidth) + bias (columns) + addend (rows, columns), for one panel.
/// - Parameters:
///   - a: the element (row, k) of A is at row / tileRows · aStripStride + row % tileRows · aRowStride + k · aKStride.
///   - addend: `outStride` floats from row to row, as `out`.
@inline(__always)
private func multiplyPanel(
    out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, K: Int, a: UnsafePointer<Float>,
    aRowStride: Int, aKStride: Int, aStripStride: Int, b: UnsafePointer<Float>, bias: UnsafePointer<Float>?,
    addend: UnsafePointer<Float>?
) {
    withUnsafeTemporaryAllocation(byteCount: tileRows * panelWidth * 4, alignment: 64) { memory in
        // (tileRows, panelWidth): where the tile is at an edge of `out`, or what it is added to is yet to be made.
        let scratch = memory.assumingMemoryBound(to: Float.self).baseAddress.unsafelyUnwrapped
        let vectors = (columns + Vector.scalarCount - 1) / Vector.scalarCount
        for row in stride(from: 0, to: rows, by: tileRows) {
            let tileCount = min(tileRows, rows - row)
            let isWhole = tileCount == tileRows && columns % Vector.scalarCount == 0
            let destination = out + row * outStride
            var start = addend.map { $0 + row * outStride }
            var startStride = outStride
            if bias != nil || !isWhole && start != nil {
                addRows(
                    scratch, stride: panelWidth, bias: bias, from: start, stride: outStride, rows: tileCount,
                    columns: columns)
                start = UnsafePointer(scratch)
                startStride = panelWidth
            }
            multiplyTile(
                isWhole ? destination : scratch, tileStride: isWhole ? outStride : panelWidth,
                a + row / tileRows * aStripStride, rows: tileCount, rowStride: aRowStride, kStride: aKStride, b, K: K,
                vectors: vectors, start: start, startStride: startStride)
            if !isWhole {
                addRows(
                    destination, stride: outStride, bias: nil, from: scratch, stride: panelWidth, rows: tileCount,
                    columns: columns)
            }
        }
    }
}

/// out (rows, columns) ← bias (columns) + inp (rows, columns); either may be missing.
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

/// tile (tileRows, up to panelWidth) = Σ_k a (row, k) · b (k, column) + start (tileRows, up to panelWidth).
/// - Parameters:
///   - tileStride, bStride, startStride: floats from one row to the next.
///   - rows: how many rows of `a` exist; past them the last one is read again, and the caller ignores the result.
///   - vectors: how many vectors of the tile's row are wanted, up to three.
///   - start: nil for zero; may be the tile itself. It is added last: a sum over many parts keeps more digits so.
@inline(__always)
func multiplyTile(
    _ tile: UnsafeMutablePointer<Float>, tileStride: Int = panelWidth, _ a: UnsafePointer<Float>, rows: Int,
    rowStride: Int, kStride: Int, _ b: UnsafePointer<Float>, bStride: Int = panelWidth, K: Int, vectors: Int,
    start: UnsafePointer<Float>?, startStride: Int = 0
) {
    var offsets = InlineArray<8, Int>(repeating: 0)
    for i in 0..<tileRows { offsets[i] = min(i, rows - 1) * rowStride }
    if vectors == 3 {
        multiplyTile3(tile, tileStride, a, offsets, kStride, b, bStride, K, start, startStride)
    } else {
        for v in 0..<vectors {
            let column = v * Vector.scalarCount
            multiplyTile1(
                tile + column, tileStride, a, offsets, kStride, b + column, bStride, K, start.map { $0 + column },
                startStride)
        }
    }
}

@inline(never)
private func multiplyTile3(
    _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>, _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ start: UnsafePointer<Float>?,
    _ startStride: Int
) {
    let w = Vector.scalarCount
    var c0 = TileColumn(repeating: Vector(repeating: 0))
    var c1 = c0
    var c2 = c0
    var a = a
    var b = b
    for _ in 0..<K {
        let b0 = Vector.load(b)
        let b1 = Vector.load(b + w)
        let b2 = Vector.load(b + 2 * w)
        for i in 0..<tileRows {
            let value = Vector(repeating: a[offsets[i]])
            c0[i] = c0[i].adding(value, times: b0)
            c1[i] = c1[i].adding(value, times: b1)
            c2[i] = c2[i].adding(value, times: b2)
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

/// The same for one vector of the panel: the last columns of a product.
@inline(never)
private func multiplyTile1(
    _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>, _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ start: UnsafePointer<Float>?,
    _ startStride: Int
) {
    var c = TileColumn(repeating: Vector(repeating: 0))
    var a = a
    var b = b
    for _ in 0..<K {
        let b0 = Vector.load(b)
        for i in 0..<tileRows { c[i] = c[i].adding(Vector(repeating: a[offsets[i]]), times: b0) }
        a += kStride
        b += bStride
    }
    if let start {
        for i in 0..<tileRows { c[i] += .load(start + i * startStride) }
    }
    for i in 0..<tileRows { c[i].store(tile + i * tileStride) }
}

// MARK: - copying together

/// panel (countK, panelWidth) ← inp (N, stride) transposed: column j of the panel is row firstColumn + j of inp.
/// Columns past the end are zero.
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

/// panel (countK, panelWidth) ← columns of inp (N, stride), row by row. Columns past the end are zero.
func packStraight(
    _ panel: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, firstColumn: Int, columns: Int,
    firstK: Int, countK: Int
) {
    for k in 0..<countK {
        let source = inp + (firstK + k) * stride + firstColumn
        let destination = panel + k * panelWidth
        for v in 0..<3 {
            let column = v * Vector.scalarCount
            Vector.load(source + column, upTo: columns - column).store(destination + column)
        }
    }
}

/// strips (rows / tileRows, K, tileRows) ← inp (K, stride) turned: its columns become rows. The last strip's missing
/// rows are zero.
private func copyTurned(
    _ strips: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, rows: Int, K: Int
) {
    let whole = rows / tileRows * tileRows
    for k in 0..<K {
        let source = inp + k * stride
        let destination = strips + k * tileRows
        for row in Swift.stride(from: 0, to: whole, by: tileRows) {
            UnsafeMutableRawPointer(destination + row * K).storeBytes(
                of: UnsafeRawPointer(source + row).loadUnaligned(as: TileRow.self), as: TileRow.self)
        }
        if whole < rows {
            for i in 0..<tileRows { destination[whole * K + i] = whole + i < rows ? source[whole + i] : 0 }
        }
    }
}

// MARK: - sums of columns

/// out (columns) += Σ_n inp (rows, stride): the gradient of a bias.
private func addColumnSums(
    _ out: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int
) {
    for column in Swift.stride(from: 0, to: columns, by: columnBlock) {
        let count = columns - column
        var total = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        for n0 in Swift.stride(from: 0, to: rows, by: rowsPerPartialSum) {
            var partial = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
            for n in n0..<min(n0 + rowsPerPartialSum, rows) {
                let row = inp + n * stride + column
                for j in 0..<4 {
                    partial[j] += .load(row + j * Vector.scalarCount, upTo: count - j * Vector.scalarCount)
                }
            }
            for j in 0..<4 { total[j] += partial[j] }
        }
        addVectors(total, to: out + column, count: count)
    }
}

/// A single running float32 sum over thousands of rows loses three digits. So 32 rows are summed, and those sums added.
let rowsPerPartialSum = 32

/// Sums over rows are split by columns: a task owns four vectors of them and walks all rows in order, so nothing is
/// shared between tasks and nothing depends on their number.
let columnBlock = 4 * Vector.scalarCount

/// The body gets the first column and how many there are.
@inline(__always)
func forEachColumnBlock(of C: Int, _ body: (Int, Int) -> Void) {
    parallelFor((C + columnBlock - 1) / columnBlock) { task in
        body(task * columnBlock, min(columnBlock, C - task * columnBlock))
    }
}

/// out (count) += four vectors.
@inline(__always)
func addVectors(_ vectors: InlineArray<4, Vector>, to out: UnsafeMutablePointer<Float>, count: Int) {
    for j in 0..<4 {
        let left = count - j * Vector.scalarCount
        let destination = out + j * Vector.scalarCount
        if left > 0 { (vectors[j] + .load(destination, upTo: left)).store(destination, upTo: left) }
    }
}
