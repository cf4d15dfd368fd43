// WordPiece (Schuster and Nakajima, 2012; as BERT has it: Devlin et al., 2018).
//
// A word is cut greedily: the longest token that begins it, then the longest that begins the rest, and so on; tokens
// inside a word are written with `##` before them. A word that cannot be cut to its end, or is too long, is one unknown
// token. There are no merges: only the list of tokens matters.

package struct WordPieceModel: Sendable {
    let prefix: [UInt8]
    package let unknown: Int32
    /// Characters; a longer word is unknown.
    let longestWord: Int
    private let vocabulary: Vocabulary
    /// Bytes of the longest token.
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
                // One character less.
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
