// The optimizer of matrices.

/// A matrix, row by row.
package typealias Matrix = [[Double]]

private func product(_ a: Matrix, _ b: Matrix) -> Matrix {
    a.map { row in b[0].indices.map { j in row.indices.reduce(0) { $0 + row[$1] * b[$1][j] } } }
}

private func transposed(_ a: Matrix) -> Matrix { a[0].indices.map { j in a.map { $0[j] } } }

private func combined(_ terms: [(Double, Matrix)]) -> Matrix {
    terms[0].1.indices.map { i in
        terms[0].1[i].indices.map { j in terms.reduce(0) { $0 + $1.0 * $1.1[i][j] } }
    }
}

/// The matrix with the same directions and all lengths near 1: aX + bXXᵀX + cXXᵀXXᵀX, five times, from the matrix
/// divided by the root of its sum of squares.
private func orthogonal(_ matrix: Matrix) -> Matrix {
    let length = matrix.reduce(0) { $0 + $1.reduce(0) { $0 + $1 * $1 } }.squareRoot()
    var x = combined([(1 / max(length, 1e-7), matrix)])
    for _ in 0..<5 {
        let cubed = product(product(x, transposed(x)), x)
        let fifth = product(product(x, transposed(x)), cubed)
        x = combined([(3.4445, x), (-4.7750, cubed), (2.0315, fifth)])
    }
    return x
}

/// A step: a running mean of the gradient, a look ahead (Nesterov's), and the parameters move by the orthogonal matrix of
/// that. √max makes an update's mean square that of AdamW's, some 0.2².
package func naiveMuon(
    parameters: inout Matrix, gradient: Matrix, m: inout Matrix, learningRate: Double, decay: Double, scale: Double
) {
    m = combined([(0.95, m), (0.05 * scale, gradient)])
    let update = orthogonal(combined([(0.95, m), (0.05 * scale, gradient)]))
    let size = 0.2 * Double(max(m.count, m[0].count)).squareRoot()
    parameters = combined([(1 - learningRate * decay, parameters), (-learningRate * size, update)])
}
