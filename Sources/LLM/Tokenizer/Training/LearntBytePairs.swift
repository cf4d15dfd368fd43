/// The result of training: a vocabulary and its merges.
package struct LearntBytePairs: Sendable {
    /// The spellings of the tokens, by id, as in tokenizer.json.
    package let spellings: [[UInt8]]
    /// The merges in the order in which they were learnt.
    package let merges: [Merge]

    package init(spellings: [[UInt8]], merges: [Merge]) {
        self.spellings = spellings
        self.merges = merges
    }
}
