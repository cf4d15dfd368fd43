// WordPiece (Schuster and Nakajima, 2012), as used by BERT (Devlin et al., 2018).
//
// A word is split greedily: take the longest token that the word begins with, then the longest that the rest begins
// with, and so on. Tokens inside a word are spelt with `##` in front. A word that cannot be split completely, or is too
// long, becomes one unknown token. There are no merges; only the vocabulary matters.

/// A WordPiece model.
package struct WordPieceModel: Sendable {
    let prefix: [UInt8]
    package let unknown: Int32
    /// The most characters a word may have; a longer word is unknown.
    let longestWord: Int
    private let vocabulary: Vocabulary
    /// The length of the longest token, in bytes.
    private let longestToken: Int

    init(_ vocabulary: Vocabulary, unknown: Int32, prefix: [UInt8], longestWord: Int) {
        self.vocabulary = vocabulary
        self.unknown = unknown
        self.prefix = prefix
        self.longestWord = longestWord
        longestToken = vocabulary.longest
    }

    /// Appends the ids of `word`, which is UTF-8.
    func encode(_ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32]) {
        let first = ids.count
        let characters = word.reduce(0) { $1 & 0xC0 != 0x80 ? $0 + 1 : $0 }
        var start = 0
        var piece: [UInt8] = []
        while characters <= longestWord, start < word.count {
            piece.removeAll(keepingCapacity: true)
            if start > 0 { piece += prefix }
            let head = piece.count
            var end = min(word.count, start + max(0, longestToken - head))
            while end > start, end < word.count, word[end] & 0xC0 == 0x80 { end -= 1 }
            piece += word[start..<end]
            var found: Int32?
            while end > start {
                found = vocabulary.id(of: piece)
                if found != nil { break }
                // Shorten the piece by one character.
                repeat {
                    end -= 1
                    piece.removeLast()
                } while end > start && word[end] & 0xC0 == 0x80
            }
            guard let found else { break }
            ids.append(found)
            start = end
        }
        if start < word.count {
            ids.removeSubrange(first...)
            ids.append(unknown)
        }
    }
}
