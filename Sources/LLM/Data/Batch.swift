// What a model learns from in one pass.

/// Rows of tokens and, for each token, the one after it.
package struct Batch {
    package let B: Int
    package let T: Int
    /// (B,T).
    package let inputs: [Int32]
    /// (B,T); −1 where a target does not count.
    package let targets: [Int32]
    /// Targets that count.
    package var counted: Int { targets.count { $0 >= 0 } }

    package init(B: Int, T: Int, inputs: [Int32], targets: [Int32]) {
        precondition(inputs.count == B * T && targets.count == B * T)
        (self.B, self.T, self.inputs, self.targets) = (B, T, inputs, targets)
    }
}
