/// A search for added tokens in a text. The leftmost match wins; of those that begin there, the longest.
struct AddedTokenFinder: Sendable {
    private var patterns = ByteStringTable()
    private var tokens: [AddedToken] = []
    /// The lengths of the patterns that begin with each byte, longest first.
    private var lengths = [[Int]](repeating: [], count: 256)

    /// - Parameter tokens: each with the pattern to search for, which is its content or the normalized form of it.
    init(_ tokens: [(token: AddedToken, pattern: [UInt8])]) {
        for (token, pattern) in tokens where !pattern.isEmpty {
            guard patterns.insert(pattern) == self.tokens.count else { continue }
            self.tokens.append(token)
            let first = Int(pattern[0])
            if !lengths[first].contains(pattern.count) { lengths[first].append(pattern.count) }
        }
        for byte in 0..<256 { lengths[byte].sort(by: >) }
    }

    var isEmpty: Bool { tokens.isEmpty }

    /// Calls `body` with the spans of `text` in order: either a range without added tokens, or a token.
    func forEachSpan(in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>?, AddedToken?) -> Void) {
        var done = 0
        var position = 0
        while position < text.count {
            guard let token = match(at: position, in: text) else {
                position += 1
                continue
            }
            var (start, end) = (position, position + token.length)
            position = end
            if token.token.isSingleWord, isWord(before: start, in: text) || isWord(at: end, in: text) { continue }
            if token.token.stripsLeft {
                while start > done {
                    let previous = CharacterClasses.shared.character(before: start, in: text)
                    guard previous.class == .space else { break }
                    start -= previous.length
                }
                start = max(start, done)
            }
            if token.token.stripsRight {
                while end < text.count {
                    let next = CharacterClasses.shared.character(at: end, in: text)
                    guard next.class == .space else { break }
                    end += next.length
                }
            }
            if done < start { body(done..<start, nil) }
            body(nil, token.token)
            done = end
        }
        if done < text.count { body(done..<text.count, nil) }
    }

    private func match(at position: Int, in text: UnsafeBufferPointer<UInt8>) -> (token: AddedToken, length: Int)? {
        for length in lengths[Int(text[position])] where position + length <= text.count {
            if let index = patterns.index(of: UnsafeBufferPointer(rebasing: text[position..<position + length])) {
                return (tokens[index], length)
            }
        }
        return nil
    }

    private func isWord(before position: Int, in text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard position > 0 else { return false }
        let previous = CharacterClasses.shared.character(before: position, in: text)
        return isWord(at: position - previous.length, in: text)
    }

    private func isWord(at position: Int, in text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard position < text.count else { return false }
        return CharacterClasses.shared.flags(scalar(at: position, in: text).value) & CharacterFlag.word != 0
    }
}
