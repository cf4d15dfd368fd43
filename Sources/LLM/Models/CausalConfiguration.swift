// What is known of a causal model before its memory is taken, beside its sizes: what adapters and generating ask for.

/// The sizes of a causal model.
package protocol CausalConfiguration: ModelConfiguration {
    /// What stands before a tensor's name where Hugging Face names it in the whole model.
    var modulePrefix: String { get }
}

extension CausalConfiguration {
    /// The tensors with a row for each token: the embeddings, and the classifier where it is a matrix of its own.
    package var tokenTensors: [Tensor] { table.tensors.filter { $0.name == "wte" || $0.isHead } }
    /// What Hugging Face calls the modules that have them.
    var tokenModules: [String] {
        tokenTensors.compactMap { $0.huggingFace?(layer: 0).first.map { modulePrefix + $0.dropLast(".weight".count) } }
    }
    /// The classifier's own weight and bias.
    var headTensors: [Tensor] {
        table.tensors.filter { $0.huggingFace?.patterns.first?.hasPrefix("lm_head.") ?? false }
    }

    /// The memory that a model and its generator take, in bytes.
    /// - Parameter keepsFloats: whether the weights' floats stay beside another format, as they do under an adapter.
    package func bytes(
        sequences: Int, capacity: Int, weights: WeightFormat = .float32, keepsFloats: Bool = false
    ) -> Double {
        let capacity = min(capacity, maxT)
        let rows = min(saturatingProduct(sequences, capacity), Generator.mostRows + maxT)
        let isCopied = weights == .float32 ? sequences > 1 : keepsFloats
        return bytes(rows: rows, trains: false, weights: keepsFloats ? .float32 : weights)
            + (isCopied ? PackedWeights.bytes(table, weights) : 0)
            + 4 * Double(sequences) * Double(V)
            + KVCache.bytes(L: L, C: C, NH: NH, sequences: sequences, capacity: capacity)
    }
}
