// Matrix products with few rows, for generation: one row, or one for each of a few sequences that are continued
// together.
//
// With few rows there is no arithmetic to hide memory access behind. Every weight is read from memory once, and used
// for one multiply-add per row. So the weights are read in the order in which they are stored, by all threads, and
// each vector of weights serves all rows while it is in a register.

/// The floats of weights in a task, 128 to 512 kB: long sequential reads, but enough tasks to balance the threads.
private let taskFloats = 1 << 15...1 << 17

// MARK: - one row

/// The product with one row: out (OC) = inp (C) · weight (OC,C)ᵀ + bias (OC) + residual (OC).
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
package func matmulRow(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of a row") }
    forEachBlock(C: C, OC: OC) { oc, count in
        withVectors(Vector.scalarCount) { sums in
            multiplyRow(sums, inp, weight + oc * C, count, C)
            finish(out + oc, sumOfEach(sums), bias.map { $0 + oc }, residual.map { $0 + oc }, count)
        }
    }
}

/// The products of inp (C) with `count` ≤ w rows of weights (count, C), as vectors sums (w, w) whose lanes are still
/// to be added. The weights are read one row after another: that reached 97% of the memory bandwidth, and two rows
/// side by side only 71%.
@inline(never)
private func multiplyRow(
    _ sums: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, _ count: Int,
    _ C: Int
) {
    let w = Vector.scalarCount
    for r in 0..<count {
        var sum = Vector(repeating: 0)
        let row = weight + r * C
        var c = 0
        while c + w <= C {
            sum = sum.adding(.load(row + c), times: .load(inp + c))
            c += w
        }
        if c < C { sum = sum.adding(.load(row + c, upTo: C - c), times: .load(inp + c, upTo: C - c)) }
        sum.store(sums + r * w)
    }
}

// MARK: - a few rows

/// The weights in the layout of `matmulBlocks`: blocks (OC/w, C, w) ← weight (OC,C), with w = `vectorWidth`. Each
/// block of w rows is transposed, so that a vector holds the weights of w outputs for one input. The last block is (C,
/// OC % w) if w does not divide OC; the memory must have room for w more floats, which `matmulBlocks` reads and
/// ignores.
package func packBlocks(_ blocks: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>, C: Int, OC: Int) {
    forEachBlock(C: C, OC: OC) { oc, count in
        interleave(blocks + oc * C, rows: weight + oc * C, count: count, C: C)
    }
}

/// The product with a few rows: out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
///
/// Each sum is one lane of a vector, so no lanes are left to add at the end. The weights are read once and in order,
/// and the inputs are broadcast, one column after another. A row's result has the same bits whatever other rows are in
/// the batch, but not the same as from `matmulRow`, which adds in another order.
/// - Parameters:
///   - blocks: the weights as `packBlocks` writes them.
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
package func matmulBlocks(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of few rows") }
    let w = Vector.scalarCount
    let groups = (N + maxRows - 1) / maxRows
    let groupRows = (N + groups - 1) / groups
    let columns = allocateAligned(N * C)  // groups of (C, rows)
    defer { freeAligned(columns) }
    for n in stride(from: 0, to: N, by: groupRows) {
        interleave(columns + n * C, rows: inp + n * C, count: min(groupRows, N - n), C: C)
    }
    forEachBlock(C: C, OC: OC) { oc, count in
        let block = blocks + oc * C
        withVectors(maxRows) { sums in
            for n in stride(from: 0, to: N, by: groupRows) {
                let rows = min(groupRows, N - n)
                let x = columns + n * C
                let zero = Vector(repeating: 0)
                switch rows {
                case 1: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<1, Vector>(repeating: zero))
                case 2: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<2, Vector>(repeating: zero))
                case 3: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<3, Vector>(repeating: zero))
                case 4: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<4, Vector>(repeating: zero))
                case 5: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<5, Vector>(repeating: zero))
                case 6: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<6, Vector>(repeating: zero))
                case 7: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<7, Vector>(repeating: zero))
                case 8: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<8, Vector>(repeating: zero))
                case 9: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<9, Vector>(repeating: zero))
                case 10: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<10, Vector>(repeating: zero))
                case 11: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<11, Vector>(repeating: zero))
                default: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<12, Vector>(repeating: zero))
                }
                for g in 0..<rows {
                    let place = (n + g) * OC + oc
                    finish(
                        out + place, .load(sums + g * w), bias.map { $0 + oc }, residual.map { $0 + place }, count)
                }
            }
        }
    }
}

/// The most rows that `multiplyBlock` takes: their sums, the weights and a broadcast fit AVX2's 16 registers. (The
/// compiler makes a function for each number of rows.)
private let maxRows = 12

/// The product of one block: sums (rows, w) = x (C, rows) · block (C, count ≤ w). Lanes past `count` are undefined.
@inline(never)
private func multiplyBlock<let rows: Int>(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ block: UnsafePointer<Float>, _ count: Int,
    _ C: Int, zeros: InlineArray<rows, Vector>
) {
    var total = zeros
    var x = x
    var weights = block
    for _ in 0..<C {
        prefetch(weights + prefetchDistance, write: 0, caches: 2, kind: 1)
        let vector = Vector.load(weights)
        for g in 0..<rows { total[g] = total[g].adding(Vector(repeating: x[g]), times: vector) }
        x += rows
        weights += count
    }
    for g in 0..<rows { total[g].store(sums + g * Vector.scalarCount) }
}

/// The distance, in floats, at which weights are prefetched. The processor also prefetches by itself, but not far
/// enough ahead while waiting multiply-adds fill its queue. With ten rows, the products with all of GPT-2 124M's
/// weights take 17.5 ms without this and 15 ms with it; reading the weights takes 14 ms.
private let prefetchDistance = 1024

// MARK: - shared by both

/// A parallel loop over the blocks of w rows of weights (OC,C), many blocks per task. `body` gets a block's first row
/// and its number of rows.
@inline(__always)
private func forEachBlock(C: Int, OC: Int, _ body: (_ oc: Int, _ count: Int) -> Void) {
    let w = Vector.scalarCount
    let blocks = (OC + w - 1) / w
    let floats = max(taskFloats.lowerBound, min(taskFloats.upperBound, OC * C / 16))
    let blocksPerTask = max(1, floats / (w * C))
    parallelFor((blocks + blocksPerTask - 1) / blocksPerTask) { task in
        for block in task * blocksPerTask..<min((task + 1) * blocksPerTask, blocks) {
            body(block * w, min(w, OC - block * w))
        }
    }
}

/// The end of a product: out (count) = sum + bias + residual.
@inline(__always)
private func finish(
    _ out: UnsafeMutablePointer<Float>, _ sum: Vector, _ bias: UnsafePointer<Float>?,
    _ residual: UnsafePointer<Float>?, _ count: Int
) {
    var sum = sum
    if let bias { sum += .load(bias, upTo: count) }
    if let residual { sum += .load(residual, upTo: count) }
    sum.store(out, upTo: count)
}

/// The transpose columns (C, count) ← rows (count, C), made of squares. At the edges, squares overlap their neighbours.
private func interleave(
    _ columns: UnsafeMutablePointer<Float>, rows: UnsafePointer<Float>, count: Int, C: Int
) {
    let w = Square.width
    guard count >= w, C >= w else {
        for c in 0..<C {
            for i in 0..<count { columns[c * count + i] = rows[i * C + c] }
        }
        return
    }
    for step in 0..<(C + w - 1) / w {
        let c = min(step * w, C - w)
        for block in 0..<(count + w - 1) / w {
            let i = min(block * w, count - w)
            Square(rows: rows + i * C + c, stride: C).transposed().store(columns + c * count + i, stride: count)
        }
    }
}
