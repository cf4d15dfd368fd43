/// A scanner for the words of a pattern. It looks at each byte once, where a regex engine would try the alternatives at
/// every word.
package protocol WordScanner: Sendable {
    /// The end of the word that starts at `start`. The end of `bytes` is the end of the text.
    func wordEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int
}

extension WordScanner {
    /// Calls `body` with each word of `bytes` in order.
    @inline(__always)
    package func forEachWord(
        in bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) throws -> Void
    ) rethrows {
        var start = 0
        while start < bytes.count {
            let end = wordEnd(in: bytes, from: start)
            try body(UnsafeBufferPointer(rebasing: bytes[start..<end]))
            start = end
        }
    }
}

// What cl100k's and o200k's patterns share.

/// The length of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `start`, else 0. The long s (ſ) is a small form of S.
@inline(__always)
func contractionLength(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    guard start &+ 1 < bytes.count, bytes[start] == UInt8(ascii: "'") else { return 0 }
    let second = start &+ 2 < bytes.count ? bytes[start &+ 2] : 0
    switch (bytes[start &+ 1] | 0x20, second | 0x20) {
    case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _): return 2
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")): return 3
    case (UInt8(ascii: "l"), UInt8(ascii: "l")): return 3
    default: return bytes[start &+ 1] == 0xC5 && second == 0xBF ? 3 : 0
    }
}

/// The end of the first word of the white space at `start`: up to the last line end in it, if there is one; else all of
/// it at the end of the text; else all but the last character; a single character is a word.
///
///     \s*[\r\n]+|\s+(?!\S)|\s+
///
/// - Parameter isWholeAtEnd: whether white space at the end of the text is one word, whatever line ends it contains.
@inline(__always)
func whiteSpaceEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int, isWholeAtEnd: Bool = false) -> Int {
    var (position, last, lineEnd) = (start, start, start)
    while position < bytes.count {
        let next = CharacterClasses.shared.character(at: position, in: bytes)
        if next.class != .space { break }
        last = position
        position += next.length
        if isLineEnd(bytes[last]) { lineEnd = position }
    }
    if position == bytes.count, isWholeAtEnd { return position }
    if lineEnd > start { return lineEnd }
    return position == bytes.count || last == start ? position : last
}

/// Whether a byte is CR or LF.
@inline(__always)
func isLineEnd(_ byte: UInt8) -> Bool { byte == 10 || byte == 13 }
