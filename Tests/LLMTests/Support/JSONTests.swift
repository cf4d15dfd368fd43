// JSON as it stands in files of any origin.

import Foundation
import LLM
import Testing

private func parse(_ text: String, mostValues: Int = 1 << 23) throws -> JSON {
    try JSON(Array(text.utf8), name: "file.json", mostValues: mostValues)
}

@Test func `a file of too many values is refused before it takes memory`() throws {
    // Keys are not counted.
    for (text, values) in [
        ("[1,\"a\",null,[],{}]", 6), ("{\"a\":{\"b\":[true,0.5]}}", 5), ("7", 1), ("[[[[]]]]", 4),
    ] {
        #expect(throws: Never.self) { try parse(text, mostValues: values) }
        let error = userError { _ = try parse(text, mostValues: values - 1) }
        #expect(error?.message.contains("it has more than \(values - 1) values") == true)
    }
    let many = "[" + String(repeating: "0,", count: 1 << 23) + "0]"
    #expect(userError { _ = try parse(many) }?.message.contains("more than 8,388,608 values") == true)
}

@Test(arguments: [
    ("0", 0.0), ("-0", -0.0), ("7", 7), ("123456789012345", 123_456_789_012_345),
    ("1234567890123456", 1_234_567_890_123_456),
    ("9007199254740993", 9_007_199_254_740_992), ("1e3", 1000), ("-2.5E-1", -0.25),
    ("18446744073709551615", 18_446_744_073_709_551_616),
])
func `numbers are doubles`(text: String, value: Double) throws {
    #expect(try parse(text).number?.bitPattern == value.bitPattern)
    #expect(try parse("[\(text) ]").text() == parse("[\n\(text)]").text())
}

@Test(arguments: [
    "1000000000000000000000", "9223372036854775808", "0.5", "1e300", "\"1\"", "null",
])
func `what is no whole number of 64 bits is none`(text: String) throws { #expect(try parse(text).int == nil) }

@Test(arguments: ["1e999", "NaN", "Infinity", "-Infinity", "nan", "+1", ".5", "-", "--1", "1-1", "0x10", "1_000", ""])
func `what is no number is an error`(text: String) {
    #expect(
        userError { _ = try parse("[\(text.isEmpty ? "," : text)]") }?.message.hasPrefix("file.json, line 1") == true)
}

@Test func `strings end where they should`() throws {
    #expect(try parse("\"a가\\u0041\\n\\\"\\\\b\"").text == "a가A\n\"\\b")
    for text in ["\"a", "\"a\\", "\"a\\x\"", "\"a\u{1}\"", "\"a\nb\"", "\"\\u12\"", "\"\\ud800\""] {
        #expect(throws: UserError.self) { try parse(text) }
    }
    #expect(throws: UserError.self) { try JSON(Array("{\"a\":1,\"a\":1}".utf8), name: "x", allowsDuplicateKeys: false) }
}

@Test func `the elements of an array come with their lines`() throws {
    func elements(_ text: String) throws -> [String] {
        var result: [String] = []
        try JSON.forEachElement(of: Array(text.utf8), name: "a.json") {
            result.append("\($1): \(String(decoding: $0.text(), as: UTF8.self))")
        }
        return result
    }
    #expect(try elements(" [1,\n\n\"가\", [\n2],\nnull]\n") == ["1: 1", "3: \"가\"", "3: [\n  2\n]", "5: null"])
    #expect(try elements("[]").isEmpty && elements("\n[ \n]").isEmpty)
    for text in ["", "{}", "1", "[1", "[1,]", "[1] 2", "[1 2]", "[\u{1}]"] {
        expectUserError(text) { _ = try elements(text) }
    }
    #expect(
        userError { _ = try elements("[1,\n2,\n x]") }?.message == "a.json, line 3, byte 8: this is not a JSON value")
    #expect(
        userError { _ = try JSON(Array("{\n,".utf8), name: "a.json", line: 7) }?.message
            == "a.json, line 8, byte 2: a key in quotes is missing")
}
