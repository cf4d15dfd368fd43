// Rows of documents, at the lengths where a row just ends or just does not.

import LLM
import Testing

/// Documents of two, three, four, five, eight and nine tokens and of none but their end-of-text, which is 0; and the
/// rows of four that they fill.
private let documents: [Int32] =
    [0, 1] + [0, 1, 2] + [0, 1, 2, 3] + [0, 1, 2, 3, 4] + [0, 1, 2, 3, 4, 5, 6, 7] + [0, 1, 2, 3, 4, 5, 6, 7, 8] + [0]
private let rows: [[Int32]] = [
    [0, 1, 0, 0],
    [0, 1, 2, 0],
    [0, 1, 2, 3],
    [0, 1, 2, 3], [4, 0, 0, 0],
    [0, 1, 2, 3], [4, 5, 6, 7],
    [0, 1, 2, 3], [4, 5, 6, 7], [8, 0, 0, 0],
    [0, 0, 0, 0],
]

@Test(arguments: 1...31)
func `a document longer than a row goes on in the next ones, in however many pieces it comes`(piece: Int) throws {
    var padding = RowPadding(length: 4, cuts: true, endOfText: 0)
    var padded: [Int32] = []
    for start in stride(from: 0, to: documents.count, by: piece) {
        padded += padding.pad(Array(documents[start...].prefix(piece)))
    }
    padded += try padding.finish()
    #expect(padded == rows.flatMap { $0 } + [0])
    #expect(padding.rows == rows.count && padding.cutDocuments == 3)
}

@Test func `a document as long as a row is padded with nothing, and one token more is refused`() throws {
    for length in [5, 6, 9] {
        var padding = RowPadding(length: length, cuts: false, endOfText: 0)
        var padded: [Int32] = []
        let error = userError { padded = padding.pad(documents) + (try padding.finish()) }
        guard length < 9 else {
            #expect(error == nil && padded.count == 7 * 9 + 1 && padding.rows == 7 && padding.cutDocuments == 0)
            continue
        }
        #expect(error?.message == "document 5 is longer than a row of \(length) tokens, and the longest has 9")
        #expect(error?.hint.contains("--row-length 9, --cut") == true)
    }
}

@Test func `no document, no row`() throws {
    var padding = RowPadding(length: 4, cuts: true, endOfText: 0)
    #expect(try padding.finish() == [] && padding.rows == 0)
}
