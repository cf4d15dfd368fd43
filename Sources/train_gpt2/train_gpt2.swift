// train_gpt2 trains a GPT-2 on token shards: batches → forward → classify → backward → clip → update, with validation,
// samples and checkpoints on the way. The options, the files and the log are those of llm.c's train_gpt2.cu.
//
// The model is Sources/LLM/Models/GPT2.swift. What a step does around it is Sources/LLM/Training/Trainer.swift, and the
// options that every trainer has are Sources/LLM/Training/TrainingSettings.swift.

import Kernels
import LLM

let aboutTraining =
    "trains a GPT-2 on token shards, from scratch or from a checkpoint\n\n"
    + "Without any option it continues what `make run` left in data/, or trains gpt2_124M.bin for 40 steps, if that\n"
    + "and tinyshakespeare are here. Ctrl-C writes a checkpoint into --output and stops."

let table = TrainingSettings.table(
    model: [
        Option(
            "model", "e", .text, "FILE|DIR|dN",
            "a checkpoint to continue from, or the shape of a new model: d6, d12 (OpenAI's 124M), d24, d36, d48"
                + " (default: gpt2_124M.bin if it is here, else a new model of the shape below)"),
        Option("layers", nil, .integer(1...1000), "N", default: "4", "layers of a new model"),
        Option("heads", nil, .integer(1...1000), "N", default: "4", "attention heads of a new model"),
        Option(
            "channels", nil, .integer(1...100_000), "N", default: "128", "channels of a new model, a multiple of heads"),
        Option(
            "vocab-size", nil, .integer(1...16_000_000), "N",
            "vocabulary of a new model (default: the tokenizer's, else 50257)"),
        Option(
            "minutes", nil, .number(0.05...100_000), "X",
            "train a new model for some X minutes: chooses its shape, the batch, the optimizer and the steps by the train "
                + "data and by this machine's speed, and prints them; what is given stays"),
    ], defaultData: defaultData)

/// llm.c's place for tinyshakespeare, else where `make run` puts its shards.
func defaultData(_ split: String) -> String {
    let shakespeare = "dev/data/tinyshakespeare/tiny_shakespeare_\(split).bin"
    return fileExists("gpt2_124M.bin") && fileExists(shakespeare) ? shakespeare : "data/\(split)_*.bin"
}

@main
enum Main {
    static func main() {
        runOnAllRanks {
            let arguments = try commandLine()
            try train(Options(program: "train_gpt2", about: aboutTraining, table: table, arguments: arguments))
        }
    }

    static func train(_ given: Options) throws {
        let directory = try TrainingSettings(given).openOutput()
        // Which part is trained must be known before a checkpoint's moments are read.
        let part = try TrainedPart(given.completed(from: TrainingSettings(given).keptSettings(in: directory)))
        let checkpoint = try TrainingSettings(given).checkpoint(in: directory) { try readGPT2($0, training: part) }
        if let threads = TrainingSettings(given).threads { useThreads(threads) }
        let options = try checkpoint.map { try TrainingSettings.continuing(given, from: $0.state) } ?? fitted(given)
        let settings = TrainingSettings(options)
        // Without shards there is no tokenizer beside them, either, which would be the wrong thing to ask for.
        _ = try DataLoader.shards(matching: settings.trainData)
        let tokenizer = try settings.findTokenizer()
        let (model, origin) =
            try checkpoint.map { ($0.model, "checkpoint") }
            ?? makeModel(options, settings, tokenizer, part)
        let config = model.config
        if checkpoint != nil { try checkShape(of: config, at: settings.output ?? "", options, settings) }
        if let tokenizer, let checkpoint, let directory {
            try settings.checkTokenizer(tokenizer, belongsTo: directory.modelPath(checkpoint.state.step))
        }
        let T = try settings.T(maxT: config.maxT)
        try checkMemory(config.bytes(rows: settings.B * T, training: part))
        let trainer = try Trainer(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: checkpoint?.state, V: config.V, T: T
        ) { path, files in
            try files.write(path) { try LLMCModelFile.write(model, to: $0) }
        }
        model.dropout = settings.dropout
        trainer.introduce("\(origin): \(config.summary)")
        if settings.isDryRun { return }

        // A step. What it calls is in Trainer.swift and in GPT2.swift.
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

    // MARK: - a time to train in

    /// The options, completed by what suits --minutes, if that is given.
    static func fitted(_ given: Options) throws -> Options {
        guard given.isGiven("minutes") else { return given }
        guard !given.isGiven("model") else {
            throw UserError(
                "--minutes chooses a new model, and --model names one",
                hint: "leave out one of them; how long a model is trained further is up to --steps", exitCode: 2)
        }
        guard ranks.size == 1 else {
            throw UserError(
                "--minutes measures how fast one process is",
                hint: "run it once without mpirun, with --dry-run, and give the options that it prints", exitCode: 2)
        }
        let seconds = 60 * given.double("minutes")
        let start = now()
        let paths = try DataLoader.shards(matching: TrainingSettings(given).trainData)
        let tokens = try paths.reduce(0) { try $0 + TokenShard($1).count }
        if tokens < 10_000 {
            note(
                "note: \(grouped(tokens)) tokens are too few to learn from, and are read a hundred times at most: some 40 kB"
                    + " of text teach a few words, a megabyte sentences")
        }
        let tokenizer = try TrainingSettings(given).findTokenizer()
        let V = vocabulary(given, tokenizer)
        let budget = TimeBudget(tokens: tokens, V: V, operations: seconds * measurePeakFlops())
        var chosen = budget.options
        if given.isGiven("layers") || given.isGiven("channels") || given.isGiven("heads") {
            // A shape is one thing.
            for name in ["layers", "channels", "heads"] { chosen[name] = nil }
        }
        if given.isGiven("optimizer"), given.text("optimizer") != Optimizer.muon.rawValue {
            chosen["learning-rate"] = TimeBudget.learningRateOfAdamW
        }
        var options = try given.completed(from: chosen)
        let settings = TrainingSettings(options)
        let T = try settings.T(maxT: Int.max)
        let microBatches = try settings.microBatches(T: T)
        // Batches that the data cannot fill are refused before they are timed.
        let batches = try settings.loadShards(tokenizer, V: V, T: T).data.batchesPerEpoch
        let config = try newConfiguration(givenShape(options), V: V, maxT: T)
        try checkMemory(config.bytes(rows: settings.B * T, trains: true))
        // A number of steps that is given is not timed.
        let steps =
            given.isGiven("steps") || given.isGiven("epochs")
            ? try settings.steps(batches: batches, microBatches: microBatches)
            : budget.steps(
                seconds: seconds - (now() - start),
                secondsPerStep: Double(microBatches)
                    * TimeBudget.timeStep(config, settings, T: T, for: max(0.5, seconds / 100)),
                batches: batches / microBatches)
        chosen.merge(TimeBudget.options(steps: steps)) { $1 }
        options = try given.completed(from: chosen)
        let words = table.filter { chosen[$0.long] != nil && !given.isGiven($0.long) }
            .map { "--\($0.long) \(chosen[$0.long] ?? "")" }
        let minutes = given.text("minutes") ?? ""
        print("chosen      for \(minutes) minute\(minutes == "1" ? "" : "s"): \(words.joined(separator: " "))")
        return options
    }

    // MARK: - the model

    /// Refuses a model that has another shape than the command line asks for.
    static func checkShape(
        of config: GPT2Configuration, at path: String, _ options: Options, _ settings: TrainingSettings
    ) throws {
        let wanted = options.text("model").flatMap { GPT2Configuration.descriptors[$0] }
        try settings.checkShape(
            of: path, options,
            has: [
                ("layers", config.L, wanted?.L), ("channels", config.C, wanted?.C), ("heads", config.NH, wanted?.NH),
                ("vocab-size", config.V, nil),
            ])
    }

    /// The model of a file or of a shape, and what to call its origin.
    static func makeModel(
        _ options: Options, _ settings: TrainingSettings, _ tokenizer: Tokenizer?, _ part: TrainedPart
    ) throws -> (GPT2, String) {
        let givesShape = ["layers", "heads", "channels", "vocab-size"].contains { options.isGiven($0) }
        let name = options.text("model") ?? (fileExists("gpt2_124M.bin") && !givesShape ? "gpt2_124M.bin" : nil)
        var shape = givenShape(options)
        if let name {
            guard let known = GPT2Configuration.descriptors[name] else {
                if name.hasPrefix("d"), Int(name.dropFirst()) != nil {
                    let names = GPT2Configuration.descriptors.keys.sorted().joined(separator: ", ")
                    throw UserError(
                        "no model is called \(name)",
                        hint: "use one of \(names), or give the shape with --layers, --heads and --channels")
                }
                try checkShape(of: readGPT2Configuration(name), at: name, options, settings)
                if let tokenizer { try settings.checkTokenizer(tokenizer, belongsTo: name) }
                let model = try readGPT2(name, training: part)
                // What it learns from here on is of this one, which may have grown.
                if let tokenizer { model.tokenizer = tokenizer.fingerprint() }
                return (model, name)
            }
            shape = known
        }
        try part.requireTrainedModel()
        let config = try newConfiguration(
            shape, V: vocabulary(options, tokenizer), maxT: settings.newModelT)
        if let name { try checkShape(of: config, at: name, options, settings) }
        if let tokenizer { try settings.checkTokenizer(tokenizer, fitsNewVocabulary: config.V) }
        try checkMemory(config.bytes(rows: settings.B * config.maxT, trains: true))
        let model = GPT2(config, trains: true)
        model.tokenizer = tokenizer?.fingerprint()
        if !settings.isDryRun { model.parameters.initialize(seed: settings.seed) }
        return (model, "new")
    }

    /// The vocabulary of a new model.
    static func vocabulary(_ options: Options, _ tokenizer: Tokenizer?) -> Int {
        options.isGiven("vocab-size") ? options.int("vocab-size") : tokenizer?.vocabularySize ?? 50257
    }

    typealias Shape = (L: Int, C: Int, NH: Int)

    static func givenShape(_ options: Options) -> Shape {
        (options.int("layers"), options.int("channels"), options.int("heads"))
    }

    static func newConfiguration(_ shape: Shape, V: Int, maxT: Int) throws -> GPT2Configuration {
        guard shape.C % shape.NH == 0 else {
            throw UserError(
                "\(shape.C) channels are not a multiple of \(shape.NH) heads",
                hint: "take --channels that are a multiple of --heads", exitCode: 2)
        }
        return GPT2Configuration(maxT: maxT, V: V, L: shape.L, NH: shape.NH, C: shape.C)
    }

    // MARK: - the command line

    /// The user's arguments, without those that llm.c has for GPUs; without any, the recipe that fits what is there.
    static func commandLine() throws -> [String] {
        let arguments = try commandLineArguments()
        guard arguments.isEmpty else { return droppingGPUOptions(arguments) }
        let recipe: [String]
        if fileExists("gpt2_124M.bin"), fileExists(defaultData("train")) {
            recipe = Recipe("gpt2_124M").trainArguments()
        } else {
            // A run knows its options; a new one is what `make run` would train on what lies in data/.
            let isNew = CheckpointDirectory("data/model").steps().isEmpty
            let name = fileExists("data/lotto_train.txt") ? "lotto" : "text"
            recipe = ["-o", "data/model", "-y", "1"] + (isNew ? Recipe(name).trainArguments() : [])
        }
        note("train_gpt2 \(recipe.joined(separator: " "))")
        return recipe
    }

    /// The arguments without the options of llm.c's GPU trainer, each of which takes one value.
    static func droppingGPUOptions(_ given: [String]) -> [String] {
        let gpuOptions: Set = [
            "-h", "-f", "-w", "-ge", "-z", "-r", "-lg", "-pn", "-pr", "-pg", "-pm", "-ps", "-pp", "-pi", "-pf",
        ]
        var arguments = given
        var position = 0
        while position < arguments.count {
            let takesValue =
                position + 1 < arguments.count
                && (!arguments[position + 1].hasPrefix("-") || Double(arguments[position + 1]) != nil)
            if gpuOptions.contains(arguments[position]), takesValue {
                note("\(arguments[position]) \(arguments[position + 1]) is for llm.c's GPU trainer; ignored here")
                arguments.removeSubrange(position...position + 1)
            } else {
                position += 1
            }
        }
        return arguments
    }
}
