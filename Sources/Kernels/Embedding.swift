// The embedding of tokens: the token's row of wte plus, where positions have a table of their own, the position's row of
// wpe.

/// The rows in a task of the forward pass.
private let rowsPerTask = 64

/// The embeddings of N tokens: out (N,C) = wte (V,C)[inp (N)] + wpe (maxT,C)[positions (N)].
/// - Parameter wpe: nil for none.
package func embeddingForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Int32>, positions: UnsafePointer<Int32>,
    wte: UnsafePointer<Float>, wpe: UnsafePointer<Float>?, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding forward") }
    parallelFor((N + rowsPerTask - 1) / rowsPerTask) { task in
        for n in task * rowsPerTask..<min((task + 1) * rowsPerTask, N) {
            let token = wte + Int(inp[n]) * C
            let position = wpe.map { $0 + Int(positions[n]) * C }
            for c in stride(from: 0, to: C, by: Vector.scalarCount) {
                var sum = Vector.load(token + c, upTo: C - c)
                if let position { sum += .load(position + c, upTo: C - c) }
                sum.store(out + n * C + c, upTo: C - c)
            }
        }
    }
}

/// The gradients of both tables: the rows of dwte (V,C) and dwpe (maxT,C) that were used += the rows of dout (N,C).
///
/// A token can occur many times, so the tasks split the channels and not the rows. Each task adds in the order of the
/// text, and no two tasks write to the same place.
/// - Parameters:
///   - dwte: the rows of tokens that are trained; nil if none is.
///   - dwpe: nil if there is no such table, or it is frozen.
package func embeddingBackward(
    dwte: TrainedRows?, dwpe: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>, inp: UnsafePointer<Int32>,
    positions: UnsafePointer<Int32>, N: Int, C: Int
) {
    if dwte == nil, dwpe == nil { return }
    let start = startTiming()
    defer { endTiming(start, "embedding backward") }
    forEachColumnBlock(of: C) { column, count in
        for n in 0..<N {
            let token = dwte?.gradient(ofRow: Int(inp[n]), C).map { $0 + column }
            let position = dwpe.map { $0 + Int(positions[n]) * C + column }
            for j in stride(from: 0, to: count, by: Vector.scalarCount) {
                let d = Vector.load(dout + n * C + column + j, upTo: count - j)
                if let token { (d + .load(token + j, upTo: count - j)).store(token + j, upTo: count - j) }
                guard let position else { continue }
                (d + .load(position + j, upTo: count - j)).store(position + j, upTo: count - j)
            }
        }
    }
}

/// Rows of a matrix that are trained, one after another, and where the gradient of the first of them begins.
package struct TrainedRows {
    package let rows: Range<Int>
    package let gradient: UnsafeMutablePointer<Float>

    package init(rows: Range<Int>, gradient: UnsafeMutablePointer<Float>) {
        (self.rows, self.gradient) = (rows, gradient)
    }

    /// The gradient of a row of C floats; nil if it is not trained.
    @inline(__always) func gradient(ofRow row: Int, _ C: Int) -> UnsafeMutablePointer<Float>? {
        rows.contains(row) ? gradient + (row - rows.lowerBound) * C : nil
    }
}
