// train_phi trains a model of Phi-1.5's architecture on token shards: batches → forward → classify → backward → clip →
// update, with validation, samples and checkpoints on the way. Its checkpoints are Hugging Face directories.
//
// The model is Sources/LLM/Models/Phi.swift. What a step does around it is Sources/LLM/Training/Trainer.swift, and the
// options that every trainer has are Sources/LLM/Training/TrainingSettings.swift.

import Kernels
import LLM

let aboutTraining =
    "trains a model of Phi-1.5's architecture on token shards, from scratch or from a checkpoint\n\n"
    + "Each checkpoint is a directory that AutoModelForCausalLM.from_pretrained loads as it is: config.json,\n"
    + "model.safetensors, the tokenizer's files, and beside them state.bin, to continue from.\n"
    + "Without any option it trains what `make tutorial` made of a text in data/phi, or continues it.\n"
    + "Ctrl-C writes a checkpoint into --output and stops."

/// The only shape that has a name.
let phi1_5 = "phi-1.5"

let table = TrainingSettings.table(
    model: [
        Option(
            "model", "e", .text, "DIR|\(phi1_5)",
            "a Hugging Face directory of a Phi to continue from, or the shape of a new model: \(phi1_5) (1.42 billion"
                + " parameters) (default: a new model of the shape below)"),
        Option("layers", nil, .integer(1...1000), "N", default: "4", "layers of a new model"),
        Option("heads", nil, .integer(1...1000), "N", default: "4", "attention heads of a new model"),
        Option(
            "channels", nil, .integer(1...100_000), "N", default: "128", "channels of a new model, a multiple of heads"),
        Option(
            "rotary-fraction", nil, .number(0...1), "X", default: "0.5",
            "the share of a head's channels that turn with the position, in a new model"),
        Option(
            "vocab-size", nil, .integer(1...16_000_000), "N",
            "vocabulary of a new model (default: the tokenizer's, else 51200; with -e \(phi1_5) at least 51200)"),
    ]
) { "data/\($0)_*.bin" }

@main
enum Main {
    static func main() {
        runOnAllRanks {
            try train(
                Options(program: "train_phi", about: aboutTraining, table: table, arguments: commandLine()))
        }
    }

    /// The user's arguments; without any, those of `make tutorial`.
    static func commandLine() throws -> [String] {
        let arguments = try commandLineArguments()
        guard arguments.isEmpty else { return arguments }
        // A run knows its options.
        let isNew = CheckpointDirectory("data/phi/model", .directories).steps().isEmpty
        let recipe =
            ["-o", "data/phi/model", "-y", "1"]
            + (isNew ? ["-i", "data/phi/train_*.bin"] + Recipe("phi").trainArguments() : [])
        note("train_phi \(recipe.joined(separator: " "))")
        return recipe
    }

    static func train(_ given: Options) throws {
        let directory = try TrainingSettings(given).openOutput(.directories)
        // Which part is trained must be known before a checkpoint's moments are read.
        let part = try TrainedPart(given.completed(from: TrainingSettings(given).keptSettings(in: directory)))
        let checkpoint = try TrainingSettings(given).checkpoint(in: directory) { try readPhi($0, training: part) }
        let options = try checkpoint.map { try TrainingSettings.continuing(given, from: $0.state) } ?? given
        let settings = TrainingSettings(options)
        if let threads = settings.threads { useThreads(threads) }
        // Without shards there is no tokenizer beside them, either, which would be the wrong thing to ask for.
        _ = try DataLoader.shards(matching: settings.trainData)
        let tokenizer = try settings.findTokenizer(
            ofModel: checkpoint.flatMap { directory?.modelPath($0.state.step) } ?? options.text("model"))
        let (model, origin) =
            try checkpoint.map { ($0.model, "checkpoint") }
            ?? makeModel(options, settings, tokenizer, part)
        let config = model.config
        if checkpoint != nil { try checkShape(of: config, at: settings.output ?? "", options, settings) }
        if let tokenizer, let checkpoint, let directory {
            try settings.checkTokenizer(tokenizer, belongsTo: directory.modelPath(checkpoint.state.step))
        }
        let T = try settings.T(maxT: config.maxT)
        try checkMemory(of: config, B: settings.B, T: T, part)
        let writable = tokenizer?.model == nil ? nil : tokenizer
        if tokenizer != nil, writable == nil, directory != nil {
            note("note: a tokenizer.bin has no merges, so the checkpoints come without tokenizer.json")
        }
        let trainer = try Trainer(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: checkpoint?.state, V: config.V, T: T
        ) { path, files in
            try HuggingFacePhi.write(model, writable, to: path, in: files)
        }
        model.dropout = settings.dropout
        trainer.introduce(
            "\(origin): \(config.summary), \(config.R) of \(config.C / config.NH) channels of a head turn")
        if settings.isDryRun { return }

        // A step. What it calls is in Trainer.swift and in Phi.swift.
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

    // MARK: - the model

    /// Refuses a model that has another shape than the command line asks for.
    static func checkShape(
        of config: PhiConfiguration, at path: String, _ options: Options, _ settings: TrainingSettings
    ) throws {
        let wanted = options.text("model") == phi1_5 ? PhiConfiguration.phi1_5 : nil
        try settings.checkShape(
            of: path, options,
            has: [
                ("layers", config.L, wanted?.L), ("channels", config.C, wanted?.C), ("heads", config.NH, wanted?.NH),
                ("vocab-size", config.V, nil),
            ])
        let HS = config.C / config.NH
        if options.isGiven("rotary-fraction"), try turning(options, HS: HS) != config.R {
            throw UserError(
                "\(path) turns \(config.R) of a head's \(HS) channels, not \(try turning(options, HS: HS))",
                hint: "leave out --rotary-fraction, or choose another model or --output")
        }
    }

    /// The model of a directory or of a shape, and what to call its origin.
    static func makeModel(
        _ options: Options, _ settings: TrainingSettings, _ tokenizer: Tokenizer?, _ part: TrainedPart
    ) throws -> (Phi, String) {
        let V = options.isGiven("vocab-size") ? options.int("vocab-size") : tokenizer?.vocabularySize ?? 51200
        var config = PhiConfiguration.phi1_5
        switch options.text("model") {
        case phi1_5?:
            try part.requireTrainedModel()
            config.maxT = options.isGiven("sequence-length") ? settings.newModelT : config.maxT
            config.V =
                options.isGiven("vocab-size") || tokenizer.map { $0.vocabularySize > config.V } ?? false ? V : config.V
            try checkShape(of: config, at: phi1_5, options, settings)
        case let path?:
            guard fileExists(path) else {
                throw UserError(
                    "there is no model \(path)",
                    hint: "name a Phi's directory, or \(phi1_5); for another shape leave out --model (-e) and give "
                        + "--layers, --heads and --channels")
            }
            try checkShape(of: readPhiConfiguration(path), at: path, options, settings)
            if let tokenizer { try settings.checkTokenizer(tokenizer, belongsTo: path) }
            return (try readPhi(path, training: part), path)
        case nil:
            try part.requireTrainedModel()
            let (C, NH) = (options.int("channels"), options.int("heads"))
            guard C % NH == 0 else {
                throw UserError(
                    "\(C) channels are not a multiple of \(NH) heads",
                    hint: "take --channels that are a multiple of --heads", exitCode: 2)
            }
            if tokenizer == nil, !options.isGiven("vocab-size") {
                note(
                    "note: no tokenizer with the shards: a vocabulary of \(V), and samples as ids; name it with "
                        + "--tokenizer DIR, or give --vocab-size")
            }
            config = PhiConfiguration(
                maxT: settings.newModelT, V: V, L: options.int("layers"), NH: NH, C: C,
                R: try turning(options, HS: C / NH))
        }
        if let tokenizer { try settings.checkTokenizer(tokenizer, fitsNewVocabulary: config.V) }
        try checkMemory(of: config, B: settings.B, T: try settings.T(maxT: config.maxT), .all)
        let model = Phi(config, trains: true)
        if !settings.isDryRun { model.parameters.initialize(seed: settings.seed) }
        return (model, "new")
    }

    /// The channels of a head that turn, rounded down as transformers does it.
    static func turning(_ options: Options, HS: Int) throws -> Int {
        let fraction = options.double("rotary-fraction")
        let R = Int(Double(HS) * fraction)
        guard R >= 2, R % 2 == 0 else {
            throw UserError(
                "--rotary-fraction \(fraction) turns \(R) of a head's \(HS) channels, and it must be an even number of "
                    + "them, two or more", hint: "take another fraction, or other --channels and --heads", exitCode: 2)
        }
        return R
    }

    /// Refuses what does not fit in memory, and says what would.
    static func checkMemory(of config: PhiConfiguration, B: Int, T: Int, _ part: TrainedPart) throws {
        func fits(_ rows: Int) -> Bool { (try? LLM.checkMemory(config.bytes(rows: rows, training: part))) != nil }
        func halves(of size: Int) -> [Int] { Array(sequence(first: size) { $0 > 1 ? $0 / 2 : nil }) }
        let state = memoryText(config.bytes(rows: 0, training: part))
        var hint =
            "its parameters, gradients and AdamW's moments alone take \(state): take a smaller model; to generate with "
            + "it takes \(memoryText(config.bytes(rows: 1, trains: false)))"
        if let B = halves(of: B).first(where: { fits($0 * T) }) {
            hint = "--batch-size (-b) \(B) fits"
        } else if let T = halves(of: T).first(where: fits) {
            hint = "--batch-size (-b) 1 and --sequence-length (-t) \(T) fit"
        }
        try LLM.checkMemory(config.bytes(rows: B * T, training: part), hint: hint)
    }
}
