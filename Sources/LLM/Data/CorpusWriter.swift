// From text files to token shards. As in llm.c's data scripts, an end-of-text token comes before each document,
// followed by its text. No byte of a document is dropped or changed: the documents, in order, decode to the bytes of the
// files, except that a file's byte order mark and, if each line is a document, blank lines belong to none; and that with
// `lossy`, bytes that are not text become U+FFFD. A special token written in a text is ordinary text, so only a document
// boundary becomes the end-of-text token.
//
// Files are read in blocks, and twice if documents are drawn for validation: once to count them (CorpusSurvey), at the
// speed of memory, once to encode them. Each reading checks that they are text. The results of a block's sections are
// joined in order, so the shards do not depend on the number of threads.

import Foundation
import Kernels

/// A writer of token shards: encodes text files into the shards of a directory.
package struct CorpusWriter {
    package let tokenizer: Tokenizer
    package let mode: DocumentMode
    package var tokensPerShard = 100_000_000
    /// The number of tokens to which every document is padded; shards then hold whole rows. nil for no padding.
    package var rowLength: Int?
    /// Whether a document longer than a row goes on in the next rows; if not, it is an error.
    package var cutsDocuments = false
    /// Whether bytes that are not text become U+FFFD; if not, they are an error.
    package var lossy = false
    /// The size in bytes of the section of text that a thread encodes between two writes, and of the blocks in which
    /// documents are counted.
    package var sectionSize = 4 << 20

    package init(tokenizer: Tokenizer, mode: DocumentMode) {
        self.tokenizer = tokenizer
        self.mode = mode
    }

    /// Writes `train_*.bin`, `val_*.bin` and the tokenizer into `directory`, and removes the shards of an earlier run.
    /// - Parameters:
    ///   - validationFiles: if not empty, the validation set; `fraction` is then ignored.
    ///   - fraction: the probability that a document goes to validation; 0 for no validation.
    ///   - progress: called with the number of bytes encoded so far.
    /// - Throws: if the tokenizer has no end-of-text token, a file is not text, there is no document, a document does not
    ///   fit into a row, or a file cannot be read or written. Older shards are then unchanged.
    package func write(
        _ files: [TextFile], validationFiles: [TextFile] = [], fraction: Double, seed: UInt64, to directory: String,
        progress: (Int) -> Void = { _ in }
    ) throws -> CorpusSummary {
        guard let endOfText = tokenizer.endOfText.flatMap({ Int32(exactly: $0) }) else {
            throw UserError(
                "the tokenizer has no special token to put before documents",
                hint: "train one that has: train_tokenizer --special \"<|endoftext|>\" …")
        }
        if !lossy { try checkTexts(validationFiles) }
        let choice =
            validationFiles.isEmpty
            ? try ValidationChoice(
                files: files, mode: mode, fraction: fraction, seed: seed, lossy: lossy, sectionSize: sectionSize) : nil
        try createDirectory(directory)
        let set = DurableFiles()
        var writers = ["train", "val"].map {
            TokenShardWriter(
                files: set, prefix: "\(directory)/\($0)", vocabularySize: tokenizer.vocabularySize,
                fingerprint: tokenizer.fingerprint(),
                tokensPerShard: rowLength.map { max(1, tokensPerShard / $0) * $0 } ?? tokensPerShard)
        }
        var paddings = rowLength.map {
            [RowPadding](repeating: .init(length: $0, cuts: cutsDocuments, endOfText: endOfText), count: 2)
        }
        // One encoder per thread, each with its own cache.
        var encoders = try (0..<max(1, threadCount)).map { _ in try tokenizer.makeEncoder() }
        var summary = CorpusSummary()

        func encode(_ files: [TextFile], dividesAt: Int? = nil, isValidation: (Int) -> Bool) throws {
            var document = -1
            var sections: [Section] = []
            for file in files {
                try forEachBlock(of: file, blockSize: encoders.count * sectionSize, cut: tokenizer.cut) {
                    block, offset in
                    let ranges = tokenizer.cut.sections(of: block, count: encoders.count)
                    while sections.count < ranges.count { sections.append(Section()) }
                    sections.removeLast(sections.count - ranges.count)
                    for (i, range) in ranges.enumerated() {
                        sections[i].begin(
                            UnsafeBufferPointer(rebasing: block[range]), offset + range.lowerBound, of: file)
                    }
                    try sections.withUnsafeMutableBufferPointer { sections in
                        nonisolated(unsafe) let sections = sections
                        parallelFor(sections.count) { sections[$0].findDocuments(mode, dividesAt: dividesAt) }
                        if !lossy, let wrong = sections.lazy.compactMap(\.nonText).first {
                            throw try file.notText(at: wrong)
                        }
                        // Only now is the number of documents before each section known.
                        for i in sections.indices {
                            let first = document + 1
                            document += sections[i].parts.documents.count
                            sections[i].isValidation = (first - 1...document).map { $0 >= 0 && isValidation($0) }
                        }
                        encoders.withUnsafeMutableBufferPointer { encoders in
                            nonisolated(unsafe) let encoders = encoders
                            parallelFor(sections.count) {
                                sections[$0].encode(&encoders[$0], endOfText: endOfText)
                                sections[$0].countUnknown(tokenizer.unknown)
                            }
                        }
                    }
                    for section in sections {
                        summary.documents += section.parts.documents.count
                        summary.validationDocuments += section.isValidation.dropFirst().count { $0 }
                        summary.blankLines += section.parts.blankLines
                        summary.replaced += section.replaced
                        summary.tokens += section.training.count + section.validation.count
                        summary.unknownTokens += section.unknownTokens
                        for (i, tokens) in [section.training, section.validation].enumerated() {
                            try writers[i].write((paddings?[i].pad(tokens) ?? tokens)[...])
                        }
                    }
                    summary.bytes += block.count
                    progress(summary.bytes)
                }
            }
            guard document >= 0 else {
                throw UserError(
                    "there is only white space in \(files.map(\.path).joined(separator: ", "))",
                    hint: "give a file with some text in it")
            }
        }
        if let choice {
            try encode(files, dividesAt: choice.dividesAt, isValidation: choice.isValidation)
        } else {
            try encode(files) { _ in false }
            try encode(validationFiles) { _ in true }
        }
        for i in writers.indices {
            if let rest = try paddings?[i].finish() { try writers[i].write(rest[...]) }
            try writers[i].finish()
        }
        summary.trainingTokens = writers[0].tokenCount
        summary.validationTokens = writers[1].tokenCount
        for padding in paddings ?? [] {
            summary.rows += padding.rows
            summary.cutDocuments += padding.cutDocuments
        }
        try tokenizer.write(to: directory, in: set)
        set.remove(try shards(in: directory))
        try set.commit()
        return summary
    }

    /// The shards that an earlier run left in the directory.
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

/// A section of a block, which one thread encodes.
private struct Section {
    private var text = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    /// The offset of the first byte in the file.
    private var offset = 0
    private var isFileStart = false
    /// The offset in the file of the first byte that is not text.
    private(set) var nonText: Int?
    private(set) var parts = DocumentMode.Parts()
    /// Whether each document is for validation: first the one continued from the section before, then those that start
    /// here.
    var isValidation: [Bool] = []
    private(set) var training: [Int32] = []
    private(set) var validation: [Int32] = []
    private(set) var unknownTokens = 0
    /// The number of bytes that were not text and were replaced.
    private(set) var replaced = 0

    /// Starts a new section, reusing the buffers.
    mutating func begin(_ text: UnsafeBufferPointer<UInt8>, _ offset: Int, of file: TextFile) {
        self.text = text
        self.offset = offset
        isFileStart = offset == file.start
        training.removeAll(keepingCapacity: true)
        validation.removeAll(keepingCapacity: true)
        unknownTokens = 0
        replaced = 0
    }

    mutating func findDocuments(_ mode: DocumentMode, dividesAt: Int?) {
        nonText = firstNonText(in: text).map { offset + $0 }
        parts = mode.parts(of: text, isFileStart: isFileStart)
        guard let dividesAt else { return }
        let place = dividesAt - offset
        if parts.continued.contains(place) {
            parts.documents = [place..<parts.continued.upperBound]
            parts.continued = 0..<place
        } else if let document = parts.documents.first, document.contains(place) {
            parts.documents = [document.lowerBound..<place, place..<document.upperBound]
        }
    }

    mutating func encode(_ encoder: inout TextEncoder, endOfText: Int32) {
        training.reserveCapacity(text.count / 3)
        append(parts.continued, isValidation[0], nil, &encoder)
        for (document, isValidation) in zip(parts.documents, isValidation.dropFirst()) {
            append(document, isValidation, endOfText, &encoder)
        }
    }

    private mutating func append(
        _ range: Range<Int>, _ isValidation: Bool, _ mark: Int32?, _ encoder: inout TextEncoder
    ) {
        let text = UnsafeBufferPointer(rebasing: text[range])
        if nonText != nil, firstNonText(in: text) != nil {
            replacingNonText(in: text, count: &replaced).withUnsafeBufferPointer {
                append($0, isValidation, mark, &encoder)
            }
        } else {
            append(text, isValidation, mark, &encoder)
        }
    }

    private mutating func append(
        _ text: UnsafeBufferPointer<UInt8>, _ isValidation: Bool, _ mark: Int32?, _ encoder: inout TextEncoder
    ) {
        if isValidation {
            if let mark { validation.append(mark) }
            encoder.encode(text, to: &validation)
        } else {
            if let mark { training.append(mark) }
            encoder.encode(text, to: &training)
        }
    }

    mutating func countUnknown(_ unknown: Int32?) {
        guard let unknown else { return }
        unknownTokens = training.count { $0 == unknown } + validation.count { $0 == unknown }
    }
}
