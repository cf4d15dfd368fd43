// The counts of words, compared with dictionaries.

import Foundation
import LLM
import Testing

@Test func `words are spread over the partitions of a count`() throws {
    let words = countWords(try contents(of: fixture("tokenizer_corpus.txt")), partitions: 4)
    #expect(words.tables.allSatisfy { 6 * $0.count > words.count })
}

@Test func `bytes that are not UTF-8 are replaced on request, and counted`() throws {
    try withTemporaryDirectory { directory in
        try write([97, 0xFF, 98, 10], to: directory + "/a.txt")
        let files = try openTexts([directory])
        #expect(throws: UserError.self) { try WordCounts.counting(linesOf: files) }
        let (words, findings) = try WordCounts.counting(linesOf: files, lossy: true)
        #expect(findings.replaced == 1 && findings.bytes == 4)
        var seen: [[UInt8]] = []
        words.forEach { word, _ in seen.append(Array(word)) }
        #expect(Set(seen) == [[97], [0xEF, 0xBF, 0xBD], [98], [10]])
    }
}

@Test func `a training text that is not UTF-8 is refused with line and byte`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/text.txt"
        try write(Array("first\nsec".utf8) + [0xFF] + Array("ond\n".utf8), to: path)
        let error = userError { _ = try WordCounts.counting(linesOf: try openTexts([path])) }
        #expect(error?.message == "\(path), line 2, byte 4: not UTF-8")
    }
}

@Test(arguments: [.byteLevel(addsPrefixSpace: false, words: .gpt2), .bert] as [PreTokenizer])
func `the words are those of the text with replaced bytes, and without its mark`(preTokenizer: PreTokenizer) throws {
    var random = Xorshift(seed: 67)
    try withTemporaryDirectory { directory in
        for round in 0..<20 {
            let text = hardText(&random, length: 300, invalid: true)
            try write((round % 2 == 0 ? [0xEF, 0xBB, 0xBF] : []) + text, to: directory + "/text")
            var replaced = 0
            let whole = text.withUnsafeBufferPointer { replacingNonText(in: $0, count: &replaced) }
            var expected = WordCounts()
            whole.withUnsafeBufferPointer { expected.add(linesOf: $0, preTokenizer) }
            let (words, findings) = try WordCounts.counting(
                linesOf: try openTexts([directory + "/text"]), preTokenizer, lossy: true, sectionSize: 50)
            func list(_ words: WordCounts) -> [[UInt8]: Int64] {
                var list: [[UInt8]: Int64] = [:]
                words.forEach { list[Array($0), default: 0] += $1 }
                return list
            }
            #expect(list(words) == list(expected))
            #expect(findings.replaced == replaced && replaced > 0 && findings.bytes == text.count)
            #expect(findings.characters == whole.count { $0 & 0xC0 != 0x80 })
        }
    }
}

/// Lines of words: a few frequent ones, and more rare ones than the table of recent words has entries.
private func manyWords(_ random: inout Xorshift, lines: Int) -> String {
    (0..<lines).map { _ in
        (0..<1 + random.below(12)).map { _ in
            random.below(2) == 0 ? "w\(random.below(50))" : "rare\(random.below(30_000))"
        }.joined(separator: " ") + (random.below(50) == 0 ? " " + String(repeating: "long", count: 20) : "")
    }.joined(separator: "\n")
}

@Test func `many distinct words are counted as by a dictionary, in blocks and sections of any size`() throws {
    var random = Xorshift(seed: 61)
    let text = manyWords(&random, lines: 20_000)
    var expected: [String: Int64] = [:]
    for line in text.split(separator: "\n") {
        for word in line.split(separator: " ") { expected[String(word), default: 0] += 1 }
    }
    #expect(expected.count > 20_000)
    try withTemporaryDirectory { directory in
        try write(Array(text.utf8), to: directory + "/text")
        let files = try openTexts([directory + "/text"])
        for sectionSize in [2 << 20, 100_000, 1000] {
            let (words, findings) = try WordCounts.counting(linesOf: files, .bert, sectionSize: sectionSize)
            var seen: [String: Int64] = [:]
            words.forEach { seen[String(decoding: $0, as: UTF8.self), default: 0] += $1 }
            #expect(seen == expected && words.count == expected.count)
            #expect(findings.bytes == text.utf8.count && findings.characters == text.count)
            #expect(findings.longestWord.count == 80)
        }
    }
}

@Test func `counts pass 32 bits`() {
    var table = WordTable()
    let word = Array("word".utf8)
    for _ in 0..<3 { word.withUnsafeBufferPointer { table.add($0, hash: 5 << 32, count: 3_000_000_000) } }
    table.forEach { #expect(Array($0) == word && $1 == 9_000_000_000) }
    #expect(table.count == 1 && table.byteCount == 4)
}

@Test func `an error in a later block names its line`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/text.txt"
        try write(Array(String(repeating: "line\n", count: 1000).utf8) + [97, 0xFF, 10], to: path)
        let error = userError {
            _ = try WordCounts.counting(linesOf: try openTexts([path]), sectionSize: 64)
        }
        #expect(error?.message == "\(path), line 1001, byte 2: not UTF-8")
    }
}
