// lotto generate: writes a corpus of lottery questions with exact answers, for training and for validation.
//
// Documents are separated by a blank line. The machine behind it, and what it asks, is Sources/LLM/Lotto.swift.

import Foundation
import LLM

@main
enum Lotto {
    static func main() {
        runReportingErrors {
            let arguments = CommandLine.arguments.dropFirst()
            let example = "lotto generate --count 20000 --output data"
            guard let verb = arguments.first else {
                throw UserError("lotto needs a verb", hint: "write: \(example)", exitCode: 2)
            }
            switch verb {
            case "generate": try generate(Array(arguments.dropFirst()))
            case "--help", "-h": try generate(["--help"])
            default:
                throw UserError("lotto knows no '\(verb)'", hint: "its verb is generate: \(example)", exitCode: 2)
            }
        }
    }

    static func generate(_ arguments: [String]) throws {
        let options = try Options(
            program: "lotto generate",
            about: "writes lotto_train.txt and lotto_val.txt, lottery questions with their exact answers",
            table: [
                Option("count", nil, .integer(1...100_000_000), default: "20000", "training questions"),
                Option("val-count", nil, .integer(1...100_000_000), "N", "validation questions (default count / 50)"),
                Option("max-tickets", nil, .integer(1...100), default: "5", "most tickets in one question"),
                Option("seed", nil, .integer(0...Int.max), default: "42", "the same seed gives the same bytes"),
                Option("output", "o", .text, "DIR", default: "data", "directory to write into"),
            ],
            arguments: arguments)
        let count = options.int("count")
        let validationCount = options.isGiven("val-count") ? options.int("val-count") : max(1, count / 50)
        let directory = options.text("output") ?? "data"
        let paths = ["lotto_train.txt", "lotto_val.txt"].map { "\(directory)/\($0)" }

        try createDirectory(directory)
        var machine = LottoMachine(seed: UInt64(options.int("seed")), maxTickets: options.int("max-tickets"))
        var example = ""
        var sizes = [0, 0]
        try writeDurably(paths) { files in
            var progress = Progress("generate", total: Double(count + validationCount), unit: "questions")
            var done = 0
            try machine.fill(train: count, validation: validationCount) { side, question in
                let file = side == .train ? files[0] : files[1]
                if file.size > 0 { try file.write("\n") }
                let document = question.document
                try file.write(document)
                if example.isEmpty { example = document }
                done += 1
                progress.update(Double(done))
            }
            sizes = files.map(\.size)
            progress.finish()
        }
        for (path, (questions, size)) in zip(paths, zip([count, validationCount], sizes)) {
            print("\(path): \(grouped(questions)) questions, \(grouped(size)) bytes")
        }
        print("\nThe first one:\n\n\(example)", terminator: "")
    }
}
