// What is text, and what an error says about what is not.

import Foundation
import LLM
import Testing

/// The error of a file with these bytes.
private func refusal(_ bytes: [UInt8], named name: String = "book.txt", inFolder: Bool = false) throws -> UserError? {
    var error: UserError?
    try withTemporaryDirectory { directory in
        try write(bytes, to: "\(directory)/\(name)")
        let found = userError { try checkTexts(try openTexts([inFolder ? directory : "\(directory)/\(name)"])) }
        error = found.map {
            func short(_ text: String) -> String {
                text.replacing(directory + "/", with: "").replacing(directory, with: "FOLDER")
            }
            return UserError(short($0.message), hint: short($0.hint))
        }
    }
    return error
}

@Test func `text is UTF-8 without NUL`() throws {
    #expect(try refusal(Array("한국어, English, \u{1F9EA}\r\n\t\u{FEFF}\u{1}\u{7F}".utf8)) == nil)
    #expect(try refusal([0xEF, 0xBB, 0xBF] + Array("a".utf8)) == nil)
    let nul = try refusal(Array("one\ntw\0o".utf8))
    #expect(nul?.message == "book.txt, line 2, byte 3: a NUL byte, which no text has")
    let binary = try refusal(Array("one\n".utf8) + [0x89, 0x50, 1, 0, 3, 2])
    #expect(binary?.message == "book.txt, line 2, byte 1: not UTF-8, and NUL bytes after it")
    #expect(binary?.hint.hasPrefix("is it a text file? --lossy") == true)
    let other = try refusal(Array("caf".utf8) + [0xE9, 0x20] + Array("cr".utf8) + [0xE8] + Array("me".utf8))
    #expect(other?.message == "book.txt, line 1, byte 4: not UTF-8")
    #expect(
        other?.hint.hasPrefix("convert it: iconv -f ENCODING -t UTF-8 book.txt > book-utf8.txt; or --lossy") == true)
    // After the beginning that is looked at when the file is opened.
    let late = try refusal([UInt8](repeating: 10, count: 100_000) + [0xC0, 0x80])
    #expect(late?.message == "book.txt, line 100001, byte 1: not UTF-8")
}

@Test func `a file that was cut off inside a character is told from another encoding`() throws {
    for character in ["é", "한", "\u{800}", "\u{D7FF}", "\u{1F9EA}", "\u{10FFFF}"] {
        let bytes = Array(character.utf8)
        for length in 1..<bytes.count {
            let error = try refusal([97] + bytes[..<length])
            #expect(error?.message == "book.txt, line 1, byte 2: the file ends inside a character")
            #expect(error?.hint.contains("copy it again") == true)
            #expect(try refusal([97] + bytes[..<length] + [97])?.message == "book.txt, line 1, byte 2: not UTF-8")
        }
    }
    #expect(try refusal([97, 0xFF])?.message == "book.txt, line 1, byte 2: not UTF-8")
    #expect(try refusal([97, 0xED, 0xA0])?.message == "book.txt, line 1, byte 2: not UTF-8")
}

@Test func `the conversion that fits is named`() throws {
    // 안녕하세요 and a line end.
    let korean: [UInt8] = [0xBE, 0xC8, 0xB3, 0xE7, 0xC7, 0xCF, 0xBC, 0xBC, 0xBF, 0xE4, 10]
    let error = try refusal(Array("line\n".utf8) + korean + korean)
    #expect(error?.message == "book.txt, line 2, byte 1: not UTF-8 but, it seems, CP949 (EUC-KR)")
    #expect(error?.hint == "convert it: iconv -f CP949 -t UTF-8 book.txt > book-utf8.txt")
    for (name, command) in [
        ("book", "book > book-utf8"), ("a.b.csv", "a.b.csv > a.b-utf8.csv"),
        ("my book.txt", "'my book.txt' > 'my book-utf8.txt'"), ("it's", "'it'\\''s' > 'it'\\''s-utf8'"),
        ("소설.txt", "소설.txt > 소설-utf8.txt"),
    ] {
        #expect(try refusal(korean, named: name)?.hint == "convert it: iconv -f CP949 -t UTF-8 \(command)")
    }
    let inFolder = try refusal(korean, inFolder: true)
    #expect(inFolder?.hint.hasSuffix("> book-utf8.txt, and move this file out of FOLDER") == true)

    let wide = Array("가나다 abc\n".utf16)
    let little = wide.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
    let big = wide.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
    for (bytes, name) in [
        (little, "UTF-16LE"), (big, "UTF-16BE"), ([0xFF, 0xFE] + little, "UTF-16"), ([0xFE, 0xFF] + big, "UTF-16"),
        ([0xFF, 0xFE, 0, 0, 97, 0, 0, 0], "UTF-32"), ([0, 0, 0xFE, 0xFF, 0, 0, 0, 97], "UTF-32"),
    ] {
        let error = try refusal(bytes)
        #expect(error?.message == "book.txt is \(name), not UTF-8")
        #expect(error?.hint == "convert it: iconv -f \(name) -t UTF-8 book.txt > book-utf8.txt")
    }
}

@Test func `lines are without their ends, and the last needs none`() throws {
    try withTemporaryDirectory { directory in
        for (text, lines) in [
            ("\n", [""]), ("a", ["a"]), ("a\n", ["a"]), ("a\r\nb", ["a", "b"]),
            ("a\n\nb\n\n", ["a", "", "b", ""]),
            ("\u{FEFF}a\r\n", ["a"]), ("\r\na\rb\r", ["", "a\rb"]),
        ] as [(String, [String])] {
            try write(Array(text.utf8), to: "\(directory)/lines.txt")
            let read = try openTexts(["\(directory)/lines.txt"])[0].lines()
            #expect(read.map { String(decoding: $0, as: UTF8.self) } == lines, "\(text.debugDescription)")
        }
    }
}
