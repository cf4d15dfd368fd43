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

/// Runs a program that was built with the tests.
/// - Parameter folder: where it runs; nothing outside of it is to be named.
func run(_ program: String, _ arguments: [String], in folder: String) throws -> ProgramResult {
    let process = Process()
    process.executableURL = Bundle.module.bundleURL.deletingLastPathComponent().appendingPathComponent(program)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder)
    let files = try (0..<2).map { _ in
        let path = "\(folder)/\(UUID().uuidString)"
        try write([], to: path)
        return path
    }
    process.standardInput = FileHandle.nullDevice
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
func expectRefusal(
    _ words: String..., of program: String, _ arguments: [String], in folder: String,
    sourceLocation: SourceLocation = #_sourceLocation
) throws {
    let result = try run(program, arguments, in: folder)
    let told = "\(program) \(arguments): \(result.errors)"
    #expect(result.status == 1, "\(told)", sourceLocation: sourceLocation)
    let error = result.errors.split(separator: "\n").first { $0.hasPrefix("error: ") } ?? ""
    for word in words { #expect(error.contains(word), "\(told)", sourceLocation: sourceLocation) }
    #expect(result.errors.contains("\nhint: "), "\(told)", sourceLocation: sourceLocation)
}
