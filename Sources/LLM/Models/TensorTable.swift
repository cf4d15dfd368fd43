// The table of tensors: what lies where in one contiguous buffer.

/// The tensors of one buffer, in order. Sizes saturate instead of overflowing, because a table may be made from a
/// file's header; it is compared with the file's length before memory is allocated.
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
    ///   - huggingFace: the name there, with `#` for the layer; or the names of its parts, from the first row on.
    package mutating func add(
        _ name: String, layers: Int? = nil, _ shape: Int..., usedRows: Int? = nil,
        initialValues: Tensor.InitialValues = .zeros, decays: Bool = false, isHead: Bool = false,
        huggingFace: String...,
        isTransposedInHuggingFace: Bool = false
    ) -> Tensor {
        let whole = (layers.map { [$0] } ?? []) + shape
        let tensor = Tensor(
            name: name, index: tensors.count, shape: whole, isPerLayer: layers != nil, offset: count,
            count: whole.reduce(1, saturatingProduct), usedRows: usedRows ?? shape[0], initialValues: initialValues,
            decays: decays, isHead: isHead,
            huggingFace: huggingFace.isEmpty
                ? nil : .init(patterns: huggingFace, isTransposed: isTransposedInHuggingFace))
        tensors.append(tensor)
        let end = saturatingSum(count, tensor.count)
        count = alignment == 1 ? end : saturatingSum(end, (alignment - end % alignment) % alignment)
        return tensor
    }
}

extension TensorTable {
    /// Fills the buffer as the rows say, layer by layer; or some tensors alone.
    func initialize(_ values: UnsafeMutablePointer<Float>, seed: UInt32, _ chosen: [Tensor]? = nil) {
        var random = MersenneTwister(seed: seed)
        let tensors = chosen ?? tensors
        for l in 0..<(tensors.map(\.layers).max() ?? 0) {
            for tensor in tensors where l < tensor.layers {
                let part = UnsafeMutableBufferPointer(start: values.at(tensor, l), count: tensor.usedCount)
                switch tensor.initialValues {
                case .zeros: part.update(repeating: 0)
                case .ones: part.update(repeating: 1)
                case .normal(let deviation): random.fillNormal(part, deviation: deviation)
                case .uniform(let bound): for i in part.indices { part[i] = (2 * random.uniform() - 1) * bound }
                }
            }
        }
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
