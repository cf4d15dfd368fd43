// cl100k_base's pre-tokenization, tiktoken's for GPT-3.5 and GPT-4 (openai_public.py), and its kin in Llama 3 and Qwen:
//
//     '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s
//
// An English contraction; letters with at most one other character in front; up to three numbers (Qwen: one); other
// characters with at most one space in front, and the line ends after them; white space, up to its last line end if it
// has one, and without its last character if a word follows. tiktoken takes all white space at the end of a text at
// once, Llama 3 and Qwen do not. Bytes that are not UTF-8 count as other characters, as in GPT2Words.

/// A scanner for the words of cl100k_base, Llama 3 and Qwen.
package struct CL100KWords: WordScanner {
    private let classes = CharacterClasses.shared
    private let mostNumbers: Int
    private let isWholeAtEnd: Bool

    package init(_ pattern: WordPattern = .cl100k) {
        mostNumbers = pattern == .qwen ? 1 : 3
        isWholeAtEnd = pattern == .cl100k
    }

    @inline(__always)
    package func wordEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        // The common case: an optional space and letters, up to an ASCII character that is not a letter.
        let lead = bytes[start]
        let head = lead == UInt8(ascii: " ") ? start &+ 1 : start
        let end = plainLettersEnd(in: bytes, from: head)
        if end > head, end < bytes.count, bytes[end] < 0x41 { return end }
        let first = classes.character(at: start, in: bytes)
        let position = start + first.length
        switch first.class {
        case .letter: return lettersEnd(in: bytes, from: position)
        case .number: return numbersEnd(in: bytes, from: position)
        case .other, .space:
            let contraction = contractionLength(in: bytes, from: start)
            if contraction > 0 { return start + contraction }
            if position < bytes.count, !isLineEnd(lead) {
                let next = classes.character(at: position, in: bytes)
                if next.class == .letter { return lettersEnd(in: bytes, from: position + next.length) }
                if next.class == .other, lead == UInt8(ascii: " ") {
                    return othersEnd(in: bytes, from: position + next.length)
                }
            }
            return first.class == .other
                ? othersEnd(in: bytes, from: position)
                : whiteSpaceEnd(in: bytes, from: start, isWholeAtEnd: isWholeAtEnd)
        }
    }

    @inline(__always)
    private func lettersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = plainLettersEnd(in: bytes, from: start)
        while position < bytes.count {
            let next = classes.character(at: position, in: bytes)
            if next.class != .letter { break }
            position += next.length
        }
        return position
    }

    /// The end of the numbers of which the first ends at `start`.
    @inline(__always)
    private func numbersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = start
        for _ in 1..<mostNumbers where position < bytes.count {
            let next = classes.character(at: position, in: bytes)
            if next.class != .number { break }
            position += next.length
        }
        return position
    }

    @inline(__always)
    private func othersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = start
        while position < bytes.count {
            let next = classes.character(at: position, in: bytes)
            if next.class != .other { break }
            position += next.length
        }
        while position < bytes.count, isLineEnd(bytes[position]) { position += 1 }
        return position
    }
}
