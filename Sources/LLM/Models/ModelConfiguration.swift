// What is known of a model before its memory is taken.

/// The sizes of a model.
package protocol ModelConfiguration: Equatable {
    /// The longest sequence, tokens in the vocabulary, layers, attention heads, channels.
    var maxT: Int { get }
    var V: Int { get set }
    var L: Int { get }
    var NH: Int { get }
    var C: Int { get }

    /// The table of its parameters.
    var table: TensorTable { get }

    /// What is trained where all is: all tensors, but for those that no loss depends on.
    var trainedTensors: [Tensor] { get }

    /// The memory that passes of N rows take beside the parameters, in bytes; a Double, because the sizes may not be
    /// checked yet.
    /// - Parameter trains: whether a backward pass follows.
    func passBytes(rows N: Int, trains: Bool) -> Double
}

extension ModelConfiguration {
    package var trainedTensors: [Tensor] { table.tensors }

    /// Whether the classifier is the embeddings' matrix.
    var hasTiedHead: Bool { !table.tensors.contains(where: \.isHead) }

    /// The memory that a model takes with passes of N rows, in bytes.
    /// - Parameter weights: the format that the linear layers' weights are packed in.
    package func bytes(rows N: Int, trains: Bool, weights: WeightFormat = .float32) -> Double {
        Parameters.bytes(table, trains: trains, weights: weights) + passBytes(rows: N, trains: trains)
    }

    /// The same where only some parameters are trained.
    package func bytes(rows N: Int, trained: Int) -> Double {
        Parameters.bytes(table, trains: false) + 16 * Double(trained) + passBytes(rows: N, trains: true)
    }

    /// The sizes for a person: `4 layers, 4 heads, 128 channels, vocabulary 4096`.
    package var summary: String { "\(L) layers, \(NH) heads, \(C) channels, vocabulary \(V)" }
}
