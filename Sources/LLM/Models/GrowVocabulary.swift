// A model learns new words: wherever its vocabulary has a dimension (the embeddings, a classifier of its own, a bias), it
// gets a row for each. What is there stays as it is, bit for bit; how the new rows begin is a choice.

import Kernels

/// How the rows of new tokens begin.
package enum NewRows {
    /// As the mean of the rows of the pieces that a token was split into before; without pieces as the mean of all. It
    /// then begins near the words that its pieces come from.
    case meanOfPieces([[Int32]])
    /// As the mean of all old rows: a word that is like no other in particular.
    case mean
    /// Drawn around the mean of all, as transformers' resize_token_embeddings draws with mean_resizing: N(μ, 1e-9·Σ), Σ
    /// the old rows' covariance. Where that has no Cholesky factor, as with fewer rows than channels, they are μ. Biases
    /// are N(μ, 1e-9·σ), or 0 where the classifier's matrix is the embeddings'.
    case normal(seed: UInt32)
    /// As copies of a token's.
    case like(Int)
    case zero
}

extension Transformer {
    /// The same model with a vocabulary of V tokens, no fewer than it has.
    /// - Parameters:
    ///   - first: the first new token: rows from here on begin anew, also where the model had room for them.
    ///   - rows: how the new ones begin.
    package func grown(to V: Int, from first: Int? = nil, _ rows: NewRows = .mean) -> Self {
        precondition(V >= config.V)
        var config = config
        config.V = V
        let grown = Self(config, trains: false)
        let vocabulary = config.vocabularyTensors.map(\.index)
        for (old, new) in zip(parameters.table.tensors, grown.parameters.table.tensors) {
            let (from, to) = (parameters.values + old, grown.parameters.values + new)
            guard vocabulary.contains(new.index) else {
                to.update(from: from, count: old.count)
                continue
            }
            let known = min(first ?? self.config.V, old.usedRows)
            to.update(from: from, count: known * old.rowCount)
            rows.fill(to, known: known, count: V, width: old.rowCount, isTied: config.hasTiedHead)
        }
        return grown
    }
}

extension ModelConfiguration {
    /// The tensors with a row, or a number, for each token.
    package var vocabularyTensors: [Tensor] {
        var larger = self
        larger.V += 1
        return zip(table.tensors, larger.table.tensors).filter { $0.usedRows < $1.usedRows }.map(\.0)
    }
}

extension NewRows {
    /// Fills rows `known..<count` of a matrix (count,width) from those before. A width of 1 is a bias.
    fileprivate func fill(
        _ matrix: UnsafeMutablePointer<Float>, known: Int, count: Int, width: Int, isTied: Bool
    ) {
        func row(_ i: Int) -> UnsafeMutablePointer<Float> { matrix + i * width }
        func mean(of rows: some Collection<Int>) -> [Float] {
            var sums = [Double](repeating: 0, count: width)
            for i in rows { for c in 0..<width { sums[c] += Double(row(i)[c]) } }
            return sums.map { Float($0 / Double(max(1, rows.count))) }
        }
        let new = known..<count
        switch self {
        case .zero: for i in new { row(i).update(repeating: 0, count: width) }
        case .like(let token): for i in new { row(i).update(from: row(token), count: width) }
        case .mean:
            let all = mean(of: 0..<known)
            for i in new { row(i).update(from: all, count: width) }
        case .meanOfPieces(let pieces):
            let all = mean(of: 0..<known)
            for (i, n) in new.enumerated() {
                let own = pieces.indices.contains(i) ? pieces[i].map { Int($0) } : []
                row(n).update(from: own.isEmpty ? all : mean(of: own), count: width)
            }
        case .normal(let seed):
            let all = mean(of: 0..<known)
            for i in new { row(i).update(from: all, count: width) }
            var random = MersenneTwister(seed: seed)
            func normal(_ count: Int) -> [Float] {
                var z = [Float](repeating: 0, count: count)
                z.withUnsafeMutableBufferPointer { random.fillNormal($0, deviation: 1) }
                return z
            }
            if width == 1 {
                let squares = (0..<known).reduce(0.0) { $0 + Double((matrix[$1] - all[0]) * (matrix[$1] - all[0])) }
                let deviation = Float(1e-9 * (squares / Double(max(1, known - 1))).squareRoot())
                let z = normal(new.count)
                for (i, n) in new.enumerated() { matrix[n] = isTied ? 0 : all[0] + deviation * z[i] }
                return
            }
            guard let L = NewRows.factor(matrix, rows: known, width: width, mean: all) else { return }
            for i in new {
                let z = normal(width).map { Double($0) }
                for c in 0..<width {
                    var sum = 0.0
                    for k in 0...c { sum += L[c * width + k] * z[k] }
                    row(i)[c] += Float(sum)
                }
            }
        }
    }

    /// The lower triangular L (width,width) with L·Lᵀ = 1e-9·Σ, Σ the covariance of a matrix's rows; nil where there is
    /// none (Cholesky).
    private static func factor(
        _ matrix: UnsafePointer<Float>, rows: Int, width: Int, mean: [Float]
    ) -> [Double]? {
        guard rows > width else { return nil }
        let (centered, sums) = (allocateAligned(rows * width), allocateAligned(width * width))
        defer {
            freeAligned(centered)
            freeAligned(sums)
        }
        for i in 0..<rows { for c in 0..<width { centered[i * width + c] = matrix[i * width + c] - mean[c] } }
        sums.update(repeating: 0, count: width * width)
        matmulBackwardWeight(
            dweight: sums, dbias: nil, dout: centered, inp: centered, N: rows, C: width, OC: width)
        var L = (0..<width * width).map { 1e-9 * Double(sums[$0]) / Double(rows) }
        let largest = (0..<width).reduce(0) { max($0, L[$1 * width + $1]) }
        for j in 0..<width {
            for k in 0..<j {
                let factor = L[j * width + k]
                for i in j..<width { L[i * width + j] -= L[i * width + k] * factor }
            }
            // Below that a pivot is rounding, of float32's sums.
            guard L[j * width + j] > 1e-7 * largest else { return nil }
            let root = L[j * width + j].squareRoot()
            for i in j..<width { L[i * width + j] /= root }
            for i in 0..<j { L[i * width + j] = 0 }
        }
        return L
    }
}
