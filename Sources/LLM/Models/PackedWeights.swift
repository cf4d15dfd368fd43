// The weights of a model, copied so that a few rows at a time are multiplied fast.

import Kernels

/// A copy of a model's weights, laid out for products with a few rows: `matmulBlocks` reads each weight once for
/// all of them. Twice the memory, so it is made only where several sequences continue together. The parameters must not
/// change while it is used.
package final class PackedWeights {
    private let parameters: Parameters
    /// A matrix lies where `parameters` has it. What is never packed is never written, and so takes no memory.
    private let copy: UnsafeMutablePointer<Float>
    private var isPacked: Set<Int> = []
    private var count: Int { PackedWeights.count(parameters.table) }

    package init(_ parameters: Parameters) {
        self.parameters = parameters
        copy = allocateFloats(PackedWeights.count(parameters.table))
    }

    deinit { freeFloats(copy, count: count) }

    /// Floats in the copy: a vector more than the table has, because the last block is read past its end.
    private static func count(_ table: TensorTable) -> Int { saturatingSum(table.count, vectorWidth) }

    /// The memory it takes at most, in bytes.
    package static func bytes(_ table: TensorTable) -> Double { 4 * Double(count(table)) }

    /// A matrix (OC,C) in blocks, packed when it is first asked for.
    func blocks(of weight: Tensor, layer l: Int, C: Int, OC: Int) -> UnsafePointer<Float> {
        let blocks = copy.at(weight, l)
        if isPacked.insert(blocks - copy).inserted {
            packBlocks(blocks, weight: parameters.values.at(weight, l), C: C, OC: OC)
        }
        return UnsafePointer(blocks)
    }
}
