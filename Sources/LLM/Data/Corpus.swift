// From text files to token shards: which bytes are a document, which documents are kept for validation, and the ids.
//
// As in llm.c's data scripts an end-of-text token stands before each document, and its text follows. Nothing of the
// text is dropped: the documents, in order, decode to the bytes of the files. A special token written in a text is
// text like any other, so only a true border becomes the end-of-text token.
//
// Files are read twice, in blocks: once to count documents (at the speed of memory), once to encode them. What a
// block's pieces give is put together in order, so the shards do not depend on the number of threads.

import Foundation
import Kernels

/// What a document is.
package enum DocumentMode: String, CaseIterable, Sendable {
    /// Documents are separated by blank lines (nothing but white space), which belong to the document before them;
    /// those at the beginning of a file belong to its first document.
    case blank
    /// Each line, with its line end.
    case line
    /// Each file.
    case file

    /// Where documents begin in `block`, which is a whole file or starts or ends at safe cuts of one. White space is
    /// never cut, so what decides stands in one block.
    package func starts(in block: UnsafeBufferPointer<UInt8>, isFileStart: Bool) -> [Int] {
        var starts = isFileStart && !block.isEmpty ? [0] : []
        let newline = UInt8(ascii: "\n")
        switch self {
        case .file: break
        case .line:
            var end = -1
            while let next = LLM.newline(in: block, from: end + 1), next + 1 < block.count {
                starts.append(next + 1)
                end = next
            }
        case .blank:
            let classes = CharacterClasses.shared
            var position = isFileStart ? spaceEnd(0) : 0
            while position < block.count {
                guard let first = LLM.newline(in: block, from: position) else { break }
                let end = spaceEnd(first)
                let last = block[first..<end].lastIndex(of: newline) ?? first
                if last > first, end < block.count { starts.append(last + 1) }
                position = end
            }

            func spaceEnd(_ start: Int) -> Int {
                var position = start
                while position < block.count {
                    let next = classes.character(at: position, in: block)
                    if next.class != .space { break }
                    position += next.length
                }
                return position
            }
        }
        return starts
    }
}

/// Which documents are kept for validation: each by a number drawn from the seed and its place in the corpus, so that
/// it does not depend on the others; but both parts get something of a text that can be divided.
private struct ValidationChoice {
    var seed: UInt64
    var fraction: Double
    /// A document whose part is settled beforehand.
    var forced: (document: Int, isValidation: Bool)?
    /// Where a text of one document is divided in two, the second for validation.
    var dividesAt: Int?

    func isValidation(_ document: Int) -> Bool {
        if let forced, forced.document == document { return forced.isValidation }
        return drawn(document)
    }

    private func drawn(_ document: Int) -> Bool {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        var word = seed &+ UInt64(document + 1) &* 0x9e37_79b9_7f4a_7c15
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        word ^= word >> 31
        return Double(word >> 11) * 0x1p-53 < fraction
    }

    init(files: [InputFile], mode: DocumentMode, fraction: Double, seed: UInt64) throws {
        self.seed = seed
        self.fraction = fraction
        guard fraction > 0 else { return }
        var count = 0
        var validationCount = 0
        for file in files {
            try forEachBlock(of: file, blockSize: 1 << 22, cut: .betweenWords) { block, offset in
                for _ in mode.starts(in: block, isFileStart: offset == 0) {
                    if drawn(count) { validationCount += 1 }
                    count += 1
                }
            }
        }
        if count == 1, let file = files.first {
            dividesAt = try ValidationChoice.cut(file, fraction: fraction)
            self.fraction = 0
            forced = (1, true)
        } else if validationCount == 0 {
            forced = (count - 1, true)
        } else if validationCount == count {
            forced = (0, false)
        }
    }

    /// The place between words nearest before the last `fraction` of the file; within a word if there is no other; nil
    /// if there is nothing to divide.
    private static func cut(_ file: InputFile, fraction: Double) throws -> Int? {
        let target = min(file.size - 1, Int(Double(file.size) * (1 - fraction)))
        let start = max(0, target - 1 << 20)
        let bytes = try file.read(target - start, of: UInt8.self, at: start)
        let place = bytes.withUnsafeBufferPointer { GPT2Words().safeCut(in: $0) } ?? target - start
        return start + place > 0 ? start + place : nil
    }
}

/// What came out.
package struct CorpusSummary: Equatable, Sendable {
    package var bytes = 0
    package var documents = 0
    package var validationDocuments = 0
    package var trainingTokens = 0
    package var validationTokens = 0
}

/// Encodes files into the shards of a directory.
package struct CorpusWriter {
    package let tokenizer: Tokenizer
    package let mode: DocumentMode
    package var tokensPerShard = 100_000_000
    /// If not nil, every document is padded to a row of so many tokens, and shards hold whole rows.
    package var rowLength: Int?
    /// Bytes of text per thread between two writes.
    package var pieceSize = 4 << 20

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
            var pieces: [Piece] = []
            for file in files {
                try forEachBlock(of: file, blockSize: encoders.count * pieceSize, cut: tokenizer.cut) { block, offset in
                    let ranges = tokenizer.cut.pieces(of: block, count: encoders.count)
                    while pieces.count < ranges.count { pieces.append(Piece()) }
                    pieces.removeLast(pieces.count - ranges.count)
                    for (i, range) in ranges.enumerated() {
                        pieces[i].begin(UnsafeBufferPointer(rebasing: block[range]), offset + range.lowerBound)
                    }
                    pieces.withUnsafeMutableBufferPointer { pieces in
                        nonisolated(unsafe) let pieces = pieces
                        parallelFor(pieces.count) { pieces[$0].findDocuments(mode, dividesAt: dividesAt) }
                        // Now it is known how many documents came before each piece.
                        for i in pieces.indices {
                            let first = document + 1
                            document += pieces[i].starts.count
                            pieces[i].isValidation = (first - 1...document).map { $0 >= 0 && isValidation($0) }
                        }
                        encoders.withUnsafeMutableBufferPointer { encoders in
                            nonisolated(unsafe) let encoders = encoders
                            parallelFor(pieces.count) { pieces[$0].encode(&encoders[$0], endOfText: endOfText) }
                        }
                    }
                    for piece in pieces {
                        summary.documents += piece.starts.count
                        summary.validationDocuments += piece.isValidation.dropFirst().count { $0 }
                        for (i, tokens) in [piece.training, piece.validation].enumerated() {
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
private struct Piece {
    private(set) var text = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    /// Of its first byte in the file.
    private(set) var offset = 0
    var starts: [Int] = []
    /// First of the document that goes on from the piece before, then of each that starts here.
    var isValidation: [Bool] = []
    var training: [Int32] = []
    var validation: [Int32] = []

    /// The next piece, in the memory of the one before.
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
