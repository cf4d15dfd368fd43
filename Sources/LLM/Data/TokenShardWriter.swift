// Token ids on their way to llm.c's shards (TokenShard.swift has the format).

import Foundation

/// A writer of the token shards of one split. Files get their final names when the caller commits `files`.
package struct TokenShardWriter {
    private let files: DurableFiles
    /// The path without `_000000.bin`, such as `data/train`.
    private let prefix: String
    private let format: ShardFormat
    private let fingerprint: TokenizerFingerprint?
    private let tokensPerShard: Int
    private var shard: OutputFile?
    private var shardTokens = 0
    private var shardCount = 0
    package private(set) var tokenCount = 0

    /// - Parameters:
    ///   - fingerprint: of the tokenizer that the tokens are of; nil does not say.
    ///   - tokensPerShard: the size limit of a shard; 100 million is also llm.c's default.
    package init(
        files: DurableFiles, prefix: String, vocabularySize: Int, fingerprint: TokenizerFingerprint? = nil,
        tokensPerShard: Int = 100_000_000
    ) {
        precondition(tokensPerShard > 0 && tokensPerShard <= Int(Int32.max))
        self.fingerprint = fingerprint
        self.files = files
        self.prefix = prefix
        self.format = ShardFormat(vocabularySize: vocabularySize)
        self.tokensPerShard = tokensPerShard
    }

    /// Appends tokens. Their ids must be in the vocabulary.
    package mutating func write(_ tokens: ArraySlice<Int32>) throws {
        var rest = tokens
        while !rest.isEmpty {
            let shard = try self.shard ?? startShard()
            let chunk = rest.prefix(tokensPerShard - shardTokens)
            switch format {
            case .narrow: try shard.write(chunk.map { UInt16($0) })
            case .wide: try shard.write(chunk.map { UInt32($0) })
            }
            shardTokens += chunk.count
            tokenCount += chunk.count
            rest = rest.dropFirst(chunk.count)
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

    /// Completes the last shard: writes its header and syncs it to the disk.
    package mutating func finish() throws {
        guard let shard else { return }
        var header: [Int32] = [format.magic, format.version, Int32(shardTokens), 0, 0, 0]
        header[3] = Int32(fingerprint?.count ?? 0)
        header[u64: 4] = fingerprint?.hash ?? 0
        try header.withUnsafeBytes { try shard.overwrite($0, at: 0) }
        try files.finish(shard)
        self.shard = nil
    }
}
