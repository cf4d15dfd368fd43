// Text as it comes, in whole characters, up to a stop text.

import Foundation
import LLM
import Testing

/// What is shown after each piece, and at the end.
private func shown(_ pieces: [[UInt8]], stops: [String] = []) -> [String] {
    var stream = TextStream(stops: stops.map { Array($0.utf8) })
    return pieces.map { stream.add($0) } + [stream.finish()]
}

@Test func `a Hangul syllable in three tokens is shown when it is whole`() {
    #expect(shown([[0xEC], [0x95], [0x88], [0xEB, 0x85], [0x95]]) == ["", "", "안", "", "녕", ""])
    #expect(shown([[0x61, 0xEC, 0x95], [0x88, 0xEB], [0x85, 0x95, 0x62]]) == ["a", "안", "녕b", ""])
}

@Test(arguments: ["안녕하세요, 세상!", "a½٣é日😀\u{1F468}\u{200D}\u{1F469}", "e\u{301}각\u{1112}\u{1161}", ""])
func `cut anywhere, a text comes out as it is`(text: String) {
    let bytes = Array(text.utf8)
    for size in 1...5 {
        let pieces = stride(from: 0, to: bytes.count, by: size).map { Array(bytes[$0..<min($0 + size, bytes.count)]) }
        let parts = shown(pieces)
        // By bytes: == would take two spellings of a character for one.
        #expect(parts.joined().utf8.elementsEqual(bytes))
        #expect(!parts.contains { $0.unicodeScalars.contains("\u{FFFD}") })
    }
}

@Test func `half a character at the end is not shown`() {
    #expect(shown([Array("안녕".utf8), [0xED], [0x95]]) == ["안녕", "", "", ""])
    #expect(shown([[0xF0, 0x9F, 0x98]]) == ["", ""])
}

@Test func `bytes that are no UTF-8 come out as they would in one piece`() {
    var random = Xorshift(seed: 1)
    for _ in 0..<300 {
        let bytes = hardText(&random, length: 12, invalid: true) + Array("end".utf8)
        var pieces: [[UInt8]] = []
        var position = 0
        while position < bytes.count {
            let end = min(bytes.count, position + 1 + random.below(4))
            pieces.append(Array(bytes[position..<end]))
            position = end
        }
        #expect(shown(pieces).joined().utf8.elementsEqual(String(decoding: bytes, as: UTF8.self).utf8))
    }
    // What can no longer become a character is not waited for.
    #expect(shown([[0xC0], [0x80], [0xED, 0xA0], [0xF5]]).dropLast().allSatisfy { !$0.isEmpty })
}

@Test func `the text ends before a stop text, wherever the tokens cut it`() {
    let bytes = Array("사과\n\n배".utf8)
    for size in 1...bytes.count {
        let pieces = stride(from: 0, to: bytes.count, by: size).map { Array(bytes[$0..<min($0 + size, bytes.count)]) }
        #expect(shown(pieces, stops: ["\n\n"]).joined() == "사과", "pieces of \(size)")
        #expect(shown(pieces, stops: ["배", "과\n"]).joined() == "사", "pieces of \(size)")
    }
}

@Test func `what only looked like a stop text is shown once that is clear`() {
    #expect(shown([Array("a\n".utf8), Array("b".utf8)], stops: ["\n\n"]) == ["a", "\nb", ""])
    #expect(shown([Array("ab".utf8), Array("ab".utf8), Array("c".utf8)], stops: ["ababd"]) == ["", "", "ababc", ""])
    #expect(shown([Array("aba".utf8), Array("bac".utf8)], stops: ["abac"]) == ["", "ab", ""])
    #expect(shown([Array("end".utf8)], stops: ["ends"]) == ["", "end"])
    #expect(shown([Array("x".utf8)], stops: ["", "x"]) == ["", ""])
}

@Test func `white space before an answer is left out, in whatever pieces it comes`() {
    for pieces in [[" ", "\n", " a", " b "], [" \n a b "], ["a b "], [" "]] {
        var stream = TextStream(stops: [Array("!".utf8)], trimsStart: true)
        let text = pieces.map { stream.add(Array($0.utf8)) }.joined() + stream.finish()
        #expect(text == (pieces == [" "] ? "" : "a b "))
    }
}
