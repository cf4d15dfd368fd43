// generate continues a text with a trained model: prompt → tokens → one pass → a token at a time, shown as it comes.
//
// How the next token is chosen: Sources/LLM/Generation/Sampler.swift. How the model continues what it has read:
// Sources/LLM/Generation/Generator.swift.

import Foundation
import LLM

let aboutGenerating =
    "continues a text with a trained model\n\n"
    + "Without a prompt it begins a new text, after <|endoftext|>. A prompt is continued as it is; write <|endoftext|>\n"
    + "before it where it begins a text of its own. The output is the prompt and what follows; between samples is a line\n"
    + "with ---.\n\n"
    + "With adapters each is put on the model in turn, and writes its samples under its name:\n\n"
    + "  generate --model phi --adapter poems=out/poems letters=out/letters --prompt \"Dear\""

let table: [Option] =
    modelOptions + [
        Option(
            "adapter", "a", .texts, "DIR|NAME=DIR…",
            "adapters (LoRA) of finetune or of peft, to be put on the model; without --model on the one that they name")
    ] + Prompt.options("the text to continue") + [
        Option(
            "interactive", "i", .flag, "[0|1]",
            "a conversation: every line you type is added to the text, and the model continues all of it. A \\ at its end "
                + "makes another line part of it. At the model's limit the oldest half is forgotten"),
        Option(
            "chat", nil, .flag, "[0|1]",
            "the prompt is a question to a tuned model, put into the template saved with it; the output is the answer. "
                + "chat goes on from there"),
        Option(
            "template", nil, .text, "NAME|FILE",
            "with --chat, another template: \(ChatTemplate.names.joined(separator: ", ")), or a file"),
        Option("system", nil, .text, "TEXT", "with --chat, the system message"),
        Option(
            "max-new-tokens", "n", .integer(1...10_000_000), "N", default: "128",
            "tokens to write at most; past the positions of the model the oldest half of the text is forgotten"),
        Option("num-samples", nil, .integer(1...10_000), "N", default: "1", "texts to write from the same prompt"),
    ] + Sampler.options + [
        Option("stop", nil, .texts, "TEXT…", "end before the first of these texts"),
        Option("seed", "s", .integer(0...Int.max), "N", default: "42", "the same seed draws the same texts"),
        Option("json", nil, .flag, "[0|1]", "a line of JSON for each sample, when all are done"),
        WeightFormat.option,
        Option("threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores)"),
    ]

@main
enum Generate {
    static func main() {
        runReportingErrors {
            let options = try Options(program: "generate", about: aboutGenerating, table: table)
            let sampler = try Sampler(options)
            try checkTogether(options)
            if options.isGiven("threads") { useThreads(options.int("threads")) }
            let adapters = try NamedAdapter.open(options.texts("adapter"))
            let path = try modelPath(of: adapters, given: options.given("model"), else: options.text("model") ?? "")
            try requireModel(path, isDefault: path == options.text("model") && !options.isGiven("model"))
            let voices = try (adapters.isEmpty ? [nil] : adapters.map(Optional.init)).map { named in
                let tokenizer = try readTokenizer(
                    ofModel: path, named?.adapter, given: options.given("tokenizer"),
                    else: options.text("tokenizer") ?? ""
                ).tokenizer
                let text = try Prompt.read(options)
                guard options.flag("chat") else {
                    return Voice(name: named?.name, tokenizer: tokenizer, prompt: try tokenizer.encode(text))
                }
                guard !trimmed(text).isEmpty else {
                    throw UserError(
                        "--chat needs a question", hint: "--prompt TEXT, or --prompt-file FILE", exitCode: 2)
                }
                let template = try readTemplate(ofModel: path, named?.adapter, given: options.text("template"))
                var encoder = try ConversationEncoder(tokenizer, template)
                let system = options.text("system").map { [ChatMessage(.system, Array($0.utf8))] } ?? []
                return Voice(
                    name: named?.name, tokenizer: tokenizer,
                    prompt: try encoder.prompt(system + [ChatMessage(.user, text)]),
                    answerEnd: encoder.stop)
            }
            let weights = try WeightFormat(options, model: path)
            try checkRoom(
                options, path, promptLength: voices.map(\.prompt.count).max() ?? 0, weights,
                hasAdapter: !adapters.isEmpty)
            let (model, read) = try readModel(path, adapters: adapters.map(\.adapter), weights: weights)
            for (i, voice) in voices.enumerated() {
                if !read.isEmpty { model.parameters.put(read[i]) }
                if voices.count > 1, !options.flag("json") { printNow("=== \(voice.name ?? "")\n") }
                if options.flag("interactive") {
                    try converse(options, model, weights, voice.tokenizer, sampler, voice.prompt)
                } else {
                    try write(options, model, weights, voice, sampler)
                }
            }
        }
    }

    /// What one adapter, or the model without any, reads and writes by.
    struct Voice {
        /// Of the adapter.
        let name: String?
        let tokenizer: Tokenizer
        let prompt: [Int32]
        /// Of an answer, which is shown without its prompt; nil for a text that goes on.
        var answerEnd: ConversationEncoder.Stop?
    }

    // MARK: - samples

    static func write(
        _ options: Options, _ model: any CausalModel, _ weights: WeightFormat, _ voice: Voice, _ sampler: Sampler
    ) throws {
        let (tokenizer, given) = (voice.tokenizer, voice.prompt)
        let count = options.int("num-samples")
        let limit = options.int("max-new-tokens")
        let stops = options.texts("stop").map { Array($0.utf8) } + (voice.answerEnd?.texts ?? [])
        let prompt = given.isEmpty ? [try endOfText(tokenizer)] : given
        let promptText = String(decoding: tokenizer.decode(given), as: UTF8.self)
        let shownPrompt = voice.answerEnd == nil ? promptText : ""
        let printsJSON = options.flag("json")

        let start = now()
        let generator = Generator(
            model, sequences: count, capacity: prompt.count + limit, vocabulary: tokenizer.vocabularySize,
            weights: weights)
        generator.start(with: prompt)
        let promptSeconds = now() - start

        // The first sample that is not yet whole is shown as it comes; what the others have so far waits for its turn.
        let decoder = DecodeStream(tokenizer, after: given)
        var samples = (0..<count).map { _ in
            Sample(decoder: decoder, stream: TextStream(stops: stops, trimsStart: voice.answerEnd != nil))
        }
        var turn = 0
        func show() {
            guard !printsJSON else { return }
            while turn < count {
                if !samples[turn].isBegun {
                    samples[turn].isBegun = true
                    printNow((turn > 0 ? "---\n" : "") + shownPrompt)
                }
                printNow(samples[turn].waiting)
                samples[turn].waiting = ""
                guard samples[turn].end != nil else { return }
                printNow("\n")
                turn += 1
            }
        }
        show()
        var randoms = randoms(options, count)
        let ends = (tokenizer.endOfText.map { [Int32($0)] } ?? []) + (voice.answerEnd?.tokens ?? [])
        try generator.generate(limit: limit, sampler: sampler, randoms: &randoms, endOfText: nil) { i, token in
            samples[i].add(token, isEndOfText: ends.contains(token), limit: limit)
            if i == turn || samples[i].end != nil { show() }
            return samples[i].end == nil
        }
        show()
        if printsJSON {
            for (i, sample) in samples.enumerated() {
                printNow(sample.json(name: voice.name, index: i, prompt: promptText, promptTokens: prompt) + "\n")
            }
        }
        let tokens = samples.reduce(0) { $0 + $1.tokens.count }
        let seconds = now() - start - promptSeconds
        note(
            String(
                format: "prompt: %ld tokens in %.2f s; then %ld tokens in %.2f s, %.1f tokens/s", prompt.count,
                promptSeconds, tokens, seconds, Double(tokens) / max(seconds, 1e-9)))
    }

    // MARK: - conversation

    static func converse(
        _ options: Options, _ model: any CausalModel, _ weights: WeightFormat, _ tokenizer: Tokenizer,
        _ sampler: Sampler, _ prompt: [Int32]
    ) throws {
        let limit = options.int("max-new-tokens")
        let stops = options.texts("stop").map { Array($0.utf8) }
        let isTerminal = isatty(STDIN_FILENO) == 1
        let generator = Generator(
            model, sequences: 1, capacity: model.maxT, vocabulary: tokenizer.vocabularySize,
            weights: weights)
        var randoms = randoms(options, 1)
        note("a line is added to the text, an empty one lets the model continue; Ctrl-D ends")
        var added = prompt
        var last = prompt.last
        func endsLine(_ token: Int32) -> Bool {
            Int(token) == tokenizer.endOfText || tokenizer.bytes(of: Int(token)).last == UInt8(ascii: "\n")
        }
        while true {
            if isTerminal { printNow("> ") }
            guard var line = try readTypedLine() else { break }
            while line.hasSuffix("\\") {
                line = String(line.dropLast()) + "\n"
                if isTerminal { printNow("… ") }
                line += try readTypedLine() ?? ""
            }
            // What the model wrote and what a person writes are lines of their own. No newline follows, though: many a
            // text would be at its end there, and where one belongs the model writes it.
            if !line.isEmpty, let last, !endsLine(last) { line = "\n" + line }
            added += try tokenizer.encode(Array(line.utf8))
            if added.isEmpty, generator.tokens[0].isEmpty { added = [try endOfText(tokenizer)] }
            let held = generator.tokens[0].count
            generator.append([added])
            added = []
            var sample = Sample(
                decoder: DecodeStream(tokenizer, after: generator.tokens[0]), stream: TextStream(stops: stops))
            let endOfText = tokenizer.endOfText.map { Int32($0) }
            try generator.generate(limit: limit, sampler: sampler, randoms: &randoms, endOfText: endOfText) {
                _, token in
                last = token
                sample.add(token, isEndOfText: token == endOfText, limit: limit)
                printNow(sample.waiting)
                sample.waiting = ""
                return sample.end == nil
            }
            printNow("\n")
            if generator.tokens[0].count < held {
                note("note: the text outgrew the model's \(generator.capacity) tokens; its older half is forgotten")
            }
        }
        if isTerminal { printNow("\n") }
    }

    /// A line of standard input without its end; nil if there is none.
    static func readTypedLine() throws -> String? {
        var bytes: [UInt8] = []
        var next = getchar()
        if next == EOF { return nil }
        while next != EOF, next != Int32(UInt8(ascii: "\n")) {
            bytes.append(UInt8(truncatingIfNeeded: next))
            next = getchar()
        }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let line = String(validating: bytes, as: UTF8.self) else {
            throw UserError("the line is not UTF-8: \(readable(bytes))", hint: "set your terminal to UTF-8")
        }
        return line
    }

    // MARK: - what comes in

    /// Options that say different things.
    static func checkTogether(_ options: Options) throws {
        func refuse(_ what: String, _ hint: String) -> UserError { UserError(what, hint: hint, exitCode: 2) }
        try Prompt.checkOnce(options)
        if options.flag("greedy"), options.int("num-samples") > 1 {
            throw refuse("--greedy writes the same text every time", "leave --greedy or --num-samples out")
        }
        if !options.flag("chat"), let option = ["template", "system"].first(where: { options.isGiven($0) }) {
            throw refuse("--\(option) is for answers", "add --chat, or leave it out")
        }
        if options.flag("interactive") {
            if options.text("prompt-file") == "-" {
                throw refuse("standard input is the conversation", "write the prompt into a file, or give --prompt")
            }
            if options.int("num-samples") > 1 || options.flag("json") {
                throw refuse("a conversation has one answer, as text", "leave --num-samples and --json out")
            }
            if options.flag("chat") {
                throw refuse("--interactive continues a text", "for a conversation with a tuned model there is chat")
            }
            if options.texts("adapter").count > 1 {
                throw refuse("a conversation is with one model", "leave all but one --adapter out")
            }
        }
    }

    /// Refuses a prompt that is too long, and more samples than the memory has room for.
    static func checkRoom(
        _ options: Options, _ path: String, promptLength: Int, _ weights: WeightFormat, hasAdapter: Bool
    ) throws {
        let config = try readConfiguration(path)
        guard promptLength <= config.maxT else {
            throw UserError(
                "the prompt has \(promptLength) tokens, and the model reads at most \(config.maxT)",
                hint: "shorten the prompt, or train a model with a longer --sequence-length")
        }
        let isInteractive = options.flag("interactive")
        try checkMemory(
            config.bytes(
                sequences: options.int("num-samples"),
                capacity: isInteractive ? config.maxT : promptLength + options.int("max-new-tokens"),
                weights: weights, keepsFloats: hasAdapter),
            hint: "take fewer --num-samples, a smaller model, or --weights int8")
    }

    static func endOfText(_ tokenizer: Tokenizer) throws -> Int32 {
        guard let id = tokenizer.endOfText else {
            throw UserError(
                "the tokenizer has no <|endoftext|> to begin a text with", hint: "give a text to continue by --prompt")
        }
        return Int32(id)
    }

    /// One for each sample, so that a sample is the same whatever their number.
    static func randoms(_ options: Options, _ count: Int) -> [Xorshift] {
        var seeds = Xorshift(seed: UInt64(options.int("seed")))
        return (0..<count).map { _ in Xorshift(seed: seeds.next()) }
    }
}
