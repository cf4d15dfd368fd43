/// Statistics of a corpus, gathered while its words are counted.
package struct CorpusFindings: Sendable {
    /// The number of bytes that were not text and became U+FFFD.
    package var replaced = 0
    /// Whether there is Hangul in decomposed form (NFD).
    package var hasDecomposedHangul = false
    package var longestWord: [UInt8] = []
    /// The size of the text as it was read, in bytes.
    package var bytes = 0
    /// The size of the text in characters; each U+FFFD is one.
    package var characters = 0
}
