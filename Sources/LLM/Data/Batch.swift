// What a model learns from in one pass.

import Kernels

/// Sequences of tokens, one after another without padding, and for each token its target: the one after it, or for a masked
/// model the one that was there.
package struct Batch {
    /// The length of each sequence.
    package let lengths: [Int]
    /// (N), the sum of the lengths.
    package let inputs: [Int32]
    /// (N); −1 where a target does not count.
    package let targets: [Int32]
    /// (N), a BERT's: which text of a pair a token is in. nil where all are in the first.
    package let segments: [Int32]?
    /// What a model drops by, if it has a rate of dropout; nil does without, to measure.
    package var dropoutKey: DropoutKey?
    /// Targets that count.
    package var counted: Int { targets.count { $0 >= 0 } }

    package init(lengths: [Int], inputs: [Int32], targets: [Int32], segments: [Int32]? = nil) {
        let N = lengths.reduce(0, +)
        precondition(inputs.count == N && targets.count == N && segments?.count ?? N == N)
        (self.lengths, self.inputs, self.targets, self.segments) = (lengths, inputs, targets, segments)
    }

    /// B sequences of T tokens each.
    package init(B: Int, T: Int, inputs: [Int32], targets: [Int32]) {
        self.init(lengths: Array(repeating: T, count: B), inputs: inputs, targets: targets)
    }
}
