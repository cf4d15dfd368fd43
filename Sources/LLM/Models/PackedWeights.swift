// The weights of a model, copied so that a few rows at a time are multiplied fast.

import Kernels

/// The format in which generating reads the weights of linear layers.
package enum WeightFormat: String, CaseIterable, Sendable {
    /// As the model has them.
    case float32
    /// Rounded, and the inputs, too.
    case bfloat16
    /// Whole numbers of −127…127 with a scale for each group of 64 weights of a row, and the inputs, too (MatmulInt8.swift).
    case int8

    /// Words of 32 bits that the weights (OC,C) take.
    func words(C: Int, OC: Int) -> Int {
        switch self {
        case .float32: saturatingProduct(C, OC)
        case .bfloat16: saturatingProduct((C + 1) / 2, OC)
        case .int8: int8Words(C: C, OC: OC)
        }
    }
}

/// A copy of a model's weights, laid out for products with a few rows, which read each weight once for all of them. In float32
/// it is twice the memory, so it is made only where several sequences continue together; in the other formats one text
/// gains from it, too. The parameters must not change while it is used.
package final class PackedWeights {
    private let parameters: Parameters
    package let format: WeightFormat
    /// Matrices one after another, in the order in which they are first asked for. What is not written takes no memory.
    private let copy: UnsafeMutablePointer<Float>
    private var places: [UnsafeMutablePointer<Float>: Int] = [:]
    private var end = 0
    private var count: Int { PackedWeights.count(parameters.table, format) }

    package init(_ parameters: Parameters, _ format: WeightFormat = .float32) {
        self.parameters = parameters
        self.format = format
        copy = allocateFloats(PackedWeights.count(parameters.table, format))
    }

    deinit { freeFloats(copy, count: count) }

    /// Words of the copy at most: a vector more than the matrices have, because the last block is read past its end.
    private static func count(_ table: TensorTable, _ format: WeightFormat) -> Int {
        table.tensors.reduce(vectorWidth) { sum, tensor in
            guard tensor.layerShape.count == 2 else { return sum }
            let matrix = format.words(C: tensor.layerShape[1], OC: tensor.layerShape[0])
            return saturatingSum(sum, saturatingProduct(tensor.layers, matrix))
        }
    }

    /// The memory it takes at most, in bytes.
    package static func bytes(_ table: TensorTable, _ format: WeightFormat = .float32) -> Double {
        4 * Double(count(table, format))
    }

    /// The product of a few rows, or in 8 bits of any number: out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) +
    /// residual (N,OC). A matrix is packed when it is first asked for.
    func multiply(
        out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor, layer l: Int,
        bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>?, N: Int, C: Int, OC: Int
    ) {
        let blocks = blocks(of: weight, layer: l, C: C, OC: OC)
        switch format {
        case .float32:
            matmulBlocks(out: out, inp: inp, blocks: blocks, bias: bias, residual: residual, N: N, C: C, OC: OC)
        case .bfloat16 where N >= PackedWeights.manyRows:
            matmulForward(
                out: out, inp: inp, bfloat16Blocks: blocks, bias: bias, residual: residual, N: N, C: C, OC: OC)
        case .bfloat16:
            matmulBlocks(
                out: out, inp: inp, blocks: blocks, bias: bias, residual: residual, N: N, C: C, OC: OC,
                precision: .bfloat16)
        case .int8:
            matmulInt8(out: out, inp: inp, blocks: blocks, bias: bias, residual: residual, N: N, C: C, OC: OC)
        }
    }

    /// From so many rows on, training's product is as fast as the one with blocks (measured with GPT-2 124M).
    static let manyRows = 128

    /// A matrix (OC,C) in the format.
    private func blocks(of weight: Tensor, layer l: Int, C: Int, OC: Int) -> UnsafePointer<Float> {
        let values = parameters.values.at(weight, l)
        if let place = places[values] { return UnsafePointer(copy + place) }
        let blocks = copy + end
        places[values] = end
        end += format.words(C: C, OC: OC)
        switch format {
        case .float32: packBlocks(blocks, weight: values, C: C, OC: OC)
        case .bfloat16: packBlocks(blocks, weight: values, C: C, OC: OC, precision: .bfloat16)
        case .int8: packInt8(blocks, weight: values, C: C, OC: OC)
        }
        return UnsafePointer(blocks)
    }
}
