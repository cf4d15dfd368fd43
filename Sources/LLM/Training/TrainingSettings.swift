// The settings of a training run: the options of the training programs, and their values as typed properties.

import Kernels

/// The settings of a training run, whatever the model.
package struct TrainingSettings {
    package let trainData: String
    package let validationData: String
    package let tokenizer: String?
    /// The folder of checkpoints and main.log; nil keeps nothing.
    package let output: String?
    /// What happens to a run that `output` holds.
    package let resume: Resume
    /// nil writes a checkpoint at the end only.
    package let checkpointEvery: Int?
    /// 0 keeps all.
    package let keep: Int
    package let majorEvery: Int
    package let bestBy: BestBy

    package let B: Int
    private let givenT: Int?
    private let givenTotalBatch: Int?
    private let givenSteps: Int?
    private let epochs: Double
    package let overfitsBatch: Bool
    private let shufflesRows: Bool
    package let lossOn: LossOn
    /// The text before an answer; nil unless answers alone count.
    package let answerMark: String?

    package let schedule: Schedule.Shape
    package let learningRate: Double
    package let warmup: Int
    package let finalFraction: Double
    package let decay: Double
    package let optimizer: Optimizer
    package let dropout: Float
    /// The format in which the linear layers multiply.
    package let precision: Precision
    /// Whether the gradients are added in an order that any number of ranks can share.
    package let sameBits: Bool
    package let conventions: Conventions
    /// 0 never skips.
    package let skipLossZ: Double
    package let skipNormZ: Double

    /// 0 never validates, and never samples.
    package let validateEvery: Int
    package let validationBatches: Int
    package let sampleEvery: Int
    package let sampleLength: Int
    /// Steps from one line to the next; nil as seldom as a person reads.
    package let logEvery: Int?
    package let seed: UInt32
    /// nil takes all cores, or a rank's share of them.
    package let threads: Int?
    /// Whether to check everything and then end, with nothing written.
    package let isDryRun: Bool
    /// Whether the data are token shards, and not conversations.
    private let readsShards: Bool
    /// Whether more is given than where and how.
    private let saysWhatToTrain: Bool
    /// The options as a checkpoint keeps them.
    package let kept: [String: String]

    package enum Resume { case unspecified, continues, startsOver }

    // MARK: - the command line

    /// The table of the options of a trainer on token shards.
    /// - Parameters:
    ///   - model: the rows that say which model.
    ///   - data: where the shards of a split are by default.
    package static func table(model: [Option], defaultData data: (_ split: String) -> String) -> [Option] {
        [
            Option(
                "train-data", "i", .text, "PATTERN", default: data("train"),
                "token shards to learn from, or the folder that they are in"),
            Option(
                "val-data", "j", .text, "PATTERN", default: data("val"),
                "token shards to validate with; with --train-data and without this, val_*.bin beside those"),
        ] + model + shared + [
            Option(
                "total-batch-size", "d", .integer(1...Int.max), "N",
                "tokens of a step, of all ranks together, in micro-batches of B·T each (default B·T, times the ranks)"),
            Option(
                "overfit-batch", "a", .flag, "[0|1]",
                "train on the first batch alone, to see whether the model can learn it"),
            Option(
                "shuffle", nil, .choice(["batches", "rows"]), default: "batches",
                "what an epoch's order is made of: batches of rows that follow each other, always the same, as in llm.c; or"
                    + " single rows, cut elsewhere in each epoch, which teaches more from a short text (not for shards with a"
                    + " document in each row)"),
            Option(
                "optimizer", nil, .choice(Optimizer.allCases.map(\.rawValue)), default: "adamw",
                "adamw, or muon: Muon for the matrices of the layers, which learns more from a token at twenty times the"
                    + " learning rate, and AdamW for the rest"),
            Option(
                "train", nil, .choice(TrainedPart.names), default: "all",
                "what learns: all; embeddings: the rows of tokens, in the embeddings and the classifier; or new-rows: those"
                    + " of the tokens that grow has added to --model"),
            Option(
                "loss-on", nil, .choice(LossOn.allCases.map(\.rawValue)), default: "all",
                "all tokens; text: all but padding, with the end of text after each text; or answer: those between "
                    + "--answer-mark and the next end of text"),
            Option(
                "answer-mark", nil, .text, "TEXT", default: "결과", "what stands between a question and its answer"),
        ]
    }

    /// The table of the options of a trainer on other data: its own rows, and the shared ones that it does not have.
    /// - Parameter defaults: of shared rows, in place of theirs.
    package static func table(own rows: [Option], defaults: [String: String]) -> [Option] {
        rows
            + shared.filter { row in !rows.contains { $0.long == row.long } }.map { row in
                defaults[row.long].map { row.withDefault($0) } ?? row
            }
    }

    /// The rows that all trainers have.
    private static var shared: [Option] {
        [
            Option(
                "tokenizer", nil, .text, "DIR",
                "to print samples with, and to check the vocabulary (default: the train data's folder; without one, ids)"
            ),
            Option(
                "output", "o", .text, "DIR",
                "where checkpoints, main.log and loss.svg, its picture, go (default: nowhere, nothing is kept)"),
            Option(
                "checkpoint-every", "n", .integer(0...Int.max), "N",
                "write a checkpoint every N steps and at the end; 0 never (default: at the end)"),
            Option("keep", "nk", .integer(0...Int.max), "K", default: "0", "keep the last K checkpoints; 0 all"),
            Option(
                "major-every", "nm", .integer(0...Int.max), "N", default: "0",
                "never remove the checkpoints of every N-th step; 0 none"
            ),
            Option(
                "best-by", nil, .choice(BestBy.allCases.map(\.rawValue)), default: "loss",
                "the measure by which the best validated model is kept in --output, as model_best.bin or best/"),
            Option(
                "resume", "y", .flag, "[0|1]",
                "1 continues from the last checkpoint in --output, if there is one, with the options of the first start"
                    + " but for those given now; 0 starts over and removes what is there"),
            Option("batch-size", "b", .integer(1...1_000_000), "B", default: "4", "sequences at a time"),
            Option(
                "sequence-length", "t", .integer(1...1_000_000), "T",
                "tokens of a sequence, and positions of a new model (default 1024, or fewer if the checkpoint has fewer)"
            ),
            Option(
                "steps", "x", .integer(-1...Int(Int32.max)), "N", default: "-1",
                "steps to train; -1 as many as --epochs asks for"),
            Option("epochs", nil, .number(0.0001...1e9), "X", default: "1", "how often to go through the train data"),
            Option(
                "schedule", "k", .choice(Schedule.Shape.allCases.map(\.rawValue)), default: "cosine",
                "how the learning rate falls after the warm-up; wsd is stable, then falls over the last fifth"),
            Option("learning-rate", "l", .number(0...1e9), "X", default: "3e-4", "the highest learning rate"),
            Option(
                "warmup", "u", .integer(0...Int.max), "N", default: "0", "steps in which the learning rate rises"),
            Option(
                "final-lr-fraction", "q", .number(0...1), "X", default: "1.0",
                "the learning rate at the end, as a fraction of the highest"),
            Option("weight-decay", "c", .number(0...1e9), "X", default: "0", "AdamW's decay of the matrices"),
            Option(
                "dropout", nil, .number(0...0.999), "X", default: "0",
                "the share of embeddings, attention probabilities and layers' outputs that each step sets to 0"),
            Option(
                "dtype", nil, .choice(Precision.allCases.map(\.rawValue)), default: "float32",
                "what the linear layers multiply; with bfloat16, the sums, parameters, gradients and all the rest stay"
                    + " float32, and a processor that has it (AVX-512 BF16) takes some 0.6 of the time"),
            Option(
                "trainer", nil, .choice(Conventions.allCases.map(\.rawValue)), default: "llm.c",
                "whose conventions, to compare runs: the warm-up over N steps begins at 1/N (llm.c; none if constant) or "
                    + "at 0 (transformers), AdamW's β₂ is 0.95 or 0.999, and gradients are divided by ‖g‖ or ‖g‖ + 1e-6. "
                    + "transformers' cosine and linear end at 0: -q 0"),
            Option(
                "skip-loss-z", "sl", .number(0...1e9), "X", default: "0",
                "skip an update whose loss is more than this many standard deviations above the mean of the last 128; 0 never"
            ),
            Option("skip-norm-z", "sg", .number(0...1e9), "X", default: "0", "the same for the gradient's norm"),
            Option(
                "val-every", "v", .integer(0...Int.max), "N", default: "20",
                "validate every N steps and at the end; 0 never. Bits a byte compare models of any vocabulary; the perplexity "
                    + "is e to the power of the loss"),
            Option(
                "val-batches", "m", .integer(1...Int.max), "N", default: "20",
                "validate on at most N batches"),
            Option(
                "sample-every", "s", .integer(0...Int.max), "N", default: "20", "write a sample every N steps; 0 never"),
            Option("sample-length", "g", .integer(1...1_000_000), "N", default: "64", "tokens of a sample"),
            Option(
                "log-every", nil, .integer(1...Int.max), "N",
                "print a line every N steps (default: on a terminal a line that redraws, elsewhere one every five "
                    + "seconds; main.log has every step)"),
            Option(
                "seed", nil, .integer(0...Int(UInt32.max)), "N", default: "42",
                "seed of the initial weights, the order of the data, the dropout and the samples"),
            Option(
                "threads", nil, .integer(1...1024), "N",
                "threads to compute with (default: all cores; a rank's share of them, under mpirun); the result is the same"
            ),
            Option(
                "same-bits", nil, .flag, "[0|1]",
                "end in the same bytes on 1, 2, 4 … ranks (mpirun), by adding the micro-batches' gradients in one tree. It"
                    + " takes the memory of the gradients once more for each time that a rank's micro-batches halve"),
            Option("dry-run", nil, .flag, "[0|1]", "check everything, say what would be trained, and write nothing"),
        ]
    }

    /// Options that a checkpoint does not keep: they say where and how, not what.
    private static let momentary = ["output", "resume", "log-every", "threads", "dry-run"]

    /// The options of a run that continues: those of its first start, but for what is given now. A change is named.
    package static func continuing(_ options: Options, from state: TrainingState) throws -> Options {
        var kept = state.settings.filter { !momentary.contains($0.key) }
        for change in options.changes(from: kept) where !momentary.contains(change.name) && !kept.isEmpty {
            switch change.name {
            case "model" where options.has("train-data"):
                note("note: --model is not used: the run continues from its own checkpoint")
            case "minutes": note("note: --minutes is not used: it chooses a new model, and the run continues")
            default: note("note: --\(change.name) was \(change.was), is now \(change.now)")
            }
        }
        // AdamW would divide Muon's means by squares that are not there.
        let (was, now) = (kept["optimizer"] ?? "adamw", options.isGiven("optimizer") ? options.text("optimizer") : nil)
        if let now, now != was, state.step > 0 {
            throw UserError(
                "the run was started with --optimizer \(was), and its means are not \(now)'s",
                hint: "leave out --optimizer, or start from the model: -e FILE and another --output", exitCode: 2)
        }
        // A number of steps that was asked for then would hide the epochs asked for now.
        if options.isGiven("epochs"), !options.isGiven("steps"), let steps = kept["steps"], steps != "-1" {
            note("note: --steps was \(steps), is now what --epochs asks for")
            kept["steps"] = nil
        }
        // A process alone does not write down that a step was one micro-batch.
        if ranks.size > 1, options.has("total-batch-size"), kept["total-batch-size"] == nil, state.B > 0 {
            kept["total-batch-size"] = "\(state.B * state.T)"
        }
        return try options.completed(from: kept)
    }

    /// - Parameter own: options of the program alone whose defaults a checkpoint keeps, too.
    package init(_ options: Options, keepingDefaultsOf own: [String] = []) {
        func given(_ name: String) -> Int? { options.isGiven(name) ? options.int(name) : nil }
        // Conversations are files that are named one by one, and in them the answers count.
        let readsShards = options.has("train-data")
        self.readsShards = readsShards
        func shards(_ option: String, _ split: String) -> String {
            let given = options.text(option) ?? ""
            return isDirectory(given) ? "\(given)\(given.hasSuffix("/") ? "" : "/")\(split)_*.bin" : given
        }
        let trainData =
            readsShards ? shards("train-data", "train") : options.texts("data").joined(separator: " ")
        self.trainData = trainData
        validationData =
            !readsShards
            ? ""
            : options.isGiven("train-data") && !options.isGiven("val-data")
                ? trainData[
                    ..<(trainData.lastIndex(of: "/").map { trainData.index(after: $0) } ?? trainData.startIndex)]
                    + "val_*.bin"
                : shards("val-data", "val")
        tokenizer = options.text("tokenizer")
        output = options.text("output")
        resume = !options.isGiven("resume") ? .unspecified : options.flag("resume") ? .continues : .startsOver
        checkpointEvery = given("checkpoint-every")
        keep = options.int("keep")
        majorEvery = options.int("major-every")
        bestBy = BestBy(rawValue: options.text("best-by") ?? "") ?? .none
        B = options.int("batch-size")
        givenT = given("sequence-length")
        givenTotalBatch = given("total-batch-size")
        givenSteps = options.int("steps") < 0 ? nil : options.int("steps")
        epochs = options.double("epochs")
        shufflesRows = options.has("shuffle") && options.text("shuffle") == "rows"
        overfitsBatch = readsShards && options.flag("overfit-batch")
        // A masked model's loss is on what is hidden.
        lossOn =
            !readsShards
            ? .answer : options.has("loss-on") ? LossOn(rawValue: options.text("loss-on") ?? "") ?? .all : .all
        answerMark = readsShards && lossOn == .answer ? options.text("answer-mark") : nil
        schedule = Schedule.Shape(rawValue: options.text("schedule") ?? "") ?? .cosine
        learningRate = options.double("learning-rate")
        warmup = options.int("warmup")
        finalFraction = options.double("final-lr-fraction")
        decay = options.double("weight-decay")
        optimizer = options.has("optimizer") ? Optimizer(rawValue: options.text("optimizer") ?? "") ?? .adamW : .adamW
        dropout = Float(options.double("dropout"))
        precision = Precision(rawValue: options.text("dtype") ?? "") ?? .float32
        sameBits = options.flag("same-bits")
        conventions = Conventions(rawValue: options.text("trainer") ?? "") ?? .llmC
        skipLossZ = options.double("skip-loss-z")
        skipNormZ = options.double("skip-norm-z")
        validateEvery = options.int("val-every")
        validationBatches = options.int("val-batches")
        let writesSamples = options.has("sample-every")
        sampleEvery = writesSamples ? options.int("sample-every") : 0
        sampleLength = writesSamples ? options.int("sample-length") : 0
        logEvery = given("log-every")
        seed = UInt32(options.int("seed"))
        threads = given("threads")
        isDryRun = options.flag("dry-run")
        saysWhatToTrain = !options.givenNames.isSubset(of: TrainingSettings.momentary)
        let names = Set(TrainingSettings.table(model: []) { $0 }.map(\.long) + own)
        kept = options.kept(defaultsOf: names).filter { !TrainingSettings.momentary.contains($0.key) }
    }

    // MARK: - what follows from the settings

    /// Positions of a new model.
    package var newModelT: Int { givenT ?? 1024 }

    /// Tokens of a sequence, for a model with positions for `maxT`.
    package func T(maxT: Int) throws -> Int {
        let T = givenT ?? min(1024, maxT)
        guard T <= maxT else {
            throw UserError(
                "a sequence length of \(T), where the model has positions for \(maxT)",
                hint: "take --sequence-length (-t) \(maxT) or less")
        }
        return T
    }

    /// Micro-batches of a step.
    package func microBatches(T: Int) throws -> Int {
        let total = givenTotalBatch ?? B * T * ranks.size
        guard total % (B * T) == 0 else {
            throw UserError(
                "a total batch of \(total) tokens is not made of whole micro-batches of \(B) · \(T) = \(B * T)",
                hint: "take --total-batch-size (-d) \(B * T * ranks.size) or a multiple of it")
        }
        return total / (B * T)
    }

    /// The options as a checkpoint of the run keeps them. The tokens of a step depend on the number of ranks, if they are
    /// not given, and must not do so when the run continues on another number.
    package func kept(microBatches: Int, T: Int) -> [String: String] {
        guard ranks.size > 1, readsShards, givenTotalBatch == nil else { return kept }
        return kept.merging(["total-batch-size": "\(microBatches * B * T)"]) { $1 }
    }

    /// Steps of the run.
    /// - Parameters:
    ///   - batches: of an epoch.
    ///   - microBatches: of a step.
    package func steps(batches: Int, microBatches: Int) throws -> Int {
        if let givenSteps { return givenSteps }
        let steps = Int(min(Double(batches) * epochs / Double(microBatches), Double(Int32.max)))
        guard steps > 0 else {
            throw UserError(
                String(
                    format: "%g epochs of the train data are %ld batches, less than one step of %ld", epochs,
                    Int(min(Double(batches) * epochs, 1e9)), microBatches),
                hint:
                    "take a smaller \(lossOn == .answer && answerMark == nil ? "--accumulate" : "--total-batch-size (-d)"), or more --epochs"
            )
        }
        return steps
    }

    /// The token shards to learn from and to validate with.
    package func loadShards(
        _ tokenizer: Tokenizer?, V: Int, T: Int
    ) throws -> (data: DataLoader, validation: DataLoader?) {
        let counted = try lossOn.targets(tokenizer, answerMark: answerMark)
        let data = try DataLoader(
            pattern: trainData, B: B, T: T, vocabularySize: V, shuffleSeed: overfitsBatch ? nil : seed,
            shufflesRows: shufflesRows, counted: counted)
        let validation =
            try validateEvery > 0
            ? DataLoader(
                pattern: validationData, B: B, T: T, vocabularySize: V, shuffleSeed: nil, shrinks: true,
                counted: counted) : nil
        if let tokenizer {
            try data.check(madeWith: tokenizer)
            try validation?.check(madeWith: tokenizer)
        }
        for (loader, name) in [(data, "train"), (validation, "validation")] where lossOn != .all {
            guard let loader, try !loader.hasTarget() else { continue }
            if lossOn == .text {
                throw UserError(
                    "no text in the \(name) data: every token is end of text",
                    hint: "make the shards again with tokenize")
            }
            throw UserError(
                "no answer in the \(name) data: '\(answerMark ?? "")' is not there",
                hint: "give the words before the answers with --answer-mark, with the space before them if there is "
                    + "one, or train with --loss-on all")
        }
        return (data, validation)
    }

    /// Where the tokenizer is: as given, or beside the train data; nil if there is none.
    package var tokenizerPath: String? {
        if let tokenizer { return tokenizer }
        let beside = folder(of: trainData)
        if ["tokenizer.json", "tokenizer.bin"].contains(where: { fileExists("\(beside)/\($0)") }) { return beside }
        return fileExists("gpt2_tokenizer.bin") ? "gpt2_tokenizer.bin" : nil
    }

    /// - Parameter path: a model's directory, whose tokenizer is taken, if it can be read, where there is no other.
    package func findTokenizer(ofModel path: String? = nil) throws -> Tokenizer? {
        try finishInterruptedWrites(in: folder(of: trainData))
        if let tokenizerPath { return try Tokenizer(at: tokenizerPath) }
        return path.flatMap { isHuggingFaceDirectory($0) ? try? Tokenizer(directory: $0) : nil }
    }

    /// The folder for checkpoints, for this process alone; nil keeps nothing.
    /// - Parameter layout: the model's.
    /// - Throws: if another process writes there, or a run is there and nothing was said about it, or a run of another
    ///   kind of model.
    package func openOutput(_ layout: CheckpointDirectory.Layout = .files) throws -> CheckpointDirectory? {
        // Rank 0 alone writes, and puts in order what a killed run has left; then the others may look.
        guard ranks.isFirst else {
            try ranks.meet()
            return output.map { CheckpointDirectory($0, layout) }
        }
        let directory = try openOutputToWrite(layout)
        try ranks.meet()
        return directory
    }

    private func openOutputToWrite(_ layout: CheckpointDirectory.Layout) throws -> CheckpointDirectory? {
        guard let output else {
            if resume == .continues {
                throw UserError("--resume needs the folder to resume from", hint: "add --output (-o) DIR", exitCode: 2)
            }
            return nil
        }
        var directory = CheckpointDirectory(output, layout)
        if !isDryRun {
            directory = try directory.locked()
        } else if isDirectory(output) {
            _ = try FolderLock(output)  // and gives it back
            try finishInterruptedWrites(in: output)
        }
        try directory.refuseOthers()
        let last = directory.steps().last
        if resume == .unspecified, let last {
            throw UserError(
                "\(output) holds a run, up to step \(last)",
                hint: "continue it with -y 1, start over and remove it with -y 0, or choose another --output")
        }
        // Copies that leave out empty files lose DONE.
        let files = directory.files().filter { resume == .unspecified || $0 != fileName(of: directory.bestPath) }
        if resume != .startsOver, last == nil, let file = files.first {
            throw UserError(
                "\(output) holds \(file), and no whole checkpoint: \(layout.parts)",
                hint: "copy what is missing, start over and remove it with -y 0, or choose another --output")
        }
        return directory
    }

    /// The options of the run that is to continue, as its newest checkpoint has them; none if it starts from scratch.
    package func keptSettings(in directory: CheckpointDirectory?) -> [String: String] {
        guard resume == .continues, let directory, let last = directory.steps().last else { return [:] }
        return StateFile.settings(directory.statePath(last)).filter { !TrainingSettings.momentary.contains($0.key) }
    }

    /// The checkpoint to continue from; nil starts from scratch.
    /// - Parameter readModel: makes the model of a file, with room for moments.
    /// - Throws: if there is none, and nothing says what to train: a run of the defaults would be a surprise.
    package func checkpoint<Model>(
        in directory: CheckpointDirectory?, _ readModel: (_ path: String) throws -> Model
    ) throws -> (model: Model, state: TrainingState)? where Model: TrainableModel {
        guard resume == .continues, let directory else { return nil }
        if let newest = try directory.newest(readModel) { return newest }
        guard saysWhatToTrain else {
            throw UserError(
                "\(directory.path) has no checkpoint to continue from",
                hint: "give the whole command of the first start")
        }
        return nil
    }

    // MARK: - what must fit

    /// Refuses a model that has another shape than the command line asks for.
    /// - Parameter sizes: of the model, by their options, and what --model asks for.
    package func checkShape(
        of path: String, _ options: Options, has sizes: [(option: String, has: Int, asked: Int?)]
    ) throws {
        for (option, has, asked) in sizes {
            guard let asked = options.isGiven(option) ? options.int(option) : asked, asked != has else { continue }
            throw UserError(
                "\(path) has \(has) \(option), not \(asked)",
                hint: "leave out --\(options.isGiven(option) ? option : "model"), or choose another model or --output")
        }
    }

    /// Refuses to train a model further with another tokenizer than its own.
    package func checkTokenizer(_ tokenizer: Tokenizer, belongsTo path: String) throws {
        try LLM.checkTokenizer(
            tokenizer, from: tokenizerPath ?? "", belongsTo: path,
            hint: "train on shards made with the model's tokenizer, named with --tokenizer DIR, or train a new model")
    }

    /// Refuses a vocabulary of a new model that is smaller than the tokenizer's. It may be any larger.
    package func checkTokenizer(_ tokenizer: Tokenizer, fitsNewVocabulary V: Int) throws {
        let size = tokenizer.vocabularySize
        guard size <= V else {
            throw UserError(
                "the tokenizer in \(tokenizerPath ?? "") has \(grouped(size)) tokens, more than the vocabulary of \(V)",
                hint: "take --vocab-size \(size) or more")
        }
    }
}

extension TrainedPart {
    static let names = ["all", "embeddings", "new-rows"]

    /// The part that the options name.
    /// - Parameter options: with those of the run's first start.
    package init(_ options: Options) throws {
        switch options.text("train") {
        case "embeddings": self = .embeddings
        case "new-rows":
            guard let model = options.text("model"), isHuggingFaceDirectory(model) else {
                throw UserError(
                    "--train new-rows needs a model that has grown",
                    hint: "name the directory that grow has written: --model DIR", exitCode: 2)
            }
            self = .rows(try NewTokens.read(from: model, V: readAnyConfiguration(model).V))
        default: self = .all
        }
    }

    /// Refuses to train a part of a new model: all the rest would stay random.
    package func requireTrainedModel() throws {
        guard self == .all else {
            throw UserError(
                "--train of a part leaves the rest of a model as it is, and a new one is random",
                hint: "name a trained model: --model DIR", exitCode: 2)
        }
    }
}
