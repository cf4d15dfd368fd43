// GPT-2's pre-tokenization: text is split into words, and merges happen only inside a word.
//
// The definition is the regular expression in OpenAI's gpt-2 (encoder.py, Radford et al., 2019):
//
//     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// That is: an English contraction; or a run of letters, numbers or other characters, each with at most one space in
// front; or white space, whose last character is left to the word that follows. Every byte belongs to exactly one word,
// so the words joined are the text. The pattern has no look-behind, so text can be cut between some words and scanned
// in sections: see `safeCut`.
//
// A regex engine would try the alternatives at every word; this scanner looks at each byte once. Tests compare it with
// a textbook version and with the words of Hugging Face's library.
//
// Bytes that are not UTF-8 count as other characters, one by one (`CharacterClasses.character`). Nothing is lost and
// nothing fails; Hugging Face's library does not accept such text.

/// A scanner for the words of GPT-2's pre-tokenization.
package struct GPT2Words: WordScanner {
    private let classes = CharacterClasses.shared

    package init() {}

    @inline(__always)
    package func wordEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        // The common case: an optional space and letters, up to an ASCII character that is not a letter.
        let head = bytes[start] == UInt8(ascii: " ") ? start &+ 1 : start
        let end = plainLettersEnd(in: bytes, from: head)
        if end > head, end < bytes.count, bytes[end] < 0x41 { return end }
        var (kind, length) = classes.character(at: start, in: bytes)
        var position = start + length
        switch kind {
        case .space:
            if bytes[start] == UInt8(ascii: " "), position < bytes.count {
                (kind, length) = classes.character(at: position, in: bytes)
                if kind != .space { return runEnd(of: kind, in: bytes, from: position + length) }
            }
            // \s+(?!\S)|\s+ : all of it at the end of the text; else all but the last one; a single one is a word.
            var last = start
            while position < bytes.count {
                (kind, length) = classes.character(at: position, in: bytes)
                if kind != .space { return last > start ? last : position }
                last = position
                position += length
            }
            return position
        case .other:
            if bytes[start] == UInt8(ascii: "'") {
                let contraction = contractionLength(in: bytes, from: start)
                if contraction > 0 { return start + contraction }
            }
            return runEnd(of: .other, in: bytes, from: position)
        case .letter, .number:
            return runEnd(of: kind, in: bytes, from: position)
        }
    }

    @inline(__always)
    private func runEnd(of kind: CharacterClass, in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = start
        if kind == .letter { position = plainLettersEnd(in: bytes, from: start) }
        while position < bytes.count {
            let next = classes.character(at: position, in: bytes)
            if next.class != kind { break }
            position += next.length
        }
        return position
    }

    /// The length of 's 't 'm 'd 're 've or 'll at `start`, else 0. Lower case only, as in GPT-2.
    @inline(__always)
    private func contractionLength(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        guard start + 1 < bytes.count else { return 0 }
        let first = bytes[start + 1]
        let second = start + 2 < bytes.count ? bytes[start + 2] : 0
        switch (first, second) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _): return 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")): return 3
        case (UInt8(ascii: "l"), UInt8(ascii: "l")): return 3
        default: return 0
        }
    }

    /// The last position in `bytes`, other than 0, where the text can be cut so that both sides, scanned separately,
    /// give the words of the whole; nil if there is none. It is between two characters of different classes. The first
    /// must not be white space (a space may belong to the next word, and white space looks ahead), and the two must not
    /// be another character and a letter (an apostrophe may begin a contraction). The last three bytes are excluded,
    /// because the character there may continue in text that has not been read yet.
    package func safeCut(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        guard bytes.count > 4 else { return nil }
        var position = bytes.count - 4
        while position > 0, bytes[position] & 0xC0 == 0x80 { position -= 1 }
        while position > 0 {
            let next = classes.character(at: position, in: bytes).class
            let previous = classes.character(before: position, in: bytes)
            if previous.class != next, previous.class != .space, !(previous.class == .other && next == .letter) {
                return position
            }
            position -= previous.length
        }
        return nil
    }
}
