// What a run of training knows of its data: token shards (DataLoader.swift) and conversations (ConversationLoader.swift)
// share it.

/// Batches to learn from or to validate with, epoch after epoch.
package protocol TrainingData: AnyObject {
    /// What it holds, for a person: `1,234,567 tokens, 301 batches of 4 · 1024`.
    var summary: String { get }
    var batchesPerEpoch: Int { get }
    /// nil where they differ.
    var tokensPerBatch: Int? { get }
    /// Its place: all that a resumed run needs.
    var position: DataLoader.Position { get }

    /// Begins a new epoch, in a new order if the data is shuffled.
    func startEpoch()

    func nextBatch() throws -> Batch

    /// Passes over the next batch, which another rank reads.
    func skipBatch()

    /// Goes back to a place where it was.
    func rewind(to place: DataLoader.Position)

    /// Goes to the place of an earlier run.
    /// - Throws: if there is no such place in this data.
    func resume(at place: DataLoader.Position) throws

    /// Reads all of it.
    /// - Returns: a checksum, to tell whether a resumed run has the same data.
    /// - Throws: if a token is not in the vocabulary.
    func check() throws -> UInt64

    /// A question without its answer, by any number, and the token that ends an answer if it is not the end of text; no
    /// tokens if there is none.
    func question(number: Int) throws -> (tokens: [Int32], end: Int32?)
}
