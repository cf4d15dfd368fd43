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
