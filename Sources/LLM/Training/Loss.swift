// What a pass over a batch measures.

/// The loss of a batch, and which of its targets the model had right.
package struct Loss {
    /// The mean over the targets that count; 0 if none does.
    package let mean: Double
    /// The share of the targets that count and were the most probable token.
    package let accuracy: Double
    /// Targets that count.
    package let counted: Int
    /// (N): 1 where the target was the most probable token, else 0. Valid until the model's next pass.
    package let correct: UnsafeBufferPointer<Float>

    /// - Parameter losses: (N); 0 where a target does not count.
    package init(losses: UnsafeBufferPointer<Float>, correct: UnsafeBufferPointer<Float>, counted: Int) {
        mean = losses.reduce(0) { $0 + Double($1) } / Double(max(1, counted))
        accuracy = correct.reduce(0) { $0 + Double($1) } / Double(max(1, counted))
        self.counted = counted
        self.correct = correct
    }
}
