// The classes of characters, and what counts as UTF-8.

import LLM
import Testing

@Test func `characters have the classes of Unicode 16`() {
    let samples: [(String, CharacterClass)] = [
        ("aZªµéĀ가힣ᄀㄱ日あǅʰ\u{10348}", .letter), ("09½²Ⅷ٣३①\u{1D7D8}", .number),
        (" \t\n\u{B}\u{C}\r\u{85}\u{A0}\u{1680}\u{2003}\u{2028}\u{202F}\u{3000}", .space),
        ("!'_~\u{301}\u{200B}\u{FEFF}\u{180E}😀\0\u{7F}\u{1C}\u{E000}\u{10FFFF}", .other),
    ]
    for (text, kind) in samples {
        for scalar in text.unicodeScalars { #expect(CharacterClasses.shared(scalar.value) == kind, "\(scalar.value)") }
    }
}

@Test func `well-formed UTF-8 is what the standard library decodes`() {
    for lead in UInt8.min...UInt8.max {
        for second in stride(from: 0, through: 255, by: 5) {
            for third: UInt8 in [0x00, 0x41, 0x80, 0xBF, 0xC0] {
                let bytes = [lead, UInt8(second), third, 0x80]
                let valid = String(validating: bytes, as: UTF8.self) != nil
                #expect(bytes.withUnsafeBufferPointer { firstInvalidUTF8(in: $0) == nil } == valid, "\(bytes)")
            }
        }
    }
}

@Test func `every scalar reads back from its UTF-8, forwards and backwards`() {
    for value in stride(from: UInt32(0), to: 0x110000, by: 13) {
        guard let scalar = Unicode.Scalar(value) else { continue }
        let bytes = Array(String(Character(scalar)).utf8)
        bytes.withUnsafeBufferPointer { bytes in
            let forward = CharacterClasses.shared.character(at: 0, in: bytes)
            let backward = CharacterClasses.shared.character(before: bytes.count, in: bytes)
            #expect(forward == (CharacterClasses.shared(value), bytes.count))
            #expect(backward == forward)
        }
    }
}

@Test func `letters that scanners pass over quickly are letters to all of them`() {
    for scalar in [UInt32](0x41...0x5A) + [UInt32](0x61...0x7A) + [UInt32](0x3131...0x318E) + [UInt32](0xAC00...0xD7A3)
    {
        let flags = CharacterClasses.shared.flags(scalar)
        #expect(CharacterClasses.shared(scalar) == .letter && flags & CharacterFlag.word != 0)
        #expect(flags & CharacterFlag.punctuation == 0)
    }
}

@Test func `text is found to be UTF-8, and its characters counted, as one by one`() {
    var random = Xorshift(seed: 31)
    for round in 0..<2000 {
        let text = hardText(&random, length: random.below(20), invalid: round % 2 == 0)
        text.withUnsafeBufferPointer { text in
            var position = 0
            var invalid: Int?
            while position < text.count, invalid == nil {
                let length = wellFormedLength(at: position, in: text)
                if length == 0 { invalid = position }
                position += length
            }
            #expect(firstInvalidUTF8(in: text) == invalid)
            #expect(characterCount(of: text) == text.count { $0 & 0xC0 != 0x80 })
        }
    }
}

@Test func `bytes that are not text are found wherever they are in a long text`() {
    // What begins, continues, or breaks a character in every way, around the borders of the kernel's chunks.
    let bytes: [UInt8] = [0, 0x41, 0x80, 0x90, 0xA0, 0xC1, 0xC2, 0xE0, 0xE1, 0xED, 0xF0, 0xF3, 0xF4]
    for before in [0, 1, 2, 3, 256, 257, 258, 259, 260, 400] {
        var text = [UInt8](repeating: 0x61, count: before + 4 + 300)
        for (a, b) in bytes.flatMap({ a in bytes.map { (a, $0) } }) {
            for (c, d) in bytes.flatMap({ c in bytes.map { (c, $0) } }) {
                (text[before], text[before + 1], text[before + 2], text[before + 3]) = (a, b, c, d)
                text.withUnsafeBufferPointer { text in
                    var position = before
                    while position < text.count, text[position] > 0, wellFormedLength(at: position, in: text) > 0 {
                        position += wellFormedLength(at: position, in: text)
                    }
                    let expected = position < text.count ? position : nil
                    if firstNonText(in: text) != expected { Issue.record("\(a) \(b) \(c) \(d) at \(before)") }
                }
            }
        }
    }
}

@Test func `NUL is UTF-8 but not text`() {
    func check(_ text: [UInt8], _ invalid: Int?, _ nonText: Int?, _ replaced: [UInt8]) {
        text.withUnsafeBufferPointer { text in
            var count = 0
            #expect(firstInvalidUTF8(in: text) == invalid && firstNonText(in: text) == nonText)
            #expect(replacingNonText(in: text, count: &count) == replaced)
        }
    }
    check([], nil, nil, [])
    check([97, 0, 98], nil, 1, [97, 0xEF, 0xBF, 0xBD, 98])
    check([0, 0xFF], 1, 0, [0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD])
    check([0xFF, 0], 0, 0, [0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD])
    check([0xEA, 0xB0, 0], 0, 0, [0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD])
}
