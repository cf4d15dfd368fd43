// The executables as a person runs them.

import Foundation
import LLM
import Testing

/// What a program left when it ended.
struct ProgramResult {
    let status: Int32
    let output: String
    let errors: String
}

/// A program that was built with the tests.
func executable(_ program: String) -> URL {
    Bundle.module.bundleURL.deletingLastPathComponent().appendingPathComponent(program)
}

/// Runs a program that was built with the tests.
/// - Parameters:
///   - folder: where it runs; nothing outside of it is to be named.
///   - input: what it reads on standard input.
func run(_ program: String, _ arguments: [String], in folder: String, input: String = "") throws -> ProgramResult {
    let process = Process()
    process.executableURL = executable(program)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    let files = try [[], [], Array(input.utf8)].map { bytes in
        let path = "\(folder)/\(UUID().uuidString)"
        try write(bytes, to: path)
        return path
    }
    process.standardInput = FileHandle(forReadingAtPath: files[2])
    process.standardOutput = FileHandle(forWritingAtPath: files[0])
    process.standardError = FileHandle(forWritingAtPath: files[1])
    try process.run()
    process.waitUntilExit()
    let texts = try files.map { String(decoding: try bytes($0), as: UTF8.self) }
    for file in files { try FileManager.default.removeItem(atPath: file) }
    return ProgramResult(status: process.terminationStatus, output: texts[0], errors: texts[1])
}

func expectSuccess(
    _ program: String, _ arguments: [String], in folder: String, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let result = try run(program, arguments, in: folder)
    #expect(result.status == 0, "\(program) \(arguments): \(result.errors)", sourceLocation: sourceLocation)
}

/// Expects two lines, an error with these words and a hint.
/// - Parameter hint: words of it.
func expectRefusal(
    _ words: String..., hint: String = "", of program: String, _ arguments: [String], in folder: String,
    status: Int32 = 1, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let result = try run(program, arguments, in: folder)
    let told = "\(program) \(arguments): \(result.errors)"
    #expect(result.status == status, "\(told)", sourceLocation: sourceLocation)
    let lines = result.errors.split(separator: "\n")
    let error = lines.first { $0.hasPrefix("error: ") } ?? ""
    for word in words { #expect(error.contains(word), "\(told)", sourceLocation: sourceLocation) }
    let given = lines.first { $0.hasPrefix("hint: ") }
    #expect(given?.contains(hint.isEmpty ? "hint" : hint) == true, "\(told)", sourceLocation: sourceLocation)
}

/// Two tokenizers of 300 tokens, in a/ and b/, and shards of a's in data/.
func makeTokenizersAndData(_ folder: String) throws {
    let text = try contents(of: fixture("tokenizer_corpus.txt"))
    try trainByteLevel(text, vocabularySize: 300).write(to: folder + "/a")
    try trainByteLevel(text.reversed(), vocabularySize: 300).write(to: folder + "/b")
    try createDirectory(folder + "/data")
    try writeShard(randomTokens(1200, below: 300, seed: 1), to: folder + "/data/train_0.bin")
    try putTokenizer("a", in: folder)
}

/// Makes a tokenizer that of the data.
func putTokenizer(_ tokenizer: String, in folder: String) throws {
    for name in ["tokenizer.json", "tokenizer.bin"] {
        try write(try bytes("\(folder)/\(tokenizer)/\(name)"), to: "\(folder)/data/\(name)")
    }
}
