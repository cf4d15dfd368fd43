// Token shards: the corpus as ids, in llm.c's files (dev/data/data_common.py and llmc/dataloader.h there).
//
// 256 int32 as a header: 20240520, 1, the number of tokens; then the tokens as uint16. A vocabulary over 65,536 takes
// llm.c's wide form: 20240801, 7, the number of tokens; then uint32. The file ends with the last token, exactly.
// A corpus is train_000000.bin, train_000001.bin … and val_000000.bin …, which readers find by `train_*.bin`.

import Foundation

private enum ShardFormat: CaseIterable {
    case narrow
    case wide

    static let headerBytes = 1024

    init(vocabularySize: Int) { self = vocabularySize > 1 << 16 ? .wide : .narrow }

    var magic: Int32 { self == .narrow ? 20_240_520 : 20_240_801 }
    var version: Int32 { self == .narrow ? 1 : 7 }
    var bytesPerToken: Int { self == .narrow ? 2 : 4 }
}

/// Writes the shards of one split. Nothing has its final name before `files` is committed.
package struct TokenShardWriter {
    private let files: DurableFiles
    /// `data/train`, to which `_000000.bin` is added.
    private let prefix: String
    private let format: ShardFormat
    private let tokensPerShard: Int
    private var shard: OutputFile?
    private var shardTokens = 0
    private var shardCount = 0
    package private(set) var tokenCount = 0

    /// - Parameter tokensPerShard: llm.c's scripts take 100 million, too.
    package init(
        files: DurableFiles, prefix: String, vocabularySize: Int, tokensPerShard: Int = 100_000_000
    ) {
        precondition(tokensPerShard > 0 && tokensPerShard <= Int(Int32.max))
        self.files = files
        self.prefix = prefix
        self.format = ShardFormat(vocabularySize: vocabularySize)
        self.tokensPerShard = tokensPerShard
    }

    /// Appends tokens, whose ids must be in the vocabulary.
    package mutating func write(_ tokens: ArraySlice<Int32>) throws {
        var rest = tokens
        while !rest.isEmpty {
            let shard = try self.shard ?? startShard()
            let part = rest.prefix(tokensPerShard - shardTokens)
            switch format {
            case .narrow: try shard.write(part.map { UInt16($0) })
            case .wide: try shard.write(part.map { UInt32($0) })
            }
            shardTokens += part.count
            tokenCount += part.count
            rest = rest.dropFirst(part.count)
            if shardTokens == tokensPerShard { try finish() }
        }
    }

    private mutating func startShard() throws -> OutputFile {
        let number = String(format: "%06d", shardCount)
        let shard = try files.create("\(prefix)_\(number).bin")
        try shard.write([UInt8](repeating: 0, count: ShardFormat.headerBytes))
        self.shard = shard
        shardTokens = 0
        shardCount += 1
        return shard
    }

    /// Completes the last shard: its header, and all of it on the disk.
    package mutating func finish() throws {
        guard let shard else { return }
        try [format.magic, format.version, Int32(shardTokens)].withUnsafeBytes { try shard.overwrite($0, at: 0) }
        try files.finish(shard)
        self.shard = nil
    }
}

/// Puts each document into a row of its own: padded with end-of-text to `length` tokens, so that a batch of sequences of
/// this length is a batch of whole documents.
package struct RowPadding {
    package let length: Int
    private let endOfText: Int32
    /// Tokens of the row begun; 0 before the first document.
    private var used = 0
    private var rows = 0

    package init(length: Int, endOfText: Int32) {
        precondition(length > 0)
        self.length = length
        self.endOfText = endOfText
    }

    /// The padded form of the next tokens of a corpus in which an end-of-text stands before each document.
    /// - Throws: if a document and its end-of-text are longer than a row.
    package mutating func pad(_ tokens: [Int32]) throws -> [Int32] {
        var padded: [Int32] = []
        padded.reserveCapacity(tokens.count + tokens.count / 8)
        for token in tokens {
            if token == endOfText {
                appendPadding(to: &padded)
                rows += 1
            }
            guard used < length else {
                throw UserError(
                    "document \(rows) is longer than a row of \(length) tokens",
                    hint: "take a larger --row-length, shorter documents, or no --row-length")
            }
            padded.append(token)
            used += 1
        }
        return padded
    }

    /// What completes the last row, and one token more: the target of its last one.
    package mutating func finish() -> [Int32] {
        var padded: [Int32] = []
        appendPadding(to: &padded)
        return rows == 0 ? [] : padded + [endOfText]
    }

    private mutating func appendPadding(to padded: inout [Int32]) {
        if used > 0 { padded.append(contentsOf: repeatElement(endOfText, count: length - used)) }
        used = 0
    }
}

/// One shard, for reading.
package final class TokenShard: Sendable {
    package let path: String
    /// Tokens.
    package let count: Int
    private let format: ShardFormat
    /// Bytes of the file.
    private let size: Int

    package init(_ path: String) throws {
        let file = try InputFile(path, hint: "write token shards first: tokenize --tokenizer DIR --input text.txt")
        func refuse(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "it is no token shard, or was cut off; write it anew with tokenize")
        }
        guard file.size >= ShardFormat.headerBytes else {
            throw refuse("\(file.size) bytes are too few for the header of 1024")
        }
        let header = try file.read(3, of: Int32.self, at: 0)
        guard let format = ShardFormat.allCases.first(where: { $0.magic == header[0] }) else {
            throw refuse("its first number is \(header[0]), neither 20240520 nor 20240801")
        }
        guard header[1] == format.version else {
            throw refuse("its version is \(header[1]), not \(format.version)")
        }
        // At most 2³¹ tokens of four bytes: no overflow here.
        let count = Int(header[2])
        guard count >= 0, file.size == ShardFormat.headerBytes + count * format.bytesPerToken else {
            throw refuse("it has \(file.size) bytes, which does not fit the \(count) tokens of its header")
        }
        self.path = path
        self.count = count
        self.format = format
        size = file.size
    }

    /// `count` tokens from token `position` on.
    package func read(_ count: Int, at position: Int) throws -> [Int32] {
        guard count >= 0, position >= 0, position <= self.count, count <= self.count - position else {
            throw UserError(
                "\(path) has \(self.count) tokens, not \(count) from \(position) on", hint: "use a longer text")
        }
        let offset = ShardFormat.headerBytes + position * format.bytesPerToken
        // Opened for every read: a corpus may have more shards than a process may have files open.
        let file = try InputFile(path, hint: "the shard was there at the start; write it anew with tokenize")
        guard file.size == size else {
            throw UserError("\(path) has changed its length since the start", hint: "start again with the new shards")
        }
        switch format {
        case .narrow: return try file.read(count, of: UInt16.self, at: offset).map { Int32($0) }
        case .wide:
            return try file.read(count, of: UInt32.self, at: offset).map { token in
                guard let id = Int32(exactly: token) else {
                    throw UserError("\(path): \(token) is no token id", hint: "write it anew with tokenize")
                }
                return id
            }
        }
    }
}
