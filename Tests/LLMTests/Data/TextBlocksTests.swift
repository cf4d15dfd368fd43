// Blocks, sections and positions of text files.

import Foundation
import LLM
import Testing

@Test(arguments: [.afterLine, .afterLineOrWord, .betweenWords, .beforeLineEnds, .nowhere] as [TextCut])
func `blocks and their sections are the file`(cut: TextCut) throws {
    var random = Xorshift(seed: 41)
    try withTemporaryDirectory { directory in
        for round in 0..<40 {
            let text = hardText(&random, length: 1 + random.below(300), invalid: round % 2 == 0)
            try write(text, to: directory + "/text")
            let file = try InputFile(directory + "/text", hint: "")
            var read: [UInt8] = []
            var blocks = 0
            try forEachBlock(of: file, blockSize: 8 + random.below(60), cut: cut) { block, offset in
                #expect(offset == read.count)
                let sections = cut.sections(of: block, count: 1 + random.below(5))
                for range in sections { #expect(!range.isEmpty) }
                #expect(sections.flatMap { Array(block[$0]) } == Array(block))
                read += block
                blocks += 1
            }
            #expect(read == text)
            #expect(cut == .nowhere ? blocks == 1 : text.count < 500 || blocks > 1)
        }
    }
}

@Test func `a position in a long file is found`() throws {
    try withTemporaryDirectory { directory in
        // Line ends just before, at and after the borders of the chunks that are searched.
        let size = 1 << 20
        var text = [UInt8](repeating: 97, count: 2 * size + 100)
        for offset in [3, size - 1, size, 2 * size - 2, 2 * size + 1] { text[offset] = 10 }
        try write(text, to: directory + "/text")
        let file = try InputFile(directory + "/text", hint: "")
        for (offset, expected) in [
            (0, "line 1, byte 1"), (3, "line 1, byte 4"), (4, "line 2, byte 1"), (size - 1, "line 2, byte \(size - 4)"),
            (size, "line 3, byte 1"), (size + 1, "line 4, byte 1"), (2 * size, "line 5, byte 2"),
            (2 * size + 99, "line 6, byte 98"),
        ] {
            #expect(try lineAndByte(in: file, at: offset) == expected)
        }
    }
}

@Test func `a copy of a stream is the stream`() throws {
    try withTemporaryDirectory { directory in
        let text = (0..<(5 << 19) + 7).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        try write(text, to: directory + "/text")
        let handle = try #require(FileHandle(forReadingAtPath: directory + "/text"))
        let file = try copy(of: handle.fileDescriptor, named: "a stream")
        #expect(file.path == "a stream" && file.size == text.count)
        #expect(try file.read(file.size, of: UInt8.self, at: 0) == text)
    }
}

@Test func `a directory stands for the files below it, in order`() throws {
    try withTemporaryDirectory { directory in
        try createDirectory(directory + "/b")
        for (name, text) in [("c", "3"), ("a", "1"), ("b/x", "2"), (".hidden", "4"), ("empty", "")] {
            try write(Array(text.utf8), to: "\(directory)/\(name)")
        }
        #expect(try openTexts([directory]).map(\.path) == ["a", "b/x", "c"].map { "\(directory)/\($0)" })
    }
}
