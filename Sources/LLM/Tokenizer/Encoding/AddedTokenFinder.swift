/// A search for added tokens in a text. The leftmost match wins; of those that begin there, the longest.
///
/// The patterns are a tree of bytes, so a search reads no byte that continues no pattern. A hash of each possible length
/// is slower by far where patterns begin as ordinary text does: Phi's are the runs of 2 to 31 spaces.
struct AddedTokenFinder: Sendable {
    private var tokens: [AddedToken] = []
    /// The index of the token whose pattern ends at each node; -1 if none does. Node 0 is the root.
    private var tokenAtNode: [Int32] = [-1]
    /// The node that follows a node and a byte.
    private var children = PairTable()
    /// The node that follows the root and each byte; -1 if no pattern begins with it.
    private var roots = [Int32](repeating: -1, count: 256)

    /// - Parameter tokens: each with the pattern to search for, which is its content or the normalized form of it. Of
    ///   two with the same pattern, the first one is found.
    init(_ tokens: [(token: AddedToken, pattern: [UInt8])]) {
        for (token, pattern) in tokens where !pattern.isEmpty {
            var node: Int32 = 0
            for byte in pattern {
                var next = child(of: node, byte)
                if next < 0 {
                    next = Int32(tokenAtNode.count)
                    tokenAtNode.append(-1)
                    children.set(pairKey(node, Int32(byte)), Int64(next))
                    if node == 0 { roots[Int(byte)] = next }
                }
                node = next
            }
            guard tokenAtNode[Int(node)] < 0 else { continue }
            tokenAtNode[Int(node)] = Int32(self.tokens.count)
            self.tokens.append(token)
        }
    }

    /// The node that follows `node` and `byte`; -1 if there is none.
    @inline(__always)
    private func child(of node: Int32, _ byte: UInt8) -> Int32 {
        children[pairKey(node, Int32(byte))].map { Int32(truncatingIfNeeded: $0) } ?? -1
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

    @inline(__always)
    private func match(at position: Int, in text: UnsafeBufferPointer<UInt8>) -> (token: AddedToken, length: Int)? {
        var node = roots[Int(text[position])]
        var end = position
        var longest: (index: Int32, length: Int) = (-1, 0)
        while node >= 0 {
            end += 1
            if tokenAtNode[Int(node)] >= 0 { longest = (tokenAtNode[Int(node)], end - position) }
            node = end < text.count ? child(of: node, text[end]) : -1
        }
        return longest.index < 0 ? nil : (tokens[Int(longest.index)], longest.length)
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
