// A tensor is a row of a table: what it is called, its shape, where it lies in one contiguous buffer, and for a
// parameter how it is initialised, whether weight decay acts on it, and what Hugging Face calls it. Whatever needs one
// of these reads the table: the model's walk, the optimizer, both file formats, the memory check, the gradient check.

/// A named part of a contiguous buffer of floats.
package struct Tensor {
    package let name: String
    /// Its place in the table.
    package let index: Int
    /// Row-major. L is the first dimension of a tensor that every layer has.
    package let shape: [Int]
    package let isPerLayer: Bool
    /// In floats, from the start of the buffer.
    package let offset: Int
    /// Floats; `Int.max` where there cannot be so many.
    package let count: Int
    /// The rows that hold values. The rows after them are padding and stay zero; only wte has any.
    package let usedRows: Int
    package let initialValues: InitialValues
    /// Whether weight decay acts on it.
    package let decays: Bool
    /// Whether it is a classifier's own weight.
    package let isHead: Bool
    package let huggingFace: HuggingFaceNames?

    /// How a parameter begins, before the first step.
    package enum InitialValues: Equatable {
        case zeros, ones
        /// Drawn from N(0, deviation).
        case normal(deviation: Float)
        /// Drawn evenly from −bound to bound.
        case uniform(bound: Float)
    }

    /// What a tensor is called in a Hugging Face model. It may be several tensors there, each with an equal share of the
    /// rows: queries, keys and values are one product here, and often three there.
    package struct HuggingFaceNames: Equatable {
        /// With `#` for the number of the layer.
        package let patterns: [String]
        /// Whether it is stored transposed: (in, out) where ours is (out, in).
        package let isTransposed: Bool

        package func callAsFunction(layer: Int) -> [String] {
            patterns.map {
                $0.split(separator: "#", omittingEmptySubsequences: false).joined(separator: String(layer))
            }
        }
    }

    /// Whether it is a matrix that only a linear layer reads: one in each layer, or the classifier's own. The embeddings
    /// are not, though they may be the classifier's matrix, too.
    package var isLinearWeight: Bool { layerShape.count == 2 && (isPerLayer || isHead) }
    /// Whether it has 8 bits in a file of int8.
    var isRoundedInInt8: Bool { isLinearWeight || name == "wte" }
    /// Its copies in the layers; 1 if it is not per layer.
    package var layers: Int { isPerLayer ? shape[0] : 1 }
    /// The shape in one layer.
    package var layerShape: [Int] { Array(shape.dropFirst(isPerLayer ? 1 : 0)) }
    /// Floats in one layer.
    package var layerCount: Int { count / max(1, layers) }
    /// Floats in a row; of a vector, 1.
    package var rowCount: Int { layerShape.dropFirst().reduce(1, *) }
    /// Floats in one layer without the padding.
    package var usedCount: Int { layerCount / max(1, layerShape[0]) * usedRows }
    /// Floats from one layer to the next. A tensor that has room for one layer only is shared by all.
    var layerStride: Int { layers > 1 ? layerCount : 0 }
}

extension UnsafeMutablePointer<Float> {
    /// Where a tensor begins in this buffer.
    package static func + (buffer: Self, tensor: Tensor) -> Self { buffer + tensor.offset }
    /// Where a layer's part of it begins.
    package func at(_ tensor: Tensor, _ layer: Int) -> Self { self + tensor.offset + layer * tensor.layerStride }
}
