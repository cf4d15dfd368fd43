// The loop, with GPT-2 and with a model of another kind: what it learns, keeps, skips, refuses and resumes.

import Foundation
import Kernels
import LLM
import Testing

/// Tokens below V, each of which prefers some to follow it.
private func chain(_ count: Int, V: Int, seed: UInt64) -> [Int32] {
    var random = Xorshift(seed: seed)
    var tokens: [Int32] = [0]
    while tokens.count < count {
        let last = Int(tokens[tokens.count - 1])
        tokens.append(Int32(random.below(3) == 0 ? random.below(V) : (last * 2 + 1) % V))
    }
    return tokens
}

/// A folder with a train and a validation shard of a chain.
private func withChain(V: Int = 7, train: Int = 401, _ body: (String, [Int32]) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let tokens = chain(train, V: V, seed: 1)
        try writeShard(tokens, to: folder + "/train_0.bin")
        try writeShard(chain(101, V: V, seed: 2), to: folder + "/val_0.bin")
        try body(folder, tokens)
    }
}

private func bigram(V: Int = 7) -> BigramModel {
    let model = BigramModel(V: V)
    model.parameters.initialize(seed: 3)
    return model
}

/// A bigram run without validation and samples, unless these words say otherwise.
private func quiet(_ folder: String, _ more: String...) -> [String] {
    ["-i", folder + "/train_*.bin", "-b", "2", "-t", "10", "-v", "0", "-s", "0", "-k", "constant"] + more
}

// MARK: - learning

@Test func `a run says what it is about to do`() throws {
    try withChain { folder, _ in
        let run = try TestRun(bigram(), quiet(folder, "-x", "3", "-d", "60", "-v", "1"))
        run.trainer.introduce("two letters")
        try run.train()
        #expect(
            Array(run.said[..<5]) == [
                "model       two letters", "parameters  49", "train data  401 tokens, 20 batches of 2 · 10",
                "val data    101 tokens, 5 batches of 2 · 10", "steps       3 of 60 tokens in 3 micro-batches",
            ])
        #expect(run.trainer.steps == 3 && run.said.count { $0.hasPrefix("val loss ") } == 4)
    }
}

/// No model that sees one token can do better than the entropy of what follows it in the data, and this one can do it.
@Test func `the loss goes to the entropy of the data`() throws {
    try withChain(train: 401) { folder, tokens in
        var pairs = [[Int32]: Int]()
        var firsts = [Int32: Int]()
        for i in 0..<400 {
            pairs[[tokens[i], tokens[i + 1]], default: 0] += 1
            firsts[tokens[i], default: 0] += 1
        }
        let entropy = pairs.reduce(0.0) { sum, pair in
            sum - Double(pair.value) / 400 * log(Double(pair.value) / Double(firsts[pair.key[0], default: 0]))
        }
        #expect(entropy > 0.5)
        // A step is the whole of the data.
        let out = folder + "/out"
        let run = try TestRun(bigram(), quiet(folder, "-d", "400", "-x", "300", "-l", "0.1", "-o", out))
        try run.train()
        let losses = try logged("trl", in: out)
        try #require(losses.count == 300)
        #expect(abs((losses[299] ?? 0) - entropy) < 1e-3 && (losses[0] ?? 0) > entropy + 0.5)
    }
}

@Test func `a model of any kind continues texts`() throws {
    let model = bigram()
    func likeliest(_ token: Int32) -> Int32 { Int32(model.row(token).withUnsafeBufferPointer { argmax($0) }) }
    let prompts = (0..<7).map { last in randomTokens(1 + last * 2, below: 7, seed: UInt64(last)) + [Int32(last)] }
    var found = [[Int32]](repeating: [], count: prompts.count)
    try model.continueGreedily(prompts, limit: 5, stop: nil, batch: 3) { found[$0] = $1 }
    for (prompt, continuation) in zip(prompts, found) {
        var expected: [Int32] = []
        for _ in 0..<5 { expected.append(likeliest(expected.last ?? prompt[prompt.count - 1])) }
        #expect(continuation == expected)
    }
    let generator = Generator(model, sequences: 2, capacity: 20)
    generator.start(with: [1, 2, 3])
    #expect(Array(generator.logits(of: 1)) == model.row(3))
}

@Test func `a sample is drawn from the model, by the step's own random numbers`() throws {
    try withChain { folder, _ in
        let run = try TestRun(bigram(), quiet(folder, "-l", "0", "-x", "5", "-s", "2", "-g", "9", "--seed", "77"))
        try run.train()
        let expected = [2, 4, 5].map { step in
            var random = Xorshift(seed: 77 + UInt64(step))
            var tokens: [Int32] = [0]
            for _ in 0..<9 {
                let row = bigram().row(tokens[tokens.count - 1])
                tokens.append(row.withUnsafeBufferPointer { Sampler().next($0, context: [], random: &random) })
            }
            return "generating:\n---\n\(tokens.dropFirst().map { String($0) }.joined(separator: " "))\n---"
        }
        #expect(run.said == expected)
    }
}

@Test func `a model that cannot write any more does not end the run by that`() throws {
    try withChain { folder, _ in
        let model = bigram()
        for i in 0..<49 { model.parameters.values[i] = .infinity }
        let run = try TestRun(model, quiet(folder, "-x", "3", "-s", "2"))
        try run.train()
        #expect(run.said.count { $0.hasPrefix("no sample: the model's logits are NaN") } == 2)
    }
}

@Test(arguments: Conventions.allCases)
func `the learning rate is the schedule's, and AdamW's step begins at one`(conventions: Conventions) throws {
    try withChain { folder, _ in
        let out = folder + "/out"
        let arguments = quiet(folder, "-x", "6", "-l", "0.01", "-u", "3", "-q", "0.5", "-k", "linear", "-c", "0.1")
        let run = try TestRun(bigram(), arguments + ["-o", out, "--trainer", conventions.rawValue])
        let loader = try DataLoader(
            pattern: folder + "/train_*.bin", B: 2, T: 10, vocabularySize: 7, shuffleSeed: 42)
        let schedule = Schedule(
            shape: .linear, learningRate: 0.01, warmupSteps: 3, steps: 6, finalFraction: 0.5, conventions: conventions)
        let beta2 = conventions == .llmC ? 0.95 : 0.999
        let twin = bigram()
        // The gradients are scaled so that some steps are limited and some are not.
        let factors: [Float] = [1, 30, 1, 50, 1, 20]
        try run.train(learnt: { step in
            for i in 0..<49 { run.model.parameters.gradients[i] *= factors[step] }
        })
        let norms = try logged("norm", in: out)
        for step in 0..<6 {
            let batch = try loader.nextBatch()
            _ = twin.learn(batch, scale: 1 / Float(batch.counted))
            for i in 0..<49 { twin.parameters.gradients[i] *= factors[step] }
            let norm = twin.parameters.gradientNorm()
            #expect(abs(norm - (norms[step] ?? 0)) < 0.006 && (norm > 1) == (factors[step] > 1))
            let limit = conventions == .llmC ? 1 / norm : 1 / (norm + 1e-6)
            twin.parameters.update(
                learningRate: schedule.rate(at: step), beta1: 0.9, beta2: beta2, decay: 0.1,
                gradientScale: norm > 1 ? Float(limit) : 1, step: step + 1)
        }
        #expect(twin.parameters.bits == run.model.parameters.bits)
        let warmup = conventions == .llmC ? [0.01 / 3, 0.02 / 3, 0.01] : [0, 0.01 / 3, 0.02 / 3]
        let rates = try logged("lr", in: out)
        for (step, rate) in (warmup + [0.01, 0.025 / 3, 0.02 / 3]).enumerated() {
            #expect(abs((rates[step] ?? -1) - rate) < 1e-6)
        }
    }
}

// MARK: - batches

/// Rows of eight: end of text, a question, a mark and an answer of this many tokens; none leaves out the mark.
private func questions(_ answers: [Int], mark: Int32, seed: UInt64) -> [Int32] {
    var random = Xorshift(seed: seed)
    func letter() -> Int32 { Int32(2 + random.below(4)) }
    var tokens: [Int32] = []
    for count in answers {
        tokens += [0, letter(), letter(), count == 0 ? letter() : mark]
        for i in 0..<4 { tokens.append(i < count ? letter() : 0) }
    }
    return tokens + [0]
}

/// The tokenizer's V, and the id of the mark.
private func tokenizerAndMark() throws -> (Tokenizer, V: Int, mark: Int32) {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    let ids = try tokenizer.encode(Array("=".utf8))
    try #require(ids.count == 1)
    return (tokenizer, tokenizer.vocabularySize, ids[0])
}

private func options(_ lossOn: LossOn) -> [String] { ["--loss-on", lossOn.rawValue, "--answer-mark", "="] }

/// Whether the target of token i counts, in rows of eight.
private func counts(_ lossOn: LossOn, _ tokens: [Int32], _ i: Int, mark: Int32) -> Bool {
    switch lossOn {
    case .all: true
    case .text: tokens[i] != 0 || tokens[i + 1] != 0
    case .answer: tokens[i / 8 * 8...i].reversed().prefix(while: { $0 != 0 }).contains(mark)
    }
}

@Test(arguments: LossOn.allCases)
func `micro-batches are one large batch, and every target that counts weighs the same`(
    lossOn: LossOn
) throws {
    try withTemporaryDirectory { folder in
        let (tokenizer, V, mark) = try tokenizerAndMark()
        try writeShard(questions([4, 0, 1, 3], mark: mark, seed: 1), to: folder + "/train_0.bin")
        func trained(_ pupil: any Pupil, B: String) throws -> (any Pupil, [Int: Double]) {
            let out = folder + "/out-" + UUID().uuidString
            let run = try TestRun(
                pupil,
                [
                    "-i", folder + "/train_*.bin", "-b", B, "-t", "8", "-d", "32", "-x", "3", "-l", "1e-3", "-a", "-v",
                    "0", "-s", "0", "-o", out,
                ] + options(lossOn), tokenizer: tokenizer)
            try run.train()
            return (run.model, try logged("trl", in: out))
        }
        func gpt2() -> GPT2 {
            let model = GPT2(GPT2Configuration(maxT: 8, V: V, L: 2, NH: 2, C: 8), trains: true)
            model.parameters.initialize(seed: 4)
            return model
        }
        for make in [{ gpt2() }, { bigram(V: V) }] as [() -> any Pupil] {
            let (whole, losses) = try trained(make(), B: "4")
            for B in ["1", "2"] {
                let (parts, theirs) = try trained(make(), B: B)
                #expect(theirs == losses)
                for i in 0..<whole.parameters.table.count {
                    try #require(abs(whole.parameters.values[i] - parts.parameters.values[i]) < 1e-6)
                }
            }
        }
        // The first loss by hand: the mean over all targets that count.
        let (_, losses) = try trained(bigram(V: V), B: "1")
        let tokens = questions([4, 0, 1, 3], mark: mark, seed: 1)
        var (sum, count) = (0.0, 0)
        for i in 0..<32 where counts(lossOn, tokens, i, mark: mark) {
            let logits = bigram(V: V).row(tokens[i]).map { Double($0) }
            sum += log(logits.reduce(0) { $0 + exp($1) }) - logits[Int(tokens[i + 1])]
            count += 1
        }
        // Of the text: three letters or marks, the answer's tokens, and the end.
        #expect(count == (lossOn == .answer ? 5 + 2 + 4 : lossOn == .text ? 8 + 4 + 5 + 7 : 32))
        #expect(abs((losses[0] ?? 0) - sum / Double(count)) < 1e-4)
    }
}

@Test func `batches without an answer count nothing, and data without one is refused`() throws {
    try withTemporaryDirectory { folder in
        let (tokenizer, V, mark) = try tokenizerAndMark()
        let pattern = folder + "/train_*.bin"
        func run(_ out: String, _ more: String...) throws -> TestRun {
            try TestRun(
                bigram(V: V),
                [
                    "-i", pattern, "-b", "1", "-t", "8", "-v", "0", "-s", "0", "-x", "4", "-n", "1", "-o",
                    folder + "/" + out,
                ] + options(.answer) + more, tokenizer: tokenizer
            ) { path in
                let model = BigramModel(V: V)
                try model.read(path)
                return model
            }
        }
        let loader = { try DataLoader(pattern: pattern, B: 1, T: 8, vocabularySize: V, shuffleSeed: 42) }
        try writeShard(questions([0, 0, 0, 0], mark: mark, seed: 1), to: folder + "/train_0.bin")
        expectUserError("no answer") { _ = try run("none") }
        // In one of the four batches, whichever comes first or last.
        for place in 0..<4 {
            var tokens = questions([0, 0, 0, 0], mark: mark, seed: 1)
            tokens[place * 8 + 3] = mark
            try writeShard(tokens, to: folder + "/train_0.bin")
            let order = try loader()
            let number = try #require(try (0..<4).first { _ in try order.nextBatch().inputs.contains(mark) })
            let out = "out\(place)"
            try run(out).train()
            let losses = try logged("trl", in: folder + "/" + out)
            for step in 0..<4 { #expect((losses[step] ?? 0 > 0) == (step == number)) }
            // A run that is resumed at such a step goes on, too.
            let whole = try filesInside(folder + "/" + out)
            try CheckpointDirectory(folder + "/" + out).remove([2, 3, 4])
            try run(out, "-y", "1").train()
            expectSame(try filesInside(folder + "/" + out), whole, "whole")
            // The mark may have become wrong.
            expectUserError("no answer any more") { _ = try run(out, "-y", "1", "--answer-mark", "!") }
            expectSame(try filesInside(folder + "/" + out), whole, "refused")
        }
        // Nor may validation be without one.
        try writeShard(questions([0, 0], mark: mark, seed: 1), to: folder + "/val_0.bin")
        expectUserError("no answer to validate") { _ = try run("v", "-v", "1", "-j", folder + "/val_0.bin") }
    }
}

@Test func `data of nothing but padding is refused, where texts alone count`() throws {
    try withTemporaryDirectory { folder in
        let (tokenizer, V, mark) = try tokenizerAndMark()
        let (padding, texts) = ([Int32](repeating: 0, count: 33), questions([1, 2, 3, 4], mark: mark, seed: 1))
        for (train, validation, error) in [
            (padding, texts, "no text in the train data: every token is end of text"),
            (texts, padding, "no text in the validation data: every token is end of text"), (texts, texts, nil),
        ] {
            try writeShard(train, to: folder + "/train_0.bin")
            try writeShard(validation, to: folder + "/val_0.bin")
            func run(_ lossOn: LossOn) throws {
                _ = try TestRun(
                    bigram(V: V), ["-i", folder + "/train_*.bin", "-b", "1", "-t", "8"] + options(lossOn),
                    tokenizer: tokenizer)
            }
            #expect(userError { try run(.text) }?.message == error)
            try run(.all)
        }
        // A step of padding alone counts nothing, and the next one goes on.
        try writeShard(padding.dropLast() + texts, to: folder + "/train_0.bin")
        let run = try TestRun(
            bigram(V: V),
            ["-i", folder + "/train_*.bin", "-b", "1", "-t", "8", "-v", "0", "-s", "0", "-o", folder + "/out"]
                + options(.text), tokenizer: tokenizer)
        try run.train()
        let losses = try logged("trl", in: folder + "/out").values
        #expect(losses.count { $0 == 0 } == 4 && losses.count { $0 > 0 } == 4)
    }
}

@Test func `where texts count, a sample begins with the end of text, as where all tokens do`() throws {
    try withTemporaryDirectory { folder in
        let (tokenizer, V, mark) = try tokenizerAndMark()
        let tokens = questions([1, 2, 3, 4], mark: mark, seed: 1)
        try writeShard(tokens, to: folder + "/train_0.bin")
        // The rows to validate with begin inside a text.
        try writeShard(Array(tokens.dropFirst()), to: folder + "/val_0.bin")
        func samples(_ lossOn: LossOn) throws -> [String] {
            let run = try TestRun(
                bigram(V: V),
                ["-i", folder + "/train_*.bin", "-b", "1", "-t", "8", "-x", "2", "-l", "0", "-s", "1", "-g", "9"]
                    + options(lossOn), tokenizer: tokenizer)
            try run.train()
            return run.said.filter { $0.hasPrefix("generating:") }
        }
        #expect(try samples(.text) == samples(.all) && samples(.answer) != samples(.all))
    }
}

@Test func `overfitting takes the first batch again and again`() throws {
    try withChain { folder, tokens in
        let out = folder + "/out"
        let run = try TestRun(bigram(), quiet(folder, "-a", "-d", "40", "-x", "300", "-l", "0.1", "-o", out))
        try run.train()
        // Of 40 tokens the best is known, too.
        var (pairs, firsts) = ([[Int32]: Int](), [Int32: Int]())
        for i in 0..<40 {
            pairs[[tokens[i], tokens[i + 1]], default: 0] += 1
            firsts[tokens[i], default: 0] += 1
        }
        let entropy = pairs.reduce(0.0) { sum, pair in
            sum - Double(pair.value) / 40 * log(Double(pair.value) / Double(firsts[pair.key[0], default: 0]))
        }
        let last = try logged("trl", in: out)[299] ?? 0
        #expect(abs(last - entropy) < 2e-3)
    }
}

// MARK: - validation

/// Everything that validation says, again in double precision from the shard's tokens. Every target that counts weighs
/// the same, however many its batch has.
@Test(arguments: LossOn.allCases, [1, 2, 20])
func `validation is the mean over its first batches' targets`(lossOn: LossOn, most: Int) throws {
    try withTemporaryDirectory { folder in
        let (tokenizer, V, mark) = try tokenizerAndMark()
        let tokens = questions([4, 0, 1, 3, 2, 2], mark: mark, seed: 5)
        for split in ["train", "val"] { try writeShard(tokens, to: folder + "/\(split)_0.bin") }
        let out = folder + "/out"
        let run = try TestRun(
            bigram(V: V),
            [
                "-i", folder + "/train_*.bin", "-b", "2", "-t", "8", "-x", "0", "-v", "1", "-m", String(most), "-s",
                "0",
                "-o", out,
            ] + options(lossOn), tokenizer: tokenizer)
        let model = try #require(run.model as? BigramModel)
        // Answers of one and of three tokens are known by heart: the rows are exact, if all of their targets count.
        for row in [2, 3] {
            for i in row * 8 + 3..<row * 8 + 8 where tokens[i] != 0 {
                model.parameters.values[Int(tokens[i]) * V + Int(tokens[i + 1])] += 20
            }
        }
        try run.train()
        var (sum, right, count, rows, exact) = (0.0, 0, 0, 0, 0)
        var text: [UInt8] = []  // of the targets that count
        for batch in 0..<min(most, 3) {
            for row in batch * 2..<batch * 2 + 2 {
                var (rowCount, rowRight) = (0, 0)
                for i in row * 8..<row * 8 + 8 where counts(lossOn, tokens, i, mark: mark) {
                    let logits = model.row(tokens[i]).map { Double($0) }
                    sum += log(logits.reduce(0) { $0 + exp($1) }) - logits[Int(tokens[i + 1])]
                    rowRight += logits.firstIndex(of: logits.max() ?? 0) == Int(tokens[i + 1]) ? 1 : 0
                    rowCount += 1
                    text += tokenizer.decode([tokens[i + 1]], skippingSpecialTokens: true)
                }
                (right, count) = (right + rowRight, count + rowCount)
                if rowCount > 0 { rows += 1 }
                if rowCount > 0, rowRight == rowCount { exact += 1 }
            }
        }
        let (loss, accuracy) = (sum / Double(count), Double(right) / Double(count))
        let (tel, eval) = (try logged("tel", in: out)[0] ?? 0, try logged("eval", in: out)[0] ?? 0)
        #expect(abs(tel - loss) < 1e-4 && abs(eval - accuracy) < 1e-4)
        let expected =
            String(format: "| next-token accuracy %.2f%%", 100 * accuracy)
            + (lossOn == .answer ? String(format: " | exact answers %.2f%%", 100 * Double(exact) / Double(rows)) : "")
            + (text.isEmpty ? "" : String(format: " | %.4f bits a byte", sum / log(2) / Double(text.count)))
        #expect(run.said[0].hasSuffix(expected), "\(run.said[0])")
        if lossOn == .answer { #expect(exact > 0 || most == 1) }
    }
}

/// Other parameters at every step, and nothing is learnt: the best by loss and the best by accuracy are different ones.
@Test func `the best model is kept, by loss or by accuracy`() throws {
    try withChain { folder, _ in
        func put(_ step: Int, into model: any Pupil) {
            model.parameters.initialize(seed: UInt32(step + 10))
            // Step 3 has the best accuracy, because each token's likeliest successor is the likeliest, and a bad loss.
            if step == 3 { for token in 0..<7 { model.parameters.values[token * 7 + (token * 2 + 1) % 7] += 4 } }
            if step == 3 { for i in 0..<49 { model.parameters.values[i] *= 20 } }
            if step == 0 { for token in 0..<7 { model.parameters.values[token * 7 + (token * 2 + 1) % 7] += 3 } }
        }
        for by in BestBy.allCases {
            let out = folder + "/" + by.rawValue
            let run = try TestRun(
                bigram(), quiet(folder, "-x", "7", "-l", "0", "-v", "1", "-n", "0", "--best-by", by.rawValue, "-o", out)
            )
            try run.train(before: { put($0, into: run.model) })
            let measured = try logged(by == .accuracy ? "eval" : "tel", in: out)
            #expect(measured.count == 8)
            // A new model, step 0's, is never the best.
            let best = try #require(
                (1...7).min { one, other in
                    let (a, b) = (measured[one, default: 0], measured[other, default: 0])
                    return by == .accuracy ? a > b : a < b
                })
            guard by != .none else {
                #expect(!fileExists(out + "/model_best.bin"))
                continue
            }
            #expect((best == 3) == (by == .accuracy))
            let kept = BigramModel(V: 7)
            try kept.read(out + "/model_best.bin")
            put(best, into: run.model)
            #expect(kept.parameters.bits(of: \.values) == run.model.parameters.bits(of: \.values))
        }
    }
}

// MARK: - checkpoints

@Test(arguments: [
    (["-n", "2"], [2, 4, 6, 8, 10, 12, 14, 15]), (["-n", "2", "-nk", "2"], [14, 15]),
    (["-n", "2", "-nk", "3", "-nm", "6"], [6, 12, 14, 15]), (["-n", "5", "-nk", "1", "-nm", "5"], [5, 10, 15]),
    ([], [15]), (["-n", "0"], []), (["-n", "20"], [15]),
])
func `the checkpoints that are asked for are kept`(options: [String], expected: [Int]) throws {
    try withChain { folder, _ in
        let out = folder + "/out"
        let run = try TestRun(bigram(), quiet(folder, "-x", "15", "-o", out) + options)
        try run.train()
        let checkpoints = CheckpointDirectory(out)
        #expect(checkpoints.steps() == expected)
        let files = expected.flatMap {
            [checkpoints.donePath($0), checkpoints.modelPath($0), checkpoints.statePath($0)]
        }
        #expect(
            Set(try filesInside(out).keys.map { "\(out)/\($0)" })
                == Set(files + [out + "/main.log", out + "/loss.svg"]))
        #expect(run.said.last == expected.last.map { "wrote " + checkpoints.modelPath($0) })
    }
}

private func newTiny() -> GPT2 {
    let model = GPT2(tiny, trains: true)
    model.parameters.initialize(seed: 1)
    return model
}

/// Two shards of four and six samples, and steps of two: 2.6 epochs.
private func eventful(_ folder: String, _ out: String, _ more: String...) -> [String] {
    [
        "-i", folder + "/train_*.bin", "-o", out, "-b", "2", "-t", "8", "-d", "32", "-x", "13", "-l", "1e-2", "-u", "3",
        "-q", "0.1", "-c", "0.1", "-v", "2", "-m", "2", "-s", "3", "-g", "5", "-n", "3", "-nk", "2", "-nm", "6",
    ] + more
}

private func makeEventfulData(_ folder: String) throws {
    try makeData(folder)
    try writeShard(randomTokens(50, below: tiny.V, seed: 9), to: folder + "/val_0.bin")
}

/// A run killed at a step, before anything happened at it or when its gradients are there, and what its resumption
/// says.
private func interrupted(at step: Int, midway: Bool, _ arguments: [String]) throws -> [String] {
    func kill(_ now: Int) throws { if now == step { throw Killed() } }
    #expect(throws: Killed.self) {
        let first = try TestRun(newTiny(), arguments)
        if midway { try first.train(learnt: kill) } else { try first.train(before: kill) }
    }
    let second = try TestRun(newTiny(), arguments + ["-y", "1"]) { try readGPT2($0, trains: true) }
    try second.train()
    return second.said
}

@Test(arguments: [
    ("loss", false, "0", "adamw"), ("accuracy", true, "0", "adamw"), ("loss", true, "0.2", "adamw"),
    ("loss", true, "0", "muon"),
])
func `a run killed at any step and resumed ends in the same bytes`(
    bestBy: String, midway: Bool, dropout: String, optimizer: String
) throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        func arguments(_ out: String) -> [String] {
            eventful(folder, out, "--best-by", bestBy, "--dropout", dropout, "--optimizer", optimizer)
                + (optimizer == "muon" ? ["--shuffle", "rows"] : [])
        }
        let whole = try TestRun(newTiny(), arguments(folder + "/whole"))
        try whole.train()
        let expected = try filesInside(folder + "/whole")
        #expect(
            Set(expected.keys).isSuperset(of: ["DONE_00000013", "model_best.bin", "main.log", "model_00000006.bin"]))
        for step in 0...(midway ? 12 : 13) {
            let out = folder + "/out\(step)"
            let said = try interrupted(at: step, midway: midway, arguments(out))
            let files = try filesInside(out)
            expectSame(files, expected, "step \(step)")
            // Its samples and validation are the same, too, as far as they are told again.
            let told = said.filter { !$0.hasPrefix("wrote ") }
            let all = whole.said.filter { !$0.hasPrefix("wrote ") }
            #expect(told == all.suffix(told.count), "step \(step)")
        }
    }
}

@Test func `the optimizer and the order are those that were asked for`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        func learnt(_ more: [String]) throws -> [UInt32] {
            let run = try TestRun(newTiny(), eventful(folder, folder + "/out") + ["-y", "0"] + more)
            try run.train()
            return run.model.parameters.bits
        }
        let all = try [
            [], ["--optimizer", "adamw", "--shuffle", "batches"], ["--optimizer", "muon"], ["--shuffle", "rows"],
            ["--optimizer", "muon", "--shuffle", "rows"],
        ].map(learnt)
        #expect(all[0] == all[1] && Set(all).count == 4)
    }
}

@Test func `a run killed at every step, time and again, ends in the same bytes`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        func arguments(_ out: String) -> [String] { eventful(folder, folder + "/" + out, "-n", "1", "-y", "1") }
        try TestRun(newTiny(), arguments("whole")).train()
        for step in 1...13 {
            let run = try TestRun(newTiny(), arguments("out")) { try readGPT2($0, trains: true) }
            #expect(run.step == max(0, step - 2))
            #expect(throws: Killed.self) { try run.train(before: { if $0 == step { throw Killed() } }) }
        }
        try TestRun(newTiny(), arguments("out")) { try readGPT2($0, trains: true) }.train()
        expectSame(try filesInside(folder + "/out"), try filesInside(folder + "/whole"), "killed")
    }
}

@Test func `a new run in the folder of an old one removes it`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        try TestRun(newTiny(), eventful(folder, folder + "/fresh", "-x", "2")).train()
        let out = folder + "/out"
        try TestRun(newTiny(), eventful(folder, out)).train()
        try write([1], to: out + "/model_00000099.bin.123.tmp")
        try write([2], to: out + "/notes.txt")
        try TestRun(newTiny(), eventful(folder, out, "-x", "2", "-y", "0")).train()
        var files = try filesInside(out)
        #expect(files.removeValue(forKey: "notes.txt") == [2])
        expectSame(files, try filesInside(folder + "/fresh"), "fresh")
    }
}

/// Else a run would drop the same elements at every step, or at every start.
@Test func `every micro-batch drops by a key of its own, whenever the run was started`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        func keys(_ arguments: [String], until last: Int) throws -> [DropoutKey?] {
            let run = try TestRun(newTiny(), arguments) { try readGPT2($0, trains: true) }
            var (step, keys) = (run.step, [DropoutKey?]())
            try run.trainer.run(until: { false }) {
                if run.trainer.checkpointIsDue { run.trainer.save() }
                guard try run.trainer.continues() else { return }
                try run.trainer.forEachBatch {
                    keys.append($0.dropoutKey)
                    return run.model.learn($0, scale: $1)
                }
                run.trainer.clip()
                try run.trainer.update()
                step += 1
            }
            #expect(step == last)
            return keys
        }
        let expected = (0..<26).map { DropoutKey(seed: 42, microBatch: $0) }
        #expect(try keys(eventful(folder, folder + "/out", "-x", "7"), until: 7) == Array(expected[..<14]))
        let more = eventful(folder, folder + "/out", "-x", "13", "-y", "1")
        #expect(try keys(more, until: 13) == Array(expected[14...]))
        let other = eventful(folder, folder + "/other", "-x", "1", "--seed", "7")
        #expect(try keys(other, until: 1) == [0, 1].map { DropoutKey(seed: 7, microBatch: $0) })
    }
}

@Test func `training drops, and validating doesn't`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        for rate in ["0", "0.5"] {
            try TestRun(newTiny(), eventful(folder, folder + "/out" + rate, "-x", "2", "--dropout", rate)).train()
        }
        let (plain, dropped) = (folder + "/out0", folder + "/out0.5")
        #expect(try logged("tel", in: plain)[0] == logged("tel", in: dropped)[0])
        #expect(try logged("trl", in: plain)[0] != logged("trl", in: dropped)[0])
        #expect(try logged("tel", in: plain)[2] != logged("tel", in: dropped)[2])
    }
}

/// Training steps with a sample between them: the walk over a cache shares the model's buffers with training's.
@Test func `sampling, validating and saving change nothing of what is learnt`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        let busy = try TestRun(newTiny(), eventful(folder, folder + "/busy", "-v", "1", "-s", "1", "-n", "1"))
        let idle = try TestRun(newTiny(), eventful(folder, folder + "/idle", "-v", "0", "-s", "0", "-n", "0"))
        for run in [busy, idle] { try run.train() }
        #expect(busy.model.parameters.bits == idle.model.parameters.bits)
        #expect(try logged("trl", in: folder + "/busy") == logged("trl", in: folder + "/idle"))
    }
}

// MARK: - steps that are skipped

@Test(arguments: [false, true])
func `a step that is not a number leaves the parameters, and ten in a row end the run`(inTheLoss: Bool) throws {
    try withChain { folder, _ in
        /// The steps that were told, where those in `bad` are not a number.
        func steps(_ bad: Set<Int>) throws -> (told: Int, threw: Bool) {
            let model = bigram()
            let run = try TestRun(model, quiet(folder, "-x", "25", "-l", "0.01"))
            var before = model.parameters.bits
            var told = 0
            do {
                try run.train(
                    before: { step in
                        if step > 0 { #expect((model.parameters.bits == before) == bad.contains(step - 1)) }
                        #expect(model.parameters.gradientNorm() == 0)
                        before = model.parameters.bits
                        told = step
                        model.lossFactor = inTheLoss && bad.contains(step) ? .nan : 1
                    },
                    learnt: { if !inTheLoss, bad.contains($0) { model.parameters.gradients[11] = .infinity } })
            } catch is UserError { return (told, true) }
            return (told, false)
        }
        for (bad, told, threw) in [
            (Set(5..<15), 14, true), (Set(5..<14).union(15..<24), 25, false), (Set(15..<25), 24, true),
        ] {
            let result = try steps(bad)
            #expect(result.told == told && result.threw == threw)
        }
    }
}

@Test(arguments: ["loss", "norm", "none"])
func `an outlier is skipped where that is asked for`(what: String) throws {
    try withChain { folder, _ in
        let model = bigram()
        let options = ["loss": ["-sl", "8"], "norm": ["-sg", "8"]][what] ?? []
        let run = try TestRun(model, quiet(folder, "-x", "140", "-l", "1e-4") + options)
        var before = model.parameters.bits
        var still: [Int] = []
        try run.train(
            before: { step in
                if step > 0, model.parameters.bits == before { still.append(step - 1) }
                #expect(model.parameters.gradientNorm() == 0)
                before = model.parameters.bits
                // At step 3 the window is not full yet.
                model.lossFactor = [3, 135].contains(step) && what != "norm" ? 1e4 : 1
            },
            learnt: { step in
                guard what != "loss", [3, 135].contains(step) else { return }
                for i in 0..<49 { model.parameters.gradients[i] *= 1e6 }
            })
        #expect(run.said.count { $0.hasPrefix("skipping") } == still.count)
        #expect(still == (what == "none" ? [] : [135]))
    }
}

// MARK: - what is refused

@Test func `a run goes on only where it was, on its data`() throws {
    try withTemporaryDirectory { folder in
        try makeEventfulData(folder)
        let out = folder + "/out"
        try TestRun(newTiny(), eventful(folder, out, "-x", "6")).train()
        func expectRefused(_ what: String, _ arguments: [String]) {
            expectUserError(what) {
                _ = try TestRun(newTiny(), arguments) { try readGPT2($0, trains: true) }
            }
        }
        expectRefused("a run is there", eventful(folder, out))
        expectRefused("other batches", eventful(folder, out, "-y", "1", "-b", "1"))
        expectRefused("other rows", eventful(folder, out, "-y", "1", "-t", "4"))
        expectRefused("as many tokens, otherwise", eventful(folder, out, "-y", "1", "-t", "4", "-b", "4"))
        expectRefused("fewer steps", eventful(folder, out, "-y", "1", "-x", "5"))
        expectRefused("one batch alone", eventful(folder, out, "-y", "1", "-a"))
        // The same lengths, another token.
        let good = try bytes(folder + "/train_1.bin")
        var other = good
        other[1024 + 60] ^= 1
        try write(other, to: folder + "/train_1.bin")
        expectRefused("other data", eventful(folder, out, "-y", "1"))
        try write(good, to: folder + "/train_1.bin")
        let files = try filesInside(out)
        // All steps are done: it validates, and changes nothing that is kept.
        try TestRun(newTiny(), eventful(folder, out, "-y", "1", "-x", "6")) { try readGPT2($0, trains: true) }.train()
        expectSame(try filesInside(out), files, "before")
    }
}

/// Its place in the data fits as well: there is one sample, whatever its shape.
@Test func `a run goes on with batches of the same shape only`() throws {
    try withChain(train: 30) { folder, _ in
        func run(_ B: String, _ T: String, _ more: String...) throws -> TestRun {
            try TestRun(bigram(), quiet(folder, "-b", B, "-t", T, "-x", "2", "-o", folder + "/out") + more) { path in
                let model = BigramModel(V: 7)
                try model.read(path)
                return model
            }
        }
        try run("2", "8").train()
        for (B, T) in [("3", "8"), ("1", "8"), ("2", "9"), ("1", "16")] {
            expectUserError("\(B) · \(T)") { _ = try run(B, T, "-y", "1") }
        }
        _ = try run("2", "8", "-y", "1")
    }
}

@Test func `no data, no tokenizer for answers or texts`() throws {
    try withChain { folder, _ in
        expectUserError("no shards") { _ = try TestRun(bigram(), ["-i", folder + "/none_*.bin"]) }
        expectUserError("no validation shards") {
            _ = try TestRun(bigram(), quiet(folder) + ["-v", "1", "-j", folder + "/none_*.bin"])
        }
        for lossOn in ["answer", "text"] {
            expectUserError("no tokenizer") { _ = try TestRun(bigram(), quiet(folder, "--loss-on", lossOn)) }
        }
        expectUserError("rows too long") { _ = try TestRun(bigram(), quiet(folder, "-t", "33")) }
        expectUserError("a token too many") { _ = try TestRun(bigram(V: 6), quiet(folder, "-x", "1")) }
        expectUserError("no whole passes") { _ = try TestRun(bigram(), quiet(folder, "-d", "30")) }
        expectUserError("less than a step") { _ = try TestRun(bigram(), quiet(folder, "-d", "420")) }
    }
}
