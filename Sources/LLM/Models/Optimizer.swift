// How gradients become an update.

/// The optimizer of a run.
package enum Optimizer: String, CaseIterable {
    /// AdamW for everything.
    case adamW = "adamw"
    /// Muon for the matrices of the layers, AdamW for the rest: embeddings, biases, layer norms, a classifier.
    case muon
}
