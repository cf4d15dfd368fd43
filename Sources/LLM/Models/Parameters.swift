// A model's parameters, and what training keeps beside each of them: its gradient and AdamW's two moments. Four buffers
// with one layout, the table's.

import Kernels

/// The contiguous buffers of a model.
package final class Parameters {
    package let table: TensorTable
    /// (table.count) floats each. `gradients` and the moments `m` and `v` are there only if the model trains.
    package let values: UnsafeMutablePointer<Float>
    package let gradients: UnsafeMutablePointer<Float>
    package let m: UnsafeMutablePointer<Float>
    package let v: UnsafeMutablePointer<Float>
    package let trains: Bool

    /// All zero: to be filled by `initialize` or from a checkpoint.
    package init(_ table: TensorTable, trains: Bool) {
        self.table = table
        self.trains = trains
        values = allocateFloats(table.count)
        gradients = allocateFloats(trains ? table.count : 0)
        m = allocateFloats(trains ? table.count : 0)
        v = allocateFloats(trains ? table.count : 0)
    }

    deinit {
        freeFloats(values, count: table.count)
        for buffer in [gradients, m, v] { freeFloats(buffer, count: trains ? table.count : 0) }
    }

    /// The memory that a table's parameters take, in bytes; a Double, because the sizes may not be checked yet.
    package static func bytes(_ table: TensorTable, trains: Bool) -> Double {
        (trains ? 4 : 1) * 4 * Double(table.count)
    }

    /// Fills every tensor as its row says. Layer by layer, as llm.c draws them: its seed 42 gives the same GPT-2.
    package func initialize(seed: UInt32) {
        var random = MersenneTwister(seed: seed)
        for l in 0..<(table.tensors.map(\.layers).max() ?? 0) {
            for tensor in table.tensors where l < tensor.layers {
                let part = UnsafeMutableBufferPointer(start: values.at(tensor, l), count: tensor.usedCount)
                switch tensor.initialValues {
                case .zeros: part.update(repeating: 0)
                case .ones: part.update(repeating: 1)
                case .normal(let deviation): random.fillNormal(part, deviation: deviation)
                }
            }
        }
    }

    /// Whether no parameter is NaN or infinite.
    package var areFinite: Bool { sumOfSquares(values, count: table.count).isFinite }

    /// Whether AdamW can continue with its moments: none is NaN or infinite, and no v, a mean of squares, is negative.
    package var momentsAreSound: Bool {
        guard sumOfSquares(m, count: table.count).isFinite else { return false }
        var wrong: Int32 = 0
        for i in 0..<table.count { wrong |= v[i] >= 0 && v[i] <= .greatestFiniteMagnitude ? 0 : 1 }
        return wrong == 0
    }

    // MARK: - update

    /// The gradients' norm ‖g‖, over all parameters.
    package func gradientNorm() -> Double { sumOfSquares(gradients, count: table.count).squareRoot() }

    /// One AdamW step (Loshchilov and Hutter, 2019), after which the gradients are zero again.
    /// - Parameters:
    ///   - decay: weight decay; of the tensors whose row says so, unless `decaysAll`.
    ///   - gradientScale: the gradients are multiplied by it first (clipping).
    ///   - step: counted from 1.
    package func update(
        learningRate: Double, beta1: Double, beta2: Double, epsilon: Double = 1e-8, decay: Double,
        decaysAll: Bool = false, gradientScale: Float, step: Int
    ) {
        for tensor in table.tensors {
            adamW(
                parameters: values + tensor, gradients: gradients + tensor, m: m + tensor, v: v + tensor,
                count: tensor.count, learningRate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
                decay: decaysAll || tensor.decays ? decay : 0, gradientScale: gradientScale, step: step)
        }
    }

    /// Discards the gradients, where an update is skipped.
    package func zeroGradients() { gradients.update(repeating: 0, count: table.count) }
}
