/// Puts each document into a row of its own: padded with end-of-text to `length` tokens, so that a batch of sequences of
/// this length is a batch of whole documents.
package struct RowPadding {
    package let length: Int
    private let endOfText: Int32
    /// Tokens of the row begun; 0 before the first document.
    private var used = 0
    private var rows = 0

    package init(length: Int, endOfText: Int32) {
        precondition(length > 0)
        self.length = length
        self.endOfText = endOfText
    }

    /// The padded form of the next tokens of a corpus in which an end-of-text stands before each document.
    /// - Throws: if a document and its end-of-text are longer than a row.
    package mutating func pad(_ tokens: [Int32]) throws -> [Int32] {
        var padded: [Int32] = []
        padded.reserveCapacity(tokens.count + tokens.count / 8)
        for token in tokens {
            if token == endOfText {
                appendPadding(to: &padded)
                rows += 1
            }
            guard used < length else {
                throw UserError(
                    "document \(rows) is longer than a row of \(length) tokens",
                    hint: "take a larger --row-length, shorter documents, or no --row-length")
            }
            padded.append(token)
            used += 1
        }
        return padded
    }

    /// What completes the last row, and one token more: the target of its last one.
    package mutating func finish() -> [Int32] {
        var padded: [Int32] = []
        appendPadding(to: &padded)
        return rows == 0 ? [] : padded + [endOfText]
    }

    private mutating func appendPadding(to padded: inout [Int32]) {
        if used > 0 { padded.append(contentsOf: repeatElement(endOfText, count: length - used)) }
        used = 0
    }
}
