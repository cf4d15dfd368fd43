// What the training loop knows of a model: causal and masked models share it.

/// A model that the loop can train.
package protocol TrainableModel: AnyObject {
    var parameters: Parameters { get }

    /// The loss of a batch, without gradients.
    func loss(of batch: Batch) -> Loss

    /// Floating-point operations of a forward and backward pass, for each token of rows of T.
    func flopsPerToken(T: Int) -> Double
}
