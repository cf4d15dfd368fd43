// Token shards hold the corpus as token ids, in llm.c's format (dev/data/data_common.py and llmc/dataloader.h there).
//
// The header is 256 int32: 20240520, 1, the number of tokens; then the tokens as uint16. With a vocabulary over 65,536
// it is llm.c's wide format: 20240801, 7, the number of tokens; then uint32. The file ends exactly after the last
// token. Our addition, where llm.c does not look, is the tokenizer's fingerprint: [3] how many tokens it has (0: not
// known), u64 at [4] their hash. A corpus is train_000000.bin, train_000001.bin … and val_000000.bin …, which readers find by `train_*.bin`.

/// A token shard, open for reading.
package final class TokenShard: Sendable {
    package let path: String
    /// The number of tokens.
    package let count: Int
    /// Of the tokenizer that the tokens are of; nil if the shard does not say.
    package let fingerprint: TokenizerFingerprint?
    private let format: ShardFormat
    /// The size of the file in bytes.
    private let size: Int

    /// The bytes of all tokens.
    var bytes: Int { count * format.bytesPerToken }

    package init(_ path: String) throws {
        let file = try InputFile(path, hint: "write token shards first: tokenize --tokenizer DIR --input text.txt")
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(path): \(what)", hint: "it is not a token shard, or is truncated; write it again with tokenize")
        }
        guard file.size >= ShardFormat.headerBytes else {
            throw refuse("\(file.size) bytes are too few for the header of 1024")
        }
        let header = try file.read(6, of: Int32.self, at: 0)
        guard let format = ShardFormat.allCases.first(where: { $0.magic == header[0] }) else {
            throw refuse("its first number is \(header[0]), neither 20240520 nor 20240801")
        }
        guard header[1] == format.version else {
            throw refuse("its version is \(header[1]), not \(format.version)")
        }
        // At most 2³¹ tokens of four bytes, so this cannot overflow.
        let count = Int(header[2])
        guard count >= 0, file.size == ShardFormat.headerBytes + count * format.bytesPerToken else {
            throw refuse("it has \(file.size) bytes, which does not fit the \(count) tokens of its header")
        }
        self.path = path
        self.count = count
        fingerprint = header[3] > 0 ? TokenizerFingerprint(count: Int(header[3]), hash: header[u64: 4]) : nil
        self.format = format
        size = file.size
    }

    /// `count` tokens, starting with token `position`.
    /// - Throws: if the shard does not have them, or the file changed.
    package func read(_ count: Int, at position: Int) throws -> [Int32] {
        guard count >= 0, position >= 0, position <= self.count, count <= self.count - position else {
            throw UserError(
                "\(path) has \(self.count) tokens; \(count) from \(position) are out of range",
                hint: "use a longer text")
        }
        let offset = ShardFormat.headerBytes + position * format.bytesPerToken
        let file = try open()
        switch format {
        case .narrow: return try file.read(count, of: UInt16.self, at: offset).map { Int32($0) }
        case .wide:
            return try file.read(count, of: UInt32.self, at: offset).map { token in
                guard let id = Int32(exactly: token) else {
                    throw UserError("\(path): \(token) is not a token id", hint: "write it again with tokenize")
                }
                return id
            }
        }
    }

    /// Reads all tokens, a block at a time.
    /// - Parameter body: is given a block's bytes, and the largest token in it.
    func forEachBlock(_ body: (_ bytes: UnsafeRawBufferPointer, _ largest: Int) throws -> Void) throws {
        let file = try open()
        for offset in stride(from: ShardFormat.headerBytes, to: size, by: 1 << 20) {
            let block = try file.read(min(1 << 20, size - offset), of: UInt8.self, at: offset)
            try block.withUnsafeBytes { bytes in
                func largest<Value: FixedWidthInteger>(_ type: Value.Type) -> Int {
                    Int(clamping: bytes.bindMemory(to: Value.self).reduce(0) { max($0, $1) })
                }
                try body(bytes, format == .narrow ? largest(UInt16.self) : largest(UInt32.self))
            }
        }
    }

    /// The file. It is opened for every read, because a corpus may have more shards than a process may have open files.
    private func open() throws -> InputFile {
        let file = try InputFile(path, hint: "the shard was there at the start; write it again with tokenize")
        guard file.size == size else {
            throw UserError(
                "the length of \(path) has changed since the start", hint: "start again with the new shards")
        }
        return file
    }
}

/// The two formats of token shards: tokens of two bytes or of four.
enum ShardFormat: CaseIterable {
    case narrow
    case wide

    static let headerBytes = 1024

    init(vocabularySize: Int) { self = vocabularySize > 1 << 16 ? .wide : .narrow }

    var magic: Int32 { self == .narrow ? 20_240_520 : 20_240_801 }
    var version: Int32 { self == .narrow ? 1 : 7 }
    var bytesPerToken: Int { self == .narrow ? 2 : 4 }
}
