// The training loop, for every model: what happens at a step, and what is kept of it. An executable says what a step is
// made of, with its own model (Sources/train_gpt2/train_gpt2.swift); the functions it calls are here.
//
// Every random number and every sum depends on the step alone, and the state of it all is in the checkpoint: a run that
// was stopped and resumed ends in the same bytes as one that was not.

import Foundation
import Kernels

/// A run of training.
package final class Trainer {
    private let model: any TrainableModel
    private let settings: TrainingSettings
    private let tokenizer: Tokenizer?
    private let loader: any TrainingData
    private let validation: (any TrainingData)?
    /// Where checkpoints go; nil keeps nothing.
    private let directory: CheckpointDirectory?
    private let writeModel: CheckpointDirectory.ModelWriter
    private let sayLine: (String) -> Void
    private var stepLines: StepLines
    private let log: RunLog?
    private let schedule: Schedule
    private let microBatches: Int
    private let gradientSum: GradientSum
    /// The micro-batch, as a checkpoint remembers it.
    private let (B, T): (Int, Int)
    /// The steps of the whole run.
    package let steps: Int
    /// The step that this run continued from; nil started from scratch.
    private let resumed: Int?
    private let firstStep: Int
    private var stopIsRequested: () -> Bool = { false }
    /// Why the last checkpoint could not be written, if so. Training goes on, and the next one may succeed.
    private var saveFailure: UserError?
    /// The machine's multiply-add peak, in operations a second, and when it was measured; 0 without an introduction.
    private var (peak, peakTime) = (0.0, -Double.infinity)

    /// What a checkpoint holds beside the model.
    private var state: TrainingState
    /// The current step's loss and gradient norm, and their z-scores.
    private var (loss, norm, lossScore, normScore) = (0.0, 0.0, Double.nan, Double.nan)
    private var clipScale: Float = 1
    private var startOfStep = 0.0
    private var (tokensInStep, sequencesInStep) = (0, 0)
    /// The seconds that this rank had waited for others when the step began.
    private var waitedBefore = 0.0
    /// Running means.
    private var (secondsPerStep, tokensPerStep) = (0.0, 0.0)
    /// Steps in a row whose loss or gradient was not finite.
    private var notFinite = 0
    /// The step of the last checkpoint that this start has written.
    private var lastSaved: Int?
    /// Whether this start has written the best model.
    private var wroteBest = false
    /// The bytes of text that each token stands for; special tokens stand for none. Empty without a tokenizer.
    private lazy var bytesOfTokens: [Int] = {
        guard let tokenizer else { return [] }
        let special = Set(tokenizer.addedTokens.filter(\.isSpecial).map { Int($0.id) })
        return (0..<tokenizer.vocabularySize).map { special.contains($0) ? 0 : tokenizer.bytes(of: $0).count }
    }()
    /// A sequence of the last batch, to try the model on before it is kept.
    private var trial: [Int32] = []

    // MARK: - the beginning

    /// A run on token shards, at its beginning or, if it is resumed, where it was. What stops it is found before anything
    /// of an earlier run is removed.
    /// - Parameters:
    ///   - directory: where checkpoints go, locked; nil keeps nothing.
    ///   - resumed: the state that belongs to the model; nil starts from scratch.
    ///   - V, T: the model's vocabulary, and the length of a row.
    ///   - say: takes what a person is to read, line by line.
    ///   - writeModel: writes the model in its own format.
    package convenience init(
        _ model: any TrainableModel, _ settings: TrainingSettings, tokenizer: Tokenizer?,
        directory: CheckpointDirectory?, resumed: TrainingState?, V: Int, T: Int,
        say: @escaping (String) -> Void = { print($0) }, writeModel: @escaping CheckpointDirectory.ModelWriter
    ) throws {
        let (data, validation) = try settings.loadShards(tokenizer, V: V, T: T)
        let microBatches = try settings.microBatches(T: T)
        try self.init(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: resumed, data: data,
            validation: validation, microBatches: microBatches, T: T, say: say, writeModel: writeModel)
    }

    /// The same on any data.
    /// - Parameters:
    ///   - data: to learn from.
    ///   - validation: nil never validates.
    ///   - microBatches: of a step.
    package init(
        _ model: any TrainableModel, _ settings: TrainingSettings, tokenizer: Tokenizer?,
        directory: CheckpointDirectory?, resumed: TrainingState?, data loader: any TrainingData,
        validation: (any TrainingData)?, microBatches: Int, T: Int, say: @escaping (String) -> Void = { print($0) },
        writeModel: @escaping CheckpointDirectory.ModelWriter
    ) throws {
        (self.model, self.settings, self.tokenizer) = (model, settings, tokenizer)
        self.directory = ranks.isFirst ? directory : nil
        model.parameters.precision = settings.precision
        (self.loader, self.validation, self.microBatches) = (loader, validation, microBatches)
        (sayLine, self.writeModel) = (say, writeModel)
        stepLines = StepLines(every: settings.logEvery, print: say)
        self.resumed = resumed?.step
        let B = settings.B
        (self.B, self.T) = (B, T)
        gradientSum = try GradientSum(model.parameters, microBatches: microBatches, sameBits: settings.sameBits, ranks)
        steps = try settings.steps(batches: loader.batchesPerEpoch, microBatches: microBatches)
        schedule = Schedule(
            shape: settings.schedule, learningRate: settings.learningRate, warmupSteps: settings.warmup, steps: steps,
            finalFraction: settings.finalFraction, conventions: settings.conventions)
        let data = try loader.check()
        let validationData = try validation?.check()
        state =
            resumed
            ?? TrainingState(
                step: 0, samplerState: UInt64(settings.seed), loader: loader.position, lossWindow: OutlierWindow(),
                normWindow: OutlierWindow(), best: nil, bestBy: settings.bestBy)
        if resumed != nil {
            try loader.resume(at: state.loader)
            guard state.B == 0 || state.B == B && state.T == T, state.data == 0 || state.data == data else {
                throw UserError(
                    state.data == 0 || state.data == data
                        ? "the checkpoint was made with batches of \(state.B) · \(state.T), not of \(B) · \(T)"
                        : "the checkpoint was made on other data: \(settings.trainData) has changed",
                    hint: "resume with the data, --batch-size and --sequence-length of the first start; to train on "
                        + "other data, start from the model: -e FILE and another --output")
            }
            if state.bestBy != settings.bestBy { (state.best, state.bestBy) = (nil, settings.bestBy) }
            if let directory = self.directory, state.best != nil, !directory.hasBest {
                note("note: \(directory.bestPath) is missing; the next validation writes it again")
                state.best = nil
            }
        }
        (state.B, state.T, state.data, state.settings) = (B, T, data, settings.kept(microBatches: microBatches, T: T))
        firstStep = state.step
        guard state.step <= steps else {
            throw UserError(
                "the last checkpoint is of step \(state.step), and --steps asks for \(steps)",
                hint: "give a larger --steps (-x), or --resume 0 to start over")
        }
        if ranks.size > 1 {
            try ranks.meetToTrain(
                runFields(state, settings, model.parameters, validation: validationData, steps: steps))
        }
        guard let directory = self.directory, !settings.isDryRun else {
            log = nil
            return
        }
        if resumed == nil { try directory.removeAll() }
        log = try RunLog(path: "\(directory.path)/main.log", resumingAt: resumed?.step)
    }

    /// Prints a line.
    private func say(_ line: String) {
        stepLines.close()
        sayLine(line)
    }

    /// Prints what is about to happen.
    /// - Parameter description: of the model.
    package func introduce(_ description: String) {
        measurePeak()
        say("model       \(description)")
        let (count, trained) = (model.parameters.table.count, model.parameters.trained.count)
        say(
            "parameters  \(grouped(count))"
                + (trained == count
                    ? ""
                    : String(
                        format: ", and %@ are trained, %.2f%%", grouped(trained), 100 * Double(trained) / Double(count)))
        )
        say("train data  \(loader.summary)")
        if let validation { say("val data    \(validation.summary)") }
        let tokens = loader.tokensPerBatch.map { "\(grouped($0 * microBatches)) tokens in " } ?? ""
        say("steps       \(steps) of \(tokens)\(microBatches) micro-batches")
        let format = settings.precision == .float32 ? "" : " in \(settings.precision)"
        let threads = "\(threadCount) thread\(threadCount == 1 ? "" : "s")"
        say(
            (ranks.summary.map { "machines    \($0), \(threads) each" } ?? "machine     \(threads)")
                + String(format: ", %.0f GFLOP/s at most%@", peak * 1e-9, format))
        if settings.precision == .bfloat16, !settings.precision.isFast {
            note(
                "note: this processor has no instruction for bfloat16: the results are bfloat16's, but it takes longer"
                    + " than float32")
        }
        if let resumed {
            say("resumed     at step \(resumed)")
            if resumed == steps { note("note: all \(steps) steps are done; to train on, give a larger --steps (-x)") }
        }
        if let directory, resumed == nil, settings.resume == .continues, !settings.isDryRun {
            note("note: no checkpoint in \(directory.path); starting at step 1")
        }
        if directory == nil, !settings.isDryRun {
            note("note: nothing will be kept; to keep the model give --output (-o) DIR")
        }
        fflush(nil)
    }

    /// Measures the peak again after a minute: the first time the machine may have been busy.
    private func measurePeak() {
        guard now() - peakTime > 60 else { return }
        // The ranks measure at the same time, and compute at the same time.
        (peak, peakTime) = (max(peak, Double(ranks.size) * measurePeakFlops(settings.precision)), now())
    }

    // MARK: - the loop

    /// Thrown inside a step to end it at once: there are some gradients by then, and nothing else.
    private struct Interrupted: Error {}

    /// Calls `step` for every step that is left, and once after the last one, to validate, sample and save.
    /// - Parameter stop: whether the run is to end early; by default a signal asks for it.
    /// - Throws: after Ctrl-C, once a checkpoint is written; and at the end, if the last checkpoint could not be.
    package func run(until stop: (() -> Bool)? = nil, _ step: () throws -> Void) throws {
        let signal = stop == nil ? StopSignal() : nil
        stopIsRequested = { stop?() ?? signal?.isRequested ?? false }
        // A kill may have come between the last checkpoint and the removal of an older one.
        if resumed != nil, directory?.steps().last == resumed { removeOld() }
        for number in firstStep...steps {
            state.step = number
            state.loader = loader.position
            do {
                try step()
            } catch is Interrupted {
                throw stopped()
            }
            if number < steps { try reportStep() }
        }
        if let directory {
            do { try log?.synchronize() } catch { saveFailure = saveFailure ?? error as? UserError }
            log?.draw()
            if let lastSaved { say("wrote \(directory.modelPath(lastSaved))") }
            if wroteBest { say("wrote \(directory.bestPath)") }
        }
        if let saveFailure { throw saveFailure }
    }

    /// Whether all steps are done.
    private var isLast: Bool { state.step == steps }

    /// Whether something is due that happens every so many steps, and at the end; 0 never.
    private func isDue(every: Int) -> Bool { every > 0 && (state.step % every == 0 || isLast) }

    package var validationIsDue: Bool { validation != nil && isDue(every: settings.validateEvery) }
    package var sampleIsDue: Bool { state.step > 0 && isDue(every: settings.sampleEvery) }
    package var checkpointIsDue: Bool {
        (state.step > 0 || isLast) && state.step != resumed
            && isDue(every: settings.checkpointEvery ?? max(1, steps))
    }

    /// False after the last step.
    /// - Throws: after Ctrl-C.
    package func continues() throws -> Bool {
        if isLast { return false }
        try checkStop()
        return true
    }

    /// All ranks ask at the same places, and a signal to any of them stops all.
    private func checkStop() throws { if ranks.any(stopIsRequested()) { throw Interrupted() } }

    /// Writes a checkpoint, if there is something to keep, and tells how the run goes on.
    private func stopped() -> UserError {
        if let directory, state.step != resumed, state.step > 0, state.step != lastSaved, write() {
            say("wrote \(directory.modelPath(state.step))")
        }
        stepLines.close()
        fflush(nil)
        let what = "stopped before step \(state.step + 1)"
        guard let directory else {
            return UserError(what, hint: "nothing was kept, because there is no --output", exitCode: 130)
        }
        if let saveFailure {
            return UserError("\(what), without a checkpoint of it: \(saveFailure.message)", hint: saveFailure.hint)
        }
        return UserError(
            what,
            hint: directory.steps().isEmpty
                ? "nothing was kept yet"
                : "continue with \(ranks.size > 1 ? "mpirun -n \(ranks.size) " : "")\(shellWord(programName())) "
                    + "-o \(shellWord(directory.path)) -y 1",
            exitCode: 130)
    }

    // MARK: - validate, sample, save

    /// Validates, and keeps the model that does best.
    package func validate() throws {
        guard let validation else { return }
        let result = try Validation(
            of: model, on: validation, batches: settings.validationBatches, bytesOfTokens: bytesOfTokens,
            checkStop: checkStop)
        guard result.sequences > 0 else {
            return say(
                "val loss: no \(settings.lossOn) in the first \(settings.validationBatches) batches; "
                    + "take more --val-batches (-m)")
        }
        if peak > 0 { measurePeak() }
        let tokens = validation is MaskedLoader ? "masked-token" : "next-token"
        say(
            String(format: "val loss %.6f | %@ accuracy %.2f%%", result.loss, tokens, 100 * result.accuracy)
                + (settings.lossOn == .answer ? String(format: " | exact answers %.2f%%", 100 * result.exact) : "")
                + (result.bitsPerByte.map { String(format: " | %.4f bits a byte", $0) } ?? ""))
        fflush(nil)
        warn(log?.validation(step: state.step, loss: result.loss, accuracy: result.accuracy), "its lines wait")
        log?.draw()
        let byAccuracy = state.bestBy == .accuracy
        let value = byAccuracy ? result.accuracy : result.loss
        let isBest = state.best.map { byAccuracy ? value > $0 : value < $0 } ?? true
        if let directory, state.step > 0, isBest, value.isFinite, state.bestBy != .none,
            model.parameters.areFinite
        {
            do {
                try directory.writeBest(writeModel)
                (state.best, wroteBest) = (value, true)
            } catch {
                warn(error, "the best model was not kept")
            }
        }
    }

    /// Prints a sample, if the model is one that writes. Its random numbers depend on the step alone, so a resumed run
    /// writes the same.
    package func sample() throws {
        guard ranks.isFirst, let model = model as? any CausalModel else { return }
        let start = Int32(tokenizer?.endOfText ?? (model.V == 50257 ? 50256 : 0))
        // Trained on answers, a model is asked a question of the validation data; it cannot make up its own.
        let (question, end) =
            settings.lossOn == .answer ? try validation?.question(number: state.step) ?? ([], nil) : ([], nil)
        let prompt = question.isEmpty ? [start] : question
        let endOfText = question.isEmpty ? nil : end ?? start
        let generator = Generator(
            model, sequences: 1, capacity: prompt.count + settings.sampleLength, vocabulary: tokenizer?.vocabularySize)
        generator.start(with: prompt)
        var tokens: [Int32] = []
        var randoms = [Xorshift(seed: state.samplerState &+ UInt64(state.step))]
        do {
            try generator.generate(
                limit: settings.sampleLength, sampler: Sampler(), randoms: &randoms, endOfText: endOfText
            ) { _, token in
                if token != endOfText { tokens.append(token) }
                return !stopIsRequested()
            }
        } catch let error as UserError {
            // The next steps will show whether the run is lost.
            return say("no sample: \(error.message)")
        }
        let shown = question.drop { $0 == start } + tokens
        let text = tokenizer.map { String(decoding: $0.decode(Array(shown)), as: UTF8.self) }
        say("generating:\n---\n\(text ?? tokens.map { String($0) }.joined(separator: " "))\n---")
    }

    /// Writes a checkpoint, all that the next start needs to continue as if there had been no stop, and removes those
    /// that are not kept. If that fails, the run says so and goes on, and the earlier checkpoints stay.
    package func save() {
        if write() { removeOld() }
    }

    /// Removes the checkpoints that are not kept.
    private func removeOld() {
        guard let directory, settings.keep > 0 else { return }
        let old = directory.steps().filter { $0 <= state.step }.dropLast(settings.keep)
            .filter { settings.majorEvery == 0 || $0 % settings.majorEvery != 0 }
        do {
            try directory.remove(old)
        } catch {
            warn(error, "more checkpoints stay than --keep says")
        }
    }

    /// Writes a checkpoint, or keeps the reason why not in `saveFailure`.
    /// - Returns: whether it is there.
    @discardableResult private func write() -> Bool {
        guard let directory else { return false }
        do {
            guard isHealthy else {
                throw UserError("the model's numbers are no longer finite", hint: divergenceHint())
            }
            try log?.synchronize()
            log?.draw()
            try directory.write(model.parameters, state, writeModel: writeModel)
            (saveFailure, lastSaved) = (nil, state.step)
            return true
        } catch {
            warn(error, "no checkpoint of step \(state.step) was written")
            saveFailure = error as? UserError ?? UserError(error.localizedDescription, hint: "check the disk")
            return false
        }
    }

    /// Says what went wrong, and what follows from it; the run goes on.
    private func warn(_ error: (any Error)?, _ consequence: String) {
        guard let error else { return }
        say("warning: \((error as? UserError)?.message ?? error.localizedDescription); \(consequence)")
    }

    /// Whether the model can go on from here. Parameters that have just jumped far away are still numbers, but no loss
    /// comes of them any more: so one sequence is tried.
    private var isHealthy: Bool {
        guard model.parameters.areFinite, model.parameters.momentsAreSound else { return false }
        guard !trial.isEmpty else { return true }
        return model.loss(of: Batch(B: 1, T: trial.count, inputs: trial, targets: trial)).mean.isFinite
    }

    /// What to do about a run whose numbers are no longer finite.
    private func divergenceHint() -> String {
        let last = directory?.steps().last { $0 <= state.step }
        return
            (last.map { "step \($0) in \(directory?.path ?? "") is whole: continue from it by -y 1" } ?? "start over")
            + " with a smaller --learning-rate (-l) or more --warmup (-u)"
    }

    // MARK: - step

    /// Reads the micro-batches of a step, one at a time, and passes each to the model, which is to add its gradients and
    /// return its loss.
    /// - Parameter pass: is given a batch, and the scale of a target's loss in the total: every target that counts
    ///   weighs the same, however they are spread over the micro-batches.
    package func forEachBatch(_ pass: (_ batch: Batch, _ gradientScale: Float) -> Loss) throws {
        startOfStep = now()
        if settings.overfitsBatch { loader.startEpoch() }
        let targets = try countTargets()
        /// Of each micro-batch that this rank computes: its part of the loss, its tokens and its sequences.
        var results: [Double] = []
        waitedBefore = ranks.waited
        try forEachOwnBatch { i, batch in
            var batch = batch
            batch.dropoutKey = DropoutKey(seed: settings.seed, microBatch: state.step &* microBatches &+ i)
            gradientSum.add {
                withThreadsAwake {
                    let loss = pass(batch, 1 / Float(targets))
                    results.append(loss.mean * Double(batch.counted) / Double(targets))
                }
            }
            results += [Double(batch.inputs.count), Double(batch.lengths.count)]
            trial = Array(batch.inputs.prefix(batch.lengths.first ?? 0))
        }
        // In the order of the micro-batches, as on one rank.
        let all = ranks.gather(results).flatMap { $0 }
        func sum(_ first: Int) -> Double { stride(from: first, to: all.count, by: 3).reduce(0) { $0 + all[$1] } }
        loss = sum(0)
        (tokensInStep, sequencesInStep) = (Int(sum(1)), Int(sum(2)))
    }

    /// Reads this rank's share of a step's micro-batches, and passes over the others'.
    private func forEachOwnBatch(_ body: (_ i: Int, _ batch: Batch) throws -> Void) throws {
        let own = ranks.share(of: microBatches)
        for i in 0..<microBatches {
            guard own.contains(i) else {
                loader.skipBatch()
                continue
            }
            try checkStop()
            try body(i, loader.nextBatch())
        }
    }

    /// The targets that count in the step that begins here, at least 1. Where not all do, its batches are read once more
    /// for it.
    private func countTargets() throws -> Int {
        if settings.lossOn == .all, let tokens = loader.tokensPerBatch { return tokens * microBatches }
        let start = loader.position
        var targets = 0
        try forEachOwnBatch { targets += $1.counted }
        loader.rewind(to: start)
        return max(1, Int(ranks.gather([Double(targets)]).reduce(0) { $0 + $1[0] }))
    }

    /// Measures the gradients' norm. Above 1 it is clipped: `update` scales the gradients to a norm of 1.
    package func clip() {
        norm = model.parameters.gradientNorm()
        // NaN has a sign, which means nothing to a reader.
        if loss.isNaN { loss = .nan }
        if norm.isNaN { norm = .nan }
        clipScale = settings.conventions.clipScale(norm: norm)
        lossScore = state.lossWindow.score(loss)
        normScore = state.normWindow.score(norm)
    }

    /// Updates the parameters, unless the loss or the norm is an outlier or not a number.
    package func update() throws {
        if !loss.isFinite || !norm.isFinite {
            // An update would make every parameter NaN.
            say("skipping update: the loss is \(loss) and the gradient's norm \(norm)")
            model.parameters.zeroGradients()
            notFinite += 1
            guard notFinite < 10 else {
                throw UserError("the loss has not been a number for 10 steps", hint: divergenceHint())
            }
            return
        }
        notFinite = 0
        if settings.skipLossZ > 0 && lossScore > settings.skipLossZ
            || settings.skipNormZ > 0 && normScore > settings.skipNormZ
        {
            say(
                String(format: "skipping update: z-scores %+.2f of the loss, %+.2f of the norm", lossScore, normScore))
            model.parameters.zeroGradients()
            return
        }
        model.parameters.update(
            settings.optimizer, learningRate: schedule.rate(at: state.step), beta1: 0.9,
            beta2: settings.conventions.beta2,
            decay: settings.decay, gradientScale: clipScale, step: state.step + 1)
    }

    /// The step's line for a person, and its line in main.log.
    private func reportStep() throws {
        let step = state.step
        let rate = schedule.rate(at: step)
        let seconds = now() - startOfStep
        func mean(_ old: Double, _ new: Double) -> Double { old == 0 ? new : 0.95 * old + 0.05 * new }
        secondsPerStep = mean(secondsPerStep, seconds)
        tokensPerStep = mean(tokensPerStep, Double(tokensInStep))
        let T = tokensInStep / max(1, sequencesInStep)  // the mean length
        let share = model.flopsPerToken(T: T) * Double(tokensInStep) / seconds / peak
        func text(_ score: Double) -> String { score.isNaN ? "" : String(format: "(%+.2fz)", score) }
        let waiting =
            ranks.size == 1 ? "" : String(format: " | %.1f%% waiting", 100 * (ranks.waited - waitedBefore) / seconds)
        stepLines.show(
            String(
                format: "step %4ld/%ld | loss %.6f %@| %@ left | norm %.4f %@| lr %.2e | %.2f ms | %.1f%% MFU | "
                    + "%.0f tok/s%@", step + 1, steps, loss, text(lossScore),
                durationText(secondsPerStep * Double(steps - step - 1)), norm, text(normScore), rate, seconds * 1000,
                100 * share, tokensPerStep / secondsPerStep, waiting), step: step + 1, isLast: step + 1 == steps)
        fflush(nil)
        warn(log?.training(step: step, loss: loss, learningRate: rate, norm: norm), "its lines wait")
    }
}
