// The rule for text, which is the same for every file that a tokenizer learns from or encodes: text is UTF-8 without NUL
// bytes. Anything else is an error with file, line and byte, and a hint at the conversion that fits; or, with --lossy,
// each byte that is not text becomes U+FFFD. A byte order mark at the beginning is not part of the text.

/// A text file of a command line, open. Its beginning has been looked at, and the rest is checked as it is read.
package struct TextFile {
    let file: InputFile
    /// The folder that the file was found in, if it was not named itself.
    private let folder: String?
    private let isStandardInput: Bool
    /// The offset at which the text begins: behind the byte order mark, if there is one.
    package let start: Int

    package var path: String { file.path }
    /// Bytes, with the byte order mark.
    package var size: Int { file.size }
    package var isEmpty: Bool { size == start }

    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// - Throws: if the file begins like one of a kind that is not text, or like UTF-16 or UTF-32.
    init(_ file: InputFile, in folder: String? = nil, isStandardInput: Bool = false) throws {
        self.file = file
        self.folder = folder
        self.isStandardInput = isStandardInput
        let head = try file.read(min(file.size, 1 << 16), of: UInt8.self, at: 0)
        start = head.starts(with: TextFile.byteOrderMark) ? TextFile.byteOrderMark.count : 0
        if let kind = FileKind(head: head) {
            let all = folder.map { "; or move it out of \($0), which stands for all its files" } ?? ""
            throw UserError("\(path) is \(kind.name), not text", hint: kind.hint + all)
        }
        if let encoding = CharacterEncoding(head: head) {
            throw UserError("\(path) is \(encoding.rawValue), not UTF-8", hint: conversion(from: encoding.rawValue))
        }
    }

    /// The whole text, for files of which none is long.
    func contents() throws -> [UInt8] {
        let bytes = try file.read(size - start, of: UInt8.self, at: start)
        if let position = bytes.withUnsafeBufferPointer({ firstNonText(in: $0) }) {
            throw try notText(at: start + position, canBeLossy: false)
        }
        return bytes
    }

    /// The lines of a text that is not long, without their ends. A last line needs none.
    package func lines() throws -> [[UInt8]] {
        var lines = try contents().split(separator: 10, omittingEmptySubsequences: false).map { line in
            Array(line.last == 13 ? line.dropLast() : line)
        }
        if lines.last?.isEmpty ?? false { lines.removeLast() }
        return lines
    }

    /// The error for the byte at `offset`, which is not text: where it is, and what can be done.
    /// - Parameter canBeLossy: whether the program has the option --lossy.
    func notText(at offset: Int, canBeLossy: Bool = true) throws -> UserError {
        let place = "\(path), \(try lineAndByte(in: self, at: offset))"
        func orLossy(_ hint: String, _ separator: String = "; or ") -> String {
            canBeLossy ? "\(hint)\(separator)--lossy replaces such bytes by U+FFFD" : hint
        }
        let after = try file.read(min(size - offset, 1 << 16), of: UInt8.self, at: offset)
        if after.contains(0) {
            let what = after[0] == 0 ? "a NUL byte, which no text has" : "not UTF-8, and NUL bytes after it"
            return UserError("\(place): \(what)", hint: orLossy("is it a text file?", " "))
        }
        if offset + after.count == size, TextFile.isBeginningOfCharacter(after) {
            return UserError(
                "\(place): the file ends inside a character", hint: orLossy("it was cut off: copy it again"))
        }
        guard CharacterEncoding.isCP949(after) else {
            return UserError("\(place): not UTF-8", hint: orLossy(conversion(from: "ENCODING")))
        }
        return UserError(
            "\(place): not UTF-8 but, it seems, CP949 (EUC-KR)",
            hint: conversion(from: CharacterEncoding.cp949.rawValue))
    }

    /// Whether `bytes` are the first ones, but not all, of a character in UTF-8.
    private static func isBeginningOfCharacter(_ bytes: [UInt8]) -> Bool {
        bytes.count < 4
            && [0x80, 0x90, 0xA0].contains { next in
                (bytes + [UInt8](repeating: next, count: 3)).withUnsafeBufferPointer {
                    wellFormedLength(at: 0, in: $0) > bytes.count
                }
            }
    }

    /// The command that makes UTF-8 of the file.
    private func conversion(from encoding: String) -> String {
        if isStandardInput { return "convert it on the way: … | iconv -f \(encoding) -t UTF-8 | …" }
        let dot = path.lastIndex(of: ".") ?? path.endIndex
        let hasExtension = path[dot...].count > 1 && !path[dot...].contains("/")
        let converted = hasExtension ? "\(path[..<dot])-utf8\(path[dot...])" : "\(path)-utf8"
        let then = folder.map { ", and move this file out of \($0)" } ?? ""
        return "convert it: iconv -f \(encoding) -t UTF-8 \(shellWord(path)) > \(shellWord(converted))\(then)"
    }
}

/// Says what --lossy did.
package func noteReplaced(_ count: Int) {
    if count > 0 {
        note("note: \(count) \(count == 1 ? "byte that is" : "bytes that are") not UTF-8 text became U+FFFD")
    }
}
