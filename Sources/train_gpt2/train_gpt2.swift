// train_gpt2 trains a GPT-2 on token shards: batches → forward → classify → backward → clip → update, with validation,
// samples and checkpoints on the way. The options, the files and the log are those of llm.c's train_gpt2.cu.

import Foundation
import Kernels
import LLM

let aboutTraining =
    "trains a GPT-2 on token shards, from nothing or from a checkpoint\n\n"
    + "Without any option it goes on with what `make run` left in data/, or takes gpt2_124M.bin through 40 steps, if that\n"
    + "and tinyshakespeare are here. Ctrl-C writes a checkpoint into --output and stops."

let table: [Option] = [
    Option("train-data", "i", .text, "PATTERN", default: defaultData("train"), "token shards to learn from"),
    Option(
        "val-data", "j", .text, "PATTERN", default: defaultData("val"),
        "token shards to validate with; with --train-data and without this, val_*.bin beside those"),
    Option(
        "model", "e", .text, "FILE|dN",
        "a checkpoint to go on from, or the shape of a new model: d6, d12 (OpenAI's 124M), d24, d36, d48"
            + " (default: gpt2_124M.bin if it is here, else a new model of the shape below)"),
    Option("layers", nil, .integer(1...1000), "N", default: "4", "layers of a new model"),
    Option("heads", nil, .integer(1...1000), "N", default: "4", "attention heads of a new model"),
    Option("channels", nil, .integer(1...100_000), "N", default: "128", "channels of a new model, a multiple of heads"),
    Option(
        "vocab-size", nil, .integer(1...16_000_000), "N",
        "vocabulary of a new model (default: the tokenizer's, else 50257)"),
    Option(
        "tokenizer", nil, .text, "DIR",
        "to print samples with, and to check the vocabulary (default: the train data's folder; without one, ids)"),
    Option(
        "output", "o", .text, "DIR", "where checkpoints and main.log go (default: nowhere, nothing is kept)"),
    Option(
        "checkpoint-every", "n", .integer(0...Int.max), "N",
        "write a checkpoint every N steps and at the end; 0 never (default: at the end)"),
    Option("keep", "nk", .integer(0...Int.max), "K", default: "0", "keep the last K checkpoints; 0 all"),
    Option("major-every", "nm", .integer(0...Int.max), "N", default: "0", "keep every N-th step's for good; 0 none"),
    Option(
        "best-by", nil, .choice(BestBy.allCases.map(\.rawValue)), default: "loss",
        "keep the best validated model as model_best.bin in --output, by this"),
    Option(
        "resume", "y", .flag, "[0|1]",
        "1 goes on from the last checkpoint in --output, if there is one; 0 starts over and removes what is there"),
    Option("batch-size", "b", .integer(1...1_000_000), "B", default: "4", "sequences at a time"),
    Option(
        "sequence-length", "t", .integer(1...1_000_000), "T",
        "tokens of a sequence, and positions of a new model (default 1024, or fewer if the checkpoint has fewer)"),
    Option(
        "total-batch-size", "d", .integer(1...Int.max), "N", "tokens of a step, in passes of B·T each (default B·T)"),
    Option(
        "steps", "x", .integer(-1...Int(Int32.max)), "N", default: "-1",
        "steps to train; -1 as many as --epochs asks for"),
    Option("epochs", nil, .number(0.0001...1e9), "X", default: "1", "how often to go through the train data"),
    Option(
        "overfit-batch", "a", .flag, "[0|1]", "train on the first batch alone, to see whether the model can learn it"),
    Option(
        "schedule", "k", .choice(Schedule.Shape.allCases.map(\.rawValue)), default: "cosine",
        "how the learning rate runs after the warm-up"),
    Option(
        "loss-on", nil, .choice(["all", "answer"]), default: "all",
        "all tokens, or those between --answer-mark and the next end of text"),
    Option("answer-mark", nil, .text, "TEXT", default: "결과", "what stands between a question and its answer"),
    Option("learning-rate", "l", .number(0...1e9), "X", default: "3e-4", "the highest learning rate"),
    Option("warmup", "u", .integer(0...Int.max), "N", default: "0", "steps in which the learning rate rises"),
    Option(
        "final-lr-fraction", "q", .number(0...1), "X", default: "1.0", "what is left of the learning rate at the end"),
    Option("weight-decay", "c", .number(0...1e9), "X", default: "0", "AdamW's decay of the matrices"),
    Option(
        "skip-loss-z", "sl", .number(0...1e9), "X", default: "0",
        "skip an update whose loss lies this many standard deviations over the last 128; 0 never"),
    Option("skip-norm-z", "sg", .number(0...1e9), "X", default: "0", "the same for the gradient's norm"),
    Option(
        "val-every", "v", .integer(0...Int.max), "N", default: "20", "validate every N steps and at the end; 0 never"),
    Option("val-batches", "m", .integer(1...Int.max), "N", default: "20", "at most so many batches of validation data"),
    Option("sample-every", "s", .integer(0...Int.max), "N", default: "20", "write a sample every N steps; 0 never"),
    Option("sample-length", "g", .integer(1...1_000_000), "N", default: "64", "tokens of a sample"),
    Option(
        "seed", nil, .integer(0...Int(UInt32.max)), "N", default: "42", "of the weights, the order of the data, samples"
    ),
    Option(
        "threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores); the result is the same"),
]

/// Options of llm.c's GPU trainer that mean nothing here; each takes one value.
let gpuOptions: Set = [
    "-h", "-f", "-w", "-ge", "-z", "-r", "-lg", "-pn", "-pr", "-pg", "-pm", "-ps", "-pp", "-pi", "-pf",
]

/// llm.c's place for tinyshakespeare, else where `make run` puts its shards.
func defaultData(_ split: String) -> String {
    let shakespeare = "dev/data/tinyshakespeare/tiny_shakespeare_\(split).bin"
    return fileExists("gpt2_124M.bin") && fileExists(shakespeare) ? shakespeare : "data/\(split)_*.bin"
}

@main
enum Main {
    static func main() {
        runReportingErrors {
            let arguments = commandLine()
            try train(Options(program: "train_gpt2", about: aboutTraining, table: table, arguments: arguments))
        }
    }

    /// The user's arguments; without any, the natural thing with what is there.
    static func commandLine() -> [String] {
        var arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.isEmpty {
            // llm.c's train_gpt2.c does 40 small steps with OpenAI's model; `make run` trains a small model.
            // A run that has already gone further is shown, not refused.
            let last = CheckpointDirectory("data/model").steps().last ?? 0
            arguments =
                fileExists("gpt2_124M.bin") && fileExists(defaultData("train"))
                ? split("-e gpt2_124M.bin -b 4 -t 64 -x 40 -l 1e-4 -v 10 -m 5 -s 20")
                : fileExists("data/lotto_train.txt")
                    ? split(
                        "-o data/model -y 1 --layers 2 --heads 2 --channels 64 -b 16 -t 167 -x \(max(4000, last)) "
                            + "-l 5e-3 -u 100 -q 0 -c 0.05 --loss-on answer -v 500 -m 30 -s 1000 -g 210 -n 500")
                    : split(
                        "-o data/model -y 1 --layers 4 --heads 4 --channels 128 -b 16 -t 256 -x \(max(500, last)) "
                            + "-l 2e-3 -u 20 -q 0.1 -c 0.1 -v 50 -s 100 -g 256 -n 100 -nk 2")
            note("train_gpt2 \(arguments.joined(separator: " "))")
        }
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

    static func split(_ line: String) -> [String] { line.split(separator: " ").map { String($0) } }

    static func train(_ options: Options) throws {
        if options.isGiven("threads") { useThreads(options.int("threads")) }

        // The tokenizer, and a model: resumed, read, or new.
        let tokenizer = try findTokenizer(options)
        let directory = options.text("output").map { CheckpointDirectory($0) }
        let resumed = try resumeStep(options, directory)
        let (model, origin) = try makeModel(options, directory, resumed, tokenizer)
        let config = model.config
        if let tokenizer { try check(tokenizer, fits: config, isNew: origin == "new") }

        // The data. A step is one or more micro-batches of (B,T).
        let B = options.int("batch-size")
        let T = sequenceLength(options, config)
        guard T <= config.maxT else {
            throw UserError(
                "a sequence length of \(T), where the model has positions for \(config.maxT)",
                hint: "take --sequence-length (-t) \(config.maxT) or less")
        }
        try checkMemory(GPT2.bytes(config, B: B, T: T, trains: true))
        let overfits = options.flag("overfit-batch")
        let answers = try findAnswers(options, tokenizer)
        let loader = try DataLoader(
            pattern: options.text("train-data") ?? "", B: B, T: T, vocabularySize: config.V,
            shuffleSeed: overfits ? nil : UInt32(options.int("seed")), answers: answers)
        let validates = options.int("val-every") > 0
        let validation =
            try validates
            ? DataLoader(
                pattern: validationData(options), B: B, T: T, vocabularySize: config.V, shuffleSeed: nil,
                shrinks: true, answers: answers) : nil
        let totalBatch = options.isGiven("total-batch-size") ? options.int("total-batch-size") : B * T
        guard totalBatch % (B * T) == 0 else {
            throw UserError(
                "a total batch of \(totalBatch) tokens is not made of whole passes of \(B) · \(T) = \(B * T)",
                hint: "take --total-batch-size (-d) \(B * T) or a multiple of it")
        }
        let microBatches = totalBatch / (B * T)
        let steps = try numberOfSteps(options, loader, totalBatch)
        let schedule = Schedule(
            shape: Schedule.Shape(rawValue: options.text("schedule") ?? "") ?? .cosine,
            learningRate: options.double("learning-rate"), warmupSteps: options.int("warmup"), steps: steps,
            finalFraction: options.double("final-lr-fraction"))

        // What is kept.
        var state = TrainingState(
            step: 0, samplerState: UInt64(options.int("seed")), loader: loader.position, lossWindow: OutlierWindow(),
            normWindow: OutlierWindow(), best: nil,
            bestBy: BestBy(rawValue: options.text("best-by") ?? "") ?? .none, B: B, T: T, data: try loader.fingerprint()
        )
        if let resumed, let directory {
            let fresh = state
            state = try directory.readState(resumed, into: model)
            try loader.resume(at: state.loader)
            guard state.B == 0 || state.B == B && state.T == T && state.data == fresh.data else {
                throw UserError(
                    "the checkpoint was made on other data, or with batches of \(state.B) · \(state.T)",
                    hint: "resume with the shards, --batch-size and --sequence-length of the first start")
            }
            (state.B, state.T, state.data) = (B, T, fresh.data)
            if state.bestBy != fresh.bestBy { (state.best, state.bestBy) = (nil, fresh.bestBy) }
        } else if let directory {
            try createDirectory(directory.path)
            directory.removeAll()
        }
        guard state.step <= steps else {
            throw UserError(
                "the last checkpoint is of step \(state.step), and --steps asks for \(steps)",
                hint: "take --steps (-x) of more, or --resume 0 to start over")
        }
        directory?.removeLeftovers()
        let log = try directory.map { try RunLog(path: "\($0.path)/main.log", resumingAt: resumed) }

        var peak = measurePeakFlops()
        print(
            "model       \(origin): \(config.L) layers, \(config.NH) heads, \(config.C) channels, vocabulary \(config.V)"
        )
        print("parameters  \(grouped(model.table.count))")
        print("train data  \(grouped(loader.tokenCount)) tokens, \(loader.samplesPerEpoch) batches of \(B) · \(T)")
        if let validation { print("val data    \(grouped(validation.tokenCount)) tokens") }
        print("steps       \(steps) of \(grouped(totalBatch)) tokens in \(microBatches) micro-batches")
        print(String(format: "machine     %ld threads, %.0f GFLOP/s at most", threadCount, peak * 1e-9))
        if let resumed { print("resumed     at step \(resumed)") }
        if let directory, resumed == nil, options.flag("resume") {
            note("note: no checkpoint in \(directory.path); starting at step 1")
        }
        if directory == nil { note("note: nothing will be kept; to keep the model give --output (-o) DIR") }
        fflush(nil)

        let stop = StopSignal()
        var secondsPerStep = 0.0
        // Steps in a row.
        var notFinite = 0
        for step in state.step...steps {
            let isLast = step == steps
            func isDue(_ every: Int) -> Bool { every > 0 && (step % every == 0 || isLast) }

            // Validate, and keep the model that does best.
            if let validation, isDue(options.int("val-every")) {
                let result = try validate(model, validation, batches: options.int("val-batches"))
                peak = max(peak, measurePeakFlops())  // the first time the machine may have been busy
                print(
                    String(format: "val loss %.6f | next-token accuracy %.2f%%", result.loss, 100 * result.accuracy)
                        + (answers == nil ? "" : String(format: " | exact answers %.2f%%", 100 * result.exact)))
                fflush(nil)
                try log?.validation(step: step, loss: result.loss, accuracy: result.accuracy)
                let byAccuracy = state.bestBy == .accuracy
                let value = byAccuracy ? result.accuracy : result.loss
                let isBest = state.best.map { byAccuracy ? value > $0 : value < $0 } ?? true
                if let directory, step > 0, isBest, value.isFinite, state.bestBy != .none {
                    state.best = value
                    try writeModel(model, to: directory.bestPath)
                }
            }

            // A sample. Its random numbers depend on the step alone, so a resumed run writes the same.
            if step > 0, isDue(options.int("sample-every")) {
                let random = Xorshift(seed: state.samplerState &+ UInt64(step))
                let start = Int32(tokenizer?.endOfText ?? (config.V == 50257 ? 50256 : 0))
                // Trained on answers, a model is asked a question of the validation data; it can't make up its own.
                let question = answers == nil ? [] : try validation?.question(number: step) ?? []
                let tokens = sample(
                    model, prompt: question.isEmpty ? [start] : question, count: options.int("sample-length"),
                    endOfText: question.isEmpty ? nil : start, random: random)
                let shown = question.drop { $0 == start } + tokens
                let text = tokenizer.map { String(decoding: $0.decode(Array(shown)), as: UTF8.self) }
                print("generating:\n---\n\(text ?? tokens.map { String($0) }.joined(separator: " "))\n---")
            }

            // A checkpoint: all that the next start needs to go on as if there had been no stop.
            state.step = step
            state.loader = loader.position
            let every = options.isGiven("checkpoint-every") ? options.int("checkpoint-every") : max(1, steps)
            if let directory, step > 0 || isLast, step != resumed, isDue(every) {
                try directory.write(model, state)
                if options.int("keep") > 0 {
                    let major = options.int("major-every")
                    for old in directory.steps().filter({ $0 <= step }).dropLast(options.int("keep"))
                    where major == 0 || old % major != 0 { directory.remove(old) }
                }
            }
            if isLast { break }
            if stop.isRequested {
                if let directory, step != resumed, step > 0, !fileExists(directory.donePath(step)) {
                    try directory.write(model, state)
                }
                fflush(nil)
                throw UserError(
                    "stopped before step \(step + 1)",
                    hint: directory == nil
                        ? "nothing was kept, for want of --output" : "go on with the same line and -y 1",
                    exitCode: 130)
            }

            // One step.
            let start = now()
            if overfits { loader.startEpoch() }
            var batches: [(inputs: [Int32], targets: [Int32])] = []
            for _ in 0..<microBatches {
                try loader.nextBatch()
                batches.append((loader.inputs, loader.targets))
            }
            // Every target that counts weighs the same, however they are spread over the micro-batches.
            let counts = batches.map { $0.targets.count { $0 >= 0 } }
            let counted = max(1, counts.reduce(0, +))
            if answers != nil, step == state.step, counts.allSatisfy({ $0 == 0 }) {
                throw UserError(
                    "no answer in the first \(totalBatch) tokens: '\(options.text("answer-mark") ?? "")' is not there",
                    hint: "give the words that stand before the answers by --answer-mark, or train with --loss-on all")
            }
            var (loss, norm) = (0.0, 0.0)
            withThreadsAwake {
                for (batch, count) in zip(batches, counts) {
                    model.forward(inputs: batch.inputs, B: B, T: T)
                    let mean = model.classify(targets: batch.targets, gradientScale: 1 / Float(counted)).loss
                    loss += mean * Double(count) / Double(counted)
                    model.backward(inputs: batch.inputs)
                }
                norm = model.gradientNorm()
            }
            let lossScore = state.lossWindow.score(loss)
            let normScore = state.normWindow.score(norm)
            let rate = schedule.rate(at: step)
            let lossLimit = options.double("skip-loss-z")
            let normLimit = options.double("skip-norm-z")
            if !loss.isFinite || !norm.isFinite {
                // An update would make every parameter NaN.
                print("skipping update: the loss is \(loss) and the gradient's norm \(norm)")
                model.zeroGradients()
                notFinite += 1
                guard notFinite < 10 else {
                    throw UserError(
                        "the loss has not been a number for 10 steps",
                        hint:
                            "go on from an earlier checkpoint with a smaller --learning-rate (-l) or more --warmup (-u)"
                    )
                }
            } else if lossLimit > 0 && lossScore > lossLimit || normLimit > 0 && normScore > normLimit {
                print(
                    String(
                        format: "skipping update: z-scores %+.2f of the loss, %+.2f of the norm", lossScore, normScore))
                model.zeroGradients()
            } else {
                model.update(
                    learningRate: rate, beta1: 0.9, beta2: 0.95, decay: options.double("weight-decay"),
                    gradientScale: norm > 1 ? Float(1 / norm) : 1, step: step + 1)
            }

            if loss.isFinite && norm.isFinite { notFinite = 0 }
            let seconds = now() - start
            secondsPerStep = secondsPerStep == 0 ? seconds : 0.95 * secondsPerStep + 0.05 * seconds
            let share = model.flopsPerToken(T: T) * Double(totalBatch) / seconds / peak
            print(
                String(
                    format: "step %4ld/%ld | loss %.6f %@| norm %.4f %@| lr %.2e | %.2f ms | %.1f%% MFU | "
                        + "%.0f tok/s | %@ left", step + 1, steps, loss, scoreText(lossScore), norm,
                    scoreText(normScore), rate,
                    seconds * 1000, 100 * share, Double(totalBatch) / secondsPerStep,
                    durationText(secondsPerStep * Double(steps - step - 1))))
            fflush(nil)
            try log?.training(step: step, loss: loss, learningRate: rate, norm: norm)
        }
        if let directory {
            let kept = directory.steps().suffix(1).map { directory.modelPath($0) } + [directory.bestPath]
            for path in kept where fileExists(path) { print("wrote \(path)") }
        }
    }

    /// What the model writes after a prompt, drawn from its bare probabilities.
    /// - Parameter endOfText: ends the sample; nil goes on to `count` tokens.
    static func sample(
        _ model: GPT2, prompt: [Int32], count: Int, endOfText: Int32?, random: Xorshift
    ) -> [Int32] {
        let decoder = BatchDecoder(model, sequences: 1, capacity: prompt.count + count)
        decoder.start(with: prompt)
        var tokens: [Int32] = []
        var randoms = [random]
        decoder.generate(limit: count, sampler: Sampler(), randoms: &randoms, endOfText: endOfText) { _, token in
            if token != endOfText { tokens.append(token) }
            return true
        }
        return tokens
    }

    /// Data given without validation data is validated with what `tokenize` wrote beside it.
    static func validationData(_ options: Options) -> String {
        let given = options.text("val-data") ?? ""
        guard options.isGiven("train-data"), !options.isGiven("val-data") else { return given }
        let folder = (options.text("train-data") ?? "").split(separator: "/", omittingEmptySubsequences: false)
            .dropLast()
        return (folder + ["val_*.bin"]).joined(separator: "/")
    }

    /// Mean loss and next-token accuracy over the first batches of the validation data, and the share of rows whose
    /// every target was the most probable token: greedy decoding then writes exactly this answer.
    static func validate(
        _ model: GPT2, _ loader: DataLoader, batches: Int
    ) throws -> (loss: Double, accuracy: Double, exact: Double) {
        let count = min(batches, loader.samplesPerEpoch)
        var (loss, accuracy) = (0.0, 0.0)
        var (rows, exactRows) = (0, 0)
        loader.startEpoch()
        for _ in 0..<count {
            try loader.nextBatch()
            model.forward(inputs: loader.inputs, B: loader.B, T: loader.T)
            let result = model.classify(targets: loader.targets)
            loss += result.loss / Double(count)
            accuracy += result.accuracy / Double(count)
            let correct = model.correct
            for row in stride(from: 0, to: loader.B * loader.T, by: loader.T) {
                let counted = (row..<row + loader.T).filter { loader.targets[$0] >= 0 }
                guard !counted.isEmpty else { continue }
                rows += 1
                if counted.allSatisfy({ correct[$0] == 1 }) { exactRows += 1 }
            }
        }
        return (loss, accuracy, Double(exactRows) / Double(max(1, rows)))
    }

    static func findAnswers(_ options: Options, _ tokenizer: Tokenizer?) throws -> DataLoader.Answers? {
        guard options.text("loss-on") == "answer" else { return nil }
        guard let tokenizer, let endOfText = tokenizer.endOfText else {
            throw UserError(
                "--loss-on answer needs the tokenizer, to find the answers", hint: "give its folder by --tokenizer DIR")
        }
        let mark = try tokenizer.encode(Array((options.text("answer-mark") ?? "").utf8))
        guard !mark.isEmpty else { throw UserError("an empty --answer-mark", hint: "take a word", exitCode: 2) }
        return DataLoader.Answers(mark: mark, endOfText: Int32(endOfText))
    }

    /// `(+0.52z)`; nothing to say before there are 128 values.
    static func scoreText(_ score: Double) -> String { score.isNaN ? "" : String(format: "(%+.2fz)", score) }

    // MARK: - where things come from

    static func findTokenizer(_ options: Options) throws -> Tokenizer? {
        if let directory = options.text("tokenizer") { return try Tokenizer(at: directory) }
        let beside = folder(of: options.text("train-data") ?? "")
        if ["tokenizer.json", "tokenizer.bin"].contains(where: { fileExists("\(beside)/\($0)") }) {
            return try Tokenizer(directory: beside)
        }
        return fileExists("gpt2_tokenizer.bin") ? try Tokenizer(path: "gpt2_tokenizer.bin") : nil
    }

    /// The step to go on from; nil starts from nothing.
    static func resumeStep(_ options: Options, _ directory: CheckpointDirectory?) throws -> Int? {
        guard let directory else {
            if options.flag("resume") {
                throw UserError("--resume needs the folder to resume from", hint: "add --output (-o) DIR", exitCode: 2)
            }
            return nil
        }
        guard let last = directory.steps().last else { return nil }
        guard options.isGiven("resume") else {
            throw UserError(
                "\(directory.path) holds a run, up to step \(last)",
                hint: "go on with it by -y 1, start over and remove it by -y 0, or choose another --output")
        }
        return options.flag("resume") ? last : nil
    }

    static func makeModel(
        _ options: Options, _ directory: CheckpointDirectory?, _ resumed: Int?, _ tokenizer: Tokenizer?
    ) throws -> (GPT2, String) {
        if let resumed, let directory {
            let path = directory.modelPath(resumed)
            let config = try readConfiguration(path)
            let wanted = options.text("model").flatMap { GPT2Configuration.descriptors[$0] }
            for (option, has, asked) in [
                ("layers", config.L, wanted?.L), ("channels", config.C, wanted?.C), ("heads", config.NH, wanted?.NH),
                ("vocab-size", config.V, nil),
            ] {
                guard let asked = options.isGiven(option) ? options.int(option) : asked, asked != has else { continue }
                throw UserError(
                    "\(path) has \(has) \(option), not \(asked)",
                    hint: "resume with the model of the first start, or choose another --output")
            }
            return (try readModel(path, trains: true), path)
        }
        let name =
            options.text("model") ?? (fileExists("gpt2_124M.bin") && !givesShape(options) ? "gpt2_124M.bin" : nil)
        var shape = (L: options.int("layers"), C: options.int("channels"), NH: options.int("heads"))
        if let name {
            guard let known = GPT2Configuration.descriptors[name] else {
                if name.hasPrefix("d"), Int(name.dropFirst()) != nil {
                    throw UserError(
                        "no model is called \(name)",
                        hint:
                            "take \(GPT2Configuration.descriptors.keys.sorted().joined(separator: ", ")), or --layers …"
                    )
                }
                return (try readModel(name, trains: true), name)
            }
            shape = known
        }
        guard shape.C % shape.NH == 0 else {
            throw UserError(
                "\(shape.C) channels can't be shared out to \(shape.NH) heads",
                hint: "take --channels of a multiple of --heads", exitCode: 2)
        }
        let config = GPT2Configuration(
            maxT: options.isGiven("sequence-length") ? options.int("sequence-length") : 1024,
            V: options.isGiven("vocab-size") ? options.int("vocab-size") : tokenizer?.vocabularySize ?? 50257,
            L: shape.L, NH: shape.NH, C: shape.C)
        try checkMemory(GPT2.bytes(config, B: options.int("batch-size"), T: config.maxT, trains: true))
        let model = GPT2(config, trains: true)
        model.initialize(seed: UInt32(options.int("seed")))
        return (model, "new")
    }

    static func givesShape(_ options: Options) -> Bool {
        ["layers", "heads", "channels", "vocab-size"].contains { options.isGiven($0) }
    }

    static func sequenceLength(_ options: Options, _ config: GPT2Configuration) -> Int {
        options.isGiven("sequence-length") ? options.int("sequence-length") : min(1024, config.maxT)
    }

    static func check(_ tokenizer: Tokenizer, fits config: GPT2Configuration, isNew: Bool) throws {
        guard tokenizer.vocabularySize == config.V || isNew && tokenizer.vocabularySize < config.V else {
            throw UserError(
                "the tokenizer has \(tokenizer.vocabularySize) tokens, the model a vocabulary of \(config.V)",
                hint: "give the tokenizer the model was made with by --tokenizer DIR, and shards made with it")
        }
    }

    static func numberOfSteps(_ options: Options, _ loader: DataLoader, _ totalBatch: Int) throws -> Int {
        if options.int("steps") >= 0 { return options.int("steps") }
        let tokens = Double(loader.samplesPerEpoch * loader.B * loader.T) * options.double("epochs")
        let steps = Int(tokens / Double(totalBatch))
        guard steps > 0 else {
            throw UserError(
                "\(options.text("epochs") ?? "1") epochs of the train data are less than one step of \(totalBatch) tokens",
                hint: "take a smaller --total-batch-size (-d), or more --epochs")
        }
        return steps
    }
}
