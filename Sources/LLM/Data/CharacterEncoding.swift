// The encodings that old files, Windows and spreadsheets use. Nothing is read in them; they are recognized, so that an
// error can name the conversion.

/// A character encoding other than UTF-8. The raw value is iconv's name for it.
package enum CharacterEncoding: String {
    case utf16 = "UTF-16"
    case utf16LittleEndian = "UTF-16LE"
    case utf16BigEndian = "UTF-16BE"
    case utf32 = "UTF-32"
    /// EUC-KR, as Windows extends it.
    case cp949 = "CP949"

    /// The encoding of a text that begins with `head`, by its byte order mark or by its zero bytes; nil if neither
    /// tells.
    package init?(head: [UInt8]) {
        if head.starts(with: [0xFF, 0xFE, 0, 0]) || head.starts(with: [0, 0, 0xFE, 0xFF]) {
            self = .utf32
        } else if head.starts(with: [0xFF, 0xFE]) || head.starts(with: [0xFE, 0xFF]) {
            self = .utf16
        } else if CharacterEncoding.isUTF16(head, littleEndian: true) {
            self = .utf16LittleEndian
        } else if CharacterEncoding.isUTF16(head, littleEndian: false) {
            self = .utf16BigEndian
        } else {
            return nil
        }
    }

    /// Whether `head` is UTF-16 without a mark. Every script has spaces and line ends, whose other byte is zero.
    private static func isUTF16(_ head: [UInt8], littleEndian: Bool) -> Bool {
        guard head.contains(0) else { return false }
        var (units, readable, strange) = (0, 0, 0)
        var isHigh = false
        for i in stride(from: 0, to: head.count - 1, by: 2) {
            let unit = UInt16(head[i + (littleEndian ? 1 : 0)]) << 8 | UInt16(head[i + (littleEndian ? 0 : 1)])
            units += 1
            switch unit {
            case 9, 10, 13, 0x20..<0x7F: readable += 1
            case 0..<0x20, 0x7F: strange += 1
            default: break
            }
            // A low surrogate follows a high one, and nothing else does.
            if isHigh != (0xDC00..<0xE000).contains(unit) { strange += 1 }
            isHigh = (0xD800..<0xDC00).contains(unit)
        }
        // Bytes that are UTF-8 as well, as those of English text are, may be a text with a few zeros in it.
        let invalid = head.withUnsafeBufferPointer { firstInvalidUTF8(in: $0) }
        let isUTF8 = invalid.map { $0 + 4 > head.count } ?? true
        return 100 * strange <= units && 100 * readable >= (isUTF8 ? 80 : 2) * units
    }

    /// Whether `bytes`, which begin with a whole character, are Korean text in CP949: its characters of two bytes are
    /// complete, and most are syllables of EUC-KR's table. (Chinese and Japanese encodings have such pairs, too.)
    package static func isCP949(_ bytes: [UInt8]) -> Bool {
        var (syllables, others, wrong) = (0, 0, 0)
        var position = 0
        while position < bytes.count {
            let lead = bytes[position]
            position += 1
            guard lead >= 0x80, position < bytes.count else { continue }
            switch (lead, bytes[position]) {
            case (0xB0...0xC8, 0xA1...0xFE): syllables += 1
            case (0x81...0xFE, 0x41...0x5A), (0x81...0xFE, 0x61...0x7A), (0x81...0xFE, 0x81...0xFE): others += 1
            default:
                wrong += 1
                continue
            }
            position += 1
        }
        return syllables > 0 && 4 * others <= syllables && 100 * wrong <= syllables
    }
}
