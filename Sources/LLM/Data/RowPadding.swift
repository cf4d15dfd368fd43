/// Padding that gives each document rows of its own: its last row is filled with end-of-text to `length` tokens, so that
/// a batch of sequences of this length is a batch of whole documents, or of parts of them where one is longer than a row.
package struct RowPadding {
    package let length: Int
    private let cuts: Bool
    private let endOfText: Int32
    /// The number of tokens in the current row; 0 before the first document.
    private var used = 0
    private var documents = 0
    /// The rows of the current document so far.
    private var documentRows = 0
    package private(set) var rows = 0
    /// Documents longer than a row.
    package private(set) var cutDocuments = 0

    /// Of the longest document, with its end-of-text, and of the current one.
    private var (longest, documentTokens) = (0, 0)
    /// The first document that is longer than a row and not to be cut.
    private var firstTooLong: Int?

    /// - Parameter cuts: whether a document longer than a row goes on in the next one; if not, it is an error in the end,
    ///   when the longest is known. The next row begins with the document's next token, which is also the target of the full row's last one.
    package init(length: Int, cuts: Bool, endOfText: Int32) {
        precondition(length > 0)
        self.length = length
        self.cuts = cuts
        self.endOfText = endOfText
    }

    /// The padded form of the next tokens of a corpus with an end-of-text before each document.
    package mutating func pad(_ tokens: [Int32]) -> [Int32] {
        var padded: [Int32] = []
        padded.reserveCapacity(tokens.count + tokens.count / 8)
        for token in tokens {
            if token == endOfText {
                appendPadding(to: &padded)
                documents += 1
                (documentRows, documentTokens) = (0, 0)
            }
            documentTokens += 1
            longest = max(longest, documentTokens)
            if used == length {
                guard cuts else {
                    firstTooLong = firstTooLong ?? documents
                    continue
                }
                used = 0
            }
            if used == 0 {
                rows += 1
                documentRows += 1
                if documentRows == 2 { cutDocuments += 1 }
            }
            padded.append(token)
            used += 1
        }
        return padded
    }

    /// The padding of the last row, and one token more, which is the target of the row's last token. Empty if there is
    /// no document.
    /// - Throws: if a document with its end-of-text was longer than a row, and not to be cut.
    package mutating func finish() throws -> [Int32] {
        if let firstTooLong {
            throw UserError(
                "document \(firstTooLong) is longer than a row of \(length) tokens, and the longest has \(longest)",
                hint: "take --row-length \(longest), --cut to let it go on in the next row, or no --row-length")
        }
        var padded: [Int32] = []
        appendPadding(to: &padded)
        return rows == 0 ? [] : padded + [endOfText]
    }

    private mutating func appendPadding(to padded: inout [Int32]) {
        if used > 0 { padded.append(contentsOf: repeatElement(endOfText, count: length - used)) }
        used = 0
    }
}
