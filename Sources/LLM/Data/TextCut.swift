/// The places where a text may be cut into sections that are processed separately.
package enum TextCut: Equatable {
    /// After a line end.
    case afterLine
    /// After a line end; in a block without one, at a safe cut between GPT-2's words.
    case afterLineOrWord
    /// At a safe cut between the words of a pattern.
    case betweenWords(WordPattern)
    /// Before white space that contains a line end, for words that do not span lines.
    case beforeLineEnds
    /// Nowhere: a file is one block.
    case nowhere

    /// The last cut in `bytes`; nil if there is none.
    func last(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        let newline = UInt8(ascii: "\n")
        switch self {
        case .afterLine: return bytes.lastIndex(of: newline).map { $0 + 1 }
        case .afterLineOrWord: return bytes.lastIndex(of: newline).map { $0 + 1 } ?? GPT2Words().safeCut(in: bytes)
        case .betweenWords(let pattern): return pattern.safeCut(in: bytes)
        case .beforeLineEnds:
            var end = bytes.count
            while let last = bytes[..<end].lastIndex(of: newline) {
                end = last
                while end > 0 {
                    let previous = CharacterClasses.shared.character(before: end, in: bytes)
                    if previous.class != .space { return end }
                    end -= previous.length
                }
            }
            return nil
        case .nowhere: return nil
        }
    }

    /// At most `count` sections of a block, of about the same size; none is empty.
    package func sections(of block: UnsafeBufferPointer<UInt8>, count: Int) -> [Range<Int>] {
        var sections: [Range<Int>] = []
        var start = 0
        for index in 1..<max(count, 1) {
            let target = block.count / count * index
            guard target > start else { continue }
            if let end = last(in: UnsafeBufferPointer(rebasing: block[start..<target])) {
                sections.append(start..<start + end)
                start += end
            }
        }
        if start < block.count { sections.append(start..<block.count) }
        return sections
    }
}
