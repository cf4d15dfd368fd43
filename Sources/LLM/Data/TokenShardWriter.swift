import Foundation

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
