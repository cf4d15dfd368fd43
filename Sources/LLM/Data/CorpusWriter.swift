// From text files to token shards: which bytes are a document, which documents are kept for validation, and the ids.
//
// As in llm.c's data scripts an end-of-text token stands before each document, and its text follows. Nothing of the
// text is dropped: the documents, in order, decode to the bytes of the files. A special token written in a text is
// text like any other, so only a true border becomes the end-of-text token.
//
// Files are read twice, in blocks: once to count documents (at the speed of memory), once to encode them. What a
// block's sections give is put together in order, so the shards do not depend on the number of threads.

import Foundation
import Kernels

/// Encodes files into the shards of a directory.
package struct CorpusWriter {
    package let tokenizer: Tokenizer
    package let mode: DocumentMode
    package var tokensPerShard = 100_000_000
    /// If not nil, every document is padded to a row of so many tokens, and shards hold whole rows.
    package var rowLength: Int?
    /// Bytes of text per thread between two writes.
    package var sectionSize = 4 << 20

    package init(tokenizer: Tokenizer, mode: DocumentMode) {
        self.tokenizer = tokenizer
        self.mode = mode
    }

    /// Writes `train_*.bin`, `val_*.bin` and the tokenizer into `directory`, and removes the shards of an earlier run.
    /// - Parameters:
    ///   - validationFiles: if there are any, they are the validation set, and `fraction` counts for nothing.
    ///   - fraction: how much of the documents goes to validation; 0 for none.
    ///   - progress: called with the bytes encoded so far.
    package func write(
        _ files: [InputFile], validationFiles: [InputFile] = [], fraction: Double, seed: UInt64, to directory: String,
        progress: (Int) -> Void = { _ in }
    ) throws -> CorpusSummary {
        guard let endOfText = tokenizer.endOfText.flatMap({ Int32(exactly: $0) }) else {
            throw UserError(
                "the tokenizer has no special token to put before documents",
                hint: "train one that has: train_tokenizer --special \"<|endoftext|>\" …")
        }
        try createDirectory(directory)
        let set = DurableFiles()
        var writers = ["train", "val"].map {
            TokenShardWriter(
                files: set, prefix: "\(directory)/\($0)", vocabularySize: tokenizer.vocabularySize,
                tokensPerShard: rowLength.map { max(1, tokensPerShard / $0) * $0 } ?? tokensPerShard)
        }
        var paddings = rowLength.map { [RowPadding](repeating: .init(length: $0, endOfText: endOfText), count: 2) }
        // Each has a memory of its own.
        var encoders = try (0..<max(1, threadCount)).map { _ in try tokenizer.makeEncoder() }
        var summary = CorpusSummary()

        func encode(_ files: [InputFile], dividesAt: Int?, isValidation: (Int) -> Bool) throws {
            var document = -1
            var sections: [Section] = []
            for file in files {
                try forEachBlock(of: file, blockSize: encoders.count * sectionSize, cut: tokenizer.cut) { block, offset in
                    let ranges = tokenizer.cut.sections(of: block, count: encoders.count)
                    while sections.count < ranges.count { sections.append(Section()) }
                    sections.removeLast(sections.count - ranges.count)
                    for (i, range) in ranges.enumerated() {
                        sections[i].begin(UnsafeBufferPointer(rebasing: block[range]), offset + range.lowerBound)
                    }
                    sections.withUnsafeMutableBufferPointer { sections in
                        nonisolated(unsafe) let sections = sections
                        parallelFor(sections.count) { sections[$0].findDocuments(mode, dividesAt: dividesAt) }
                        // Now it is known how many documents came before each section.
                        for i in sections.indices {
                            let first = document + 1
                            document += sections[i].starts.count
                            sections[i].isValidation = (first - 1...document).map { $0 >= 0 && isValidation($0) }
                        }
                        encoders.withUnsafeMutableBufferPointer { encoders in
                            nonisolated(unsafe) let encoders = encoders
                            parallelFor(sections.count) { sections[$0].encode(&encoders[$0], endOfText: endOfText) }
                        }
                    }
                    for section in sections {
                        summary.documents += section.starts.count
                        summary.validationDocuments += section.isValidation.dropFirst().count { $0 }
                        for (i, tokens) in [section.training, section.validation].enumerated() {
                            try writers[i].write((try paddings?[i].pad(tokens) ?? tokens)[...])
                        }
                    }
                    summary.bytes += block.count
                    progress(summary.bytes)
                }
            }
        }
        if validationFiles.isEmpty {
            let choice = try ValidationChoice(files: files, mode: mode, fraction: fraction, seed: seed)
            try encode(files, dividesAt: choice.dividesAt, isValidation: choice.isValidation)
        } else {
            try encode(files, dividesAt: nil) { _ in false }
            try encode(validationFiles, dividesAt: nil) { _ in true }
        }
        for i in writers.indices {
            if let rest = paddings?[i].finish() { try writers[i].write(rest[...]) }
            try writers[i].finish()
        }
        summary.trainingTokens = writers[0].tokenCount
        summary.validationTokens = writers[1].tokenCount
        let stale = try tokenizer.write(to: directory, in: set)
        try set.commit(removing: try shards(in: directory) + stale)
        return summary
    }

    /// What an earlier run may have left.
    private func shards(in directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory).filter { name in
            guard name.hasSuffix(".bin"), let prefix = ["train_", "val_"].first(where: name.hasPrefix) else {
                return false
            }
            let number = name.dropFirst(prefix.count).dropLast(4)
            return number.count == 6 && number.utf8.allSatisfy { (48...57).contains($0) }
        }.map { "\(directory)/\($0)" }
    }
}

/// What one thread encodes of a block.
private struct Section {
    private(set) var text = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    /// Of its first byte in the file.
    private(set) var offset = 0
    var starts: [Int] = []
    /// First of the document that goes on from the section before, then of each that starts here.
    var isValidation: [Bool] = []
    var training: [Int32] = []
    var validation: [Int32] = []

    /// The next section, in the memory of the one before.
    mutating func begin(_ text: UnsafeBufferPointer<UInt8>, _ offset: Int) {
        self.text = text
        self.offset = offset
        training.removeAll(keepingCapacity: true)
        validation.removeAll(keepingCapacity: true)
    }

    mutating func findDocuments(_ mode: DocumentMode, dividesAt: Int?) {
        starts = mode.starts(in: text, isFileStart: offset == 0)
        if let dividesAt, (offset..<offset + text.count).contains(dividesAt) { starts.append(dividesAt - offset) }
    }

    mutating func encode(_ encoder: inout TextEncoder, endOfText: Int32) {
        training.reserveCapacity(text.count / 3)
        append(0..<(starts.first ?? text.count), isValidation[0], nil, &encoder)
        for (i, start) in starts.enumerated() {
            let end = i + 1 < starts.count ? starts[i + 1] : text.count
            append(start..<end, isValidation[i + 1], endOfText, &encoder)
        }
    }

    private mutating func append(
        _ range: Range<Int>, _ isValidation: Bool, _ mark: Int32?, _ encoder: inout TextEncoder
    ) {
        let text = UnsafeBufferPointer(rebasing: text[range])
        if isValidation {
            if let mark { validation.append(mark) }
            encoder.encode(text, to: &validation)
        } else {
            if let mark { training.append(mark) }
            encoder.encode(text, to: &training)
        }
    }
}
