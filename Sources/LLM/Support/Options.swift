// The command line. One table per executable gives the parsing, the defaults and `--help`; nothing else in the project
// knows how options are written. train_gpt2's short names are llm.c's (`-i`, `-nk`), so that llm.c's command lines work
// unchanged.

import Foundation
import Kernels

/// The version of the project, as CHANGELOG.md counts; -dev is on the way to it.
package let projectVersion = "0.2-dev"

/// One row of an executable's table.
package struct Option {
    package enum Kind {
        case text
        /// One or more words, up to the next option; the option may also be repeated.
        case texts
        case integer(ClosedRange<Int>)
        case number(ClosedRange<Double>)
        case choice([String])
        /// `--flag` alone means yes; `--flag 0` and `--flag 1` as in llm.c.
        case flag
    }

    package let long: String
    let short: String?
    let placeholder: String
    let kind: Kind
    let defaultValue: String?
    let help: String

    /// - Parameters:
    ///   - long: the name without its dashes; the key of `Options`' getters.
    ///   - short: llm.c's name without its dash, where there is one.
    ///   - defaultValue: as the user would type it; nil means absent.
    package init(
        _ long: String, _ short: String? = nil, _ kind: Kind, _ placeholder: String = "",
        default defaultValue: String? = nil,
        _ help: String
    ) {
        self.long = long
        self.short = short
        self.placeholder = placeholder
        self.kind = kind
        self.defaultValue = defaultValue
        self.help = help
    }
}

extension Option {
    /// The same with another default.
    func withDefault(_ value: String) -> Option { Option(long, short, kind, placeholder, default: value, help) }
}

/// The words after the program's name. `CommandLine.arguments` has U+FFFD where they are not UTF-8, and a text would be
/// another one without a word.
/// - Parameter words: as the system gives them, the program's name first.
package func commandLineArguments(
    _ words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = CommandLine.unsafeArgv
) throws -> [String] {
    guard words[0] != nil else { return [] }
    var arguments: [String] = []
    while let word = words[1 + arguments.count] {
        guard let argument = String(validatingCString: word) else {
            let bytes = UnsafeBufferPointer(start: word, count: strlen(word)).map { UInt8(bitPattern: $0) }
            throw UserError(
                "'\(readable(bytes))' on the command line is not UTF-8",
                hint: "texts and names of files are UTF-8 here: convert the text (iconv), or rename the file",
                exitCode: 2)
        }
        arguments.append(argument)
    }
    return arguments
}

/// The program as it was called, for a command that its user can repeat.
package func programName() -> String { CommandLine.unsafeArgv[0].map { String(cString: $0) } ?? "" }

/// A parsed command line.
package struct Options {
    private let program: String
    private let table: [Option]
    private var values: [String: [String]] = [:]

    /// Parses `arguments` (without the program's own name; nil for the process's) by `table`. `--help` prints the table,
    /// `--version` the version, and both exit.
    /// - Throws: `UserError` with exit code 2 for an unknown option, a missing or a wrong value.
    package init(
        program: String, about: String, table: [Option],
        arguments: [String]? = nil
    ) throws {
        self.program = program
        let arguments = try arguments ?? commandLineArguments()
        self.table = table
        var position = 0
        while position < arguments.count {
            var word = arguments[position]
            position += 1
            if word == "--help" || (word == "-h" && !table.contains { $0.short == "h" }) {
                Options.tell(Options.help(program: program, about: about, table: table))
            }
            if word == "--version" {
                Options.tell("\(program) (llm.swift) \(projectVersion), vectors of \(vectorWidth) floats")
            }
            var attached: String?
            // Among scalars: a combining mark after = would make another character of it.
            if word.hasPrefix("--"), let equals = word.unicodeScalars.firstIndex(of: "=") {
                attached = String(word[word.unicodeScalars.index(after: equals)...])
                word = String(word[..<equals])
            }
            guard let option = table.first(where: { "--" + $0.long == word || $0.short.map { "-" + $0 } == word })
            else { throw Options.unknown(word, program: program, table: table) }

            func wrong(_ what: String, _ allowed: String) -> UserError {
                UserError("\(word): \(what)", hint: "\(allowed); see \(program) --help", exitCode: 2)
            }
            func takeValue() throws -> String {
                if let attached { return attached }
                guard position < arguments.count else {
                    throw wrong("a value is missing", "write \(word) \(option.shownPlaceholder)")
                }
                position += 1
                return arguments[position - 1]
            }
            switch option.kind {
            case .flag:
                var value = attached ?? "1"
                if attached == nil, position < arguments.count, ["0", "1"].contains(arguments[position]) {
                    value = arguments[position]
                    position += 1
                }
                guard ["0", "1"].contains(value) else { throw wrong("'\(value)' is neither 0 nor 1", "write 0 or 1") }
                values[option.long] = [value]
            case .text:
                values[option.long] = [try takeValue()]
            case .texts:
                var words = values[option.long] ?? []
                words.append(try takeValue())
                while attached == nil, position < arguments.count,
                    !Options.looksLikeAnOption(arguments[position], table)
                {
                    words.append(arguments[position])
                    position += 1
                }
                values[option.long] = words
            case .integer(let range):
                let text = try takeValue()
                guard let value = Int(text), range.contains(value) else {
                    throw wrong("'\(text)' does not fit", "it takes a whole number \(Options.describe(range))")
                }
                values[option.long] = [text]
            case .number(let range):
                let text = try takeValue()
                guard let value = Double(text), range.contains(value) else {
                    throw wrong("'\(text)' does not fit", "it takes a number \(Options.describe(range))")
                }
                values[option.long] = [text]
            case .choice(let choices):
                let text = try takeValue()
                guard choices.contains(text) else {
                    throw wrong("'\(text)' is not one of its values", "it takes \(choices.joined(separator: ", "))")
                }
                values[option.long] = [text]
            }
        }
    }

    /// Whether the program has the option.
    func has(_ long: String) -> Bool { table.contains { $0.long == long } }

    /// Whether the user wrote the option.
    package func isGiven(_ long: String) -> Bool { values[long] != nil }

    /// The options that the user wrote.
    var givenNames: Set<String> { Set(values.keys) }

    /// What the user wrote for an option; nil if nothing.
    package func given(_ long: String) -> String? { values[long]?.last }

    package func texts(_ long: String) -> [String] {
        if let given = values[long] { return given }
        return option(long).defaultValue.map { [$0] } ?? []
    }

    package func text(_ long: String) -> String? { texts(long).last }

    /// The whole number of an option that has a default, or was given.
    package func int(_ long: String) -> Int {
        guard let value = text(long).flatMap({ Int($0) }) else {
            preconditionFailure("--\(long) has neither a value nor a default")
        }
        return value
    }

    package func double(_ long: String) -> Double {
        guard let value = text(long).flatMap({ Double($0) }) else {
            preconditionFailure("--\(long) has neither a value nor a default")
        }
        return value
    }

    package func flag(_ long: String) -> Bool { text(long) == "1" }

    /// The value of an option that the program needs.
    package func required(_ long: String, example: String) throws -> String {
        guard let value = text(long) else {
            throw UserError("--\(long) is missing", hint: example, exitCode: 2)
        }
        return value
    }

    // MARK: - options kept for another time

    /// The values to keep of these options: what was given, and the defaults of those among `names`, so that a later
    /// default changes nothing. The default of a text is a place, and looked for again.
    package func kept(defaultsOf names: Set<String>) -> [String: String] {
        var kept: [String: String] = [:]
        for option in table {
            if let value = values[option.long] {
                kept[option.long] = value.joined(separator: "\n")
            } else if names.contains(option.long), let value = option.defaultValue {
                if case .text = option.kind { continue }
                kept[option.long] = value
            }
        }
        return kept
    }

    /// These options, with the kept value of each that is not given.
    package func completed(from kept: [String: String]) throws -> Options {
        var completed = self
        for (name, value) in kept where !isGiven(name) && table.contains(where: { $0.long == name }) {
            var words = [value]
            if case .texts = option(name).kind { words = value.split(separator: "\n").map { String($0) } }
            let one = try Options(
                program: program, about: "", table: table, arguments: words.map { "--\(name)=\($0)" })
            completed.values[name] = one.values[name]
        }
        return completed
    }

    /// The given options whose kept value is another (of several texts, a line each), in the table's order.
    package func changes(from kept: [String: String]) -> [(name: String, was: String, now: String)] {
        table.compactMap { option in
            guard let now = values[option.long]?.joined(separator: "\n") else { return nil }
            let was = kept[option.long] ?? option.defaultValue ?? "not given"
            guard now != was else { return nil }
            if let a = Double(was), let b = Double(now), a == b { return nil }
            return (option.long, was, now)
        }
    }

    private func option(_ long: String) -> Option {
        guard let row = table.first(where: { $0.long == long }) else {
            preconditionFailure("no option --\(long) in the table")
        }
        return row
    }

    // MARK: - help and hints

    /// Prints what was asked for, and ends the program.
    private static func tell(_ text: String) -> Never {
        printNow(text + "\n")
        exit(0)
    }

    private static func looksLikeAnOption(_ word: String, _ table: [Option]) -> Bool {
        word.hasPrefix("--") || table.contains { $0.short.map { "-" + $0 } == word }
    }

    private static func describe(_ range: ClosedRange<Int>) -> String {
        range.upperBound == .max ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
    }

    private static func describe(_ range: ClosedRange<Double>) -> String {
        range.upperBound >= .greatestFiniteMagnitude
            ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
    }

    private static func unknown(_ word: String, program: String, table: [Option]) -> UserError {
        guard word.hasPrefix("-") else {
            let likely = ["input", "prompt", "text"].first { name in table.contains { $0.long == name } }
            return UserError(
                "'\(word)' belongs to no option",
                hint: likely.map { "did you mean --\($0) \(shellWord(word))?" }
                    ?? "see \(program) --help for the options",
                exitCode: 2)
        }
        // Only a long name is written with =.
        if let equals = word.firstIndex(of: "="),
            let option = table.first(where: { "-\($0.short ?? "")" == word[..<equals] })
        {
            let value = shellWord(String(word[word.index(after: equals)...]))
            return UserError(
                "unknown option \(word)", hint: "write \(word[..<equals]) \(value), or --\(option.long)=\(value)",
                exitCode: 2)
        }
        let names = table.flatMap { ["--" + $0.long] + ($0.short.map { ["-" + $0] } ?? []) } + ["--help"]
        let nearest = names.min { editDistance($0, word) < editDistance($1, word) } ?? "--help"
        return UserError(
            "unknown option \(word)", hint: "did you mean \(nearest)? \(program) --help lists them all", exitCode: 2)
    }

    /// Levenshtein's distance, for the nearest option.
    package static func editDistance(_ a: String, _ b: String) -> Int {
        let a = Array(a.utf8)
        let b = Array(b.utf8)
        var row = Array(0...b.count)
        for i in 0..<a.count {
            var diagonal = row[0]
            row[0] = i + 1
            for j in 0..<b.count {
                let substituted = diagonal + (a[i] == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }

    static func help(program: String, about: String, table: [Option]) -> String {
        let indent = 34
        var lines = ["\(program): \(about)", "", "usage: \(program) [options]", ""]
        for option in table {
            let names = (option.short.map { "-\($0), " } ?? "    ") + "--\(option.long) \(option.shownPlaceholder)"
            var text = option.help
            if let value = option.defaultValue { text += " (default \(value))" }
            var line = "  " + names.trimmingCharacters(in: .newlines)
            if line.count >= indent {
                lines.append(line)
                line = ""
            }
            for word in text.split(separator: " ") {
                if line.count < indent { line = line.padding(toLength: indent, withPad: " ", startingAt: 0) }
                if line.count + 1 + word.count > 110 && line.count > indent {
                    lines.append(line)
                    line = "".padding(toLength: indent, withPad: " ", startingAt: 0)
                }
                line += (line.count > indent ? " " : "") + word
            }
            lines.append(line)
        }
        for (name, text) in [("--version", "the version"), ("--help", "this list")] {
            lines.append("      \(name)".padding(toLength: indent, withPad: " ", startingAt: 0) + text)
        }
        return lines.joined(separator: "\n")
    }
}

extension Option {
    /// What stands for the value in `--help`.
    fileprivate var shownPlaceholder: String {
        if !placeholder.isEmpty { return placeholder }
        switch kind {
        case .text: return "TEXT"
        case .texts: return "TEXT…"
        case .integer: return "N"
        case .number: return "X"
        case .choice(let choices): return choices.joined(separator: "|")
        case .flag: return "[0|1]"
        }
    }
}

/// The number of threads that the kernels use from now on; all cores if this is not called.
package func useThreads(_ count: Int) { threadCount = count }
