// Text files of any size, read in blocks that can be worked on apart from each other.
//
// A block ends where the words of the text do not depend on what follows: after a line where lines are taken one by
// one, else at a safe cut of the pre-tokeniser. So what is computed from the blocks, and from the pieces of a block
// that go to different threads, is what would be computed from the whole text.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

package enum TextCut {
    /// After a line end; within a line only if it is longer than a block.
    case afterLine
    /// At a safe cut.
    case betweenWords

    /// The last cut in `bytes`, or nil.
    func last(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        if case .afterLine = self, let newline = bytes.lastIndex(of: UInt8(ascii: "\n")) { return newline + 1 }
        return PreTokenizer().safeCut(in: bytes)
    }

    /// Cuts a block into at most `count` pieces of about the same size; none is empty.
    package func pieces(of block: UnsafeBufferPointer<UInt8>, count: Int) -> [Range<Int>] {
        var pieces: [Range<Int>] = []
        var start = 0
        for index in 1..<max(count, 1) {
            let target = block.count / count * index
            guard target > start else { continue }
            if let end = last(in: UnsafeBufferPointer(rebasing: block[start..<target])) {
                pieces.append(start..<start + end)
                start += end
            }
        }
        if start < block.count { pieces.append(start..<block.count) }
        return pieces
    }
}

/// Calls `body` with each block of `file` and its offset. A block grows where it has no cut: memory follows `blockSize`
/// and the longest word.
package func forEachBlock(
    of file: InputFile, blockSize: Int, cut: TextCut, _ body: (UnsafeBufferPointer<UInt8>, Int) throws -> Void
) throws {
    var offset = 0
    var size = blockSize
    while offset < file.size {
        let count = min(size, file.size - offset)
        let bytes = try file.read(count, of: UInt8.self, at: offset)
        let taken: Int? = try bytes.withUnsafeBufferPointer { bytes in
            guard let end = offset + count == file.size ? count : cut.last(in: bytes) else { return nil }
            try body(UnsafeBufferPointer(rebasing: bytes[..<end]), offset)
            return end
        }
        offset += taken ?? 0
        size = taken == nil ? 2 * size : blockSize
    }
}

/// `line 12, byte 5`, both counted from 1, of the byte at `offset`; for messages.
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

/// Opens the text files of a command line. `-` is standard input, which is copied to a temporary file that loses its
/// name at once, for it may be read more than once.
package func openTexts(_ paths: [String]) throws -> [InputFile] {
    try paths.map { path in
        let file =
            path == "-"
            ? try copyOfStandardInput()
            : try InputFile(path, hint: "give the path of a text file, or - for standard input")
        guard file.size > 0 else {
            throw UserError(
                "\(path == "-" ? "standard input" : path) is empty", hint: "give a file with some text in it")
        }
        return file
    }
}

private func copyOfStandardInput() throws -> InputFile {
    let path = "\(NSTemporaryDirectory())/llm.swift.\(getpid()).txt"
    defer { unlink(path) }
    try writeDurably(path) { output in
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = buffer.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            try output.write(Array(buffer[..<count]))
        }
    }
    return try InputFile(path, hint: "standard input could not be copied")
}
