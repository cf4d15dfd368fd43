// The end of every language model, and its loss. The classifier is a linear layer that gives each row a score (logit)
// for every token of the vocabulary; the cross entropy compares them with the token that came next. The logits (N,V)
// would be the largest tensor by far, so there is never more than a chunk of their rows, and the backward pass happens
// while a chunk's logits are at hand.

import Kernels

/// The classifier of one model and its loss.
final class Classifier {
    /// Rows of logits at a time. The weight and its gradient come from memory once for each chunk and product; with
    /// 1024 rows that is 2% of the products' time, with 256 8%.
    static let chunkRows = 1024

    private let weight: Tensor
    private let bias: Tensor?
    private let chunkRows: Int
    /// Channels, tokens, and floats from one row of logits to the next: every row begins a cache line.
    private let C, V, stride: Int
    /// For one chunk: logits (rows,stride), inputs (rows,C) and their gradient, losses (rows) and correct (rows).
    private var memory = allocateFloats(0)
    private var capacity = 0

    /// - Parameters:
    ///   - weight: (V,C), or with more rows, which are not used.
    ///   - bias: (V).
    init(weight: Tensor, bias: Tensor?, C: Int, V: Int, chunkRows: Int = Classifier.chunkRows) {
        (self.weight, self.bias, self.C, self.V) = (weight, bias, C, V)
        self.chunkRows = chunkRows
        stride = Classifier.stride(V)
    }

    deinit { freeFloats(memory, count: capacity * rowFloats) }

    private var rowFloats: Int { Classifier.rowFloats(C: C, V: V) }

    private static func stride(_ V: Int) -> Int { (V + 15) / 16 * 16 }
    private static func rowFloats(C: Int, V: Int) -> Int { stride(V) + 2 * C + 2 }

    /// The memory in bytes that a classifier takes for N rows.
    static func bytes(rows N: Int, C: Int, V: Int) -> Double {
        4 * Double(min(N, chunkRows)) * Double(rowFloats(C: C, V: V))
    }

    /// The cross entropy of targets (N). With a scale also the backward pass: the gradients of weight and bias are added
    /// to theirs, and dinp (N,C) is written.
    ///
    /// Rows whose target does not count are left out. When answers are learnt, that is every row of a question; of
    /// GPT-2 124M's work for a row, the classifier is a third.
    /// - Parameters:
    ///   - losses, correct: (N), written; 0 where a target does not count.
    ///   - dinp: what `backward` goes on with.
    ///   - inp: (N,C), what the last layer norm wrote.
    ///   - targets: a negative one does not count.
    ///   - gradientScale: of a token's loss in the total, 1 / (targets that count in all micro-batches); nil only measures.
    func loss(
        losses: UnsafeMutablePointer<Float>, correct: UnsafeMutablePointer<Float>, dinp: UnsafeMutablePointer<Float>,
        inp: UnsafePointer<Float>, targets: UnsafePointer<Int32>, gradientScale: Float?, N: Int, linear: Linear
    ) -> Loss {
        let counted = (0..<N).filter { targets[$0] >= 0 }
        let all = counted.count == N
        if !all {
            losses.update(repeating: 0, count: N)
            correct.update(repeating: 0, count: N)
            if gradientScale != nil { dinp.update(repeating: 0, count: N * C) }
        }
        reserve(rows: min(counted.count, chunkRows))
        let logits = memory  // (rows,stride)
        for first in Swift.stride(from: 0, to: counted.count, by: chunkRows) {
            let chunk = counted[first..<min(first + chunkRows, counted.count)]
            let rows = chunk.count
            // Where all rows count, the chunk is read and written in place.
            let chunkInp = all ? UnsafeMutablePointer(mutating: inp) + first * C : memory + capacity * stride
            let chunkDinp = all ? dinp + first * C : memory + capacity * (stride + C)
            let chunkLosses = all ? losses + first : memory + capacity * (stride + 2 * C)
            let chunkCorrect = all ? correct + first : memory + capacity * (stride + 2 * C + 1)
            if !all { for (i, n) in chunk.enumerated() { (chunkInp + i * C).update(from: inp + n * C, count: C) } }

            linear.forward(
                out: logits, inp: chunkInp, weight: weight, bias: bias, N: rows, C: C, OC: V, outStride: stride)
            crossEntropy(
                losses: chunkLosses, correct: chunkCorrect, logits: logits, targets: chunk.map { targets[$0] },
                gradientScale: gradientScale, N: rows, V: V, stride: stride)
            if gradientScale != nil {
                let dlogits = logits  // (rows,stride), in place
                linear.backward(
                    dinp: chunkDinp, dout: dlogits, inp: chunkInp, weight: weight, bias: bias, N: rows, C: C, OC: V,
                    doutStride: stride)
            }
            if all { continue }
            for (i, n) in chunk.enumerated() {
                (losses[n], correct[n]) = (chunkLosses[i], chunkCorrect[i])
                if gradientScale != nil { (dinp + n * C).update(from: chunkDinp + i * C, count: C) }
            }
        }
        return Loss(
            losses: UnsafeBufferPointer(start: losses, count: N),
            correct: UnsafeBufferPointer(start: correct, count: N),
            counted: counted.count)
    }

    private func reserve(rows: Int) {
        guard rows > capacity else { return }
        freeFloats(memory, count: capacity * rowFloats)
        memory = allocateFloats(rows * rowFloats)
        capacity = rows
    }
}
