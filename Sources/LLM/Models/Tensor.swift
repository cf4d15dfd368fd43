// A tensor is a row of a table: what it is called, its shape, where it lies in one contiguous buffer, and for a
// parameter how it begins, whether weight decay acts on it, and what Hugging Face calls it. Whatever needs one of these
// reads the table: the model's walk, the optimizer, both file formats, the memory check, the gradient check.

/// A named part of a contiguous buffer of floats.
package struct Tensor {
    package let name: String
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
    package let huggingFace: HuggingFaceName?

    /// How a parameter begins, before the first step.
    package enum InitialValues: Equatable {
        case zeros, ones
        /// Drawn from N(0, deviation).
        case normal(deviation: Float)
    }

    /// What a tensor is called in a Hugging Face model.
    package struct HuggingFaceName: Equatable {
        /// With `#` for the number of the layer.
        package let pattern: String
        /// Whether it is stored transposed: (in, out) where ours is (out, in).
        package let isTransposed: Bool

        package func callAsFunction(layer: Int) -> String {
            pattern.split(separator: "#", omittingEmptySubsequences: false).joined(separator: String(layer))
        }
    }

    /// Its copies in the layers; 1 if it is not per layer.
    package var layers: Int { isPerLayer ? shape[0] : 1 }
    /// The shape in one layer.
    package var layerShape: [Int] { Array(shape.dropFirst(isPerLayer ? 1 : 0)) }
    /// Floats in one layer.
    package var layerCount: Int { count / max(1, layers) }
    /// Floats in one layer without the padding.
    package var usedCount: Int { layerCount / max(1, layerShape[0]) * usedRows }
    /// Floats from one layer to the next. A tensor that has room for one layer only is shared by all.
    fileprivate var layerStride: Int { layers > 1 ? layerCount : 0 }
}

/// The tensors of one buffer, in its order. Its sizes saturate: a table may be made of numbers from a file, and is then
/// compared with the file's length before memory is taken.
package struct TensorTable {
    package private(set) var tensors: [Tensor] = []
    /// Floats in the buffer; `Int.max` where there cannot be so many.
    package private(set) var count = 0
    /// Every tensor begins at a multiple of so many floats.
    private let alignment: Int

    package init(alignment: Int = 1) { self.alignment = alignment }

    /// Appends a row.
    /// - Parameters:
    ///   - layers: nil for a tensor that is there once.
    ///   - usedRows: nil for all.
    ///   - huggingFace: the name there, with `#` for the layer.
    package mutating func add(
        _ name: String, layers: Int? = nil, _ shape: Int..., usedRows: Int? = nil,
        initialValues: Tensor.InitialValues = .zeros, decays: Bool = false, huggingFace: String? = nil,
        isTransposedThere: Bool = false
    ) -> Tensor {
        let whole = (layers.map { [$0] } ?? []) + shape
        let tensor = Tensor(
            name: name, shape: whole, isPerLayer: layers != nil, offset: count,
            count: whole.reduce(1, saturatingProduct), usedRows: usedRows ?? shape[0], initialValues: initialValues,
            decays: decays,
            huggingFace: huggingFace.map { .init(pattern: $0, isTransposed: isTransposedThere) })
        tensors.append(tensor)
        let end = saturatingSum(count, tensor.count)
        count = alignment == 1 ? end : saturatingSum(end, (alignment - end % alignment) % alignment)
        return tensor
    }
}

/// a · b of numbers ≥ 0, or `Int.max`.
package func saturatingProduct(_ a: Int, _ b: Int) -> Int {
    let (product, overflow) = a.multipliedReportingOverflow(by: b)
    return overflow ? .max : product
}

/// a + b of numbers ≥ 0, or `Int.max`.
package func saturatingSum(_ a: Int, _ b: Int) -> Int {
    let (sum, overflow) = a.addingReportingOverflow(b)
    return overflow ? .max : sum
}

extension UnsafeMutablePointer<Float> {
    /// Where a tensor begins in this buffer.
    package static func + (buffer: Self, tensor: Tensor) -> Self { buffer + tensor.offset }
    /// Where a layer's part of it begins.
    package func at(_ tensor: Tensor, _ layer: Int) -> Self { self + tensor.offset + layer * tensor.layerStride }
}
