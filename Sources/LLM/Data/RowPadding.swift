/// Padding that gives each document its own row: it is filled with end-of-text to `length` tokens, so that a batch of
/// sequences of this length is a batch of whole documents.
package struct RowPadding {
    package let length: Int
    private let endOfText: Int32
    /// The number of tokens in the current row; 0 before the first document.
    private var used = 0
    private var rows = 0

    package init(length: Int, endOfText: Int32) {
        precondition(length > 0)
        self.length = length
        self.endOfText = endOfText
    }

    /// The padded form of the next tokens of a corpus with an end-of-text before each document.
    /// - Throws: if a document with its end-of-text is longer than a row.
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
                    hint: "use a larger --row-length, shorter documents, or no --row-length")
            }
            padded.append(token)
            used += 1
        }
        return padded
    }

    /// The padding of the last row, and one token more, which is the target of the row's last token. Empty if there is
    /// no document.
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
