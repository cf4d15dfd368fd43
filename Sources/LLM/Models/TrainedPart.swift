// Which part of a model learns. What does not keeps its bits, has no moments, and costs no time in the optimizer.

/// The part of a model that is trained.
package enum TrainedPart: Equatable {
    case all
    /// What has a row for each token: the embeddings, and a classifier of its own with its bias.
    case embeddings
    /// Some tokens' rows of those.
    case rows(Range<Int>)
}

extension Transformer {
    /// Makes room for the gradients and moments of a part, in a model that was made without.
    package func train(_ part: TrainedPart) {
        switch part {
        case .all: parameters.train(config.trainedTensors)
        case .embeddings: parameters.train(config.vocabularyTensors)
        case .rows(let rows): parameters.train([], rows: config.vocabularyTensors.map { ($0, rows) })
        }
    }
}

extension ModelConfiguration {
    /// The memory that a model takes with passes of N rows where a part is trained, in bytes.
    package func bytes(rows N: Int, training part: TrainedPart) -> Double {
        let tensors: [(tensor: Tensor, rows: Int)]
        switch part {
        case .all: return bytes(rows: N, trains: true)
        case .embeddings: tensors = vocabularyTensors.map { ($0, $0.count / $0.rowCount) }
        case .rows(let rows): tensors = vocabularyTensors.map { ($0, rows.count) }
        }
        let trained = tensors.reduce(0.0) { $0 + Double($1.tensor.rowCount) * Double($1.rows) }
        return Parameters.bytes(table, trains: false) + 12 * trained + passBytes(rows: N, trains: true)
    }
}
