// Text files of any size are read in blocks that can be processed separately. A block ends where the words of the text
// do not depend on what follows: after a line if lines are processed one by one, else at a safe cut of the
// pre-tokenizer. So the results of the blocks, and of the sections of a block that go to different threads, are the
// results of the whole text.

import Kernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Calls `body` with each block of `file` and its offset. A block has `blockSize` bytes or fewer; it grows if it
/// contains no cut.
package func forEachBlock(
    of file: TextFile, blockSize: Int, cut: TextCut, _ body: (UnsafeBufferPointer<UInt8>, Int) throws -> Void
) throws {
    var offset = file.start
    var size = blockSize
    // One buffer for all blocks, because the system clears every new page.
    var buffer: [UInt8] = []
    while offset < file.size {
        let count = min(size, file.size - offset)
        if buffer.count < count { buffer = [UInt8](unsafeUninitializedCapacity: count) { $1 = count } }
        try buffer.withUnsafeMutableBytes {
            try file.file.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), at: offset)
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

/// A section of a block of a text file.
package struct TextSection {
    package let bytes: UnsafeBufferPointer<UInt8>
    /// The offset of the first byte in the file.
    package let offset: Int
    /// The position of the first byte that is not text, as TextFile defines it; nil if all are.
    package let nonText: Int?

    package init(_ bytes: UnsafeBufferPointer<UInt8>, offset: Int) {
        self.bytes = bytes
        self.offset = offset
        nonText = firstNonText(in: bytes)
    }

    /// Calls `body` with the section, in which bytes that are not text are replaced and added to `count`.
    package func withText(count: inout Int, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        if nonText == nil { return body(bytes) }
        replacingNonText(in: bytes, count: &count).withUnsafeBufferPointer(body)
    }
}

/// Calls `body` with the sections of `file` on all cores, each with its number, less than `threadCount`, among those of
/// its block.
/// - Parameters:
///   - sectionSize: in bytes, about.
///   - lossy: whether bytes that are not text are accepted.
///   - progress: called after each block with the number of its bytes.
/// - Throws: at the first byte that is not text, unless `lossy`; or if the file cannot be read.
package func forEachSection(
    of file: TextFile, sectionSize: Int, cut: TextCut, lossy: Bool, progress: (Int) -> Void = { _ in },
    _ body: (Int, TextSection) -> Void
) throws {
    let threads = max(1, threadCount)
    try forEachBlock(of: file, blockSize: threads * sectionSize, cut: cut) { block, offset in
        let sections = cut.sections(of: block, count: threads)
        var wrong = [Int?](repeating: nil, count: sections.count)
        wrong.withUnsafeMutableBufferPointer { wrong in
            nonisolated(unsafe) let wrong = wrong
            parallelFor(sections.count) { i in
                let bytes = UnsafeBufferPointer(rebasing: block[sections[i]])
                let section = TextSection(bytes, offset: offset + sections[i].lowerBound)
                wrong[i] = section.nonText.map { section.offset + $0 }
                if lossy || wrong[i] == nil { body(i, section) }
            }
        }
        if !lossy, let first = wrong.compactMap({ $0 }).first { throw try file.notText(at: first) }
        progress(block.count)
    }
}

/// Checks that `files` are text, to their ends.
/// - Throws: at the first byte that is not text; or if a file cannot be read.
package func checkTexts(_ files: [TextFile]) throws {
    for file in files {
        try forEachSection(of: file, sectionSize: 2 << 20, cut: .betweenWords(.gpt2), lossy: false) { _, _ in }
    }
}

/// The first LF at `start` or after it; nil if there is none.
@inline(__always)
func newline(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    first(10, in: bytes, from: start)
}

/// The first `byte` at `start` or after it; nil if there is none.
@inline(__always)
private func first(_ byte: Int32, in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    guard let base = bytes.baseAddress, start < bytes.count,
        let found = memchr(base + start, byte, bytes.count - start)
    else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(base)
}

/// A reader of the lines of a text, which end with LF, CR LF or CR.
struct Lines {
    private let bytes: UnsafeBufferPointer<UInt8>
    /// Most texts have none, and their line ends are found faster.
    private let hasReturns: Bool

    init(of bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
        hasReturns = first(13, in: bytes, from: 0) != nil
    }

    /// The offset after the line end that is the first at `start` or after it; nil if there is none.
    @inline(__always)
    func end(from start: Int) -> Int? {
        guard hasReturns else { return newline(in: bytes, from: start).map { $0 + 1 } }
        guard let end = bytes[start...].firstIndex(where: { $0 == 10 || $0 == 13 }) else { return nil }
        let isPair = bytes[end] == 13 && end + 1 < bytes.count && bytes[end + 1] == 10
        return end + (isPair ? 2 : 1)
    }
}

/// The position of the byte at `offset` for messages: `line 12, byte 5`, both counted from 1.
package func lineAndByte(in file: TextFile, at offset: Int) throws -> String {
    var (line, lineStart) = (1, 0)
    var previous: UInt8 = 0
    for start in stride(from: 0, through: offset, by: 1 << 20) {
        let bytes = try file.file.read(min(1 << 20, offset + 1 - start), of: UInt8.self, at: start)
        for (index, byte) in bytes.enumerated() {
            if previous == 10 || (previous == 13 && byte != 10) {
                line += 1
                lineStart = start + index
            }
            previous = byte
        }
    }
    return "line \(line), byte \(offset - lineStart + 1)"
}
