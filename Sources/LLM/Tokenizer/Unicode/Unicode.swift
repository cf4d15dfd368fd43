// Which characters are letters, numbers and white space, and how to read one from UTF-8.
//
// A tokenizer must split text exactly as the one its ids come from, for good. The classes of the Swift toolchain
// follow whatever Unicode version it was built with, so the ranges are embedded (UnicodeTables.swift), as tiktoken and
// Hugging Face's tokenizers see them.

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

/// A byte for every code point, in two levels: a page number per 256 code points, and the pages. Most of the 4,352 pages
/// are equal (all letters, all other), so some 180 remain, 45 KB, and text of one script stays in two or three.
/// Built once and never freed: pointers, because an array's bounds check costs a tenth of the scanner's speed.
struct CodePointTable: Sendable {
    private nonisolated(unsafe) let pageStarts: UnsafePointer<UInt16>
    private nonisolated(unsafe) let pages: UnsafePointer<UInt8>

    /// - Parameter flat: 0x110000 values.
    init(_ flat: [UInt8]) {
        var starts: [UInt16] = []
        var distinct: [ArraySlice<UInt8>: UInt16] = [:]
        var bytes: [UInt8] = []
        for first in stride(from: 0, to: flat.count, by: 256) {
            let page = flat[first..<first + 256]
            // Most are as the one before: no need to look for those.
            if first > 0, page.elementsEqual(flat[first - 256..<first]) {
                starts.append(starts[starts.count - 1])
                continue
            }
            let start = distinct[page] ?? UInt16(distinct.count)
            if distinct.updateValue(start, forKey: page) == nil { bytes += page }
            starts.append(start)
        }
        pageStarts = CodePointTable.immortal(starts)
        pages = CodePointTable.immortal(bytes)
    }

    private static func immortal<Value>(_ values: [Value]) -> UnsafePointer<Value> {
        let memory = UnsafeMutablePointer<Value>.allocate(capacity: values.count)
        memory.initialize(from: values, count: values.count)
        return UnsafePointer(memory)
    }

    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    subscript(scalar: UInt32) -> UInt8 {
        pages[Int(pageStarts[Int(scalar >> 8)]) << 8 | Int(scalar & 255)]
    }
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

/// The character at `position` and its length in bytes; a byte that begins no well-formed sequence reads as U+FFFD.
@inline(__always)
package func scalar(at position: Int, in bytes: UnsafeBufferPointer<UInt8>) -> (value: UInt32, length: Int) {
    let lead = UInt32(bytes[position])
    if lead < 0x80 { return (lead, 1) }
    let length = wellFormedLength(at: position, in: bytes)
    @inline(__always)
    func tail(_ offset: Int) -> UInt32 { UInt32(bytes[position + offset] & 0x3F) }
    switch length {
    case 2: return ((lead & 0x1F) << 6 | tail(1), 2)
    case 3: return ((lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3)
    case 4: return ((lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4)
    default: return (0xFFFD, 1)
    }
}

/// The scalars of `text`; bytes that are no UTF-8 as U+FFFD.
func scalars(of text: [UInt8]) -> [UInt32] {
    var result: [UInt32] = []
    result.reserveCapacity(text.count)
    text.withUnsafeBufferPointer { text in
        var position = 0
        while position < text.count {
            let next = scalar(at: position, in: text)
            result.append(next.value)
            position += next.length
        }
    }
    return result
}

/// Appends `scalar` as UTF-8.
@inline(__always)
func appendUTF8(_ scalar: UInt32, to bytes: inout [UInt8]) {
    if scalar < 0x80 {
        bytes.append(UInt8(scalar))
    } else if scalar < 0x800 {
        bytes.append(UInt8(0xC0 | scalar >> 6))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else if scalar < 0x10000 {
        bytes.append(UInt8(0xE0 | scalar >> 12))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    } else {
        bytes.append(UInt8(0xF0 | scalar >> 18 & 7))
        bytes.append(UInt8(0x80 | scalar >> 12 & 0x3F))
        bytes.append(UInt8(0x80 | scalar >> 6 & 0x3F))
        bytes.append(UInt8(0x80 | scalar & 0x3F))
    }
}

/// The length of the UTF-8 sequence that begins at `position`, or 0 if none that is well formed does.
@inline(__always)
package func wellFormedLength(at position: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
    let lead = bytes[position]
    if lead < 0x80 { return 1 }
    let length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0
    guard length > 0, position + length <= bytes.count else { return 0 }
    // The second byte carries the limits against overlong forms, surrogates and numbers past the end.
    let second = bytes[position + 1]
    let lowest: UInt8 = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80
    let highest: UInt8 = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF
    guard second >= lowest, second <= highest else { return 0 }
    if length > 2, bytes[position + 2] & 0xC0 != 0x80 { return 0 }
    if length > 3, bytes[position + 3] & 0xC0 != 0x80 { return 0 }
    return length
}

/// The offset of the first byte that is not UTF-8, or nil.
package func firstInvalidUTF8(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
    let raw = UnsafeRawBufferPointer(bytes)
    var position = 0
    while position < bytes.count {
        // Most text: eight bytes of ASCII, or three of a character for which no second byte is special.
        while position &+ 8 <= raw.count {
            let eight = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            if eight & 0x8080_8080_8080_8080 == 0 {
                position &+= 8
            } else if eight & 0xC0C0F0 == 0x8080E0, eight & 0x0F != 0, eight & 0x200F != 0x200D {
                position &+= 3
            } else {
                break
            }
        }
        if position == raw.count { break }
        let length = wellFormedLength(at: position, in: bytes)
        if length == 0 { return position }
        position += length
    }
    return nil
}

/// `bytes` with each byte that is no UTF-8 replaced by U+FFFD; `count` grows by their number.
package func replacingInvalid(in bytes: UnsafeBufferPointer<UInt8>, count: inout Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + 64)
    var position = 0
    while position < bytes.count {
        let length = wellFormedLength(at: position, in: bytes)
        if length == 0 {
            count += 1
            result += [0xEF, 0xBF, 0xBD]
        } else {
            result += bytes[position..<position + length]
        }
        position += max(1, length)
    }
    return result
}

/// The characters of a text that is UTF-8.
package func characterCount(of bytes: UnsafeBufferPointer<UInt8>) -> Int {
    let raw = UnsafeRawBufferPointer(bytes)
    var (position, tails) = (0, 0)
    while position &+ 8 <= raw.count {
        // Of each byte that is 10xxxxxx one bit.
        let eight = raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
        tails &+= (eight & ~(eight &<< 1) & 0x8080_8080_8080_8080).nonzeroBitCount
        position &+= 8
    }
    for byte in raw[position...] where byte & 0xC0 == 0x80 { tails &+= 1 }
    return raw.count - tails
}
