// What tokenize tells of a corpus.

import Foundation
import LLM
import Testing

@Test func `tokenize says what rows cost, and how many documents it cut`() throws {
    try withTemporaryDirectory { folder in
        try write(try bytes(fixture("tokenizer_600.json")), to: folder + "/tokenizer.json")
        // Five tokens with the end-of-text before them and the line's end, eleven and three.
        try write(Array("a b c\n\na b c d e f\nz\n".utf8), to: folder + "/text")
        func tokenize(_ more: [String]) throws -> ProgramResult {
            let arguments = ["-k", ".", "-i", "text", "-d", "line", "--val-fraction", "0", "-o", "out"] + more
            return try run("tokenize", arguments, in: folder)
        }
        func expectLines(_ expected: [Substring], _ more: String...) throws {
            let result = try tokenize(more)
            let lines = result.output.split(separator: "\n").filter { $0.hasPrefix("rows ") || $0.contains(" cut") }
            #expect(lines == expected, "\(more): \(result.errors)")
        }
        try expectLines([])
        try expectLines(["rows 3 of 11 tokens, 42.4% padding"], "--row-length", "11")
        try expectLines(["rows 3 of 11 tokens, 42.4% padding", "0 documents cut"], "--row-length", "11", "--cut")
        try expectLines(["rows 5 of 5 tokens, 24.0% padding", "1 document cut"], "--row-length", "5", "--cut")
        let refused = try tokenize(["--row-length", "10"])
        #expect(refused.status == 1 && refused.errors.contains("document 2 is longer than a row of 10 tokens"))
        #expect(refused.errors.contains("--cut"))
        let without = try tokenize(["--cut"])
        #expect(without.status == 2 && without.errors.contains("add --row-length T"))
    }
}

@Test func `the words that tokenize suggests are added through a pipe`() throws {
    try withTemporaryDirectory { folder in
        try write(try bytes(fixture("tokenizer_600.json")), to: folder + "/tokenizer.json")
        try write(Array("tabernacle\nthe tabernacle, a tabernacle of stones\nof stones\n".utf8), to: folder + "/text")
        let suggested = try run("tokenize", ["-k", ".", "--suggest", "3", "-i", "text"], in: folder)
        #expect(suggested.status == 0, "\(suggested.errors)")
        let lines = suggested.output.split(separator: "\n").map { $0.split(separator: "\t") }
        #expect(lines.allSatisfy { $0.count == 4 && Int($0[1]) != nil && Int($0[2]) != nil && $0[3].hasSuffix("%") })
        #expect(lines.map { "\($0[0])" } == ["tabernacle", " stones", " tabernacle"])
        #expect(lines.map { Int($0[1]) } == [3, 2, 2])
        // The share of the texts' tokens that the first saves alone.
        let tokenizer = try Tokenizer(path: folder + "/tokenizer.json")
        let text = try bytes(folder + "/text")
        let (before, after) = (
            try tokenizer.encode(text).count, try tokenizer.adding([Array("tabernacle".utf8)]).encode(text).count
        )
        #expect(lines[0][3] == String(format: "%.1f%%", 100 * Double(before - after) / Double(before)))
        #expect(suggested.errors.contains("with these \(lines.count) words added"))
        let list = suggested.output + "\nlast\n"
        let added = try run("tokenize", ["-k", ".", "--add-token", "-", "-o", "larger"], in: folder, input: list)
        #expect(added.status == 0, "\(added.errors)")
        for (index, word) in (lines.map { String($0[0]) } + ["last"]).enumerated() {
            #expect(added.output.contains("\(word.debugDescription) has id \(600 + index)\n"), "\(added.output)")
        }
        // A list that an editor wrote.
        let edited = "\u{FEFF}first\r\n\n \nwith a space \t2\t3\r\n"
        let typed = try run("tokenize", ["-k", ".", "--add-token", "-", "-o", "typed"], in: folder, input: edited)
        #expect(
            typed.output.hasPrefix("\"first\" has id 600\n\"with a space\" has id 601\n"),
            "\(typed.output) \(typed.errors)")
        let nul = try run("tokenize", ["-k", ".", "--add-token", "-", "-o", "b"], in: folder, input: "a1\n\n\nb\0c\n")
        #expect(nul.status == 1 && nul.errors.contains("error: line 4 of standard input"), "\(nul.errors)")
        try expectRefusal(
            "standard input has no word", hint: "--suggest", of: "tokenize",
            ["-k", ".", "--add-token", "-", "-o", "b"], in: folder)
        try expectRefusal(
            "--suggest prints words", of: "tokenize", ["-k", ".", "--suggest", "3", "--text", "a"], in: folder,
            status: 2)
        try expectRefusal(
            "--input is missing", of: "tokenize", ["-k", ".", "--suggest", "3"], in: folder, status: 2)
    }
}

@Test func `tokenize shows a text under several vocabularies`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        let one = try run("tokenize", ["-k", "a", "--text", "the windows 12"], in: folder)
        #expect(one.output.hasPrefix("ids ") && one.output.hasSuffix(" tokens for 14 bytes\n"))
        let both = try run("tokenize", ["-k", "a", "-k", "b", "--text", "the windows 12"], in: folder)
        #expect(both.status == 0, "\(both.errors)")
        let lines = both.output.split(separator: "\n")
        #expect(lines.count == 6 && lines[0].hasPrefix("a: ") && lines[3].hasPrefix("b: "))
        #expect(lines[1].hasPrefix("pieces  \"") && lines[2].hasPrefix("ids     "))
        // The ids are those of each alone.
        let other = try run("tokenize", ["-k", "b", "--text", "the windows 12"], in: folder)
        for (output, line) in [(one.output, lines[2]), (other.output, lines[5])] {
            let ids = output.split(separator: "\n")[0].split(separator: " ").dropFirst()
            #expect(line.split(separator: " ").dropFirst().elementsEqual(ids))
        }
        #expect(lines[2] != lines[5])
        try expectRefusal(
            "2 tokenizers are only for --text", of: "tokenize",
            ["-k", "a", "b", "-i", "data/tokenizer.json", "-o", "x"], in: folder, status: 2)
    }
}

@Test func `who adds a word is told what becomes of it`() throws {
    try withTemporaryDirectory { folder in
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "##s"]
        try write(Array(words.joined(separator: "\n").utf8 + [10]), to: "\(folder)/vocab.txt")
        let command = ["-k", "vocab.txt", "--add-token", "Seoul", "seoul", "a", "[CLS]", "\u{200B}", "-o", "more"]
        let result = try run("tokenize", command, in: folder)
        #expect(
            result.output.split(separator: "\n").dropLast() == [
                "\"Seoul\" has id 8",
                "\"seoul\" has id 9, and is never found: texts with it have \"Seoul\"",
                "\"a\" has id 5, which it had already; it is found inside other words, too, from here on",
                "\"[CLS]\" has id 2, which it had already",
                "\"\u{200B}\" has id 10, and is never found: texts with it have nothing",
            ], "\(result.output)\(result.errors)")
    }
}
