// What is known of a causal model before its memory is taken.

/// The sizes of a causal model.
package protocol CausalConfiguration: Equatable {
    /// The longest sequence, tokens in the vocabulary, layers, attention heads, channels.
    var maxT: Int { get }
    var V: Int { get set }
    var L: Int { get }
    var NH: Int { get }
    var C: Int { get }

    /// The table of its parameters.
    var table: TensorTable { get }
    /// What stands before a tensor's name where Hugging Face names it in the whole model.
    var modulePrefix: String { get }

    /// The memory that passes of N rows take beside the parameters, in bytes; a Double, because the sizes may not be
    /// checked yet.
    /// - Parameter trains: whether a backward pass follows.
    func passBytes(rows N: Int, trains: Bool) -> Double
}

extension CausalConfiguration {
    /// The memory that a model takes with passes of N rows, in bytes.
    package func bytes(rows N: Int, trains: Bool) -> Double {
        Parameters.bytes(table, trains: trains) + passBytes(rows: N, trains: trains)
    }

    /// The same where only some parameters are trained.
    package func bytes(rows N: Int, trained: Int) -> Double {
        Parameters.bytes(table, trains: false) + 16 * Double(trained) + passBytes(rows: N, trains: true)
    }

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
    /// Whether the classifier is the embeddings' matrix.
    var hasTiedHead: Bool { !table.tensors.contains(where: \.isHead) }

    /// The memory that a model and its generator take, in bytes.
    package func bytes(sequences: Int, capacity: Int) -> Double {
        let capacity = min(capacity, maxT)
        let rows = min(saturatingProduct(sequences, capacity), Generator.mostRows + maxT)
        return bytes(rows: rows, trains: false) + (sequences == 1 ? 0 : PackedWeights.bytes(table))
            + 4 * Double(sequences) * Double(V)
            + KVCache.bytes(L: L, C: C, NH: NH, sequences: sequences, capacity: capacity)
    }

    /// The sizes for a person: `4 layers, 4 heads, 128 channels, vocabulary 4096`.
    package var summary: String { "\(L) layers, \(NH) heads, \(C) channels, vocabulary \(V)" }
}
