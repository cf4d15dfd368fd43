// A tokenizer must always split text exactly as it did when its ids were made. The character classes in the Swift
// toolchain depend on its version of Unicode. So the ranges are embedded (UnicodeTables.swift), as tiktoken and Hugging
// Face's tokenizers see them.

/// A table of the classes and flags of all characters.
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
            for scalar in codePoints(in: ranges) { flat[scalar] |= bits }
        }
        table = CodePointTable(flat)
    }

    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    package func callAsFunction(_ scalar: UInt32) -> CharacterClass {
        CharacterClass(rawValue: table[scalar] & 3) ?? .other
    }

    /// The class in the lowest two bits, and the bits of `CharacterFlag`.
    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    package func flags(_ scalar: UInt32) -> UInt8 { table[scalar] }

    /// The class and the length in bytes of the character at `position`. A byte that does not begin a well-formed UTF-8
    /// sequence (RFC 3629: no overlong forms, no surrogates, nothing above 10FFFF) is one character of class `other`,
    /// like the replacement character.
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
        // A lead byte is never inside another sequence, so the nearest one decides.
        for length in 1...min(4, position) where bytes[position - length] & 0xC0 != 0x80 {
            let found = character(at: position - length, in: bytes)
            if found.length == length { return found }
            break
        }
        return (.other, 1)
    }
}

/// The character classes of GPT-2's pre-tokenization.
package enum CharacterClass: UInt8, Sendable {
    /// Everything else: punctuation, symbols, combining marks, control characters, and bytes that are not UTF-8.
    case other = 0
    /// `\p{L}`
    case letter = 1
    /// `\p{N}`
    case number = 2
    /// `\s`
    case space = 3
}

/// Further properties of characters: bits of `CharacterClasses.flags`, above the two of the class.
package enum CharacterFlag {
    /// `\w` of Hugging Face's regex library: letters, marks, decimal digits, connectors.
    package static let word: UInt8 = 4
    /// Punctuation and all ASCII symbols.
    package static let punctuation: UInt8 = 8
    /// Control, format and private characters, which BERT's cleaning drops.
    package static let bertDropped: UInt8 = 16
    /// Mn: the accents that BERT drops.
    package static let nonspacing: UInt8 = 32
    /// All marks.
    package static let mark: UInt8 = 64
    /// Numbers for the pre-tokenizer Digits.
    package static let numeric: UInt8 = 128
}

/// The code points of a table's ranges, as UnicodeTables.swift has them.
func codePoints(in ranges: String) -> [Int] {
    ranges.utf8.split(separator: UInt8(ascii: " ")).flatMap { range -> ClosedRange<Int> in
        let ends = range.split(separator: UInt8(ascii: "-")).compactMap { Int(String($0) ?? "", radix: 16) }
        return ends[0]...ends[ends.count - 1]
    }
}

/// A position after some, maybe not all, of the ASCII and Hangul letters at `start`. It reads eight bytes at a time: in
/// a loop of a few steps, the mispredicted end costs more than the steps.
/// - Parameter capitals: whether A … Z are among them.
@inline(__always)
func plainLettersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int, capitals: Bool = true) -> Int {
    let toSmall: UInt64 = capitals ? 0x2020_2020_2020_2020 : 0
    let raw = UnsafeRawBufferPointer(bytes)
    var position = start
    while position &+ 8 <= raw.count {
        let eight = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
        // The highest bit of each byte: whether the byte, or its lower case, is not in a … z.
        let lower = (eight | toSmall) & 0x7f7f_7f7f_7f7f_7f7f
        let atLeastA = lower &+ 0x1f1f_1f1f_1f1f_1f1f
        let pastZ = lower &+ 0x0505_0505_0505_0505
        let others = ~(atLeastA & ~pastZ & ~eight) & 0x8080_8080_8080_8080
        if others == 0 {
            position &+= 8
            continue
        }
        position &+= others.trailingZeroBitCount >> 3
        // Hangul syllables, EA B0 80 … ED 9E A3, and letters, E3 84 B1 … E3 86 8E. The fourth byte is the next
        // character's.
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
