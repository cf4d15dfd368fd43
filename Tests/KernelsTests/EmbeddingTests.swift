// Token and position embeddings.

import Kernels
import Testing

// MARK: - naive twins

/// out (B,T,C) = wte (V,C)[inp (B,T)] + wpe (maxT,C)[t]: what a token means plus where it stands.
private func naiveEmbeddingForward(
    inp: [Int32], wte: [Double], wpe: [Double], B: Int, T: Int, C: Int
) -> [Double] {
    var out = [Double](repeating: 0, count: B * T * C)
    for b in 0..<B {
        for t in 0..<T {
            let token = Int(inp[b * T + t])
            for c in 0..<C { out[(b * T + t) * C + c] = wte[token * C + c] + wpe[t * C + c] }
        }
    }
    return out
}

/// In the forward pass two rows were added, so now dout's row goes to both: dwte (V,C) and dwpe (maxT,C) get the sum
/// over all the places where the token, or the position, was used.
private func naiveEmbeddingBackward(
    dout: [Double], inp: [Int32], V: Int, maxT: Int, B: Int, T: Int, C: Int
) -> (dwte: [Double], dwpe: [Double]) {
    var dwte = [Double](repeating: 0, count: V * C)
    var dwpe = [Double](repeating: 0, count: maxT * C)
    for b in 0..<B {
        for t in 0..<T {
            let token = Int(inp[b * T + t])
            for c in 0..<C {
                dwte[token * C + c] += dout[(b * T + t) * C + c]
                dwpe[t * C + c] += dout[(b * T + t) * C + c]
            }
        }
    }
    return (dwte, dwpe)
}

@Test func `the naive embedding's backward pass is its forward pass's derivative`() {
    let (B, T, C, V, maxT) = (2, 3, 2, 4, 5)
    let inp: [Int32] = [3, 0, 3, 1, 3, 0]
    let (wte, wpe) = (doubles(noise(V * C, seed: 1)), doubles(noise(maxT * C, seed: 2)))
    let dout = doubles(noise(B * T * C, seed: 3))
    func loss(_ wte: [Double], _ wpe: [Double]) -> Double {
        dot(naiveEmbeddingForward(inp: inp, wte: wte, wpe: wpe, B: B, T: T, C: C), dout)
    }
    let gradients = naiveEmbeddingBackward(dout: dout, inp: inp, V: V, maxT: maxT, B: B, T: T, C: C)
    expectSameGradient(gradients.dwte, finiteDifferences(at: wte) { loss($0, wpe) })
    expectSameGradient(gradients.dwpe, finiteDifferences(at: wpe) { loss(wte, $0) })
}

// MARK: - the kernels

/// (B, T, C, V); with V far below B·T, tokens repeat.
@Test(
    arguments: [
        (1, 1, 1, 1), (1, 3, 2, 2), (2, 2, 7, 3), (3, 7, 17, 5), (1, 65, 33, 7), (4, 17, 64, 50), (5, 33, 65, 3),
        (2, 100, 97, 30), (3, 49, 193, 11),
    ])
func `embeddingForward and embeddingBackward`(B: Int, T: Int, C: Int, V: Int) {
    let maxT = T + 2
    let inp = randomIndices(B * T, below: V, seed: 1)
    let wte = Fenced(noise(V * C, seed: 2))
    let wpe = Fenced(noise(maxT * C, seed: 3))
    let out = Fenced(unwritten: B * T * C)
    embeddingForward(out: out.pointer, inp: inp, wte: wte.pointer, wpe: wpe.pointer, B: B, T: T, C: C)
    expectClose(
        out.values,
        naiveEmbeddingForward(inp: inp, wte: doubles(wte.values), wpe: doubles(wpe.values), B: B, T: T, C: C),
        tolerance: 1e-7)

    let dout = Fenced(noise(B * T * C, seed: 4))
    let (oldWte, oldWpe) = (noise(V * C, seed: 5), noise(maxT * C, seed: 6))
    let dwte = Fenced(oldWte)
    let dwpe = Fenced(oldWpe)
    embeddingBackward(dwte: dwte.pointer, dwpe: dwpe.pointer, dout: dout.pointer, inp: inp, B: B, T: T, C: C)
    let expected = naiveEmbeddingBackward(
        dout: doubles(dout.values), inp: inp, V: V, maxT: maxT, B: B, T: T, C: C)
    expectClose(dwte.values, zip(oldWte, expected.dwte).map { Double($0) + $1 })
    expectClose(dwpe.values, zip(oldWpe, expected.dwpe).map { Double($0) + $1 })
    expectIntact(outputs: [out, dwte, dwpe], inputs: [wte, wpe, dout])
}
