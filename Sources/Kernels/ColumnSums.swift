// Sums over the rows of a matrix, column by column: the gradients of biases and of layer norm's weights.
//
// The columns are split into blocks of four vectors, and one task adds all rows of a block in order. So tasks share
// nothing, and the result does not depend on the number of threads.

/// The number of rows in a partial sum. One running float32 sum over thousands of rows would lose three digits, so 32
/// rows are added at a time, and then their sums.
let rowsPerPartialSum = 32

/// The number of columns in a block.
let columnBlock = 4 * Vector.scalarCount

/// A parallel loop over the column blocks of C columns. `body` gets a block's first column and its number of columns.
@inline(__always)
func forEachColumnBlock(of C: Int, _ body: (_ column: Int, _ count: Int) -> Void) {
    parallelFor((C + columnBlock - 1) / columnBlock) { task in
        body(task * columnBlock, min(columnBlock, C - task * columnBlock))
    }
}

/// The gradient of a bias: out (columns) += Σ_n inp (rows, stride). It runs on the calling thread alone.
func addColumnSums(
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

/// The end of a column block's sum: out (count) += four vectors.
@inline(__always)
func addVectors(_ vectors: InlineArray<4, Vector>, to out: UnsafeMutablePointer<Float>, count: Int) {
    for j in 0..<4 {
        let left = count - j * Vector.scalarCount
        let destination = out + j * Vector.scalarCount
        if left > 0 { (vectors[j] + .load(destination, upTo: left)).store(destination, upTo: left) }
    }
}
