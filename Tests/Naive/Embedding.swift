// Token and position embeddings.

/// The embeddings out (N,C) = wte (V,C)[inp (N)] + wpe (maxT,C)[positions (N)]: the token's vector plus its position's.
package func naiveEmbeddingForward(
    inp: [Int32], positions: [Int32], wte: [Double], wpe: [Double], C: Int
) -> [Double] {
    var out = [Double](repeating: 0, count: inp.count * C)
    for n in inp.indices {
        let (token, t) = (Int(inp[n]), Int(positions[n]))
        for c in 0..<C { out[n * C + c] = wte[token * C + c] + wpe[t * C + c] }
    }
    return out
}

/// The gradients dwte (V,C) and dwpe (maxT,C). The forward pass added two rows, so the row of dout goes to both. A row
/// of a table gets the sum over all its uses.
package func naiveEmbeddingBackward(
    dout: [Double], inp: [Int32], positions: [Int32], V: Int, maxT: Int, C: Int
) -> (dwte: [Double], dwpe: [Double]) {
    var dwte = [Double](repeating: 0, count: V * C)
    var dwpe = [Double](repeating: 0, count: maxT * C)
    for n in inp.indices {
        let (token, t) = (Int(inp[n]), Int(positions[n]))
        for c in 0..<C {
            dwte[token * C + c] += dout[n * C + c]
            dwpe[t * C + c] += dout[n * C + c]
        }
    }
    return (dwte, dwpe)
}
