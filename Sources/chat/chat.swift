// chat is a conversation on the terminal with a model that finetune has taught to answer: a question → the prompt, by
// the template that was saved with the model → an answer, shown as it comes → the next question.
//
// How a conversation becomes a prompt, and an answer a message: Sources/LLM/Generation/ChatSession.swift. What a person
// can do beside asking: Commands.swift. The line that is typed: Sources/LLM/Support/LineEditor.swift.

import Foundation
import LLM

let aboutChatting =
    "a conversation with a model that was tuned by finetune\n\n"
    + "  chat --model data/chat/best            a model that was tuned as a whole (finetune --full)\n"
    + "  chat --adapter data/chat/best          an adapter, and the model that it names\n\n"
    + "Every line is a message; a \\ at its end makes another line part of it, and pasted text is one message. A line\n"
    + "with / is a command: /help lists them. Ctrl-C stops an answer, Ctrl-D ends. At the model's limit the oldest turns\n"
    + "are left out of what it reads.\n\n" + aboutJSON

let table: [Option] =
    [
        Option("model", "m", .text, "DIR|FILE", "a Hugging Face directory, or a checkpoint of train_gpt2"),
        Option(
            "adapter", "a", .texts, "DIR|NAME=DIR…",
            "adapters (LoRA) of finetune or of peft; the first answers, until /adapter NAME takes another. Without "
                + "--model they are put on the model that they name"),
        Option(
            "template", nil, .text, "NAME|FILE",
            "how a conversation becomes text: \(ChatTemplate.names.joined(separator: ", ")), or a file (default: the "
                + "one saved with the adapter or model)"),
        Option("tokenizer", "k", .text, "DIR", "the tokenizer (default: the adapter's or the model's)"),
        Option("system", nil, .text, "TEXT", "the system message"),
        Option(
            "max-new-tokens", "n", .integer(1...10_000_000), "N",
            "tokens of an answer at most (default: 512, or half of what the model can read)"),
    ] + Sampler.options + [
        Option("seed", "s", .integer(0...Int.max), "N", default: "42", "the same seed draws the same answers"),
        Option("load", nil, .text, "FILE", "go on with the conversation that /save wrote; of several the last"),
        Option("json", nil, .flag, "[0|1]", "speak JSON, a line each way, with a program"),
        WeightFormat.option,
        Option("threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores)"),
    ]

@main
enum Chat {
    static func main() {
        runReportingErrors {
            let options = try Options(program: "chat", about: aboutChatting, table: table)
            let sampler = try Sampler(options)
            if options.isGiven("threads") { useThreads(options.int("threads")) }
            let loaded = try options.text("load").map { try ConversationFile(openTexts([$0])[0]).conversations }
            let session = try open(options, sampler)
            if let system = options.text("system") { try session.setSystem(Array(system.utf8)) }
            if let conversation = loaded?.last {
                try session.load(conversation, keepsSystem: options.isGiven("system"))
            }
            if options.flag("json") {
                serve(session)
            } else {
                try Talk(session, isGreedy: sampler.isGreedy).run()
            }
        }
    }

    /// The model with its adapters, ready for the first question.
    static func open(_ options: Options, _ sampler: Sampler) throws -> ChatSession {
        let adapters = try NamedAdapter.open(options.texts("adapter"))
        let path = try modelPath(of: adapters, given: options.given("model"), else: "")
        guard !path.isEmpty else {
            throw UserError("--model is missing", hint: "chat --model DIR, or chat --adapter DIR", exitCode: 2)
        }
        guard fileExists(path) else {
            throw UserError("there is no model \(path)", hint: "name a directory that finetune --full has written")
        }
        let config = try readConfiguration(path)
        let limit = options.isGiven("max-new-tokens") ? options.int("max-new-tokens") : min(512, config.maxT / 2)
        guard limit > 0, limit < config.maxT else {
            throw UserError(
                "an answer of \(grouped(limit)) tokens leaves no room for a question: the model reads "
                    + "\(grouped(config.maxT)) at most", hint: "take a smaller --max-new-tokens", exitCode: 2)
        }
        var voices = try (adapters.isEmpty ? [nil] : adapters.map(Optional.init)).map { named in
            let template = try readTemplate(ofModel: path, named?.adapter, given: options.text("template"))
            let tokenizer = try readTokenizer(
                ofModel: path, named?.adapter, given: options.given("tokenizer"), else: folder(of: path)
            ).tokenizer
            return try ChatVoice(named?.name ?? "", tokenizer, template)
        }
        let weights = try WeightFormat(options, model: path)
        try checkMemory(
            config.bytes(
                sequences: 1, capacity: config.maxT, weights: weights, keepsFloats: !adapters.isEmpty),
            hint: "choose a smaller model, or --weights int8")
        let (model, read) = try readModel(path, adapters: adapters.map(\.adapter), weights: weights)
        for (i, adapter) in read.enumerated() { voices[i].adapter = adapter }
        return ChatSession(
            model, voices, sampler, limit: limit, seed: UInt64(options.int("seed")),
            weights: weights)
    }
}
