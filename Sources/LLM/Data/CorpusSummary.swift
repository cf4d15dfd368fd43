/// Statistics of a corpus that was written.
package struct CorpusSummary: Equatable, Sendable {
    package var bytes = 0
    package var documents = 0
    package var validationDocuments = 0
    /// Lines of white space that are in no document.
    package var blankLines = 0
    /// The number of bytes that were not text and became U+FFFD.
    package var replaced = 0
    /// With padding.
    package var trainingTokens = 0
    /// With padding.
    package var validationTokens = 0
    /// Without padding.
    package var tokens = 0
    package var unknownTokens = 0
    /// Rows of padded documents; 0 without padding.
    package var rows = 0
    /// Documents that are longer than a row.
    package var cutDocuments = 0
}
