// Where tokens become vectors: each token's row of wte plus its position's row of wpe.

/// out (B,T,C) = wte (V,C)[inp (B,T)] + wpe (maxT,C)[t].
package func embeddingForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Int32>, wte: UnsafePointer<Float>,
    wpe: UnsafePointer<Float>, B: Int, T: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding forward") }
    let rows = 64
    parallelFor((B * T + rows - 1) / rows) { task in
        for n in task * rows..<min((task + 1) * rows, B * T) {
            let token = wte + Int(inp[n]) * C
            let position = wpe + n % T * C
            for c in stride(from: 0, to: C, by: Vector.scalarCount) {
                (Vector.load(token + c, upTo: C - c) + .load(position + c, upTo: C - c))
                    .store(out + n * C + c, upTo: C - c)
            }
        }
    }
}

/// dwte (V,C) and dwpe (maxT,C) += dout (B,T,C).
/// The same token stands in many places, so tasks share out the channels, not the places: each adds in the text's
/// order, and no two ever meet.
package func embeddingBackward(
    dwte: UnsafeMutablePointer<Float>, dwpe: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>,
    inp: UnsafePointer<Int32>, B: Int, T: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "embedding backward") }
    forEachColumnBlock(of: C) { column, count in
        for n in 0..<B * T {
            let token = dwte + Int(inp[n]) * C + column
            let position = dwpe + n % T * C + column
            for j in stride(from: 0, to: count, by: Vector.scalarCount) {
                let d = Vector.load(dout + n * C + column + j, upTo: count - j)
                (d + .load(token + j, upTo: count - j)).store(token + j, upTo: count - j)
                (d + .load(position + j, upTo: count - j)).store(position + j, upTo: count - j)
            }
        }
    }
}
