/// Statistics of a corpus that was written.
package struct CorpusSummary: Equatable, Sendable {
    package var bytes = 0
    package var documents = 0
    package var validationDocuments = 0
    package var trainingTokens = 0
    package var validationTokens = 0
}
