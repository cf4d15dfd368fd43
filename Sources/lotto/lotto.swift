// lotto: the lottery machine as a corpus, and as an examination.
//
//     lotto generate    writes questions with their exact answers, for training and for validation
//     lotto score       asks a model questions that are in no training corpus, and counts its exact answers
//
// The machine behind both, and the form of a question, is Sources/LLM/Lotto.swift.

import Foundation
import Kernels
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
            case "score": try score(Array(arguments.dropFirst()))
            case "--help", "-h":
                print("lotto generate --help    writes a corpus\nlotto score --help       examines a model")
            default:
                throw UserError(
                    "lotto knows no '\(verb)'", hint: "its verbs are generate and score: \(example)", exitCode: 2)
            }
        }
    }

    // MARK: - generate

    static func generate(_ arguments: [String]) throws {
        let options = try Options(
            program: "lotto generate",
            about: "writes lotto_train.txt and lotto_val.txt, lottery questions with their exact answers",
            table: [
                Option("count", nil, .integer(1...100_000_000), default: "20000", "training questions"),
                Option("val-count", nil, .integer(1...100_000_000), "N", "validation questions (default count / 50)"),
                Option(
                    "max-tickets", nil, .integer(1...LottoQuestion.maxSlots), default: "5",
                    "most tickets in one question, which are the games on its slip"),
                Option("seed", nil, .integer(0...Int.max), default: "42", "the same seed gives the same bytes"),
                Option("output", "o", .text, "DIR", default: "data", "directory to write into"),
            ],
            arguments: arguments)
        let count = options.int("count")
        let validationCount = options.isGiven("val-count") ? options.int("val-count") : max(1, count / 50)
        let directory = options.text("output") ?? "data"
        let slots = options.int("max-tickets")
        let paths = ["lotto_train.txt", "lotto_val.txt"].map { "\(directory)/\($0)" }

        try createDirectory(directory)
        var machine = LottoMachine(seed: UInt64(options.int("seed")), maxTickets: slots)
        var example = ""
        var sizes = [0, 0]
        try writeDurably(paths) { files in
            var progress = Progress("generate", total: Double(count + validationCount), unit: "questions")
            var done = 0
            try machine.fill(train: count, validation: validationCount) { side, question in
                let file = side == .train ? files[0] : files[1]
                if file.size > 0 { try file.write("\n") }
                let document = question.document(slots: slots)
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

    // MARK: - score

    static let defaultCorpus = "data/lotto_train.txt"

    static func score(_ arguments: [String]) throws {
        let options = try Options(
            program: "lotto score",
            about: "asks a model questions it has not seen, decodes greedily, and counts the exact answers",
            table: [
                Option(
                    "model", "e", .texts, "FILE…",
                    "checkpoints; of several it shows how the score grew, and details of the last"),
                Option("tokenizer", nil, .text, "DIR", default: "data", "the tokenizer the model was trained with"),
                Option("count", nil, .integer(1...1_000_000), default: "500", "questions"),
                Option("seed", nil, .integer(0...Int.max), default: "7", "of the questions"),
                Option(
                    "max-tickets", nil, .integer(1...LottoQuestion.maxSlots), default: "5",
                    "games on the slip, as the model was trained with"),
                Option(
                    "train", nil, .text, "FILE",
                    "the training corpus, to check that no question is in it (default: \(defaultCorpus), if it is here)"
                ),
                Option("chart", nil, .text, "FILE.svg", "draw the score over the steps of several checkpoints"),
                Option("failures", nil, .integer(0...1_000_000), default: "3", "wrong answers to show"),
                Option("threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores)"),
            ],
            arguments: arguments)
        if options.isGiven("threads") { useThreads(options.int("threads")) }
        _ = try options.required("model", example: "lotto score --model data/model/model_best.bin")
        let models = options.texts("model").map { (path: $0, step: step(ofCheckpoint: $0)) }
            .sorted { ($0.step ?? .max, $0.path) < ($1.step ?? .max, $1.path) }
        if let chart = options.text("chart") {
            // A place that cannot be written to is found now, not after the scoring.
            _ = try DurableFiles().create(chart)
        }
        let tokenizer = try Tokenizer(at: options.text("tokenizer") ?? "data")
        let slots = options.int("max-tickets")

        // The questions: of the side that no training corpus takes, whatever its seed and size.
        var machine = LottoMachine(seed: UInt64(options.int("seed")), maxTickets: slots)
        var questions: [LottoQuestion] = []
        machine.fill(train: 0, validation: options.int("count")) { _, question in questions.append(question) }
        let corpus = options.text("train") ?? (fileExists(defaultCorpus) ? defaultCorpus : nil)
        if let corpus {
            let count = try check(questions, slots: slots, areNotIn: corpus)
            print("\(questions.count) questions, none of them among the \(grouped(count)) of \(corpus)")
        } else {
            print("\(questions.count) questions; no training corpus is here to check them against")
        }

        var scores: [(step: Int?, score: LottoScore)] = []
        for (path, step) in models {
            let score = try examine(path, tokenizer, questions, slots: slots)
            scores.append((step, score))
            print("\(path): \(percent(score.accuracy)) exact")
            fflush(nil)
        }
        guard let last = scores.last?.score else { return }
        show(last)
        show(failures: last.failures.prefix(options.int("failures")), of: last.failures.count, slots: slots)
        if let chart = options.text("chart") {
            let points = scores.compactMap { point in point.step.map { (step: $0, score: point.score) } }
            guard points.count > 1 else {
                note("note: no chart; it takes several checkpoints with their steps in their names")
                return
            }
            try writeDurably(chart) { try $0.write(svg(points)) }
            print("\nwrote \(chart)")
        }
    }

    /// model_00001500.bin is of step 1500.
    static func step(ofCheckpoint path: String) -> Int? {
        guard let digits = path.firstMatch(of: /model_(\d+)\.bin$/)?.1 else { return nil }
        return Int(digits)
    }

    /// - Returns: the questions in the corpus.
    static func check(_ questions: [LottoQuestion], slots: Int, areNotIn path: String) throws -> Int {
        let file = try InputFile(path, hint: "give the text the model was trained on by --train FILE")
        let text = String(decoding: try file.read(file.size, of: UInt8.self, at: 0), as: UTF8.self)
        let asked = Set(questions.map { $0.text(slots: slots) })
        let documents = text.split(separator: "\n\n")
        for document in documents {
            guard let mark = document.range(of: "\(LottoQuestion.mark)\n") else {
                throw UserError(
                    "\(path) holds a document without the line \(LottoQuestion.mark)",
                    hint: "give what lotto generate wrote, by --train FILE")
            }
            let question = String(document[..<mark.upperBound])
            // The winning numbers, the games, the mark.
            let games = question.split(separator: "\n").count - 2
            guard games == slots else {
                throw UserError(
                    "\(path) asks for \(games) games, not for \(slots)", hint: "score with --max-tickets \(games)")
            }
            if asked.contains(question) {
                throw UserError(
                    "a question to ask is in \(path):\n\(question)",
                    hint: "the corpus was not written by this lotto generate; write it anew")
            }
        }
        return documents.count
    }

    /// Asks all questions and takes the most probable token at every place: the bare model answers.
    static func examine(
        _ path: String, _ tokenizer: Tokenizer, _ questions: [LottoQuestion], slots: Int
    ) throws -> LottoScore {
        let model = try readModel(path, trains: false)
        guard tokenizer.vocabularySize == model.config.V, let endOfText = tokenizer.endOfText.map({ Int32($0) }) else {
            throw UserError(
                "\(path) has a vocabulary of \(model.config.V), the tokenizer one of \(tokenizer.vocabularySize)",
                hint: "give the tokenizer the model was trained with by --tokenizer DIR")
        }
        var score = LottoScore()
        let prompts = try questions.map { [endOfText] + (try tokenizer.encode(Array($0.text(slots: slots).utf8))) }
        let longest = prompts.map(\.count).max() ?? 0
        guard longest < model.config.maxT else {
            throw UserError(
                "\(path) reads \(model.config.maxT) tokens, and a question of \(slots) games has \(longest)",
                hint: "give the --max-tickets the model was trained with")
        }
        var answers = [[Int32]](repeating: [], count: questions.count)
        model.continueGreedily(prompts, limit: model.config.maxT - longest, stop: endOfText, batch: 64) {
            answers[$0] = $1
        }
        for (question, answer) in zip(questions, answers) {
            score.add(question, answer: String(decoding: tokenizer.decode(answer), as: UTF8.self), slots: slots)
        }
        return score
    }

    // MARK: what a person sees

    static func percent(_ share: Double) -> String { String(format: "%5.1f%%", 100 * share) }

    static func show(_ score: LottoScore) {
        print("\nexact answers       \(percent(score.accuracy))   \(score.exactCount) of \(score.questions)")
        for criterion in LottoScore.Criterion.allCases {
            let share = Double(score.right[criterion] ?? 0) / Double(max(1, score.questions))
            print(
                "  \(criterion.rawValue.padding(toLength: 16, withPad: " ", startingAt: 0))  \(percent(share))   \(criterion.explanation)"
            )
        }
        for (tickets, asked) in score.asked.sorted(by: { $0.key < $1.key }) {
            let exact = score.exact[tickets] ?? 0
            let name = "\(tickets) ticket\(tickets == 1 ? "" : "s")"
            print(
                "  \(name.padding(toLength: 16, withPad: " ", startingAt: 0))  "
                    + "\(percent(Double(exact) / Double(asked)))   \(exact) of \(asked)")
        }
    }

    /// The program's answer on the left, the model's on the right, where they differ.
    static func show(failures: ArraySlice<LottoFailure>, of count: Int, slots: Int) {
        guard !failures.isEmpty else { return }
        print("\n\(failures.count) of \(count) wrong answer\(count == 1 ? "" : "s"):", terminator: " ")
        print("left the program's lines, right the model's, where they differ")
        for failure in failures {
            print("\n" + failure.question.text(slots: slots), terminator: "")
            func lines(_ text: String) -> [String] {
                text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
            }
            let (wanted, got) = (lines(failure.question.answer(slots: slots)), lines(failure.answer))
            for index in 0..<max(wanted.count, got.count) {
                let left = index < wanted.count ? wanted[index] : ""
                let right = index < got.count ? got[index] : ""
                guard left != right else { continue }
                print("  \(left)\(String(repeating: " ", count: max(1, 56 - columns(left))))≠  \(right)")
            }
        }
    }

    /// A Hangul syllable takes two columns of a terminal.
    static func columns(_ text: String) -> Int {
        text.unicodeScalars.reduce(0) { $0 + ((0xAC00...0xD7A3).contains($1.value) ? 2 : 1) }
    }

    /// Exact answers and each criterion over the steps.
    static func svg(_ points: [(step: Int, score: LottoScore)]) -> String {
        let (width, height, left, top, right, bottom) = (640.0, 360.0, 48.0, 16.0, 104.0, 40.0)
        let lastStep = Double(points.map(\.step).max() ?? 1)
        func x(_ step: Double) -> Double { left + (width - left - right) * step / max(lastStep, 1) }
        func y(_ share: Double) -> Double { top + (height - top - bottom) * (1 - share) }
        func place(_ x: Double, _ y: Double) -> String { String(format: "%.1f,%.1f", x, y) }
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"12\" fill=\"none\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        ]
        func text(_ x: Double, _ y: Double, _ anchor: String, _ color: String, _ words: String) {
            lines.append(
                String(
                    format: "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%@\" fill=\"%@\">%@</text>", x, y, anchor, color,
                    words))
        }
        for share in [0, 0.25, 0.5, 0.75, 1] {
            lines.append("<path d=\"M\(place(left, y(share))) L\(place(width - right, y(share)))\" stroke=\"#ddd\"/>")
            text(left - 6, y(share) + 4, "end", "#555", "\(Int(100 * share))%")
        }
        for (step, _) in points.reversed().enumerated().filter({ $0.offset % ((points.count + 7) / 8) == 0 }).map(
            \.element)
        { text(x(Double(step)), height - bottom + 18, "middle", "#555", "\(step)") }
        text(
            (left + width - right) / 2, height - 6, "middle", "#555",
            "training steps; answers to unseen questions that are right")
        let curves: [(name: String, color: String, share: (LottoScore) -> Double)] =
            [
                ("exact", "#111"), ("hits", "#0072b2"), ("ranks", "#009e73"), ("counts", "#cc79a7"),
                ("winnings", "#e69f00"), ("rate", "#d55e00"),
            ].map { name, color in
                let criterion = LottoScore.Criterion(rawValue: name)
                return (
                    name, color,
                    { score in
                        criterion.map { Double(score.right[$0] ?? 0) / Double(max(1, score.questions)) } ?? score.accuracy
                    }
                )
            }
        for (index, curve) in curves.enumerated().reversed() {
            let path = points.map { place(x(Double($0.step)), y(curve.share($0.score))) }.joined(separator: " L")
            lines.append("<path d=\"M\(path)\" stroke=\"\(curve.color)\" stroke-width=\"\(index == 0 ? 3 : 1.5)\"/>")
            let legend = top + 12 + 20 * Double(index)
            lines.append(
                "<path d=\"M\(place(width - right + 12, legend - 4)) h16\" stroke=\"\(curve.color)\" stroke-width=\"\(index == 0 ? 3 : 1.5)\"/>"
            )
            text(width - right + 34, legend, "start", "#111", curve.name)
        }
        return lines.joined(separator: "\n") + "\n</svg>\n"
    }
}
