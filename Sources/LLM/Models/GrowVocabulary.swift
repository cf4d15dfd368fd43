// A model learns new words: its embeddings, and its classifier, get a row for each.

extension LanguageModel {
    /// The same model with a vocabulary of V tokens, no fewer than it has. A new token's rows, and its bias, are the mean
    /// of all others': it begins as a word that is like no other in particular. (transformers' resize_token_embeddings
    /// draws around that mean.)
    package func grown(to V: Int) -> Self {
        precondition(V >= config.V)
        var config = config
        config.V = V
        let grown = Self(config, trains: false)
        for (old, new) in zip(parameters.table.tensors, grown.parameters.table.tensors) {
            for l in 0..<old.layers {
                let (from, to) = (parameters.values.at(old, l), grown.parameters.values.at(new, l))
                to.update(from: from, count: old.usedCount)
                guard new.usedRows > old.usedRows else { continue }
                let width = old.rowCount
                for c in 0..<width {
                    let sum = (0..<old.usedRows).reduce(0.0) { $0 + Double(from[$1 * width + c]) }
                    let mean = Float(sum / Double(old.usedRows))
                    for row in old.usedRows..<new.usedRows { to[row * width + c] = mean }
                }
            }
        }
        return grown
    }
}
