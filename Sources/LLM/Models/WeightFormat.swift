// The format of weights: in files, and in memory where generating reads them.

import Kernels

/// The format of a model's weights, by its name in programs and in Hugging Face's config.json.
package enum WeightFormat: String, CaseIterable, Sendable {
    case float32
    /// Rounded to nearest; where generating multiplies by them, the inputs, too.
    case bfloat16
    /// Whole numbers of −127…127 with a scale for each group of 64 weights of a row, and the inputs, too (MatmulInt8.swift).
    /// Only matrices are: `Tensor.isLinearWeight`, and in files the embeddings.
    case int8

    /// Words of 32 bits that the weights (OC,C) take in memory.
    func words(C: Int, OC: Int) -> Int {
        switch self {
        case .float32: saturatingProduct(C, OC)
        case .bfloat16: saturatingProduct((C + 1) / 2, OC)
        case .int8: int8Words(C: C, OC: OC)
        }
    }
}
