// What generating knows of a model.

/// A model that predicts the next token from those before it.
package protocol CausalModel: AnyObject {
    var parameters: Parameters { get }
    /// The longest sequence it has positions for.
    var maxT: Int { get }
    /// The size of its vocabulary.
    var V: Int { get }

    /// An empty cache for its keys and values, with room for at most `maxT` tokens a sequence.
    func makeCache(sequences: Int, capacity: Int) -> KVCache

    /// Takes tokens, one for each row of the context, through the layers.
    func forward(inputs: UnsafePointer<Int32>, _ context: Context)

    /// Logits (N,V) of the tokens after those of `forward`: after each of a batch, or after the last one of each
    /// segment of a cache.
    func logits(into out: UnsafeMutablePointer<Float>, _ context: Context)
}
