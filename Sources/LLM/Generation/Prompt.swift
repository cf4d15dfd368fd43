// The text that a program is given to read: as an option, from a file or from standard input.

import Foundation

/// The two options of a prompt.
package enum Prompt {
    /// - Parameter what: what it is for.
    package static func options(_ what: String) -> [Option] {
        [
            Option("prompt", "p", .text, "TEXT", what),
            Option(
                "prompt-file", "f", .text, "FILE",
                "the same from a file, or from standard input (-), less one newline at its end"),
        ]
    }

    /// Refuses both at once.
    package static func checkOnce(_ options: Options) throws {
        guard options.isGiven("prompt"), options.isGiven("prompt-file") else { return }
        throw UserError("there are two prompts", hint: "give --prompt or --prompt-file", exitCode: 2)
    }

    /// UTF-8; empty if none was given.
    package static func read(_ options: Options) throws -> [UInt8] {
        guard let path = options.text("prompt-file") else { return Array((options.text("prompt") ?? "").utf8) }
        var bytes: [UInt8]
        if path == "-" {
            bytes = Array(FileHandle.standardInput.readDataToEndOfFile())
        } else {
            let file = try InputFile(path, hint: "is it the right path? --prompt takes the text itself")
            bytes = try file.read(file.size, of: UInt8.self, at: 0)
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw UserError(
                "the prompt is not UTF-8", hint: "convert it first: iconv -f CP949 -t UTF-8 FILE > prompt.txt")
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        return bytes
    }
}
