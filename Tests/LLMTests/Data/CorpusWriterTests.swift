// Documents: no byte of a text is lost, whatever the text, the cuts and the number of threads.

import Foundation
import LLM
import Testing

/// The documents by their definition, line by line.
private func textbookDocuments(_ text: [UInt8], _ mode: DocumentMode) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    for (index, byte) in text.enumerated() {
        let isNew = index == 0 || text[index - 1] == 10 || (text[index - 1] == 13 && byte != 10)
        if isNew { lines.append([]) }
        lines[lines.count - 1].append(byte)
    }
    func isBlank(_ line: [UInt8]) -> Bool {
        String(decoding: line, as: UTF8.self).unicodeScalars.allSatisfy { CharacterClasses.shared($0.value) == .space }
    }
    if isBlank(text) { return [] }
    switch mode {
    case .file: return [text]
    case .line: return lines.filter { !isBlank($0) }
    case .blank:
        var documents: [[UInt8]] = [[]]
        for (index, line) in lines.enumerated() {
            if index > 0, isBlank(lines[index - 1]), !isBlank(line), !isBlank(documents[documents.count - 1]) {
                documents.append([])
            }
            documents[documents.count - 1] += line
        }
        return documents
    }
}

private func documents(_ text: String, _ mode: DocumentMode) -> [String] {
    let bytes = Array(text.utf8)
    let parts = bytes.withUnsafeBufferPointer { mode.parts(of: $0, isFileStart: true) }
    #expect(parts.continued.isEmpty)
    return parts.documents.map { String(decoding: bytes[$0], as: UTF8.self) }
}

private func tokens(_ directory: String, _ split: String) throws -> [Int32] {
    try paths(matching: "\(directory)/\(split)_*.bin").flatMap { path in
        let shard = try TokenShard(path)
        return try shard.read(shard.count, at: 0)
    }
}

@Test func `where documents begin and end`() {
    #expect(documents("", .blank) == [])
    #expect(documents("a", .blank) == ["a"])
    #expect(documents("a\nb\n", .blank) == ["a\nb\n"])
    #expect(documents("a\n\nb", .blank) == ["a\n\n", "b"])
    #expect(documents("\n\n a\n \t\n\n  b\n\n", .blank) == ["\n\n a\n \t\n\n", "  b\n\n"])
    #expect(documents("\n \n\t", .blank) == [])
    #expect(documents("a\nb\n\nc", .line) == ["a\n", "b\n", "c"])
    #expect(documents("a\nb\n", .line) == ["a\n", "b\n"])
    #expect(documents("\n \na\n\u{3000}\n\n b\n \n ", .line) == ["a\n", " b\n"])
    #expect(documents("a\n\nb", .file) == ["a\n\nb"])
    #expect(documents(" \n\n", .file) == [])
    // The line ends of Windows and of old Macs.
    #expect(documents("a\r\nb\r\n\r\nc", .blank) == ["a\r\nb\r\n\r\n", "c"])
    #expect(documents("a\r\nb\r\n\r\nc", .line) == ["a\r\n", "b\r\n", "c"])
    #expect(documents("a\rb\r\rc\r", .blank) == ["a\rb\r\r", "c\r"])
    #expect(documents("a\rb\r\rc\r", .line) == ["a\r", "b\r", "c\r"])
}

@Test func `blank lines are counted where they are skipped`() {
    let text = Array("\n \na\n\r\n\r\r\nb\n\n\t".utf8)
    let counts = DocumentMode.allCases.map { mode in
        text.withUnsafeBufferPointer { mode.parts(of: $0, isFileStart: true).blankLines }
    }
    #expect(zip(DocumentMode.allCases, counts).allSatisfy { $1 == ($0 == .line ? 7 : 0) })
}

/// Hard text for a file: with a CR where the hard text has NUL, or if `invalid`, with both and bytes that are not UTF-8.
private func fileText(_ random: inout Xorshift, length: Int, invalid: Bool = false) -> [UInt8] {
    let text = hardText(&random, length: length, invalid: invalid)
    return text.map { $0 == 0 && (!invalid || random.below(2) == 0) ? 13 : $0 }
}

@Test func `the shards decode to the files, in every mode and however they are cut`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var random = Xorshift(seed: 7)
    try withTemporaryDirectory { directory in
        for round in 0..<90 {
            let lossy = round % 2 == 0
            var texts = (0..<1 + random.below(3)).map { _ in
                fileText(&random, length: 1 + random.below(200), invalid: lossy)
            }
            let files = texts.indices.map { "\(directory)/text\($0)" }
            for (path, text) in zip(files, texts) { try write(text, to: path) }
            // A few bytes with NUL among them may be UTF-16.
            guard let opened = try? openTexts(files) else { continue }
            var replaced = 0
            if lossy {
                texts = texts.map { $0.withUnsafeBufferPointer { replacingNonText(in: $0, count: &replaced) } }
            }
            let mode = DocumentMode.allCases[round % 3]
            let documents = texts.flatMap { textbookDocuments($0, mode) }
            guard !documents.isEmpty else { continue }
            var writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
            writer.tokensPerShard = 50
            writer.sectionSize = round % 5 == 0 ? 1 << 20 : 8
            writer.lossy = lossy
            let output = directory + "/out"
            // All but the last document are for training, so the two sets in this order are the text.
            let summary = try writer.write(opened, fraction: 1e-12, seed: 1, to: output)
            let train = try tokens(output, "train")
            let val = try tokens(output, "val")
            #expect(summary.trainingTokens == train.count && summary.validationTokens == val.count)
            #expect(summary.replaced == replaced && summary.tokens == train.count + val.count)
            #expect(tokenizer.decode((train + val).filter { $0 != 0 }) == documents.flatMap { $0 })
            // Only blank lines are not in the documents.
            if mode != .line, !texts.contains(where: { textbookDocuments($0, mode).isEmpty }) {
                #expect(documents.flatMap { $0 } == texts.flatMap { $0 })
            }
            if documents.flatMap({ $0 }).count > 16 { #expect(!train.isEmpty && !val.isEmpty) }

            // The same, document by document and without blocks.
            if documents.count > 1 {
                let expected = try documents.flatMap { try [Int32(0)] + tokenizer.encode($0) }
                #expect(train + val == expected)
                #expect(summary.documents == documents.count && summary.validationDocuments == 1)
            }
        }
    }
}

@Test(arguments: ["prefix", "whitespace", "NFC", "added", "added with spaces", "codegen", "metaspace"])
func `any tokenizer gives the ids of whole documents, however the text is cut`(kind: String) throws {
    var tokenizer = try Tokenizer(path: fixture("tokenizer_\(kind == "whitespace" ? kind : "prefix").json"))
    var components = tokenizer.components
    if kind == "NFC" { components.normalizer = ["type": "NFC"] }
    if kind == "metaspace" { components.preTokenizer = ["type": "Metaspace", "replacement": "_"] }
    tokenizer = try Tokenizer(
        model: try #require(tokenizer.model), spellings: tokenizer.spellings, addedTokens: tokenizer.addedTokens,
        components: components)
    if kind == "added" { tokenizer = try tokenizer.adding([Array("the".utf8)]) }
    if kind == "added with spaces" { tokenizer = try tokenizer.adding(["a ", " the", "Z\t "].map { Array($0.utf8) }) }
    if kind == "codegen" { tokenizer = try codeGenTokenizer() }
    let endOfText = Int32(try #require(tokenizer.endOfText))
    var random = Xorshift(seed: 19)
    try withTemporaryDirectory { directory in
        for round in 0..<12 {
            let ends = String(repeating: "a \n the\nZ\t \n", count: 5)
            let text = [97] + fileText(&random, length: 20 + random.below(300)) + Array(ends.utf8)
            try write(text, to: directory + "/text")
            let mode = DocumentMode.allCases[round % 3]
            var writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
            writer.sectionSize = [8, 30, 100, 1 << 20][round % 4]
            _ = try writer.write(try openTexts([directory + "/text"]), fraction: 0, seed: 1, to: directory + "/out")
            let expected = try textbookDocuments(text, mode).flatMap { document in
                var encoder = try tokenizer.makeEncoder()
                var ids = [endOfText]
                document.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
                return ids
            }
            #expect(try tokens(directory + "/out", "train") == expected, "\(kind), \(mode), round \(round)")
        }
    }
}

@Test func `the validation set follows the seed and the fraction`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        let text = (0..<2000).map { "line \($0)\n" }.joined()
        try write(Array(text.utf8), to: directory + "/text")
        let files = try openTexts([directory + "/text"])
        let writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
        func run(_ fraction: Double, _ seed: UInt64) throws -> (CorpusSummary, [Int32]) {
            let summary = try writer.write(files, fraction: fraction, seed: seed, to: directory + "/out")
            return (summary, try tokens(directory + "/out", "val"))
        }
        let (summary, first) = try run(0.1, 42)
        #expect((150...250).contains(summary.validationDocuments))
        #expect(try run(0.1, 42).1 == first)
        #expect(try run(0.1, 43).1 != first)
        #expect(try run(0, 42).1.isEmpty)
        // Counting and encoding in small blocks gives the same.
        var small = writer
        small.sectionSize = 50
        _ = try small.write(files, fraction: 0.1, seed: 42, to: directory + "/out")
        #expect(try tokens(directory + "/out", "val") == first)
        // Each document is drawn by its index, with SplitMix64: the draw is pinned.
        let drawn = try #require(String(bytes: tokenizer.decode(first.filter { $0 != 0 }), encoding: .utf8))
        #expect(drawn.split(separator: "\n").prefix(3) == ["line 4", "line 18", "line 21"])

        // Files given for validation are all of it.
        try write(Array("other\n".utf8), to: directory + "/other")
        let explicit = try writer.write(
            files, validationFiles: try openTexts([directory + "/other"]), fraction: 0.5, seed: 42,
            to: directory + "/out")
        #expect(explicit.documents == 2001 && explicit.validationDocuments == 1)
        #expect(tokenizer.decode(try tokens(directory + "/out", "val")) == Array("<|endoftext|>other\n".utf8))
    }
}

@Test func `a text of one document is divided between words, before its last share`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        let text = Array((0..<1000).map { "the words \($0)\n" }.joined().utf8)
        try write(text, to: directory + "/text")
        let writer = CorpusWriter(tokenizer: tokenizer, mode: .file)
        let summary = try writer.write(
            try openTexts([directory + "/text"]), fraction: 0.1, seed: 1, to: directory + "/out")
        #expect(summary.documents == 2 && summary.validationDocuments == 1)
        let target = text.count * 9 / 10
        let cut = try #require(text[..<target].withUnsafeBufferPointer { GPT2Words().safeCut(in: $0) })
        #expect(target - cut < 20)
        #expect(try tokens(directory + "/out", "train") == [0] + tokenizer.encode(Array(text[..<cut])))
        #expect(try tokens(directory + "/out", "val") == [0] + tokenizer.encode(Array(text[cut...])))
    }
}

@Test func `a document that is divided is divided inside, wherever it is`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        // In the second of three files, between blank lines, and not at the start of a section.
        let line = (0..<50).map { "word\($0)" }.joined(separator: " ") + "\n"
        try write(Array(String(repeating: "\n", count: 900).utf8), to: directory + "/a")
        let (before, after) = (String(repeating: "\n", count: 400), String(repeating: " \n", count: 700))
        try write(Array((before + line + after).utf8), to: directory + "/b")
        try write(Array("\n".utf8), to: directory + "/c")
        for sectionSize in [1 << 20, 30] {
            var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
            writer.sectionSize = sectionSize
            let summary = try writer.write(
                try openTexts(["a", "b", "c"].map { "\(directory)/\($0)" }), fraction: 0.2, seed: 1,
                to: directory + "/out")
            #expect(summary.documents == 2 && summary.validationDocuments == 1 && summary.blankLines == 2001)
            let train = tokenizer.decode(try tokens(directory + "/out", "train").filter { $0 != 0 })
            let val = tokenizer.decode(try tokens(directory + "/out", "val").filter { $0 != 0 })
            #expect(train + val == Array(line.utf8))
            #expect(5 * val.count > line.utf8.count && 5 * val.count < line.utf8.count + 100)
        }
        // Without a place between words, the place is between characters.
        try write(Array("가나다라".utf8), to: directory + "/a")
        for fraction in [0.001, 0.3, 0.5, 0.9, 0.99] {
            _ = try CorpusWriter(tokenizer: tokenizer, mode: .file).write(
                try openTexts([directory + "/a"]), fraction: fraction, seed: 1, to: directory + "/out")
            for split in ["train", "val"] {
                let text = tokenizer.decode(try tokens(directory + "/out", split).filter { $0 != 0 })
                #expect(text.withUnsafeBufferPointer { firstInvalidUTF8(in: $0) } == nil)
            }
        }
    }
}

@Test func `a byte order mark is not part of a text`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        let text = Array("\n\none\ntwo\n\nthree\n".utf8)
        try write([0xEF, 0xBB, 0xBF] + text, to: directory + "/marked")
        try write(text, to: directory + "/plain")
        for mode in DocumentMode.allCases {
            let writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
            func run(_ name: String) throws -> ([Int32], [Int32], CorpusSummary) {
                let files = try openTexts(["\(directory)/\(name)", directory + "/plain"])
                let summary = try writer.write(files, fraction: 0.4, seed: 3, to: directory + "/out")
                return (try tokens(directory + "/out", "train"), try tokens(directory + "/out", "val"), summary)
            }
            #expect(try run("marked") == run("plain"))
        }
    }
}

@Test func `a file that is not text is refused before anything is written, wherever the byte is`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        let lines = Array(String(repeating: "한 줄\n", count: 500).utf8)
        try write(lines, to: directory + "/good")
        try write(lines + [0xFF, 10] + lines, to: directory + "/bad")
        let (good, bad) = (try openTexts([directory + "/good"]), try openTexts([directory + "/bad"]))
        let output = directory + "/out"
        try createDirectory(output)
        try write([1], to: output + "/train_000003.bin")
        var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
        writer.sectionSize = 100
        for (files, validationFiles) in [(bad, []), (good + bad, []), (good, bad)] as [([TextFile], [TextFile])] {
            for fraction in [0, 0.1] {
                var encoded = 0
                let error = userError {
                    _ = try writer.write(
                        files, validationFiles: validationFiles, fraction: fraction, seed: 1, to: output
                    ) { encoded = $0 }
                }
                #expect(error?.message == "\(directory)/bad, line 501, byte 1: not UTF-8")
                // Only a corpus that is read once may be encoded up to that byte.
                #expect(encoded == 0 || (fraction == 0 && validationFiles.isEmpty))
                #expect(names(in: output) == ["train_000003.bin"])
            }
        }
        try write(Array(" \n\r\t".utf8), to: directory + "/blank")
        let blank = try openTexts([directory + "/blank"])
        for (files, validationFiles) in [(blank, []), (good, blank)] as [([TextFile], [TextFile])] {
            for fraction in [0, 0.1] {
                let error = userError {
                    _ = try writer.write(
                        files, validationFiles: validationFiles, fraction: fraction, seed: 1, to: output)
                }
                #expect(error?.message == "there is only white space in \(directory)/blank")
                #expect(names(in: output) == ["train_000003.bin"])
            }
        }
    }
}

@Test func `unknown tokens are counted, without padding`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_prefix.json"))
    try withTemporaryDirectory { directory in
        // Two of the words are in no vocabulary of the fixture's.
        try write(Array("the \u{1F9EA} the\nthe \u{1F9EC}\n".utf8), to: directory + "/text")
        var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
        writer.rowLength = 40
        let files = try openTexts([directory + "/text"])
        for fraction in [0, 0.5] {
            let summary = try writer.write(files, fraction: fraction, seed: 1, to: directory + "/out")
            #expect(summary.unknownTokens == 2 && summary.tokens < 30 && summary.trainingTokens > 40)
        }
    }
}

@Test func `an earlier run's shards do not stay, and other files do`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        let output = directory + "/out"
        try createDirectory(output)
        for name in ["train_000000.bin", "train_000007.bin", "val_000003.bin", "train_mine.bin", "notes.txt"] {
            try write([1], to: output + "/" + name)
        }
        try write(Array("one\n\ntwo\n".utf8), to: directory + "/text")
        let writer = CorpusWriter(tokenizer: tokenizer, mode: .blank)
        _ = try writer.write(try openTexts([directory + "/text"]), fraction: 0.001, seed: 1, to: output)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: output).sorted() == [
                "notes.txt", "tokenizer.bin", "tokenizer.json", "train_000000.bin", "train_mine.bin", "val_000000.bin",
            ])
    }
}

@Test func `a tokenizer without a special token separates nothing`() throws {
    let whole = try Tokenizer(path: fixture("tokenizer_600.json"))
    let bare = try Tokenizer(
        model: try #require(whole.model), spellings: whole.spellings, addedTokens: [], components: whole.components)
    let writer = CorpusWriter(tokenizer: bare, mode: .line)
    #expect(throws: UserError.self) { try writer.write([], fraction: 0, seed: 1, to: NSTemporaryDirectory()) }
}

// MARK: - a row for each document

@Test func `every document gets a row, however the text is cut`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var random = Xorshift(seed: 11)
    try withTemporaryDirectory { directory in
        let letters = Array("abc 가나 12 the")
        let lines = (0..<60).map { _ in
            "a" + String((0..<random.below(30)).map { _ in letters[random.below(letters.count)] }) + "\n"
        }
        try write(Array(lines.joined().utf8), to: directory + "/text")
        try write(Array(lines.prefix(7).joined().utf8), to: directory + "/val")
        let encoded = try lines.map { try [Int32(0)] + tokenizer.encode(Array($0.utf8)) }
        let length = encoded.map(\.count).max() ?? 0
        func rows(_ documents: ArraySlice<[Int32]>, _ length: Int) -> [Int32] {
            documents.flatMap { $0 + [Int32](repeating: 0, count: length - $0.count) } + [0]
        }
        for (sectionSize, row) in [(1 << 20, length), (8, length), (40, length + 5)] {
            var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
            writer.sectionSize = sectionSize
            writer.rowLength = row
            let files = try openTexts([directory + "/text"])
            let validation = try openTexts([directory + "/val"])
            let summary = try writer.write(
                files, validationFiles: validation, fraction: 0, seed: 1, to: directory + "/out")
            #expect(try tokens(directory + "/out", "train") == rows(encoded[...], row))
            #expect(try tokens(directory + "/out", "val") == rows(encoded.prefix(7), row))
            #expect(summary.documents == 67 && summary.trainingTokens == 60 * row + 1)

            // A shard holds whole rows, so the loader's batches are documents in every one of them.
            writer.tokensPerShard = 4 * row + 3
            _ = try writer.write(files, fraction: 0, seed: 1, to: directory + "/out")
            #expect(paths(matching: directory + "/out/train_*.bin").count == 16)
            let loader = try DataLoader(
                pattern: directory + "/out/train_*.bin", B: 1, T: row, vocabularySize: 600, shuffleSeed: 4)
            for _ in 0..<loader.batchesPerEpoch {
                let inputs = try loader.nextBatch().inputs
                let document = encoded.first { $0.elementsEqual(inputs.prefix($0.count)) }
                try #require(document != nil && inputs.dropFirst(document?.count ?? 0).allSatisfy { $0 == 0 })
            }
        }
    }
}

/// The documents without rows say what the rows must hold: in each split the same documents, in order and whole.
@Test func `documents longer than a row are cut, and nothing of them is dropped`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var random = Xorshift(seed: 13)
    try withTemporaryDirectory { directory in
        let letters = Array("abc 가나 12 the")
        let lines = (0..<80).map { _ in
            String((0..<random.below(60)).map { _ in letters[random.below(letters.count)] })
                + ["\n", "\n\n \n"][random.below(2)]
        }
        try write(Array(lines.joined().utf8), to: directory + "/text")
        let files = try openTexts([directory + "/text"])
        for (mode, fraction) in [(.line, 0), (.line, 0.3), (.blank, 0.3), (.file, 0.2)] as [(DocumentMode, Double)] {
            func write(_ sectionSize: Int, _ row: Int?, _ tokensPerShard: Int = 100_000) throws -> CorpusSummary {
                var writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
                (writer.sectionSize, writer.tokensPerShard) = (sectionSize, tokensPerShard)
                (writer.rowLength, writer.cutsDocuments) = (row, true)
                return try writer.write(files, fraction: fraction, seed: 5, to: directory + "/out")
            }
            let whole = try write(1 << 20, nil)
            #expect(whole.rows == 0 && whole.cutDocuments == 0)
            let documents = try ["train", "val"].map { split in
                try tokens(directory + "/out", split).reduce(into: [[Int32]]()) { documents, token in
                    if token == 0 { documents.append([]) }
                    documents[documents.count - 1].append(token)
                }
            }
            #expect(documents[0].count + documents[1].count == whole.documents)
            for (sectionSize, row, shard) in [(1 << 20, 16, 100_000), (8, 16, 50), (40, 7, 7), (8, 2, 100_000)] {
                let summary = try write(sectionSize, row, shard)
                let expected = documents.map { documents in
                    documents.flatMap { $0 + [Int32](repeating: 0, count: (row - $0.count % row) % row) }
                }
                for (split, rows) in zip(["train", "val"], expected) {
                    #expect(try tokens(directory + "/out", split) == (rows.isEmpty ? [] : rows + [0]))
                    // Each shard holds whole rows, and the last one a target more.
                    let counts = try paths(matching: "\(directory)/out/\(split)_*.bin").map { try TokenShard($0).count }
                    #expect(counts.dropLast().allSatisfy { $0 % row == 0 } && (counts.last ?? 1) % row == 1)
                }
                #expect(summary.rows * row == expected[0].count + expected[1].count)
                #expect(summary.cutDocuments == documents.joined().count { $0.count > row } && summary.cutDocuments > 0)
                #expect(summary.tokens == whole.tokens && summary.validationDocuments == whole.validationDocuments)
            }
        }
    }
}

@Test func `a document longer than a row is refused`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    try withTemporaryDirectory { directory in
        try write(Array("a\nb c d e f\ng\n".utf8), to: directory + "/text")
        var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
        writer.rowLength = 4
        #expect(throws: UserError.self) {
            _ = try writer.write(try openTexts([directory + "/text"]), fraction: 0, seed: 1, to: directory + "/out")
        }
        #expect(paths(matching: directory + "/out/*").isEmpty)
    }
}
