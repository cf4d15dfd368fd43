// Which characters are letters, numbers and white space, and how to read one from UTF-8.
//
// A tokenizer must split text exactly as the one its ids come from, for good. The classes of the Swift toolchain
// follow whatever Unicode version it was built with, so the ranges are embedded (UnicodeTables.swift), as tiktoken and
// Hugging Face's tokenizers see them.

/// The classes and flags of all characters.
package struct CharacterClasses: Sendable {
    package static let shared = CharacterClasses()

    private let table: CodePointTable

    private init() {
        var flat = [UInt8](repeating: CharacterClass.other.rawValue, count: 0x110000)
        let tables: [(String, UInt8)] = [
            (letterRanges, CharacterClass.letter.rawValue | CharacterFlag.word), (otherWordRanges, CharacterFlag.word),
            (numberRanges, CharacterClass.number.rawValue | CharacterFlag.numeric),
            (otherNumericRanges, CharacterFlag.numeric), (spaceRanges, CharacterClass.space.rawValue),
            (punctuationRanges, CharacterFlag.punctuation), (bertDroppedRanges, CharacterFlag.bertDropped),
            (nonspacingRanges, CharacterFlag.nonspacing | CharacterFlag.mark), (otherMarkRanges, CharacterFlag.mark),
        ]
        for (ranges, bits) in tables {
            for range in ranges.utf8.split(separator: UInt8(ascii: " ")) {
                let ends = range.split(separator: UInt8(ascii: "-")).compactMap { Int(String($0) ?? "", radix: 16) }
                guard let first = ends.first, let last = ends.last else { continue }
                for scalar in first...last { flat[scalar] |= bits }
            }
        }
        table = CodePointTable(flat)
    }

    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    package func callAsFunction(_ scalar: UInt32) -> CharacterClass {
        CharacterClass(rawValue: table[scalar] & 3) ?? .other
    }

    /// The class in the lower two bits, and the bits of `CharacterFlag`.
    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    package func flags(_ scalar: UInt32) -> UInt8 { table[scalar] }

    /// The class and the length in bytes of the character at `position`. A byte that begins no well-formed UTF-8
    /// sequence (RFC 3629: no overlong forms, no surrogates, nothing above 10FFFF) is one character of class `other`,
    /// as the replacement character would be, but the byte itself is kept.
    @inline(__always)
    package func character(
        at position: Int, in bytes: UnsafeBufferPointer<UInt8>
    ) -> (class: CharacterClass, length: Int) {
        let lead = bytes[position]
        if lead < 0x80 { return (self(UInt32(lead)), 1) }
        let (scalar, length) = scalar(at: position, in: bytes)
        return length == 1 ? (.other, 1) : (self(scalar), length)
    }

    /// The class and the length of the character that ends just before `position`, which must not be 0.
    package func character(
        before position: Int, in bytes: UnsafeBufferPointer<UInt8>
    ) -> (class: CharacterClass, length: Int) {
        // A lead byte never lies inside another sequence, so the nearest one decides.
        for length in 1...min(4, position) where bytes[position - length] & 0xC0 != 0x80 {
            let found = character(at: position - length, in: bytes)
            if found.length == length { return found }
            break
        }
        return (.other, 1)
    }
}

/// What GPT-2's pre-tokenisation tells apart.
package enum CharacterClass: UInt8, Sendable {
    /// Neither of the others: punctuation, symbols, combining marks, control characters, and bytes that are no UTF-8.
    case other = 0
    /// `\p{L}`
    case letter = 1
    /// `\p{N}`
    case number = 2
    /// `\s`
    case space = 3
}

/// What else the tokenizers ask of a character; bits of `CharacterClasses.flags`, above the two of its class.
package enum CharacterFlag {
    /// `\w` of the regex library: letters, marks, decimal digits, connectors.
    package static let word: UInt8 = 4
    /// Punctuation, and all of ASCII's symbols.
    package static let punctuation: UInt8 = 8
    /// Control, format and private characters, which BERT's cleaning drops.
    package static let bertDropped: UInt8 = 16
    /// Mn: the accents that BERT drops.
    package static let nonspacing: UInt8 = 32
    /// All marks.
    package static let mark: UInt8 = 64
    /// What Digits takes for a number.
    package static let numeric: UInt8 = 128
}

/// Past letters of ASCII and of Hangul, maybe not all that follow: eight bytes at a time, because a loop that
/// ends after a few steps, nobody knows when, costs more for its end than for its steps.
@inline(__always)
func plainLettersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    let raw = UnsafeRawBufferPointer(bytes)
    var position = start
    while position &+ 8 <= raw.count {
        let eight = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
        // Of each byte the highest bit: whether it is not in a … z, with the bit that makes capitals small.
        let lower = (eight | 0x2020_2020_2020_2020) & 0x7f7f_7f7f_7f7f_7f7f
        let atLeastA = lower &+ 0x1f1f_1f1f_1f1f_1f1f
        let pastZ = lower &+ 0x0505_0505_0505_0505
        let others = ~(atLeastA & ~pastZ & ~eight) & 0x8080_8080_8080_8080
        if others == 0 {
            position &+= 8
            continue
        }
        position &+= others.trailingZeroBitCount >> 3
        // Syllables, EA B0 80 … ED 9E A3, and single letters, E3 84 B1 … E3 86 8E; the fourth byte belongs to what
        // follows.
        let syllables = position
        while position &+ 4 <= raw.count {
            let four = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt32.self))
            guard four & 0x00C0_C0F0 == 0x0080_80E0 else { break }
            let scalar = (four & 0x0F) << 12 | (four >> 8 & 0x3F) << 6 | (four >> 16 & 0x3F)
            guard scalar &- 0xAC00 < 11172 || scalar &- 0x3131 < 94 else { break }
            position &+= 3
        }
        if position == syllables { return position }
    }
    return position
}
