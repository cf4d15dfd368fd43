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
/// - Parameter dwpe: nil for none.
package func embeddingBackward(
    dwte: UnsafeMutablePointer<Float>, dwpe: UnsafeMutablePointer<Float>?, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Int32>, positions: UnsafePointer<Int32>, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding backward") }
    forEachColumnBlock(of: C) { column, count in
        for n in 0..<N {
            let token = dwte + Int(inp[n]) * C + column
            let position = dwpe.map { $0 + Int(positions[n]) * C + column }
            for j in stride(from: 0, to: count, by: Vector.scalarCount) {
                let d = Vector.load(dout + n * C + column + j, upTo: count - j)
                (d + .load(token + j, upTo: count - j)).store(token + j, upTo: count - j)
                guard let position else { continue }
                (d + .load(position + j, upTo: count - j)).store(position + j, upTo: count - j)
            }
        }
    }
}
