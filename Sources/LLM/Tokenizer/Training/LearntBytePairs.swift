/// What training gives.
package struct LearntBytePairs: Sendable {
    /// Of the tokens, by id, as in tokenizer.json.
    package let spellings: [[UInt8]]
    package let merges: [Merge]

    package init(spellings: [[UInt8]], merges: [Merge]) {
        self.spellings = spellings
        self.merges = merges
    }
}
