// lotto: the lottery machine as a corpus and as an examination.
//
//     lotto generate    writes questions with their exact answers, for training and for validation
//     lotto score       asks a model questions that are not in any training corpus, and counts its exact answers
//
// The questions and their form are in Sources/LLM/Lotto.

import Foundation
import Kernels
import LLM

@main
enum Lotto {
    static func main() {
        runReportingErrors {
            let arguments = try commandLineArguments()
            let example = "lotto generate --count 20000 --output data"
            guard let verb = arguments.first else {
                throw UserError("lotto needs a verb", hint: "for example: \(example)", exitCode: 2)
            }
            switch verb {
            case "generate": try generate(Array(arguments.dropFirst()))
            case "score": try score(Array(arguments.dropFirst()))
            case "--help", "-h":
                print("lotto generate --help    writes a corpus\nlotto score --help       examines a model")
            case "--version": _ = try Options(program: "lotto", about: "", table: [], arguments: arguments)
            default:
                throw UserError(
                    "lotto has no verb '\(verb)'", hint: "its verbs are generate and score: \(example)", exitCode: 2)
            }
        }
    }

    // MARK: - the rule

    static let ruleOptions = [
        Option("price", nil, .integer(0...Int.max), "WON", "the price of a ticket (default: 1000)"),
        Option(
            "prizes", nil, .text, "FIRST,…,FIFTH",
            "the five prizes in won (default: 2000000000,30000000,1500000,50000,5000)"),
    ]

    static func rule(_ options: Options, slots: Int) throws -> LottoRule {
        var prizes = LottoRule.exercise.prizes
        if let text = options.text("prizes") {
            let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
            guard numbers.count == prizes.count, !numbers.contains(nil) else {
                throw UserError(
                    "--prizes \(text): not five whole numbers with commas between them",
                    hint: "for example --prizes 1000000000,50000000,2000000,100000,10000", exitCode: 2)
            }
            prizes = numbers.reversed().compactMap { $0 }
        }
        let price = options.isGiven("price") ? options.int("price") : LottoRule.exercise.price
        return try LottoRule(price: price, prizes: prizes, slots: slots)
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
                    "the most tickets in a question, which is the number of games on its slip"),
                Option("seed", nil, .integer(0...Int.max), default: "42", "the same seed gives the same bytes"),
            ] + ruleOptions + [
                Option(
                    "conversations", nil, .flag, "[0|1]",
                    "write conversations for finetune instead: lotto_train.jsonl, lotto_val.jsonl, and their "
                        + "lotto_template.json"),
                Option("output", "o", .text, "DIR", default: "data", "directory to write to"),
            ],
            arguments: arguments)
        let count = options.int("count")
        let validationCount = options.isGiven("val-count") ? options.int("val-count") : max(1, count / 50)
        let directory = options.text("output") ?? "data"
        let slots = options.int("max-tickets")
        let rule = try rule(options, slots: slots)
        let areConversations = options.flag("conversations")
        let paths = ["lotto_train", "lotto_val"].map { "\(directory)/\($0)\(areConversations ? ".jsonl" : ".txt")" }

        try createDirectory(directory)
        var machine = LottoMachine(seed: UInt64(options.int("seed")), maxTickets: slots)
        var example = ""
        var sizes = [0, 0]
        if areConversations {
            try writeDurably("\(directory)/lotto_template.json") { try $0.write(LottoQuestion.template.text() + [10]) }
        }
        try writeDurably(paths) { files in
            var progress = Progress("generate", total: Double(count + validationCount), unit: "questions")
            var done = 0
            try machine.fill(train: count, validation: validationCount) { side, question in
                let file = side == .train ? files[0] : files[1]
                if example.isEmpty { example = question.document(slots: slots, under: rule) }
                if areConversations {
                    try file.write(question.conversation(slots: slots, under: rule))
                } else {
                    if file.size > 0 { try file.write("\n") }
                    try file.write(question.document(slots: slots, under: rule))
                }
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
            about: "asks a model questions that it has not seen, decodes greedily, and counts the exact answers",
            table: [
                Option(
                    "model", "e", .texts, "FILE…",
                    "checkpoints; for several, shows how the score developed, with details of the last"),
                Option(
                    "adapter", nil, .texts, "DIR…",
                    "adapters (LoRA) to put on the model, each in turn; without --model on the one that they name"),
                Option(
                    "tokenizer", nil, .text, "DIR", default: "data",
                    "the tokenizer the model was trained with; a Hugging Face directory brings its own"),
                Option("count", nil, .integer(1...1_000_000), default: "500", "questions"),
                Option("seed", nil, .integer(0...Int.max), default: "7", "seed of the questions"),
                Option(
                    "max-tickets", nil, .integer(1...LottoQuestion.maxSlots), default: "5",
                    "games on the slip, as in the model's training"),
            ] + ruleOptions + [
                Option(
                    "train", nil, .text, "FILE",
                    "the training corpus, a text or conversations, to check that it contains no question "
                        + "(default: \(defaultCorpus), if present)"
                ),
                Option("chart", nil, .text, "FILE.svg", "draw the score of several checkpoints over their steps"),
                WeightFormat.option,
                Option("failures", nil, .integer(0...1_000_000), default: "3", "number of wrong answers to show"),
                Option("threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores)"),
            ],
            arguments: arguments)
        if options.isGiven("threads") { useThreads(options.int("threads")) }
        let models = try models(options).map { ($0, step(ofCheckpoint: $0.path)) }
            .sorted { ($0.1 ?? .max, $0.0.path) < ($1.1 ?? .max, $1.0.path) }
        if let chart = options.text("chart") {
            // A path that cannot be written to is an error now, not after the scoring.
            _ = try DurableFiles().create(chart)
        }
        let slots = options.int("max-tickets")
        let rule = try rule(options, slots: slots)

        // The questions are of the side that no training corpus uses, whatever its seed and size.
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
        for (candidate, step) in models {
            _ = try modelKind(candidate.model)  // What is no model is said before anything about its tokenizer.
            let tokenizer = try readTokenizer(
                ofModel: candidate.model, candidate.adapter, given: options.given("tokenizer"),
                else: options.text("tokenizer") ?? ""
            ).tokenizer
            let score = try examine(
                candidate, tokenizer, questions, slots: slots, under: rule,
                weights: try WeightFormat(options, model: candidate.model))
            scores.append((step, score))
            print("\(candidate.path): \(percent(score.accuracy)) exact")
            fflush(nil)
        }
        guard let last = scores.last?.score else { return }
        show(last)
        show(
            failures: last.failures.prefix(options.int("failures")), of: last.failures.count, slots: slots, under: rule)
        if let chart = options.text("chart") {
            let points = scores.compactMap { point in point.step.map { (step: $0, score: point.score) } }
            guard points.count > 1 else {
                note("note: no chart, because it needs several checkpoints with the step in the name")
                return
            }
            try writeDurably(chart) { try $0.write(ScoreChart.svg(points)) }
            print("\nwrote \(chart)")
        }
    }

    /// A model to examine, with an adapter or without.
    struct Candidate {
        let model: String
        let adapter: PEFTAdapter?
        /// What it is called: the adapter's path, or the model's.
        var path: String { adapter?.path ?? model }
    }

    static func models(_ options: Options) throws -> [Candidate] {
        guard options.isGiven("adapter") else {
            _ = try options.required("model", example: "lotto score --model data/model/model_best.bin")
            // A pattern in quotes has not been seen by the shell.
            let models = options.texts("model").flatMap { path in
                let found = fileExists(path) ? [] : paths(matching: path)
                return found.isEmpty ? [path] : found
            }
            return models.map { Candidate(model: $0, adapter: nil) }
        }
        let adapters = try options.texts("adapter").flatMap { try NamedAdapter.open([$0]) }
        guard options.texts("model").count < 2 else {
            throw UserError("adapters go on one model", hint: "give one --model, or leave it out", exitCode: 2)
        }
        let path = try modelPath(of: adapters, given: options.text("model"), else: "")
        guard !path.isEmpty else {
            throw UserError(
                "\(adapters[0].adapter.path) does not say what its model is", hint: "name it with --model", exitCode: 2)
        }
        return adapters.map { Candidate(model: path, adapter: $0.adapter) }
    }

    /// The step in the name of a checkpoint: 1500 for model_00001500.bin or checkpoint-1500; nil if there is none.
    static func step(ofCheckpoint path: String) -> Int? {
        guard let digits = path.firstMatch(of: /(?:model_|checkpoint-)(\d+)(?:\.bin|\/)?$/)?.1 else { return nil }
        return Int(digits)
    }

    /// Checks that a corpus contains none of `questions`.
    /// - Returns: the number of questions in the corpus.
    static func check(_ questions: [LottoQuestion], slots: Int, areNotIn path: String) throws -> Int {
        let file = try InputFile(path, hint: "name the text the model was trained on: --train FILE")
        let asked = Set(questions.map { $0.text(slots: slots) })
        let documents = try documents(of: file)
        for document in documents {
            guard let mark = document.range(of: "\(LottoQuestion.mark)\n") else {
                throw UserError(
                    "\(path) has a document without the line \(LottoQuestion.mark)",
                    hint: "name a corpus of lotto generate: --train FILE")
            }
            let question = String(document[..<mark.upperBound])
            // All lines but the winning numbers and the mark are games.
            let games = question.split(separator: "\n").count - 2
            guard games == slots else {
                throw UserError(
                    "\(path) has \(games) games per question, not \(slots)", hint: "score with --max-tickets \(games)")
            }
            if asked.contains(question) {
                throw UserError(
                    "\(path) contains a question to ask:\n\(question)",
                    hint: "the corpus was not written by this version of lotto generate; write it again")
            }
        }
        return documents.count
    }

    /// The documents of a corpus; of conversations, the questions.
    private static func documents(of file: InputFile) throws -> [Substring] {
        guard file.path.hasSuffix(".jsonl") else {
            let text = String(decoding: try file.read(file.size, of: UInt8.self, at: 0), as: UTF8.self)
            return text.split(separator: "\n\n")
        }
        return try openTexts([file.path]).flatMap { try ConversationFile($0).conversations }.map {
            String(decoding: $0.messages[0].content, as: UTF8.self)[...] + "\n"
        }
    }

    /// The score of a model. It answers all questions by greedy decoding.
    static func examine(
        _ candidate: Candidate, _ tokenizer: Tokenizer, _ questions: [LottoQuestion], slots: Int,
        under rule: LottoRule, weights: WeightFormat
    ) throws -> LottoScore {
        guard let endOfText = tokenizer.endOfText.map({ Int32($0) }) else {
            throw UserError(
                "the tokenizer has no <|endoftext|>, which ends an answer",
                hint: "name the tokenizer the model was trained with: --tokenizer DIR")
        }
        let path = candidate.path
        let (model, adapters) = try readModel(
            candidate.model, adapters: candidate.adapter.map { [$0] } ?? [], weights: weights)
        model.parameters.put(adapters.first)
        var score = LottoScore(under: rule)
        let prompts = try questions.map { [endOfText] + (try tokenizer.encode(Array($0.text(slots: slots).utf8))) }
        let longest = prompts.map(\.count).max() ?? 0
        // With its answer: a model trained on smaller slips has no positions for it.
        let needed =
            try questions.map {
                try tokenizer.encode(Array($0.document(slots: slots, under: rule).utf8)).count + 1
            }.max() ?? 0
        guard needed <= model.maxT else {
            throw UserError(
                "\(path) has a context of \(model.maxT) tokens; a question with \(slots) games and its answer have \(needed)",
                hint: "use the --max-tickets that the model was trained with")
        }
        var answers = [[Int32]](repeating: [], count: questions.count)
        do {
            try model.continueGreedily(
                prompts, limit: model.maxT - longest, stop: endOfText, vocabulary: tokenizer.vocabularySize,
                batch: 64, weights: weights
            ) {
                answers[$0] = $1
            }
        } catch let error as UserError {
            throw UserError("\(path): \(error.message)", hint: error.hint)
        }
        for (i, question) in questions.enumerated() {
            let answer = tokenizer.decode(answers[i], after: prompts[i])
            score.add(question, answer: String(decoding: answer, as: UTF8.self), slots: slots)
        }
        return score
    }

    // MARK: - Output

    static func percent(_ share: Double) -> String { String(format: "%5.1f%%", 100 * share) }

    static func show(_ score: LottoScore) {
        print("\nexact answers       \(percent(score.accuracy))   \(score.exactCount) of \(score.questions)")
        for criterion in LottoScore.Criterion.allCases {
            let share = Double(score.right[criterion] ?? 0) / Double(max(1, score.questions))
            let name = criterion.rawValue.padding(toLength: 16, withPad: " ", startingAt: 0)
            print("  \(name)  \(percent(share))   \(criterion.explanation)")
        }
        for (tickets, asked) in score.asked.sorted(by: { $0.key < $1.key }) {
            let exact = score.exact[tickets] ?? 0
            let name = "\(tickets) ticket\(tickets == 1 ? "" : "s")"
            print(
                "  \(name.padding(toLength: 16, withPad: " ", startingAt: 0))  "
                    + "\(percent(Double(exact) / Double(asked)))   \(exact) of \(asked)")
        }
    }

    /// Prints wrong answers: the program's lines on the left, the model's on the right, where they differ.
    static func show(failures: ArraySlice<LottoFailure>, of count: Int, slots: Int, under rule: LottoRule) {
        guard !failures.isEmpty else { return }
        print("\n\(failures.count) of \(count) wrong answer\(count == 1 ? "" : "s"):", terminator: " ")
        print("left the program's lines, right the model's, where they differ")
        for failure in failures {
            print("\n" + failure.question.text(slots: slots), terminator: "")
            func lines(_ text: String) -> [String] {
                text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init)
            }
            let (wanted, got) = (lines(failure.question.answer(slots: slots, under: rule)), lines(failure.answer))
            for index in 0..<max(wanted.count, got.count) {
                let left = index < wanted.count ? wanted[index] : ""
                let right = index < got.count ? got[index] : ""
                guard left != right else { continue }
                print("  \(left)\(String(repeating: " ", count: max(1, 56 - columns(left))))≠  \(right)")
            }
        }
    }

    /// The width of a text in a terminal: a Hangul syllable takes two columns.
    static func columns(_ text: String) -> Int {
        text.unicodeScalars.reduce(0) { $0 + ((0xAC00...0xD7A3).contains($1.value) ? 2 : 1) }
    }
}
