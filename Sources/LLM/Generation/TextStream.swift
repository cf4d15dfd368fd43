// Text as it comes out of a model, token by token, made fit to be shown at once.
//
// A token is bytes, and they may end anywhere: the three bytes of a Hangul syllable often lie in two or three tokens.
// And where a stop text is waited for, what looks like its beginning must not be shown before it is clear what follows.

/// A decoder that turns a stream of bytes into whole characters and ends at a stop text.
package struct TextStream {
    /// UTF-8; the text ends before the first of them that appears.
    private let stops: [[UInt8]]
    private var pending: [UInt8] = []
    /// Whether a stop text has appeared. Nothing comes out any more.
    package private(set) var isStopped = false

    /// Whether white space is left out because nothing has come before it.
    private var trimsStart: Bool

    package init(stops: [[UInt8]] = [], trimsStart: Bool = false) {
        self.stops = stops.filter { !$0.isEmpty }
        self.trimsStart = trimsStart
    }

    /// - Returns: what can be shown now; valid UTF-8, in which bytes that are none became U+FFFD.
    package mutating func add(_ bytes: [UInt8]) -> String {
        guard !isStopped else { return "" }
        pending += bytes
        if let position = stops.compactMap({ firstPosition(of: $0) }).min() {
            isStopped = true
            return show(position)
        }
        let beginning = stops.map { lengthOfBeginning(of: $0) }.max() ?? 0
        return show(pending.count - max(beginning, incompleteCharacter(at: pending[...])))
    }

    /// What was held back when no more bytes come. Half a character is never shown.
    package mutating func finish() -> String {
        isStopped ? "" : show(pending.count - incompleteCharacter(at: pending[...]))
    }

    private mutating func show(_ count: Int) -> String {
        let text = String(decoding: pending[..<count], as: UTF8.self)
        pending.removeFirst(count)
        guard trimsStart else { return text }
        let trimmed = String(text.drop { $0.isWhitespace })
        trimsStart = trimmed.isEmpty
        return trimmed
    }

    private func firstPosition(of stop: [UInt8]) -> Int? {
        guard pending.count >= stop.count else { return nil }
        return (0...pending.count - stop.count).first { pending[$0...].starts(with: stop) }
    }

    /// How many bytes at the end could be the beginning of `stop`.
    private func lengthOfBeginning(of stop: [UInt8]) -> Int {
        (0..<min(stop.count, pending.count + 1)).last { pending.suffix($0).elementsEqual(stop[..<$0]) } ?? 0
    }
}

/// How many bytes at the end are a character of UTF-8 that may still become whole (RFC 3629); 0 if there is none.
package func incompleteCharacter(at bytes: ArraySlice<UInt8>) -> Int {
    for length in 1...3 where length <= bytes.count {
        let tail = bytes.suffix(length)
        guard let lead = tail.first, lead & 0xC0 != 0x80 else { continue }
        // The second byte's range depends on the first: no overlong forms, no surrogates, nothing past U+10FFFF.
        let (whole, second): (Int, ClosedRange<UInt8>) =
            switch lead {
            case 0xC2...0xDF: (2, 0x80...0xBF)
            case 0xE0: (3, 0xA0...0xBF)
            case 0xED: (3, 0x80...0x9F)
            case 0xE1...0xEF: (3, 0x80...0xBF)
            case 0xF0: (4, 0x90...0xBF)
            case 0xF1...0xF3: (4, 0x80...0xBF)
            case 0xF4: (4, 0x80...0x8F)
            default: (0, 0...0)
            }
        return whole > length && (length == 1 || second.contains(tail[tail.startIndex + 1])) ? length : 0
    }
    return 0
}
