// What a step of training is made of, for every model that predicts the next token. The trainers write its three lines
// out, because they are the story; whatever only needs a step asks for it here.

/// A model that is made of its sizes: causal or not.
package protocol Transformer: TrainableModel {
    associatedtype Configuration: ModelConfiguration
    var config: Configuration { get }

    /// A model with all parameters zero.
    init(_ config: Configuration, trains: Bool)
}

/// A model that generates, and that learns to.
package protocol LanguageModel: CausalModel, Transformer where Configuration: CausalConfiguration {
    /// The rate of dropout, in batches that bring a key for it.
    var dropout: Float { get set }

    /// The cross entropy of targets (N) after `forward`; a negative one does not count.
    /// - Parameter gradientScale: of a target's loss in the total; nil only measures.
    func classify(targets: UnsafePointer<Int32>, gradientScale: Float?) -> Loss

    /// Adds the gradients of all parameters, after `forward` and `classify` with a scale.
    func backward(inputs: UnsafePointer<Int32>)

    /// What the last pass over a batch left, to look inside.
    var activations: [TensorView] { get }
}

extension LanguageModel {
    package func loss(of batch: Batch) -> Loss {
        forward(inputs: batch.inputs, .batch(lengths: batch.lengths))
        return classify(targets: batch.targets, gradientScale: nil)
    }

    /// Forward and backward pass of a batch, with its dropout; the gradients are added to those that are there.
    /// - Parameter gradientScale: of a target's loss in the total.
    @discardableResult package func learn(from batch: Batch, gradientScale: Float) -> Loss {
        forward(inputs: batch.inputs, .batch(lengths: batch.lengths, dropout: batch.dropoutKey))
        let loss = classify(targets: batch.targets, gradientScale: gradientScale)
        backward(inputs: batch.inputs)
        return loss
    }
}
