// finetune teaches a trained model to answer: conversations → their text, by a template → tokens, of which the answers
// count → training as ever. By default the model stays as it is, and a small adapter beside it learns (LoRA).
//
// What LoRA is: Sources/LLM/Models/LoRA.swift. How a conversation becomes text and tokens: Sources/LLM/Data/ChatTemplate.swift
// and ConversationTokens.swift. What a step does around the model: Sources/LLM/Training/Trainer.swift.

import Kernels
import LLM

let aboutTuning =
    "teaches a trained GPT-2 or Phi to answer, from examples of conversations\n\n"
    + "It learns an adapter (LoRA): a few small matrices beside the model's own, which stay as they are. --full trains\n"
    + "the model itself. --data is JSON Lines or JSON with messages, with prompt and completion, or with instruction,\n"
    + "input and output; or CSV with a column of questions and one of answers.\n\n"
    + "  finetune --model data/phi/model/best --data chat.csv --output data/chat\n"
    + "  chat --adapter data/chat/best\n\n"
    + "--output gets checkpoints, checkpoint-N/ and best/, which Python's PeftModel.from_pretrained loads (with --full,\n"
    + "AutoModelForCausalLM.from_pretrained), and held_out.jsonl, the conversations of --data that are validated with.\n"
    + "Ctrl-C writes a checkpoint and stops."

let own: [Option] = [
    Option("model", "e", .text, "DIR|FILE", "the model to begin with: a Hugging Face directory, or a GPT-2's file"),
    Option("data", "i", .texts, "FILE…", "conversations to learn from"),
    Option("val-data", "j", .texts, "FILE…", "conversations to validate with (default: some of --data)"),
    Option(
        "val-fraction", nil, .number(0...0.9), "X", default: "0.05",
        "the share of --data that is held out to validate with, where there is no --val-data"),
    Option("question", nil, .text, "COLUMN", "a CSV file's column of questions, if its name is unusual"),
    Option("answer", nil, .text, "COLUMN", "its column of answers"),
    Option(
        "template", nil, .text, "NAME|FILE",
        "how a conversation becomes text: \(ChatTemplate.names.joined(separator: ", ")), or a file of your own "
            + "(default: the model's, else \(ChatTemplate.names[0]))"),
    Option(
        "too-long", nil, .choice(ConversationEncoder.TooLong.allCases.map(\.rawValue)), default: "refuse",
        "what to do with a conversation that is longer than --sequence-length: refuse it, or cut its front"),
    Option("pack", nil, .flag, "[0|1]", "put several conversations into a row; they do not see each other"),
    Option("full", nil, .flag, "[0|1]", "train the model itself, and no adapter"),
    Option("freeze-embeddings", nil, .flag, "[0|1]", "with --full, leave the embeddings as they are"),
    Option("rank", "r", .integer(1...65536), "R", default: "8", "the adapter's rank"),
    Option("alpha", nil, .number(0...1e9), "X", default: "16", "what the adapter adds is scaled by alpha / rank"),
    Option(
        "targets", nil, .text, "NAMES", default: "all",
        "the linear layers that get an adapter: all, attention, or Hugging Face's names with commas between them, such "
            + "as c_attn or q_proj,v_proj"),
    Option("rslora", nil, .flag, "[0|1]", "scale by alpha / √rank instead"),
    Option(
        "dropout", nil, .number(0...0.99), "X", default: "0.05",
        "the share of an adapter's inputs that is hidden in each pass of training; with --full, of the model's values "
            + "where GPT-2 and Phi have dropout"),
    Option("batch-size", "b", .integer(1...1_000_000), "B", default: "8", "conversations at a time; with --pack, rows"),
    Option(
        "accumulate", nil, .integer(1...1_000_000), "N", default: "\(ranks.size)",
        "batches of a step; under mpirun those of all ranks together, by default one of each"),
    Option(
        "sequence-length", "t", .integer(1...1_000_000), "T",
        "tokens of a conversation at most; with --pack, of a row (default: as many as the model has positions for, "
            + "1024 at most)"),
]

let table = TrainingSettings.table(
    own: own,
    defaults: [
        "epochs": "3", "final-lr-fraction": "0", "val-every": "100", "val-batches": "200", "sample-every": "100",
    ])

@main
enum Main {
    static func main() {
        runOnAllRanks {
            try tune(Options(program: "finetune", about: aboutTuning, table: table))
        }
    }

    static func tune(_ given: Options) throws {
        let directory = try TrainingSettings(given).openOutput(.directories)
        // A run knows its options. Which part of a model is trained must be known before its state is read.
        let kept = TrainingSettings(given).keptSettings(in: directory)
        let first = try given.completed(from: kept)
        if kept.isEmpty { try checkTogether(given) } else { try refuseChanges(given, from: kept) }
        let example = "finetune --model DIR --data FILE --output DIR"
        if let directory, given.isGiven("resume"), given.flag("resume"), kept.isEmpty, !given.isGiven("model") {
            throw UserError(
                "there is no whole checkpoint in \(directory.path) to continue from",
                hint: "give the first command again, with --model and --data")
        }
        let path = try first.required("model", example: example)
        guard !first.texts("data").isEmpty else {
            throw UserError("--data is missing", hint: example, exitCode: 2)
        }

        // Else every checkpoint would seem to be damaged.
        if let directory, let last = directory.steps().last, !kept.isEmpty, !first.flag("full") {
            guard fileExists(path) else {
                throw UserError(
                    "the model \(path), which the adapter is for, is not there", hint: "say where it is: --model DIR")
            }
            if path != kept["model"] {
                _ = try readModel(path, adapters: [PEFTAdapter(directory.modelPath(last))], refusesOthers: true)
            }
        }
        let checkpoint = try TrainingSettings(given).checkpoint(in: directory) {
            try Learner(resuming: $0, of: path, first)
        }
        let options = try checkpoint.map { try TrainingSettings.continuing(given, from: $0.state) } ?? given
        let settings = TrainingSettings(options, keepingDefaultsOf: own.map(\.long))
        if let threads = settings.threads { useThreads(threads) }
        let learner = try checkpoint?.model ?? Learner(of: path, options, settings)
        let (model, tokenizer, template) = (learner.model, learner.tokenizer, learner.template)

        let T = try settings.T(maxT: model.maxT)
        let (data, validation, heldOut) = try load(options, settings, tokenizer, template, T: T)
        try checkMemory(
            model.config.bytes(rows: data.mostRows, trained: model.parameters.trained.count),
            hint: "take a smaller --batch-size (-b) or --sequence-length (-t), or a smaller model")
        let trainer = try Trainer(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: checkpoint?.state,
            data: data, validation: validation, microBatches: options.int("accumulate"), T: T
        ) { path, files in
            try learner.write(to: path, in: files)
        }
        trainer.introduce(learner.description)
        if settings.isDryRun { return }
        if let directory, checkpoint == nil {
            let files = DurableFiles()
            let held = directory.path + "/held_out.jsonl"
            // Those of an earlier run may be learnt from this time.
            if heldOut.isEmpty { files.remove([held]) } else { try writeConversations(heldOut, to: held, in: files) }
            try files.commit()
        }

        // A step, as every trainer has it. The linear layers know of the adapter.
        try trainer.run {
            if trainer.validationIsDue { try trainer.validate() }
            if trainer.sampleIsDue { try trainer.sample() }
            if trainer.checkpointIsDue { trainer.save() }
            guard try trainer.continues() else { return }

            try trainer.forEachBatch { batch, gradientScale in
                model.forward(inputs: batch.inputs, .batch(lengths: batch.lengths, dropout: batch.dropoutKey))
                let loss = model.classify(targets: batch.targets, gradientScale: gradientScale)
                model.backward(inputs: batch.inputs)
                return loss
            }
            trainer.clip()
            try trainer.update()
        }
    }

    // MARK: - what comes in

    static func checkTogether(_ options: Options) throws {
        if options.flag("full"),
            let name = ["rank", "alpha", "targets", "rslora"].first(where: { options.isGiven($0) })
        {
            throw UserError(
                "--\(name) is an adapter's, and --full trains none", hint: "leave one of them out", exitCode: 2)
        }
        guard options.flag("full") || !options.flag("freeze-embeddings") else {
            throw UserError(
                "an adapter leaves the embeddings as they are in any case", hint: "leave --freeze-embeddings out",
                exitCode: 2)
        }
    }

    /// Refuses to continue a run as another one: what is trained, and how a conversation becomes text, stay as they were.
    static func refuseChanges(_ options: Options, from kept: [String: String]) throws {
        let fixed = ["full", "freeze-embeddings", "rank", "alpha", "targets", "rslora", "template", "tokenizer"]
        let isAdapter = kept["full"] != "1"
        for change in options.changes(from: kept)
        where fixed.contains(change.name) || change.name == "dropout" && isAdapter {
            throw UserError(
                "--\(change.name) was \(change.was) and cannot be \(change.now) in the same run",
                hint: "leave it out to continue, or begin another run with another --output", exitCode: 2)
        }
    }

    /// The conversations to learn from and to validate with, and which of --data they are, where they are held out.
    /// Prints what a person should know of them.
    static func load(
        _ options: Options, _ settings: TrainingSettings, _ tokenizer: Tokenizer, _ template: ChatTemplate, T: Int
    ) throws -> (data: ConversationLoader, validation: ConversationLoader?, heldOut: [Conversation]) {
        var encoder = try ConversationEncoder(tokenizer, template)
        let tooLong = ConversationEncoder.TooLong(rawValue: options.text("too-long") ?? "") ?? .refuse
        var end: Int32?
        if case .token(let token) = encoder.stop { end = token }
        func conversations(_ option: String) throws -> [Conversation] {
            try openTexts(options.texts(option)).flatMap { text in
                let file = try ConversationFile(
                    text, question: options.text("question"), answer: options.text("answer"))
                print("\(text.path): \(file.summary)")
                return file.conversations
            }
        }
        func encode(_ conversations: [Conversation]) throws -> [ConversationTokens] {
            // The last token is a target only.
            let encoded = try encoder.encode(conversations, longest: T + 1, tooLong)
            for text in encoded.notes { note("note: \(text)") }
            return encoded.conversations
        }
        func loader(_ conversations: [ConversationTokens], seed: UInt32?) -> ConversationLoader {
            ConversationLoader(
                conversations, B: settings.B, T: T, packs: options.flag("pack"), answerEnd: end, shuffleSeed: seed)
        }
        var all = try conversations("data")
        var heldOut: [Conversation] = []
        if options.texts("val-data").isEmpty, settings.validateEvery > 0 {
            let count = Int((Double(all.count) * options.double("val-fraction")).rounded())
            var random = MersenneTwister(seed: settings.seed)
            let order = random.permutation(all.count)
            heldOut = order.prefix(count).sorted().map { all[Int($0)] }
            all = order.dropFirst(count).sorted().map { all[Int($0)] }
            guard !all.isEmpty else {
                throw UserError("all conversations are held out", hint: "take a smaller --val-fraction", exitCode: 2)
            }
        }
        let data = loader(try encode(all), seed: settings.seed)
        let other = try heldOut.isEmpty ? conversations("val-data") : heldOut
        return (data, other.isEmpty ? nil : loader(try encode(other), seed: nil), heldOut)
    }
}
