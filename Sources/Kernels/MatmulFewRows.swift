// Matrix products with few rows, for generation: one row, or one for each of a few sequences that are continued
// together.
//
// With few rows there is no arithmetic to hide memory access behind. Every weight is read from memory once, and used
// for one multiply-add per row. So the weights are read in the order in which they are stored, by all threads, and
// each vector of weights serves all rows while it is in a register. In bfloat16 they are half as many bytes.

/// The floats of weights in a task, 128 to 512 kB: long sequential reads, but enough tasks to balance the threads.
let taskFloats = 1 << 15...1 << 17

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
///
/// In bfloat16 a word of 32 bits holds the weights of two inputs, the first in its lower half, and C is ⌈C/2⌉ words.
package func packBlocks(
    _ blocks: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>, C: Int, OC: Int,
    precision: Precision = .float32
) {
    switch precision {
    case .float32:
        forEachBlock(C: C, OC: OC) { oc, count in
            interleave(blocks + oc * C, rows: weight + oc * C, count: count, C: C)
        }
    case .bfloat16:
        let words = BFloat16Blocks.words(C)
        forEachBlock(C: words, OC: OC) { oc, count in
            let rows = allocateAligned(count * words)
            defer { freeAligned(rows) }
            for i in 0..<count { packBFloat16(rows + i * words, from: weight + (oc + i) * C, count: C) }
            interleave(blocks + oc * words, rows: rows, count: count, C: words)
        }
    }
}

/// A format of weights in blocks.
protocol BlockFormat {
    /// The words of C weights.
    static func words(_ C: Int) -> Int
    /// The floats of an input that a word is multiplied with: two, or one that is a pair of bfloat16 itself.
    static var inputs: Int { get }
    /// sum + input · word, for one of `rows` inputs: `x` is (inputs, rows).
    static func adding(
        _ sum: Vector, _ x: UnsafePointer<Float>, row: Int, of rows: Int, times word: Vector
    ) -> Vector
}

/// One float in a word.
private enum Float32Blocks: BlockFormat {
    @inline(__always) static func words(_ C: Int) -> Int { C }
    @inline(__always) static var inputs: Int { 1 }

    @inline(__always) static func adding(
        _ sum: Vector, _ x: UnsafePointer<Float>, row: Int, of rows: Int, times word: Vector
    ) -> Vector { sum.adding(Vector(repeating: x[row]), times: word) }
}

/// Two bfloat16 in a word.
enum BFloat16Blocks: BlockFormat {
    @inline(__always) static func words(_ C: Int) -> Int { (C + 1) / 2 }

    #if BFLOAT16_PAIRS
        @inline(__always) static var inputs: Int { 1 }

        @inline(__always) static func adding(
            _ sum: Vector, _ x: UnsafePointer<Float>, row: Int, of rows: Int, times word: Vector
        ) -> Vector { BFloat16Words.adding(sum, Vector(repeating: x[row]), times: word) }
    #else
        @inline(__always) static var inputs: Int { 2 }

        @inline(__always) static func adding(
            _ sum: Vector, _ x: UnsafePointer<Float>, row: Int, of rows: Int, times word: Vector
        ) -> Vector {
            sum.adding(Vector(repeating: x[row]), times: lowerHalves(word))
                .adding(Vector(repeating: x[rows + row]), times: upperHalves(word))
        }
    #endif
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
///   - precision: of the blocks; in bfloat16 the input is rounded, too.
package func matmulBlocks(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int,
    precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of few rows") }
    switch precision {
    case .float32:
        multiplyBlocks(
            Float32Blocks.self, out: out, inp: inp, blocks: blocks, bias: bias, residual: residual, N: N, C: C, OC: OC)
    case .bfloat16:
        // (N, words of C · inputs), where the last one may be half empty.
        let width = BFloat16Blocks.words(C) * BFloat16Blocks.inputs
        let rounded = allocateAligned(N * width)
        defer { freeAligned(rounded) }
        for n in 0..<N {
            rounded[(n + 1) * width - 1] = 0
            packRows(BFloat16Words.self, rounded + n * width, from: inp + n * C, stride: C, rows: 1, columns: C)
        }
        multiplyBlocks(
            BFloat16Blocks.self, out: out, inp: rounded, blocks: blocks, bias: bias, residual: residual, N: N, C: C,
            OC: OC)
    }
}

@inline(__always)
private func multiplyBlocks<F: BlockFormat>(
    _: F.Type, out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?, N: Int, C: Int, OC: Int
) {
    let w = Vector.scalarCount
    let words = F.words(C)
    let width = words * F.inputs
    let groups = (N + maxRows - 1) / maxRows
    // As even as can be: of more than one group each has at least five rows, and takes the blocks in the same way.
    func firstRow(_ group: Int) -> Int { N * group / groups }
    // Few rows wait for memory, which is read fastest in one sequence.
    let atOnce = N > 4 ? ManyRows.count : OneBlock.count
    let columns = allocateAligned(N * width)  // groups of (width, rows)
    defer { freeAligned(columns) }
    for group in 0..<groups {
        let n = firstRow(group)
        interleave(columns + n * width, rows: inp + n * width, count: firstRow(group + 1) - n, C: width)
    }
    forEachTask(C: words, OC: OC) { range in
        let sums = allocateAligned(2 * maxRows * w)  // (blocks, maxRows, w)
        defer { freeAligned(sums) }
        for block in stride(from: range.lowerBound, to: range.upperBound, by: atOnce) {
            let oc = block * w
            let count = min(w, OC - oc)
            // A task's last block may be alone.
            let nextCount = atOnce == 2 && block + 1 < range.upperBound ? min(w, OC - oc - w) : 0
            let both = (Block(blocks + oc * words, count), Block(blocks + (oc + count) * words, nextCount))
            for group in 0..<groups {
                let n = firstRow(group)
                let rows = firstRow(group + 1) - n
                let x = columns + n * width
                let zero = Vector(repeating: 0)
                switch rows {
                case 1:
                    multiplyBlock(
                        F.self, OneBlock.self, sums, x, both, words, zeros: InlineArray<1, Vector>(repeating: zero))
                case 2:
                    multiplyBlock(
                        F.self, OneBlock.self, sums, x, both, words, zeros: InlineArray<2, Vector>(repeating: zero))
                case 3:
                    multiplyBlock(
                        F.self, OneBlock.self, sums, x, both, words, zeros: InlineArray<3, Vector>(repeating: zero))
                case 4:
                    multiplyBlock(
                        F.self, OneBlock.self, sums, x, both, words, zeros: InlineArray<4, Vector>(repeating: zero))
                case 5:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<5, Vector>(repeating: zero))
                case 6:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<6, Vector>(repeating: zero))
                case 7:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<7, Vector>(repeating: zero))
                case 8:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<8, Vector>(repeating: zero))
                case 9:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<9, Vector>(repeating: zero))
                default:
                    multiplyBlock(
                        F.self, ManyRows.self, sums, x, both, words, zeros: InlineArray<10, Vector>(repeating: zero))
                }
                for (i, count) in [count, nextCount].enumerated() where count > 0 {
                    for g in 0..<rows {
                        let place = (n + g) * OC + oc + i * w
                        finish(
                            out + place, .load(sums + (i * rows + g) * w), bias.map { $0 + oc + i * w },
                            residual.map { $0 + place }, count)
                    }
                }
            }
        }
    }
}

/// Some weights of `count` ≤ w outputs: (words, count).
private struct Block {
    let weights: UnsafePointer<Float>
    let count: Int

    init(_ weights: UnsafePointer<Float>, _ count: Int) { (self.weights, self.count) = (weights, count) }
}

/// The most rows that `multiplyBlock` takes: their sums, the weights and a broadcast fit AVX2's 16 registers, and those of
/// two blocks fit 32. (The compiler makes a function for each number of rows.)
private let maxRows = 10

/// The blocks that are multiplied at a time.
private protocol BlocksAtOnce {
    static var count: Int { get }
}

private enum OneBlock: BlocksAtOnce {
    @inline(__always) static var count: Int { 1 }
}

/// Two share each broadcast of an input, which is as much to load as a vector of weights; one reaches 70% of the
/// multiply-adds in bfloat16. Their sums take two thirds of 32 registers.
private enum TwoBlocks: BlocksAtOnce {
    @inline(__always) static var count: Int { 2 }
}

#if REGISTERS_32
    private typealias ManyRows = TwoBlocks
#else
    private typealias ManyRows = OneBlock
#endif

/// The products of one block or two: sums (2, rows, w) = x (words · inputs, rows) · block (words, count ≤ w). Lanes past
/// `count` are undefined, and so is all of a second block without a count.
@inline(never)
private func multiplyBlock<F: BlockFormat, B: BlocksAtOnce, let rows: Int>(
    _: F.Type, _: B.Type, _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ blocks: (Block, Block),
    _ words: Int,
    zeros: InlineArray<rows, Vector>
) {
    var first = zeros
    var second = zeros
    var x = x
    var weights = blocks.0.weights
    var next = blocks.1.count > 0 ? blocks.1.weights : weights
    let step = blocks.1.count > 0 ? blocks.1.count : blocks.0.count
    for _ in 0..<words {
        prefetch(weights + prefetchDistance, write: 0, caches: 2, kind: 1)
        let vector = Vector.load(weights)
        if B.count == 2 {
            prefetch(next + prefetchDistance, write: 0, caches: 2, kind: 1)
            let nextVector = Vector.load(next)
            for g in 0..<rows {
                first[g] = F.adding(first[g], x, row: g, of: rows, times: vector)
                second[g] = F.adding(second[g], x, row: g, of: rows, times: nextVector)
            }
            next += step
        } else {
            for g in 0..<rows { first[g] = F.adding(first[g], x, row: g, of: rows, times: vector) }
        }
        x += rows * F.inputs
        weights += blocks.0.count
    }
    for g in 0..<rows {
        first[g].store(sums + g * Vector.scalarCount)
        if B.count == 2 { second[g].store(sums + (rows + g) * Vector.scalarCount) }
    }
}

/// The distance, in floats, at which weights are prefetched. The processor also prefetches by itself, but not far
/// enough ahead while waiting multiply-adds fill its queue. With ten rows, the float32 products with all of GPT-2 124M's
/// weights take 17.5 ms without this and 15 ms with it; reading the weights takes 14 ms.
let prefetchDistance = 1024

// MARK: - shared by both

/// A parallel loop over the blocks of w rows of weights (OC,C), many blocks per task. `body` gets a block's first row
/// and its number of rows.
@inline(__always)
private func forEachBlock(C: Int, OC: Int, _ body: (_ oc: Int, _ count: Int) -> Void) {
    let w = Vector.scalarCount
    forEachTask(C: C, OC: OC) { blocks in
        for block in blocks { body(block * w, min(w, OC - block * w)) }
    }
}

/// The same loop, where `body` gets all blocks of a task.
@inline(__always)
func forEachTask(C: Int, OC: Int, _ body: (_ blocks: Range<Int>) -> Void) {
    let w = Vector.scalarCount
    let blocks = (OC + w - 1) / w
    let floats = max(taskFloats.lowerBound, min(taskFloats.upperBound, OC * C / 16))
    let blocksPerTask = max(1, floats / (w * C))
    parallelFor((blocks + blocksPerTask - 1) / blocksPerTask) { task in
        body(task * blocksPerTask..<min((task + 1) * blocksPerTask, blocks))
    }
}

/// The end of a product: out (count) = sum + bias + residual.
@inline(__always)
func finish(
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
