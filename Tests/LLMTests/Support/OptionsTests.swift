// The command line: what it accepts, and what it says to what it does not.

import Foundation
import LLM
import Testing

private let table = [
    Option("learning-rate", "l", .number(0...10), default: "3e-4", "the peak"),
    Option("batch-size", "b", .integer(1...64), default: "4", "rows"),
    Option("steps", "x", .integer(0...Int.max), "N", "as many"),
    Option("input", "i", .texts, "FILE…", "what to read"),
    Option("output", "o", .text, "DIR", default: "data", "where to write"),
    Option("schedule", "k", .choice(["cosine", "constant"]), default: "cosine", "how it decays"),
    Option("resume", "y", .flag, default: "0", "go on"),
    Option("keep", "nk", .integer(0...9), default: "0", "a short name of two letters"),
]

private func parse(_ arguments: String...) throws -> Options {
    try Options(program: "prog", about: "a test", table: table, arguments: arguments)
}

private func failure(_ arguments: String...) -> UserError {
    do {
        _ = try Options(program: "prog", about: "a test", table: table, arguments: arguments)
        return UserError("accepted", hint: "")
    } catch {
        return error as? UserError ?? UserError("\(error)", hint: "no UserError")
    }
}

@Test func `defaults hold when nothing is given`() throws {
    let options = try parse()
    #expect(options.double("learning-rate") == 3e-4 && options.int("batch-size") == 4)
    #expect(options.text("output") == "data" && options.text("steps") == nil && options.texts("input") == [])
    #expect(!options.flag("resume") && !options.isGiven("resume") && !options.isGiven("output"))
}

@Test func `long, short and attached values mean the same`() throws {
    for options in [
        try parse("--learning-rate", "0.5", "--batch-size", "8"), try parse("-l", "0.5", "-b", "8"),
        try parse("--learning-rate=0.5", "--batch-size=8"),
    ] {
        #expect(options.double("learning-rate") == 0.5 && options.int("batch-size") == 8)
        #expect(options.isGiven("batch-size"))
    }
    #expect(try parse("-nk", "3").int("keep") == 3)
    #expect(try parse("--output=a=b").text("output") == "a=b")
    #expect(try parse("--output=\u{301}x").text("output") == "\u{301}x")  // = and the accent are one character
    #expect(try parse("-o", "x", "-o", "y").text("output") == "y")
    #expect(try parse("--schedule", "constant").text("schedule") == "constant")
}

@Test func `a flag may stand alone or before 0 and 1`() throws {
    #expect(try parse("--resume").flag("resume") && parse("-y", "1").flag("resume"))
    #expect(try !parse("-y", "0").flag("resume") && !parse("--resume=0").flag("resume"))
    let options = try parse("--resume", "-b", "2")
    #expect(options.flag("resume") && options.int("batch-size") == 2)
    #expect(failure("--resume=maybe").hint.contains("0 or 1"))
}

@Test func `an argument that is not UTF-8 is refused by name`() throws {
    func read(_ words: [[UInt8]]) throws -> [String] {
        // As the system gives them: one after the other, then nothing.
        var words = words.map { $0.map { CChar(bitPattern: $0) } + [0] }.map { word in
            let copy = UnsafeMutableBufferPointer<CChar>.allocate(capacity: word.count)
            _ = copy.initialize(from: word)
            return copy.baseAddress
        }
        words.append(nil)
        defer { words.forEach { $0?.deallocate() } }
        return try words.withUnsafeMutableBufferPointer { try commandLineArguments(#require($0.baseAddress)) }
    }
    #expect(try read([Array("prog".utf8), Array("--text".utf8), Array("가 é".utf8), []]) == ["--text", "가 é", ""])
    #expect(try read([Array("prog".utf8)]) == [] && read([]) == [])
    let word = Array("--text=x".utf8) + [0xFF]
    #expect { try read([Array("prog".utf8), word]) } throws: { error in
        let error = error as? UserError
        return error?.message == "'--text=x\\xFF' on the command line is not UTF-8" && error?.exitCode == 2
    }
    #expect(throws: UserError.self) { try read([Array("prog".utf8), [0x61], [0xED, 0xA0, 0x80]]) }
    // U+FFFD itself is text.
    #expect(try read([[], Array("\u{FFFD}".utf8)]) == ["\u{FFFD}"])
}

@Test func `texts reach up to the next option and add up`() throws {
    let options = try parse("-i", "a", "b", "-b", "2", "--input", "c", "--input=d")
    #expect(options.texts("input") == ["a", "b", "c", "d"] && options.int("batch-size") == 2)
}

@Test func `an unknown option names the nearest`() {
    let error = failure("--bach-size", "3")
    #expect(error.message.contains("--bach-size") && error.hint.contains("--batch-size") && error.exitCode == 2)
    #expect(failure("--hlep").hint.contains("--help"))
    #expect(failure("--ouput=x").hint.contains("--output"))
    #expect(failure("stray").message.contains("'stray'") && failure("stray").exitCode == 2)
}

@Test(arguments: [
    ["--batch-size", "0"], ["--batch-size", "65"], ["--batch-size", "four"], ["--batch-size", "2.5"],
    ["--batch-size", "99999999999999999999"], ["--batch-size"], ["-l", "-1"], ["-l", "nan"], ["-l", "inf"], ["-l", ""],
    ["--schedule", "linear"], ["--output"], ["--input"],
])
func `a wrong or missing value is a wrong command line`(arguments: [String]) {
    #expect { try Options(program: "prog", about: "a test", table: table, arguments: arguments) } throws: { error in
        let error = error as? UserError
        return error?.exitCode == 2 && error?.hint.contains("prog --help") == true
    }
}

@Test func `a wrong value says what is allowed`() {
    #expect(failure("-b", "0").hint.contains("from 1 to 64"))
    #expect(failure("-x", "-1").hint.contains("at least 0"))
    #expect(failure("-k", "linear").hint.contains("cosine, constant"))
}

@Test func `what is required must be there`() throws {
    // Only a long name is written with =.
    #expect(userError { _ = try parse("-x=3") }?.hint == "write -x 3, or --steps=3")
    #expect(try parse("-x", "3").required("steps", example: "") == "3")
    #expect(throws: UserError("--steps is missing", hint: "write -x 3", exitCode: 2)) {
        try parse().required("steps", example: "write -x 3")
    }
}

// Each of these runs its body in a process of its own.

@Test func `an error ends in two lines and its exit code`() async {
    let result = await #expect(processExitsWith: .exitCode(2), observing: [\.standardErrorContent]) {
        runReportingErrors { throw UserError("this broke", hint: "do that", exitCode: 2) }
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.hasSuffix("error: this broke\nhint: do that\n"))
    await #expect(processExitsWith: .exitCode(1)) {
        runReportingErrors { throw UserError("this broke", hint: "do that") }
    }
}

@Test func `help lists every option with its default`() async {
    let result = await #expect(processExitsWith: .exitCode(0), observing: [\.standardOutputContent]) {
        _ = try Options(
            program: "prog", about: "a test", table: [Option("size", "s", .integer(1...9), default: "4", "how large")],
            arguments: ["--help"])
    }
    let text = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
    for part in ["prog: a test", "usage: prog [options]", "-s, --size N", "how large (default 4)", "--help"] {
        #expect(text.contains(part))
    }
}
