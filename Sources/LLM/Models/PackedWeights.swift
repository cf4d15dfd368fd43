// The weights of a model, copied so that a few rows at a time are multiplied fast.

import Kernels

/// A copy of the weights of a model's linear layers, laid out for products with a few rows, which read each weight once for all
/// of them. In float32 it is twice the memory, so it is made only where several sequences continue together; in the other
/// formats one text gains from it, too, and the floats need not stay (`Parameters.pack`). The parameters must not change
/// while it is used.
package final class PackedWeights {
    /// The parameters; they live at least as long.
    private let values: UnsafeMutablePointer<Float>
    package let format: WeightFormat
    /// Matrices one after another, in the order in which they are first asked for. What is not written takes no memory.
    private let copy: UnsafeMutablePointer<Float>
    private let count: Int
    private var places: [UnsafeMutablePointer<Float>: Int] = [:]
    private var end = 0
    /// Whether no weight was NaN or infinite that is here alone.
    private(set) var areFinite = true

    package init(_ parameters: Parameters, _ format: WeightFormat = .float32) {
        values = parameters.values
        self.format = format
        count = PackedWeights.count(parameters.table, format)
        copy = allocateFloats(count)
    }

    deinit { freeFloats(copy, count: count) }

    /// Words of the copy: a vector more than the matrices have, because the last block is read past its end.
    private static func count(_ table: TensorTable, _ format: WeightFormat) -> Int {
        let hasHead = table.tensors.contains(where: \.isHead)
        return table.tensors.reduce(vectorWidth) { sum, tensor in
            guard tensor.isLinearWeight || tensor.name == "wte" && !hasHead else { return sum }
            let matrix = format.words(C: tensor.layerShape[1], OC: tensor.layerShape[0])
            return saturatingSum(sum, saturatingProduct(tensor.layers, matrix))
        }
    }

    /// The memory it takes, in bytes.
    package static func bytes(_ table: TensorTable, _ format: WeightFormat = .float32) -> Double {
        4 * Double(count(table, format))
    }

    /// Takes over a layer's weights, whose floats are then zeros and take no memory.
    func replaceFloats(of weight: Tensor, layer l: Int) {
        let floats = values.at(weight, l)
        areFinite = areFinite && sumOfSquares(floats, count: weight.layerCount).isFinite
        _ = blocks(of: weight, layer: l, C: weight.layerShape[1], OC: weight.layerShape[0])
        discardFloats(floats, count: weight.layerCount)
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
        let floats = values.at(weight, l)
        if let place = places[floats] { return UnsafePointer(copy + place) }
        let blocks = copy + end
        places[floats] = end
        end += format.words(C: C, OC: OC)
        switch format {
        case .float32: packBlocks(blocks, weight: floats, C: C, OC: OC)
        case .bfloat16: packBlocks(blocks, weight: floats, C: C, OC: OC, precision: .bfloat16)
        case .int8: packInt8(blocks, weight: floats, C: C, OC: OC)
        }
        return UnsafePointer(blocks)
    }
}
