// Token shards: both widths, several of them, and damaged ones.

import Foundation
import LLM
import Testing

@Test func `shards hold what was written, in both widths`() throws {
    for vocabularySize in [50257, 65536, 65537] {
        try withTemporaryDirectory { directory in
            let tokens = (0..<250).map { Int32($0 * 7919 % vocabularySize) } + [Int32(vocabularySize - 1)]
            let files = DurableFiles()
            var writer = TokenShardWriter(
                files: files, prefix: directory + "/train", vocabularySize: vocabularySize, tokensPerShard: 100)
            try writer.write(tokens[..<30])
            try writer.write(tokens[30...])
            try writer.finish()
            #expect(paths(matching: directory + "/*.bin").isEmpty)
            try files.commit()
            let names = paths(matching: directory + "/train_*.bin")
            #expect(names == (0..<3).map { "\(directory)/train_00000\($0).bin" })
            let shards = try names.map { try TokenShard($0) }
            #expect(shards.map(\.count) == [100, 100, 51])
            #expect(try shards.flatMap { try $0.read($0.count, at: 0) } == tokens)
            #expect(try shards[1].read(5, at: 95) == Array(tokens[195..<200]))
            for (count, position) in [(1, 100), (-1, 0), (1, -1), (Int.max, 1), (1, Int.max)] {
                #expect(throws: UserError.self) { try shards[1].read(count, at: position) }
            }
            let size = try contents(of: names[0]).count
            #expect(size == 1024 + 100 * (vocabularySize > 65536 ? 4 : 2))
        }
    }
}

@Test func `tokens that fill shards exactly leave no empty shard`() throws {
    for count in [0, 1, 99, 100, 101, 200] {
        try withTemporaryDirectory { directory in
            let files = DurableFiles()
            var writer = TokenShardWriter(
                files: files, prefix: directory + "/train", vocabularySize: 300, tokensPerShard: 100)
            try writer.write((0..<Int32(count)).map { $0 }[...])
            try writer.finish()
            try files.commit()
            let shards = try paths(matching: directory + "/train_*.bin").map { try TokenShard($0) }
            #expect(shards.map(\.count) == stride(from: 0, to: count, by: 100).map { min(100, count - $0) })
            #expect(writer.tokenCount == count)
            // The header, as llm.c reads it.
            for (index, shard) in shards.enumerated() {
                let header = try contents(of: shard.path)[..<12].map { Int($0) }
                #expect(header == [0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, min(100, count - 100 * index), 0, 0, 0])
            }
        }
    }
}

@Test func `an unfinished set of shards leaves nothing`() throws {
    try withTemporaryDirectory { directory in
        do {
            let files = DurableFiles()
            var writer = TokenShardWriter(files: files, prefix: directory + "/train", vocabularySize: 300)
            try writer.write([1, 2, 3])
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    }
}

@Test func `damaged shards are refused`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/shard.bin"
        func shard(_ header: [Int32], bytes: Int) -> [UInt8] {
            var header = header
            header += [Int32](repeating: 0, count: 256 - header.count)
            return header.withUnsafeBytes { Array($0) } + [UInt8](repeating: 1, count: bytes)
        }
        try write(shard([20_240_520, 1, 3], bytes: 6), to: path)
        #expect(try TokenShard(path).read(3, at: 0) == [257, 257, 257])
        let damaged = [
            [], Array(shard([20_240_520, 1, 3], bytes: 6)[..<1023]), shard([1, 1, 3], bytes: 6),
            shard([20_240_520, 2, 3], bytes: 6), shard([20_240_801, 1, 3], bytes: 12),
            shard([20_240_520, 1, 3], bytes: 5), shard([20_240_520, 1, 3], bytes: 8),
            shard([20_240_520, 1, -1], bytes: 6), shard([20_240_520, 1, .max], bytes: 6),
        ]
        for (index, bytes) in damaged.enumerated() {
            try write(bytes, to: path)
            #expect(userError { _ = try TokenShard(path) }?.message.hasPrefix(path) == true, "\(index)")
        }
        try write(shard([20_240_801, 7, 1], bytes: 0) + [255, 255, 255, 255], to: path)
        #expect(throws: UserError.self) { try TokenShard(path).read(1, at: 0) }
    }
}
