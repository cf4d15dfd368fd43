// The optimizer of a layer's matrices: Muon (Jordan et al., 2024), momentum whose every step is made orthogonal.
//
// A gradient of a weight matrix is mostly a few directions, and an update along them says the same thing again and again.
// Its singular value decomposition G = U S Vᵀ names the directions and their lengths; Muon takes U Vᵀ instead, the nearest
// matrix with all lengths 1, so that rare directions are learned as fast as common ones. There is no need to decompose:
// an odd polynomial of a matrix acts on its singular values alone,
//
//     a X + b X Xᵀ X + c (X Xᵀ)² X  =  U (a S + b S³ + c S⁵) Vᵀ,
//
// and a, b, c are such that applying it five times brings any value in (0.01, 1] between 0.7 and 1.2 (the method is Newton
// and Schulz's). It costs 5 · (4 m² n + 2 m³) operations for an (m,n) matrix, m ≤ n, an eighth to a fifth
// of a step of 2,048 tokens (dev/LOG.md).

private let (a, b, c): (Float, Float, Float) = (3.4445, -4.7750, 2.0315)
/// How often the polynomial is applied.
private let iterations = 5
private let momentum: Float = 0.95
/// The floats in a task of a loop over elements.
private let chunk = 1 << 14

/// The floats that `muon` needs besides its arguments.
package func muonScratch(rows: Int, columns: Int) -> Int {
    let side = min(rows, columns)
    return 2 * rows * columns + 2 * side * side
}

/// One Muon step over a matrix (rows,columns). It also sets the gradient to zero.
///
///     m = 0.95·m + 0.05·g        u = 0.95·m + 0.05·g        (Nesterov's momentum)
///     parameter −= lr · (0.2 · √max(rows, columns) · orthogonal(u) + decay · parameter)
///
/// With the factor 0.2 · √max an update's elements are as large as AdamW's (Liu et al., "Muon is scalable for LLM
/// training", 2025), so both can share a learning rate and a decay. torch.optim.Muon computes the same, in bfloat16, with
/// `adjust_lr_fn="match_rms_adamw"`.
///
/// - Parameters:
///   - m: the running mean of the gradient.
///   - gradientScale: the factor that turns a gradient into g (for clipping).
///   - scratch: `muonScratch` floats.
package func muon(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>, m: UnsafeMutablePointer<Float>,
    rows: Int, columns: Int, learningRate: Double, decay: Double, gradientScale: Float,
    scratch: UnsafeMutablePointer<Float>
) {
    let count = rows * columns
    let side = min(rows, columns)
    // X, the next X, X·Xᵀ or Xᵀ·X, whichever is smaller, and the polynomial of that.
    var (x, next) = (scratch, scratch + count)
    let (square, polynomial) = (scratch + 2 * count, scratch + 2 * count + side * side)

    let (keepM, takeM) = (momentum, Vector(repeating: 1 - momentum))
    forEachVector(count, chunk) { i, left in
        let g = Vector.load(gradients + i, upTo: left) * gradientScale
        let newM = (Vector.load(m + i, upTo: left) * keepM).adding(g, times: takeM)
        newM.store(m + i, upTo: left)
        (newM * keepM).adding(g, times: takeM).store(x + i, upTo: left)
        Vector(repeating: 0).store(gradients + i, upTo: left)
    }
    // No singular value is above the root of the sum of squares.
    let length = Float(sumOfSquares(x, count: count).squareRoot())
    let inverse = 1 / max(length, 1e-7)
    forEachVector(count, chunk) { i, left in
        (Vector.load(x + i, upTo: left) * inverse).store(x + i, upTo: left)
    }

    for _ in 0..<iterations {
        if rows <= columns {
            matmulForward(out: square, inp: x, weight: x, bias: nil, N: rows, C: columns, OC: rows)
        } else {
            square.update(repeating: 0, count: side * side)
            matmulBackwardWeight(dweight: square, dbias: nil, dout: x, inp: x, N: rows, C: columns, OC: columns)
        }
        // a + b·S + c·S², of the symmetric S.
        matmulForward(out: polynomial, inp: square, weight: square, bias: nil, N: side, C: side, OC: side)
        forEachVector(side * side, chunk) { i, left in
            let s = Vector.load(square + i, upTo: left)
            (Vector.load(polynomial + i, upTo: left) * c).adding(s, times: Vector(repeating: b))
                .store(polynomial + i, upTo: left)
        }
        for i in 0..<side { polynomial[i * side + i] += a }
        if rows <= columns {
            matmulBackwardInput(dinp: next, dout: polynomial, weight: x, N: rows, C: columns, OC: rows)
        } else {
            matmulForward(out: next, inp: x, weight: polynomial, bias: nil, N: rows, C: columns, OC: columns)
        }
        swap(&x, &next)
    }

    let keep = Float(1 - learningRate * decay)
    let stepSize = Float(learningRate * 0.2 * Double(max(rows, columns)).squareRoot())
    let orthogonal = x
    forEachVector(count, chunk) { i, left in
        (Vector.load(parameters + i, upTo: left) * keep - Vector.load(orthogonal + i, upTo: left) * stepSize)
            .store(parameters + i, upTo: left)
    }
}
