/// What a corpus was found to be while it was counted.
package struct CorpusFindings: Sendable {
    /// Bytes that were no UTF-8 and became U+FFFD.
    package var replaced = 0
    package var hasDecomposedHangul = false
    package var longestWord: [UInt8] = []
    /// Of the text as it was read.
    package var bytes = 0
    package var characters = 0
}
