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
    /// After a line end.
    case afterLine
    /// After a line end; in a block without one at a safe cut between words of GPT-2's.
    case afterLineOrWord
    /// At a safe cut between words of GPT-2's.
    case betweenWords
    /// Before white space that has a line end in it, for any words that do not span lines.
    case beforeLineEnds
    /// Nowhere: a file is one block.
    case nowhere

    /// The last cut in `bytes`, or nil.
    func last(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        let newline = UInt8(ascii: "\n")
        switch self {
        case .afterLine: return bytes.lastIndex(of: newline).map { $0 + 1 }
        case .afterLineOrWord: return bytes.lastIndex(of: newline).map { $0 + 1 } ?? GPT2Words().safeCut(in: bytes)
        case .betweenWords: return GPT2Words().safeCut(in: bytes)
        case .beforeLineEnds:
            var end = bytes.count
            while let last = bytes[..<end].lastIndex(of: newline) {
                end = last
                while end > 0 {
                    let previous = CharacterClasses.shared.character(before: end, in: bytes)
                    if previous.class != .space { return end }
                    end -= previous.length
                }
            }
            return nil
        case .nowhere: return nil
        }
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
    // One buffer for all blocks: the system clears every page that it gives anew.
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

/// The first line end at `start` or after it, or nil.
@inline(__always)
func newline(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
    guard let base = bytes.baseAddress, start < bytes.count,
        let found = memchr(base + start, 10, bytes.count - start)
    else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(base)
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

/// Opens the text files of a command line. A directory stands for the files in it and below, in the order of their
/// names, but hidden and empty ones. `-` is standard input, which is copied to a temporary file, for it may be
/// read more than once.
package func openTexts(_ paths: [String]) throws -> [InputFile] {
    try paths.flatMap { path in
        if path != "-", isDirectory(path) {
            let files = try files(below: path).map { try InputFile($0, hint: "check the file's rights") }
            guard files.contains(where: { $0.size > 0 }) else {
                throw UserError("\(path) has no file with text in it", hint: "give a file, or a directory of files")
            }
            return files.filter { $0.size > 0 }
        }
        let file =
            path == "-"
            ? try copyOfStandardInput()
            : try InputFile(path, hint: "give the path of a text file, or - for standard input")
        guard file.size > 0 else {
            throw UserError(
                "\(path == "-" ? "standard input" : path) is empty", hint: "give a file with some text in it")
        }
        return [file]
    }
}

private func files(below directory: String) -> [String] {
    names(in: directory).filter { !$0.hasPrefix(".") }.flatMap { name in
        let path = "\(directory)/\(name)"
        return isDirectory(path) ? files(below: path) : [path]
    }
}

private func copyOfStandardInput() throws -> InputFile {
    // A file without a name: nothing is left of it, however the program ends.
    guard let copy = tmpfile() else {
        throw UserError(
            "no temporary file: \(String(cString: strerror(errno)))", hint: "standard input is copied to one")
    }
    defer { fclose(copy) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let count = buffer.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { break }
        guard fwrite(buffer, 1, count, copy) == count else {
            throw UserError(
                "standard input could not be copied: \(String(cString: strerror(errno)))",
                hint: "it takes as much room in the folder for temporary files")
        }
    }
    guard fflush(copy) == 0 else {
        throw UserError(
            "standard input could not be copied: \(String(cString: strerror(errno)))",
            hint: "it takes as much room in the folder for temporary files")
    }
    return try InputFile(copyOf: fileno(copy), name: "standard input")
}
