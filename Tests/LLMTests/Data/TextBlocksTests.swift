// Blocks, sections and positions of text files.

import Foundation
import LLM
import Testing

@Test(
    arguments: [
        .afterLine, .afterLineOrWord, .betweenWords(.gpt2), .betweenWords(.o200k), .beforeLineEnds, .nowhere,
    ] as [TextCut])
func `blocks and their sections are the file`(cut: TextCut) throws {
    var random = Xorshift(seed: 41)
    try withTemporaryDirectory { directory in
        for round in 0..<40 {
            let text = hardText(&random, length: 1 + random.below(300), invalid: round % 2 == 0)
            try write(text, to: directory + "/text")
            guard let file = try? openTexts([directory + "/text"])[0] else { continue }
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
        let file = try openTexts([directory + "/text"])[0]
        for (offset, expected) in [
            (0, "line 1, byte 1"), (3, "line 1, byte 4"), (4, "line 2, byte 1"), (size - 1, "line 2, byte \(size - 4)"),
            (size, "line 3, byte 1"), (size + 1, "line 4, byte 1"), (2 * size, "line 5, byte 2"),
            (2 * size + 99, "line 6, byte 98"),
        ] {
            #expect(try lineAndByte(in: file, at: offset) == expected)
        }
        // A CR and its LF on two sides of a border; a CR alone; the line end belongs to its line.
        text = [UInt8](repeating: 97, count: size + 100)
        for (offset, byte) in [(size - 1, 13), (size, 10), (size + 5, 13), (size + 7, 13), (size + 8, 13)] {
            text[offset] = UInt8(byte)
        }
        try write(text, to: directory + "/text2")
        let other = try openTexts([directory + "/text2"])[0]
        for (offset, expected) in [
            (size, "line 1, byte \(size + 1)"), (size + 1, "line 2, byte 1"), (size + 5, "line 2, byte 5"),
            (size + 6, "line 3, byte 1"), (size + 8, "line 4, byte 1"), (size + 9, "line 5, byte 1"),
        ] {
            #expect(try lineAndByte(in: other, at: offset) == expected)
        }
    }
}

@Test(arguments: [false, true])
func `every section is checked, and replaced on request`(lossy: Bool) throws {
    var random = Xorshift(seed: 47)
    try withTemporaryDirectory { directory in
        for round in 0..<60 {
            var text = hardText(&random, length: 200, invalid: round % 3 == 0)
            if round % 2 == 0 { text = text.filter { $0 != 0 } }
            try write(text, to: directory + "/text")
            let file = try openTexts([directory + "/text"])[0]
            var pieces: [Int: [UInt8]] = [:]
            var counts: [Int: Int] = [:]
            let lock = NSLock()
            let error = userError {
                try forEachSection(of: file, sectionSize: 40, cut: .betweenWords(.gpt2), lossy: lossy) { _, section in
                    var count = 0
                    var piece: [UInt8] = []
                    section.withText(count: &count) { piece = Array($0) }
                    lock.withLock {
                        pieces[section.offset] = piece
                        counts[section.offset] = count
                    }
                }
            }
            let wrong = text.withUnsafeBufferPointer { firstNonText(in: $0) }
            #expect((error == nil) == (lossy || wrong == nil))
            guard error == nil else {
                let place = try lineAndByte(in: file, at: try #require(wrong))
                #expect(error?.message.hasPrefix("\(file.path), \(place): ") == true)
                continue
            }
            var count = 0
            let whole = text.withUnsafeBufferPointer { replacingNonText(in: $0, count: &count) }
            #expect(pieces.sorted { $0.key < $1.key }.flatMap { $0.value } == whole)
            #expect(counts.values.reduce(0, +) == count)
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
