// The matrix products of a linear layer, out = inp · weightᵀ + bias, and of its backward pass:
//
//     forward   out (N,OC)     = inp (N,C) · weight (OC,C)ᵀ      row of out:     oc, sum over c
//     backward  dinp (N,C)     = dout (N,OC) · weight (OC,C)     row of dinp:    c,  sum over oc
//               dweight (OC,C) += dout (N,OC)ᵀ · inp (N,C)       row of dweight: oc, sum over n
//
// All three are one core: R (rows, columns) = Σ_k A (rows, k) · B (k, columns).
//
//  - B is packed: the columns are cut into panels of three vectors (48 floats with AVX-512), and a panel lies as
//    (k, 48) in one piece. It is always activations or their gradients that are packed, never weights, so the cost does not grow with the weights:
//    with few rows, packing the weights costs as much as 40% of the product.
//  - A stays where it is; its elements are read one by one and broadcast. Where they are far apart in k (the backward
//    products) a task first copies its own rows together, so that the loop touches neither a new page nor an unlucky
//    cache set at every step.
//  - A tile of `tileRows` × 3 vectors of the result stays in registers for the whole sum over k: 24 accumulators,
//    three vectors of B and one broadcast are 28 of AVX-512's 32 registers.
//  - In the first two products the columns are the tokens, so the tile holds the result transposed, and a task turns
//    it when it stores it. That is one pass over the output, where the tile took K.
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
/// The sum over k is cut into parts this long. A task's rows of A (48 × 3072 floats, 590 kB) then stay in the L2 cache
/// while panel after panel of B comes by; longer parts mean fewer passes over the result.
private let partK = 3072
private let taskRows = 48
/// From one copied strip of A to the next: a cache line more than the strip, or all strips would fall into one cache set.
private let stripStride = tileRows * partK + 16
/// Tasks take as many panels as leave this many tasks to share out evenly.
private let tasksPerThread = 4
/// Packed columns are limited to 4 M floats at a time; malloc keeps memory of that size instead of returning it.
private let packedLimit = 4 << 20

// MARK: - the three products

/// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
///   - outStride: floats from one row of `out` to the next, at least OC.
package func matmulForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int, outStride: Int? = nil
) {
    let stride = outStride ?? OC
    product(
        rows: OC, columns: N, K: C, a: weight, aRowStride: C, aKStride: 1,
        pack: { packTransposed($0, from: inp, stride: C, firstColumn: $1, columns: $2, firstK: $3, countK: $4) },
        store: { tile, row, rows, column, columns, isFirstBlock in
            storeTransposed(tile, rows: rows, columns: columns, out: out + column * stride + row, stride: stride) {
                value, old, t, i, load in
                guard isFirstBlock else { return value + load(old) }
                var value = value
                if let bias { value += load(bias + row + i) }
                if let residual { value += load(residual + (column + t) * stride + row + i) }
                return value
            }
        })
}

/// dinp (N,C) = or += dout (N,OC) · weight (OC,C).
/// - Parameter accumulate: whether to add to what `dinp` holds.
package func matmulBackwardInput(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    N: Int, C: Int, OC: Int, doutStride: Int? = nil, accumulate: Bool = false
) {
    let stride = doutStride ?? OC
    product(
        rows: C, columns: N, K: OC, a: weight, aRowStride: 1, aKStride: C,
        pack: { packTransposed($0, from: dout, stride: stride, firstColumn: $1, columns: $2, firstK: $3, countK: $4) },
        store: { tile, row, rows, column, columns, isFirstBlock in
            let overwrites = isFirstBlock && !accumulate
            storeTransposed(tile, rows: rows, columns: columns, out: dinp + column * C + row, stride: C) {
                value, old, _, _, load in overwrites ? value : value + load(old)
            }
        })
}

/// dweight (OC,C) += dout (N,OC)ᵀ · inp (N,C), and dbias (OC) += the sum of dout's rows.
package func matmulBackwardWeight(
    dweight: UnsafeMutablePointer<Float>, dbias: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Float>, N: Int, C: Int, OC: Int, doutStride: Int? = nil
) {
    let stride = doutStride ?? OC
    if let dbias { addColumnSums(out: dbias, inp: dout, N: N, C: OC, stride: stride) }
    product(
        rows: OC, columns: C, K: N, a: dout, aRowStride: 1, aKStride: stride,
        pack: { packStraight($0, from: inp, stride: C, firstColumn: $1, columns: $2, firstK: $3, countK: $4) },
        store: { tile, row, rows, column, columns, _ in
            for i in 0..<rows {
                let destination = dweight + (row + i) * C + column
                let source = tile + i * panelWidth
                for j in 0..<columns { destination[j] += source[j] }
            }
        })
}

// MARK: - the core

/// Computes Σ_k A·B, panel by panel; `store` writes it or adds it.
/// - Parameters:
///   - pack: writes one panel (countK, panelWidth) of B: (destination, first column, columns, first k, count of k).
///   - store: takes a finished part (rows, panelWidth) of the result: (tile, first row, rows, first column, columns,
///     whether it is the first part of the sum over k). Only one task at a time stores a given part of the result.
@inline(__always)
private func product(
    rows: Int, columns: Int, K: Int, a: UnsafePointer<Float>, aRowStride: Int, aKStride: Int,
    pack: (UnsafeMutablePointer<Float>, Int, Int, Int, Int) -> Void,
    store: (UnsafePointer<Float>, Int, Int, Int, Int, Bool) -> Void
) {
    let longestK = min(K, partK)
    let allPanels = (columns + panelWidth - 1) / panelWidth
    let partPanels = min(allPanels, max(1, packedLimit / (longestK * panelWidth)))
    let packed = allocateAligned(partPanels * panelWidth * longestK)
    defer { freeAligned(packed) }

    for panel0 in stride(from: 0, to: allPanels, by: partPanels) {
        let panels = min(partPanels, allPanels - panel0)
        for k0 in stride(from: 0, to: K, by: partK) {
            let countK = min(partK, K - k0)
            parallelFor(panels) { panel in
                let column = (panel0 + panel) * panelWidth
                pack(packed + panel * panelWidth * countK, column, min(panelWidth, columns - column), k0, countK)
            }
            // How the work is cut never shows in the result: each of its elements is one sum, in the order of k.
            let rowTasks = (rows + taskRows - 1) / taskRows
            let wantedPanelTasks = min(panels, (tasksPerThread * threadCount + rowTasks - 1) / rowTasks)
            let panelsPerTask = (panels + wantedPanelTasks - 1) / wantedPanelTasks
            let panelTasks = (panels + panelsPerTask - 1) / panelsPerTask
            parallelFor(rowTasks * panelTasks) { task in
                let row0 = task % rowTasks * taskRows
                let first = task / rowTasks * panelsPerTask
                multiplyPanels(
                    rows: min(taskRows, rows - row0), K: countK, a: a + row0 * aRowStride + k0 * aKStride,
                    aRowStride: aRowStride, aKStride: aKStride, b: packed + first * panelWidth * countK,
                    panels: min(panelsPerTask, panels - first), columns: columns - (panel0 + first) * panelWidth
                ) { tile, rows, column, columns in
                    store(tile, row0, rows, (panel0 + first) * panelWidth + column, columns, k0 == 0)
                }
            }
        }
    }
}

/// One task: up to `taskRows` rows by some panels. `columns` counts what is left of B from its first panel on.
@inline(__always)
private func multiplyPanels(
    rows: Int, K: Int, a: UnsafePointer<Float>, aRowStride: Int, aKStride: Int, b: UnsafePointer<Float>, panels: Int,
    columns: Int, store: (UnsafePointer<Float>, Int, Int, Int) -> Void
) {
    let strips = (rows + tileRows - 1) / tileRows
    let copiesA = aKStride != 1
    // The result for one panel, (taskRows, panelWidth), and the copy of A.
    let scratch = allocateAligned(taskRows * panelWidth + (copiesA ? strips * stripStride : 0))
    defer { freeAligned(scratch) }
    let copied = scratch + taskRows * panelWidth
    if copiesA { copyRowsTogether(copied, from: a, rows: rows, countK: K, kStride: aKStride) }

    for panel in 0..<panels {
        let count = min(panelWidth, columns - panel * panelWidth)
        let vectors = (count + Vector.scalarCount - 1) / Vector.scalarCount
        for strip in 0..<strips {
            let row = strip * tileRows
            let tile = scratch + row * panelWidth
            let bPanel = b + panel * panelWidth * K
            if copiesA {
                multiplyTile(
                    tile, copied + strip * stripStride, rows: tileRows, rowStride: 1, kStride: tileRows, bPanel, K: K,
                    vectors: vectors, accumulate: false)
            } else {
                multiplyTile(
                    tile, a + row * aRowStride, rows: rows - row, rowStride: aRowStride, kStride: 1, bPanel, K: K,
                    vectors: vectors, accumulate: false)
            }
        }
        store(scratch, rows, panel * panelWidth, count)
    }
}

/// tile (tileRows, up to panelWidth) = or += Σ_k a (row, k) · b (k, column).
/// - Parameters:
///   - tileStride, bStride: floats from one row to the next.
///   - rows: how many rows of `a` exist; past them the last one is read again, and the caller ignores the result.
///   - vectors: how many vectors of the tile's row are wanted, up to three.
///   - accumulate: whether to add to what the tile holds (attention's backward pass does).
@inline(__always)
func multiplyTile(
    _ tile: UnsafeMutablePointer<Float>, tileStride: Int = panelWidth, _ a: UnsafePointer<Float>, rows: Int,
    rowStride: Int, kStride: Int, _ b: UnsafePointer<Float>, bStride: Int = panelWidth, K: Int, vectors: Int,
    accumulate: Bool
) {
    var offsets = InlineArray<8, Int>(repeating: 0)
    for i in 0..<tileRows { offsets[i] = min(i, rows - 1) * rowStride }
    if vectors == 3 {
        multiplyTile3(tile, tileStride, a, offsets, kStride, b, bStride, K, accumulate)
    } else {
        for v in 0..<vectors {
            multiplyTile1(
                tile + v * Vector.scalarCount, tileStride, a, offsets, kStride, b + v * Vector.scalarCount, bStride, K,
                accumulate)
        }
    }
}

@inline(never)
private func multiplyTile3(
    _ tile: UnsafeMutablePointer<Float>, _ tileStride: Int, _ a: UnsafePointer<Float>, _ offsets: InlineArray<8, Int>,
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ accumulate: Bool
) {
    let w = Vector.scalarCount
    var c0 = TileColumn(repeating: Vector(repeating: 0))
    var c1 = c0
    var c2 = c0
    if accumulate {
        for i in 0..<tileRows {
            c0[i] = .load(tile + i * tileStride)
            c1[i] = .load(tile + i * tileStride + w)
            c2[i] = .load(tile + i * tileStride + 2 * w)
        }
    }
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
    _ kStride: Int, _ b: UnsafePointer<Float>, _ bStride: Int, _ K: Int, _ accumulate: Bool
) {
    var c = TileColumn(repeating: Vector(repeating: 0))
    if accumulate {
        for i in 0..<tileRows { c[i] = .load(tile + i * tileStride) }
    }
    var a = a
    var b = b
    for _ in 0..<K {
        let b0 = Vector.load(b)
        for i in 0..<tileRows { c[i] = c[i].adding(Vector(repeating: a[offsets[i]]), times: b0) }
        a += kStride
        b += bStride
    }
    for i in 0..<tileRows { c[i].store(tile + i * tileStride) }
}

// MARK: - packing and unpacking

/// Turns a finished part (rows, panelWidth) of the result and stores it as (columns, rows) at `out`.
/// - Parameter finish: (a vector of the result along a row of out, where it goes, row and column in this part, how to
///   load other vectors of that length) → what to store.
@inline(__always)
private func storeTransposed(
    _ tile: UnsafePointer<Float>, rows: Int, columns: Int, out: UnsafeMutablePointer<Float>, stride: Int,
    finish: (Vector, UnsafePointer<Float>, Int, Int, (UnsafePointer<Float>) -> Vector) -> Vector
) {
    let w = Vector.scalarCount
    for i in Swift.stride(from: 0, to: rows, by: w) {
        let count = min(w, rows - i)
        for t0 in Swift.stride(from: 0, to: columns, by: w) {
            var square = Square(repeating: Vector(repeating: 0))
            for k in 0..<w { square[k] = .load(tile + (i + k) * panelWidth + t0) }
            square = square.transposed()
            if count == w && columns - t0 >= w {
                for k in 0..<w {
                    let destination = out + (t0 + k) * stride + i
                    finish(square[k], destination, t0 + k, i) { .load($0) }.store(destination)
                }
            } else {
                for k in 0..<min(w, columns - t0) {
                    let destination = out + (t0 + k) * stride + i
                    finish(square[k], destination, t0 + k, i) { .load($0, upTo: count) }
                        .store(destination, upTo: count)
                }
            }
        }
    }
}

/// panel (countK, panelWidth) ← inp (N, stride) transposed: column j of the panel is row firstColumn + j of inp.
/// Columns past the end are zero.
func packTransposed(
    _ panel: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, firstColumn: Int, columns: Int,
    firstK: Int, countK: Int
) {
    let w = Vector.scalarCount
    for j0 in Swift.stride(from: 0, to: panelWidth, by: w) {
        let source = inp + (firstColumn + j0) * stride + firstK
        let rows = max(0, min(w, columns - j0))
        var k = 0
        while k < countK {
            let count = min(w, countK - k)
            var square = Square(repeating: Vector(repeating: 0))
            if rows == w && count == w {
                for j in 0..<w { square[j] = .load(source + j * stride + k) }
            } else {
                for j in 0..<rows { square[j] = .load(source + j * stride + k, upTo: count) }
            }
            square = square.transposed()
            let destination = panel + k * panelWidth + j0
            if count == w {
                for i in 0..<w { square[i].store(destination + i * panelWidth) }
            } else {
                for i in 0..<count { square[i].store(destination + i * panelWidth) }
            }
            k += w
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
        if columns == panelWidth {
            for v in 0..<3 { Vector.load(source + v * Vector.scalarCount).store(destination + v * Vector.scalarCount) }
        } else {
            for j in 0..<columns { destination[j] = source[j] }
            for j in columns..<panelWidth { destination[j] = 0 }
        }
    }
}

/// copied (strips, stripStride), each strip (countK, tileRows), ← A (countK, kStride), whose rows are neighbours in memory, `tileRows` at a time.
/// Rows past the end are zero.
private func copyRowsTogether(
    _ copied: UnsafeMutablePointer<Float>, from a: UnsafePointer<Float>, rows: Int, countK: Int, kStride: Int
) {
    let wholeStrips = rows / tileRows
    for k in 0..<countK {
        let source = UnsafeRawPointer(a + k * kStride)
        let destination = UnsafeMutableRawPointer(copied + k * tileRows)
        let size = MemoryLayout<TileRow>.size
        for strip in 0..<wholeStrips {
            destination.storeBytes(
                of: source.loadUnaligned(fromByteOffset: strip * size, as: TileRow.self),
                toByteOffset: strip * stripStride * MemoryLayout<Float>.size, as: TileRow.self)
        }
    }
    guard rows % tileRows != 0 else { return }
    let last = copied + wholeStrips * stripStride
    for k in 0..<countK {
        for i in 0..<tileRows {
            let row = wholeStrips * tileRows + i
            last[k * tileRows + i] = row < rows ? a[k * kStride + row] : 0
        }
    }
}

// MARK: - sums of columns

/// out (C) += Σ_n inp (N, stride): the gradient of a bias.
package func addColumnSums(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, N: Int, C: Int, stride: Int
) {
    forEachColumnBlock(of: C) { column, count in
        var total = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        for n0 in Swift.stride(from: 0, to: N, by: rowsPerPartialSum) {
            var partial = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
            for n in n0..<min(n0 + rowsPerPartialSum, N) {
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
/// shared between tasks and nothing depends on their number. The body gets the first column and how many there are.
@inline(__always)
func forEachColumnBlock(of C: Int, _ body: (Int, Int) -> Void) {
    let width = 4 * Vector.scalarCount
    parallelFor((C + width - 1) / width) { task in body(task * width, min(width, C - task * width)) }
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
