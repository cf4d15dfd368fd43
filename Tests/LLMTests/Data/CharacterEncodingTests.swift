// Encodings are recognized by samples of each, and not seen where they are not.

import Foundation
import LLM
import Testing

private let samples = [
    "가나다라 마바사 아자차카 타파하, 가가 개개\n", "hello world, one line\n", "Ça été déjà vu là-bas\n", "日本語の文章です。 カタカナ\n",
    "중간에 😀 그림 문자 😀😀\n",
]

@Test(arguments: samples)
func `UTF-16 is recognized without a mark`(text: String) {
    for copies in [1, 200] {
        let units = Array(String(repeating: text, count: copies).utf16)
        for size in [2 * units.count, 2 * units.count - 1] {
            let little = Array(units.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }.prefix(size))
            let big = Array(units.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }.prefix(size))
            #expect(CharacterEncoding(head: little) == .utf16LittleEndian)
            #expect(CharacterEncoding(head: big) == .utf16BigEndian)
        }
    }
}

@Test(arguments: samples)
func `UTF-8 is not taken for another encoding, even with some zeros in it`(text: String) {
    let bytes = Array(String(repeating: text, count: 20).utf8)
    #expect(CharacterEncoding(head: bytes) == nil && CharacterEncoding(head: Array(bytes.dropLast(2))) == nil)
    var random = Xorshift(seed: 3)
    for count in [1, 5, 40] {
        var zeros = bytes
        for _ in 0..<count { zeros.insert(0, at: random.below(zeros.count)) }
        // An insertion cuts some characters; a text of ASCII stays UTF-8.
        if text.utf8.allSatisfy({ $0 < 0x80 }) { #expect(CharacterEncoding(head: zeros) == nil) }
        var line = Array(String(repeating: text + "\0", count: 20).utf8)
        #expect(CharacterEncoding(head: line) == nil)
        line.removeLast()
        #expect(CharacterEncoding(head: line) == nil)
    }
}

@Test func `numbers in memory are not UTF-16`() {
    let counts = (0..<500).map { UInt16($0 % 300) }
    #expect(CharacterEncoding(head: counts.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }) == nil)
    #expect(CharacterEncoding(head: counts.flatMap { [UInt8($0 & 255), 0, 0, 0] }) == nil)
    #expect(CharacterEncoding(head: [UInt8](repeating: 0, count: 100)) == nil)
}

/// "한국어 문장", "中文的文章是这样的", "日本語の文章", "à vu ÈÉ", each in an encoding of its own.
@Test func `CP949 is told from the encodings that look like it`() {
    let korean: [UInt8] = [0xC7, 0xD1, 0xB1, 0xB9, 0xBE, 0xEE, 0x20, 0xB9, 0xAE, 0xC0, 0xE5]
    let gbk: [UInt8] = [0xD6, 0xD0, 0xCE, 0xC4, 0xB5, 0xC4, 0xCE, 0xC4, 0xD5, 0xC2, 0xCA, 0xC7, 0xD5, 0xE2, 0xD1, 0xF9]
    let shiftJIS: [UInt8] = [0x93, 0xFA, 0x96, 0x7B, 0x8C, 0xEA, 0x82, 0xCC, 0x95, 0xB6, 0x8F, 0xCD]
    let eucJP: [UInt8] = [0xC6, 0xFC, 0xCB, 0xDC, 0xB8, 0xEC, 0xA4, 0xCE, 0xCA, 0xB8, 0xBE, 0xCF]
    // With two letters, ÈÉ, that are a syllable.
    let latin: [UInt8] = [0xE0, 0x20, 0x76, 0x75, 0x20, 0xC8, 0xC9]
    let utf8 = Array("한국어 문장".utf8)
    #expect(CharacterEncoding.isCP949(korean) && CharacterEncoding.isCP949(korean.dropLast()))
    // 뷁, which EUC-KR lacks, among others.
    #expect(CharacterEncoding.isCP949(korean + [0x94, 0xEE]))
    for other in [gbk, shiftJIS, eucJP, latin, utf8, Array("only ASCII".utf8), [], [0xC7]] {
        #expect(!CharacterEncoding.isCP949(other), "\(other)")
    }
}
