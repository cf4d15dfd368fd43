// Where tokens become vectors: each token's row of wte plus its position's row of wpe.

/// The embeddings out (N,C) = wte (V,C)[inp (N)] + wpe (maxT,C)[positions (N)].
package func embeddingForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Int32>, positions: UnsafePointer<Int32>,
    wte: UnsafePointer<Float>, wpe: UnsafePointer<Float>, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding forward") }
    let rows = 64
    parallelFor((N + rows - 1) / rows) { task in
        for n in task * rows..<min((task + 1) * rows, N) {
            let token = wte + Int(inp[n]) * C
            let position = wpe + Int(positions[n]) * C
            for c in stride(from: 0, to: C, by: Vector.scalarCount) {
                (Vector.load(token + c, upTo: C - c) + .load(position + c, upTo: C - c))
                    .store(out + n * C + c, upTo: C - c)
            }
        }
    }
}

/// The embeddings' gradients: dwte (V,C) and dwpe (maxT,C) += dout (N,C).
///
/// The same token stands in many places, so tasks share out the channels, not the places: each adds in the text's
/// order, and no two ever meet.
package func embeddingBackward(
    dwte: UnsafeMutablePointer<Float>, dwpe: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Int32>, positions: UnsafePointer<Int32>, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding backward") }
    forEachColumnBlock(of: C) { column, count in
        for n in 0..<N {
            let token = dwte + Int(inp[n]) * C + column
            let position = dwpe + Int(positions[n]) * C + column
            for j in stride(from: 0, to: count, by: Vector.scalarCount) {
                let d = Vector.load(dout + n * C + column + j, upTo: count - j)
                (d + .load(token + j, upTo: count - j)).store(token + j, upTo: count - j)
                (d + .load(position + j, upTo: count - j)).store(position + j, upTo: count - j)
            }
        }
    }
}
