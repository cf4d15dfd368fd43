// How text stands in a terminal: how wide its characters are, and what is shown for those that would do something else.
//
// Widths are those of Unicode's East Asian Width (Annex 11): wide and fullwidth characters have two columns, ambiguous
// ones one. A terminal moves by what it draws, and that is a whole character (grapheme cluster): the jamo of a syllable,
// a flag or a family of emoji are one.

/// The columns that a text takes on a line of a terminal.
package func terminalColumns(of text: String) -> Int { text.reduce(0) { $0 + terminalColumns(of: $1) } }

/// The columns of a character: 0, 1 or 2.
package func terminalColumns(of character: Character) -> Int {
    // ASCII by far most often.
    if let ascii = character.asciiValue, ascii >= 0x20, ascii < 0x7F { return 1 }
    let scalars = character.unicodeScalars
    guard let first = scalars.first else { return 0 }
    // Keycaps and hearts that are drawn as emoji; flags.
    if scalars.contains("\u{FE0F}"), first.properties.isEmoji { return 2 }
    if scalars.count > 1, first.properties.isEmoji, !first.isASCII { return 2 }
    return scalars.map(columns).max() ?? 0
}

private func columns(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format, .control, .lineSeparator, .paragraphSeparator: return 0
    default: break
    }
    // The vowels and final consonants of a syllable stand in the columns of its first consonant.
    if (0x1160...0x11FF).contains(scalar.value) || (0xD7B0...0xD7FF).contains(scalar.value) { return 0 }
    return scalar.properties.isEmojiPresentation || wide.contains { $0.contains(scalar.value) } ? 2 : 1
}

/// Wide and fullwidth, blocks joined where nothing else lies between them.
private let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2329...0x232A, 0x2E80...0x303E, 0x3041...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97F,
    0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6,
    0x16FE0...0x18CFF, 0x1AFF0...0x1B2FF, 0x1F200...0x1F265, 0x20000...0x2FFFD, 0x30000...0x3FFFD,
]

/// `text` with nothing in it that a terminal would obey: control characters but for tabs and line ends as ^X.
package func harmless(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { isControl($0) && $0 != "\n" && $0 != "\t" }) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
        if scalar == "\n" || scalar == "\t" || !isControl(scalar) {
            result.unicodeScalars.append(scalar)
        } else if scalar.value < 0x80 {
            result += "^" + String(Character(Unicode.Scalar(UInt8(scalar.value ^ 0x40))))
        } else {
            result += "\u{FFFD}"
        }
    }
    return result
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .control }
