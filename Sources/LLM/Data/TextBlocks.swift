// Text files of any size are read in blocks that can be processed separately. A block ends where the words of the text
// do not depend on what follows: after a line if lines are processed one by one, else at a safe cut of the
// pre-tokenizer. So the results of the blocks, and of the sections of a block that go to different threads, are the
// results of the whole text.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Calls `body` with each block of `file` and its offset. A block has `blockSize` bytes or fewer; it grows if it
/// contains no cut.
package func forEachBlock(
    of file: InputFile, blockSize: Int, cut: TextCut, _ body: (UnsafeBufferPointer<UInt8>, Int) throws -> Void
) throws {
    var offset = 0
    var size = blockSize
    // One buffer for all blocks, because the system clears every new page.
    var buffer: [UInt8] = []
    while offset < file.size {
        let count = min(size, file.size - offset)
        if buffer.count < count { buffer = [UInt8](unsafeUninitializedCapacity: count) { $1 = count } }
        try buffer.withUnsafeMutableBytes {
            try file.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), at: offset)
        }
        let taken: Int? = try buffer.withUnsafeBufferPointer { buffer in
            let bytes = UnsafeBufferPointer(rebasing: buffer[..<count])
            guard let end = offset + count == file.size ? count : cut.last(in: bytes) else { return nil }
            try body(UnsafeBufferPointer(rebasing: bytes[..<end]), offset)
            return end
        }
        offset += taken ?? 0
        size = taken == nil ? 2 * size : blockSize
    }
}

/// The first line end at `start` or after it; nil if there is none.
@inline(__always)
func newline(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    guard let base = bytes.baseAddress, start < bytes.count,
        let found = memchr(base + start, 10, bytes.count - start)
    else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(base)
}

/// The position of the byte at `offset` for messages: `line 12, byte 5`, both counted from 1.
package func lineAndByte(in file: InputFile, at offset: Int) throws -> String {
    var line = 1
    var lineStart = 0
    for start in stride(from: 0, to: offset, by: 1 << 20) {
        let bytes = try file.read(min(1 << 20, offset - start), of: UInt8.self, at: start)
        for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") {
            line += 1
            lineStart = start + index + 1
        }
    }
    return "line \(line), byte \(offset - lineStart + 1)"
}
