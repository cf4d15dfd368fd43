// Documents: no byte of a text is lost, whatever the text, the cuts and the number of threads.

import Foundation
import LLM
import Testing

private func starts(_ text: String, _ mode: DocumentMode) -> [Int] {
    var text = text
    return text.withUTF8 { mode.starts(in: $0, isFileStart: true) }
}

private func tokens(_ directory: String, _ split: String) throws -> [Int32] {
    try paths(matching: "\(directory)/\(split)_*.bin").flatMap { path in
        let shard = try TokenShard(path)
        return try shard.read(shard.count, at: 0)
    }
}

@Test func `where documents begin`() {
    #expect(starts("", .blank) == [])
    #expect(starts("a", .blank) == [0])
    #expect(starts("a\nb\n", .blank) == [0])
    #expect(starts("a\n\nb", .blank) == [0, 3])
    #expect(starts("a\r\n\r\nb", .blank) == [0, 5])
    #expect(starts("\n\n a\n \t\n\n  b\n\n", .blank) == [0, 9])
    #expect(starts("a\nb\n\nc", .line) == [0, 2, 4, 5])
    #expect(starts("a\nb\n", .line) == [0, 2])
    #expect(starts("a\n\nb", .file) == [0])
}

@Test func `the shards decode to the files, in every mode and however they are cut`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var random = Xorshift(seed: 7)
    try withTemporaryDirectory { directory in
        for round in 0..<45 {
            let texts = (0..<1 + random.below(3)).map { _ in
                hardText(&random, length: 1 + random.below(200), invalid: round % 2 == 0)
            }
            let files = texts.indices.map { "\(directory)/text\($0)" }
            for (path, text) in zip(files, texts) { try write(text, to: path) }
            let mode = DocumentMode.allCases[round % 3]
            var writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
            writer.tokensPerShard = 50
            writer.sectionSize = round % 5 == 0 ? 1 << 20 : 8
            let output = directory + "/out"
            // All but the last document are for training, so the two sets in this order are the text.
            let summary = try writer.write(try openTexts(files), fraction: 1e-12, seed: 1, to: output)
            let train = try tokens(output, "train")
            let val = try tokens(output, "val")
            #expect(summary.trainingTokens == train.count && summary.validationTokens == val.count)
            #expect(tokenizer.decode((train + val).filter { $0 != 0 }) == texts.flatMap { $0 })
            if texts.flatMap({ $0 }).count > 8 { #expect(!train.isEmpty && !val.isEmpty) }

            // The same, document by document and without blocks.
            let documents = texts.flatMap { text -> [[UInt8]] in
                let begins = text.withUnsafeBufferPointer { mode.starts(in: $0, isFileStart: true) } + [text.count]
                return zip(begins, begins.dropFirst()).map { Array(text[$0..<$1]) }
            }
            if documents.count > 1 {
                let expected = try documents.flatMap { try [Int32(0)] + tokenizer.encode($0) }
                #expect(train + val == expected)
                #expect(summary.documents == documents.count && summary.validationDocuments == 1)
            }
        }
    }
}

@Test(arguments: ["prefix", "whitespace", "NFC", "added", "metaspace"])
func `any tokenizer gives the ids of whole documents, however the text is cut`(kind: String) throws {
    var tokenizer = try Tokenizer(path: fixture("tokenizer_\(kind == "whitespace" ? kind : "prefix").json"))
    var components = tokenizer.components
    if kind == "NFC" { components.normalizer = ["type": "NFC"] }
    if kind == "metaspace" { components.preTokenizer = ["type": "Metaspace", "replacement": "_"] }
    tokenizer = try Tokenizer(
        model: try #require(tokenizer.model), spellings: tokenizer.spellings, addedTokens: tokenizer.addedTokens,
        components: components)
    if kind == "added" { tokenizer = try tokenizer.adding([Array("the".utf8)]) }
    let endOfText = Int32(try #require(tokenizer.endOfText))
    var random = Xorshift(seed: 19)
    try withTemporaryDirectory { directory in
        for round in 0..<12 {
            let text = hardText(&random, length: 20 + random.below(300))
            try write(text, to: directory + "/text")
            let mode = DocumentMode.allCases[round % 3]
            var writer = CorpusWriter(tokenizer: tokenizer, mode: mode)
            writer.sectionSize = [8, 30, 100, 1 << 20][round % 4]
            _ = try writer.write(try openTexts([directory + "/text"]), fraction: 0, seed: 1, to: directory + "/out")
            let begins = text.withUnsafeBufferPointer { mode.starts(in: $0, isFileStart: true) } + [text.count]
            let expected = try zip(begins, begins.dropFirst()).flatMap { start, end in
                var encoder = try tokenizer.makeEncoder()
                var ids = [endOfText]
                text[start..<end].withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
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
            String((0..<1 + random.below(30)).map { _ in letters[random.below(letters.count)] }) + "\n"
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
            for _ in 0..<loader.samplesPerEpoch {
                let inputs = try loader.nextBatch().inputs
                let document = encoded.first { $0.elementsEqual(inputs.prefix($0.count)) }
                try #require(document != nil && inputs.dropFirst(document?.count ?? 0).allSatisfy { $0 == 0 })
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
