// The weights of a model, copied so that a few rows at a time are multiplied fast.

import Kernels

/// A copy of a model's weights, laid out for products with a few rows: `matmulBlocks` reads each weight once for
/// all of them. In float32 it is twice the memory, so it is made only where several sequences continue together; in
/// bfloat16 one text gains from it, too. The parameters must not change while it is used.
package final class PackedWeights {
    private let parameters: Parameters
    package let precision: Precision
    /// Matrices one after another, in the order in which they are first asked for. What is not written takes no memory.
    private let copy: UnsafeMutablePointer<Float>
    private var places: [UnsafeMutablePointer<Float>: Int] = [:]
    private var end = 0
    private var count: Int { PackedWeights.count(parameters.table, precision) }

    package init(_ parameters: Parameters, precision: Precision = .float32) {
        self.parameters = parameters
        self.precision = precision
        copy = allocateFloats(PackedWeights.count(parameters.table, precision))
    }

    deinit { freeFloats(copy, count: count) }

    /// Words of the copy at most: a vector more than the table has, because the last block is read past its end.
    private static func count(_ table: TensorTable, _ precision: Precision) -> Int {
        let words = table.tensors.reduce(0) { sum, tensor in
            saturatingSum(sum, tensor.count / tensor.rowCount * packedWords(tensor.rowCount, precision))
        }
        return saturatingSum(words, vectorWidth)
    }

    /// The memory it takes at most, in bytes.
    package static func bytes(_ table: TensorTable, precision: Precision = .float32) -> Double {
        4 * Double(count(table, precision))
    }

    /// A matrix (OC,C) in blocks, packed when it is first asked for.
    func blocks(of weight: Tensor, layer l: Int, C: Int, OC: Int) -> UnsafePointer<Float> {
        let values = parameters.values.at(weight, l)
        if let place = places[values] { return UnsafePointer(copy + place) }
        let blocks = copy + end
        places[values] = end
        end += OC * packedWords(C, precision)
        packBlocks(blocks, weight: values, C: C, OC: OC, precision: precision)
        return UnsafePointer(blocks)
    }
}
