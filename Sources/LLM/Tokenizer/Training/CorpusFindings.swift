/// Statistics of a corpus, gathered while its words are counted.
package struct CorpusFindings: Sendable {
    /// The number of bytes that were not UTF-8 and became U+FFFD.
    package var replaced = 0
    /// Whether there is Hangul in decomposed form (NFD).
    package var hasDecomposedHangul = false
    package var longestWord: [UInt8] = []
    /// The size of the text as it was read, in bytes.
    package var bytes = 0
    /// The size of the text as it was read, in characters.
    package var characters = 0
}
