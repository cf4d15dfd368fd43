// The embedding of tokens: the token's row of wte plus, where positions have a table of their own, the position's row of
// wpe, and in a BERT the row of wse for the segment that the token is in (transformers: its token type).

/// The rows in a task of the forward pass.
private let rowsPerTask = 64

/// The embeddings of N tokens: out (N,C) = wte (V,C)[inp (N)] + wse (segments,C)[segments (N)]
/// + wpe (maxT,C)[positions (N)].
/// - Parameters:
///   - wpe, wse: nil for none.
///   - segments: nil where all tokens are in the first.
package func embeddingForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Int32>, positions: UnsafePointer<Int32>,
    segments: UnsafePointer<Int32>? = nil, wte: UnsafePointer<Float>, wpe: UnsafePointer<Float>?,
    wse: UnsafePointer<Float>? = nil, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding forward") }
    parallelFor((N + rowsPerTask - 1) / rowsPerTask) { task in
        for n in task * rowsPerTask..<min((task + 1) * rowsPerTask, N) {
            let token = wte + Int(inp[n]) * C
            let position = wpe.map { $0 + Int(positions[n]) * C }
            let segment = wse.map { $0 + Int(segments?[n] ?? 0) * C }
            for c in stride(from: 0, to: C, by: Vector.scalarCount) {
                var sum = Vector.load(token + c, upTo: C - c)
                if let segment { sum += .load(segment + c, upTo: C - c) }
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

/// The gradient of the segments' table: dwse (segments,C) += for each segment the sum of its rows of dout (N,C). Many rows
/// share one of the table, so they are added as those of a bias are (ColumnSums.swift).
/// - Parameter segments: (N); nil where all tokens are in the first.
package func segmentEmbeddingBackward(
    dwse: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, segments: UnsafePointer<Int32>?, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding backward") }
    let used = segments.map { segments in Set((0..<N).map { segments[$0] }).sorted() } ?? [0]
    forEachColumnBlock(of: C) { column, count in
        for segment in used {
            var total = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
            for n0 in stride(from: 0, to: N, by: rowsPerPartialSum) {
                var partial = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
                for n in n0..<min(n0 + rowsPerPartialSum, N) where segments?[n] ?? 0 == segment {
                    let row = dout + n * C + column
                    for j in 0..<4 {
                        partial[j] += .load(row + j * Vector.scalarCount, upTo: count - j * Vector.scalarCount)
                    }
                }
                for j in 0..<4 { total[j] += partial[j] }
            }
            addVectors(total, to: dwse + Int(segment) * C + column, count: count)
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
