// What people who train for nights rely on: whatever happens to the disk, the files or the run, the last good checkpoint
// is there, the run goes on from it, and nothing goes wrong without a word.

import Foundation
import LLM
import Synchronization
import Testing

private func bigram() -> BigramModel {
    let model = BigramModel(V: 7)
    model.parameters.initialize(seed: 3)
    return model
}

private func readBigram(_ path: String) throws -> any Pupil {
    let model = BigramModel(V: 7)
    try model.read(path)
    return model
}

/// A folder with shards, and a run of six steps: checkpoints at 2, 4 and 6, of which two are kept.
private func withShards(_ body: (_ folder: String, _ arguments: (_ out: String) -> [String]) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        try writeShard(randomTokens(401, below: 7, seed: 1), to: folder + "/train_0.bin")
        try writeShard(randomTokens(101, below: 7, seed: 2), to: folder + "/val_0.bin")
        try body(folder) { out in
            [
                "-i", folder + "/train_*.bin", "-b", "2", "-t", "10", "-d", "60", "-v", "2", "-m", "2", "-s", "0", "-x",
                "6", "-n", "2", "-nk", "2", "-l", "0.05", "-u", "2", "-q", "0.1", "-o", folder + "/" + out,
            ]
        }
    }
}

/// Trains a run to its end, from its last checkpoint if it has one.
private func finish(_ arguments: [String]) throws {
    try TestRun(bigram(), arguments + ["-y", "1"], resume: readBigram).train()
}

/// The files of a run that nothing interrupts.
private func whole(_ folder: String, _ arguments: (String) -> [String]) throws -> [String: [UInt8]] {
    try finish(arguments("whole"))
    return try filesInside(folder + "/whole")
}

// MARK: - the disk

/// Each call to the system fails in turn, once or from there on. The run is told of it, and goes on to its last step.
@Test(arguments: [false, true])
func `whichever call to the disk fails, the run can be resumed to the same bytes`(lasts: Bool) throws {
    try withShards { folder, arguments in
        let expected = try whole(folder, arguments)
        let counter = FaultInjector()
        try counter { try finish(arguments("counted")) }
        #expect(counter.count > 100)
        for place in 0..<counter.count {
            let out = "out\(place)"
            let codes = [ENOSPC, EIO, EROFS]
            var (warned, reached) = (false, 6)
            do {
                try FaultInjector(.error(codes[place % codes.count]), at: place, lasts: lasts)({
                    let run = try TestRun(bigram(), arguments(out) + ["-y", "1"], resume: readBigram)
                    defer { warned = run.said.contains { $0.hasPrefix("warning: cannot ") } }
                    try run.train(before: { reached = $0 })
                })
            } catch let error as UserError {
                #expect(error.message.hasPrefix("cannot ") && !error.hint.isEmpty, "\(error)")
                warned = true
            }
            #expect(reached == 6, "call \(place)")
            if lasts { #expect(warned, "call \(place)") }
            try FaultInjector()({ try finish(arguments(out)) })
            var files = try filesInside(folder + "/" + out)
            if !lasts {
                // What failed once may have been the best model, or an earlier checkpoint, or its removal.
                for name in expected.keys where !["model_00000006.bin", "main.log"].contains(name) {
                    files[name] = expected[name]
                }
                files = files.filter { expected[$0.key] != nil }
            }
            expectSame(files, expected, "call \(place)")
            try FileManager.default.removeItem(atPath: folder + "/" + out)
        }
    }
}

@Test func `a save that fails is tried again, and only the last one's failure ends in an error`() throws {
    try withShards { folder, arguments in
        for (bad, throwsAtTheEnd) in [(2, false), (6, true)] {
            let out = folder + "/out\(bad)"
            let isFull = Mutex(false)
            let disk = FileCalls.FaultyDisk { call, path in
                call == .write && path.contains("/state_") && isFull.withLock { $0 } ? .error(ENOSPC) : nil
            }
            try FileCalls.$disk.withValue(disk) {
                let run = try TestRun(bigram(), arguments("out\(bad)"))
                func train() throws { try run.train(before: { step in isFull.withLock { $0 = step == bad } }) }
                if throwsAtTheEnd {
                    #expect { try train() } throws: { ($0 as? UserError)?.exitCode == 1 }
                } else {
                    try train()
                }
                #expect(run.said.count { $0.contains("No space left") && $0.contains("step \(bad) ") } == 1)
            }
            #expect(CheckpointDirectory(out).steps() == (bad == 2 ? [4, 6] : [2, 4]))
            #expect(try logged("trl", in: out).count == 6)
        }
    }
}

@Test func `lines of the log wait for a disk that takes them`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/main.log"
        let isFull = Mutex(false)
        let calls = Mutex(0)
        // Seven bytes at a time, and when it is full, seven more.
        let disk = FileCalls.FaultyDisk { call, _ in
            guard call == .write else { return nil }
            let isEven = calls.withLock { count in
                count += 1
                return count % 2 == 0
            }
            return isFull.withLock { $0 } && isEven ? .error(ENOSPC) : .short(7)
        }
        try FileCalls.$disk.withValue(disk) {
            let log = try RunLog(path: path, resumingAt: nil)
            for step in 0..<6 {
                isFull.withLock { $0 = (2..<5).contains(step) }
                let error = log.training(step: step, loss: 1, learningRate: 1, norm: 1)
                #expect((error != nil) == (step == 2))
            }
            try log.synchronize()
        }
        let line = "trl:1.0000 lr:1.000000 norm:1.00\n"
        #expect(
            try String(contentsOfFile: path, encoding: .utf8) == (0..<6).map { "s:\($0) \(line)" }.joined())
    }
}

/// What goes on is the old run, or a new one, and not what is left of the old.
@Test func `starting over removes all of the old run or nothing, wherever it dies`() throws {
    try withShards { folder, arguments in
        let other = ["-l", "0.01"]
        try finish(arguments("old"))
        try finish(arguments("new") + other)
        let old = try filesInside(folder + "/old")
        let new = try filesInside(folder + "/new")
        #expect(old != new)
        var (olds, news) = (0, 0)
        for place in 0..<40 {
            let out = "out\(place)"
            try FileManager.default.copyItem(atPath: folder + "/old", toPath: "\(folder)/\(out)")
            #expect(throws: (any Error).self) {
                try FaultInjector(.error(EIO), at: place, lasts: true)({
                    try TestRun(bigram(), arguments(out) + other + ["-y", "0"])
                        .train(before: { if $0 == 1 { throw Killed() } })
                })
            }
            try FaultInjector()({ try finish(arguments(out) + other) })
            let files = try filesInside("\(folder)/\(out)")
            if files["model_00000006.bin"] == old["model_00000006.bin"] { olds += 1 } else { news += 1 }
            if files["model_00000006.bin"] != old["model_00000006.bin"] { expectSame(files, new, "call \(place)") }
            try FileManager.default.removeItem(atPath: "\(folder)/\(out)")
        }
        #expect(olds > 5 && news > 5)
    }
}

/// Else a power cut could leave a checkpoint and lose lines of the log from before it, which no resumed run writes again.
@Test func `the log's lines are on the disk before the checkpoint that follows them`() throws {
    try withShards { folder, arguments in
        let calls = Mutex<[(FileCalls.Call, String)]>([])
        let disk = FileCalls.FaultyDisk { call, path in
            calls.withLock { $0.append((call, path)) }
            return nil
        }
        try FileCalls.$disk.withValue(disk) { try finish(arguments("out")) }
        let all = calls.withLock { $0 }
        let checkpoints = all.indices.filter { all[$0].0 == .rename && all[$0].1.contains("/DONE_") }
        #expect(checkpoints.count == 3)
        for place in checkpoints {
            let ofLog = all[..<place].filter { $0.1.hasSuffix("/main.log") }.map(\.0)
            #expect(ofLog.last == .synchronize && ofLog.contains(.write))
        }
    }
}

// MARK: - damaged checkpoints

@Test func `a damaged checkpoint is passed over, and nothing is removed`() throws {
    try withTemporaryDirectory { folder in
        try makeData(folder)
        func arguments(_ out: String) -> [String] {
            [
                "-i", folder + "/train_*.bin", "-b", "2", "-t", "8", "-x", "6", "-n", "1", "-v", "0", "-s", "0", "-o",
                folder + "/" + out, "-y", "1",
            ]
        }
        func run(_ out: String, _ more: String...) throws -> TestRun {
            let new = GPT2(tiny, trains: true)
            new.parameters.initialize(seed: 1)
            return try TestRun(new, arguments(out) + more) { try readGPT2($0, trains: true) }
        }
        try run("whole").train()
        let out = folder + "/whole"
        let expected = try filesInside(out)
        let checkpoints = CheckpointDirectory(out)
        let size = try bytes(checkpoints.modelPath(6)).count
        let damages: [(String, (inout [UInt8]) -> Void)] = [
            ("a bit of a moment", { $0[1024 + 40] ^= 1 }), ("the sign of v", { $0[1024 + size] ^= 0x80 }),
            ("the last byte", { $0[$0.count - 1] ^= 16 }), ("the header", { $0[4 * 200] = 1 }),
            ("cut off", { $0.removeLast() }), ("empty", { $0 = [] }),
            ("a zeroed page", { for i in 1024..<min(5120, $0.count) { $0[i] = 0 } }),
        ]
        for (what, damage) in damages {
            for path in [checkpoints.statePath(6), checkpoints.modelPath(6)] {
                var file = try bytes(path)
                if what == "the sign of v", path == checkpoints.modelPath(6) { continue }
                damage(&file)
                try write(file, to: path)
                var before = try filesInside(out)
                #expect(try run("whole").step == 5, "\(what)")
                before["main.log"] = try bytes(out + "/main.log")  // goes back to step 5
                expectSame(try filesInside(out), before, what)
                try run("whole").train()
                expectSame(try filesInside(out), expected, what)
            }
        }
        // All of them: an error, and still nothing is removed.
        for step in 1...6 { try write([1, 2, 3], to: checkpoints.statePath(step)) }
        let before = try filesInside(out)
        expectUserError("nothing is whole") { _ = try run("whole") }
        expectSame(try filesInside(out), before, "before")
    }
}

/// A file without a checksum, as llm.c writes it, is looked at all the same.
@Test func `moments that are no moments are refused`() throws {
    for (what, put) in [
        ("NaN in m", { $0.m[5] = .nan }), ("infinite m", { $0.m[5] = .infinity }), ("NaN in v", { $0.v[5] = .nan }),
        ("infinite v", { $0.v[5] = .infinity }), ("negative v", { $0.v[5] = -1e-30 }),
    ] as [(String, (Parameters) -> Void)] {
        try withTemporaryDirectory { folder in
            try makeData(folder)
            let run = try Run(data: folder)
            put(run.model.parameters)
            #expect(!run.model.parameters.momentsAreSound)
            let checkpoints = CheckpointDirectory(folder)
            try checkpoints.write(run.model, run.state)
            for hasChecksum in [true, false] {
                if !hasChecksum {
                    var file = try bytes(checkpoints.statePath(0))
                    replace(&file, at: 4 * 46, with: 0)
                    try write(file, to: checkpoints.statePath(0))
                }
                expectUserError(what) {
                    _ = try checkpoints.readState(0, into: GPT2(tiny, trains: true).parameters)
                }
            }
        }
    }
}

// MARK: - models that are no longer finite

@Test func `a diverging run keeps its last healthy checkpoint, and names it`() throws {
    try withTemporaryDirectory { folder in
        try makeData(folder)
        for keep in ["1", "3"] {
            let out = folder + "/out" + keep
            let model = GPT2(tiny, trains: true)
            model.parameters.initialize(seed: 1)
            let run = try TestRun(
                model,
                [
                    "-i", folder + "/train_*.bin", "-j", folder + "/train_0.bin", "-b", "2", "-t", "8", "-x", "60",
                    "-n",
                    "1", "-nk", keep, "-v", "1", "-s", "0", "-l", "1e9", "-u", "3", "-o", out,
                ])
            var hint = ""
            do { try run.train() } catch let error as UserError { hint = error.hint }
            let steps = CheckpointDirectory(out).steps()
            let last = try #require(steps.last)
            #expect(hint.contains("step \(last) ") && hint.contains("-y 1"), "\(hint)")
            for path in steps.map({ CheckpointDirectory(out).modelPath($0) }) + [out + "/model_best.bin"]
            where fileExists(path) {
                let kept = try readGPT2(path, trains: false)
                #expect(kept.loss([1, 2, 3], [2, 3, 4], B: 1, T: 3).isFinite)
            }
        }
    }
}

@Test func `a model that is not finite is never a checkpoint, nor the best`() throws {
    try withShards { folder, arguments in
        for (what, put) in [
            ("a weight", { $0.values[48] = .nan }), ("m", { $0.m[3] = .infinity }), ("v", { $0.v[3] = -1 }),
        ] as [(String, (Parameters) -> Void)] {
            let out = what.replacingOccurrences(of: " ", with: "-")
            // The last row is of a token that the validation data does not have: its losses are numbers still.
            try writeShard(randomTokens(101, below: 6, seed: 2), to: folder + "/val_0.bin")
            try writeShard(randomTokens(401, below: 6, seed: 2), to: folder + "/train_0.bin")
            let run = try TestRun(bigram(), arguments(out))
            #expect { try run.train(before: { if $0 == 4 { put(run.model.parameters) } }) } throws: {
                ($0 as? UserError)?.exitCode == 1
            }
            #expect(CheckpointDirectory(folder + "/" + out).steps() == [2], "\(what)")
            if what == "a weight" {
                #expect(try readBigram(folder + "/\(out)/model_best.bin").parameters.areFinite)
            }
        }
    }
}

// MARK: - a run that is stopped

/// A stop is seen before each micro-batch of each step, and between the batches of validation.
@Test func `a run stopped anywhere and resumed ends in the same bytes`() throws {
    try withShards { folder, all in
        func arguments(_ out: String) -> [String] { all(out) + ["-nk", "0"] }
        let expected = try whole(folder, arguments)
        var place = 0
        while true {
            var (asked, stoppedAt) = (0, "")
            let out = "out\(place)"
            do {
                try FaultInjector()({
                    try TestRun(bigram(), arguments(out), resume: readBigram).train(until: {
                        asked += 1
                        return asked > place
                    })
                })
            } catch let error as UserError {
                #expect(error.exitCode == 130 && error.message.hasPrefix("stopped before step "))
                stoppedAt = "state_0000000\((Int(error.message.suffix(1)) ?? 0) - 1)_00000.bin"
            }
            guard stoppedAt != "" else { break }
            // What was learnt so far is kept.
            #expect(stoppedAt.hasPrefix("state_00000000") || fileExists("\(folder)/\(out)/\(stoppedAt)"))
            try FaultInjector()({ try finish(arguments(out)) })
            // Where it stopped there may be one checkpoint more, or one without a best model: it is measured again.
            var files = try filesInside(folder + "/" + out).filter { expected[$0.key] != nil }
            files[stoppedAt] = expected[stoppedAt]
            expectSame(files, expected, "\(place)")
            place += 1
        }
        // Seven checks of what comes before a step's batches, three batches in each of six, two in each of four
        // validations.
        #expect(place == 6 + 6 * 3 + 4 * 2)
    }
}

/// What would stop the new run later is found before the old one goes.
@Test func `starting over removes nothing if the new run cannot begin`() throws {
    try withShards { folder, arguments in
        try finish(arguments("out"))
        let files = try filesInside(folder + "/out")
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        var tokens = randomTokens(101, below: 7, seed: 2)
        tokens[100] = 7
        try writeShard(tokens, to: folder + "/bad_0.bin")
        for more in [
            ["--loss-on", "answer", "--answer-mark", "="], ["-i", folder + "/bad_0.bin"],
            ["-j", folder + "/bad_0.bin"],
            ["-b", "100"], ["-d", "61"],
        ] {
            for dry in [[], ["--dry-run"]] {
                expectUserError("\(more)") {
                    _ = try TestRun(bigram(), arguments("out") + ["-y", "0"] + more + dry, tokenizer: tokenizer)
                }
                expectSame(try filesInside(folder + "/out"), files, "\(more)")
            }
        }
    }
}

/// Copies that leave out empty files, for one.
@Test func `what is left of a run is not taken for an empty folder`() throws {
    try withShards { folder, arguments in
        try finish(arguments("out"))
        let out = folder + "/out"
        for step in [4, 6] { unlink(CheckpointDirectory(out).donePath(step)) }
        let files = try filesInside(out)
        for resume in [[], ["-y", "1"]] {
            expectUserError("no DONE") { _ = try TestRun(bigram(), arguments("out") + resume, resume: readBigram) }
            expectSame(try filesInside(out), files, "\(resume)")
        }
        try TestRun(bigram(), arguments("out") + ["-y", "0"]).train()
        try finish(arguments("whole"))
        expectSame(try filesInside(out), try filesInside(folder + "/whole"), "over")
    }
}

@Test func `shards know their tokenizer`() throws {
    try withTemporaryDirectory { folder in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        try write(Array("the end of a text\n\nand of one more".utf8), to: folder + "/text")
        let writer = CorpusWriter(tokenizer: tokenizer, mode: .blank)
        _ = try writer.write(openTexts([folder + "/text"]), fraction: 0, seed: 1, to: folder)
        let loader = try DataLoader(
            pattern: folder + "/train_*.bin", B: 1, T: 4, vocabularySize: 700, shuffleSeed: nil)
        try loader.check(madeWith: tokenizer)
        try loader.check(madeWith: tokenizer.adding([Array("more".utf8)]))
        let other = try Tokenizer(path: fixture("tokenizer_prefix.json"))
        expectUserError("another") { try loader.check(madeWith: other) }
        // llm.c's shards do not say.
        try writeShard(randomTokens(100, below: 7, seed: 1), to: folder + "/train_000000.bin")
        try DataLoader(pattern: folder + "/train_*.bin", B: 1, T: 4, vocabularySize: 700, shuffleSeed: nil)
            .check(madeWith: other)
    }
}

/// More micro-batches than there is memory or time for: they are read one at a time.
@Test func `a step of any size can be stopped`() throws {
    try withShards { folder, arguments in
        for more in [[], ["--loss-on", "answer", "--answer-mark", "="]] {
            // Each token now and then is the mark.
            let mark = try #require(
                try Tokenizer(path: fixture("tokenizer_600.json")).encode(Array("=".utf8)).first)
            try writeShard(
                randomTokens(401, below: 7, seed: 1).map { $0 == 6 ? mark : $0 }, to: folder + "/train_0.bin")
            let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
            let model = BigramModel(V: 600)
            model.parameters.initialize(seed: 1)
            let run = try TestRun(
                model,
                ["-i", folder + "/train_*.bin", "-b", "1", "-t", "7", "-d", "9223372036854775807", "-x", "1"]
                    + ["-v", "0", "-s", "0"] + more, tokenizer: tokenizer)
            var asked = 0
            #expect {
                try run.train(until: {
                    asked += 1; return asked > 100
                })
            } throws: {
                ($0 as? UserError)?.exitCode == 130
            }
        }
        _ = arguments
    }
}

// MARK: - shards

/// Many shards and the tokenizer's files, written over a longer corpus: after a death at any call, whoever reads them
/// next finds all of one corpus.
@Test func `shards are of one corpus, wherever their writer dies`() throws {
    try withTemporaryDirectory { folder in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        var writer = CorpusWriter(tokenizer: tokenizer, mode: .line)
        writer.tokensPerShard = 40
        func write(_ lines: Int, _ seed: UInt64, to out: String) throws {
            let text = "\(folder)/text"
            let letters = randomTokens(lines * 20, below: 26, seed: seed).enumerated().map { i, letter in
                i % 20 == 19 ? UInt8(10) : UInt8(97 + letter)
            }
            try LLMTests.write(letters, to: text)
            _ = try writer.write(
                openTexts([text]), fraction: 0.2, seed: 1, to: out)
        }
        /// The files as one of the corpus's readers finds them.
        func corpus(_ out: String, reader: Int = 0) throws -> [String: [UInt8]] {
            switch reader % 4 {
            case 0: _ = try Tokenizer(directory: out)
            case 1: _ = try Tokenizer(path: out + "/tokenizer.json")
            case 2: _ = try trainingSettings(["-i", out + "/train_*.bin"]).findTokenizer()
            default:
                _ = try DataLoader(
                    pattern: out + "/train_*.bin", B: 1, T: 8, vocabularySize: 600, shuffleSeed: nil)
            }
            return try filesInside(out).filter { !$0.key.hasSuffix(".tmp") }
        }
        try write(30, 1, to: folder + "/old")
        let counter = FaultInjector()
        try counter { try write(12, 2, to: folder + "/new") }
        let (old, new) = (try corpus(folder + "/old"), try corpus(folder + "/new"))
        #expect(old.count > new.count && new.count > 8)
        var (olds, news) = (0, 0)
        for place in 0..<counter.count + 10 {
            let out = "\(folder)/out\(place)"
            try FileManager.default.copyItem(atPath: folder + "/old", toPath: out)
            do {
                try FaultInjector(.error(EIO), at: place, lasts: true)({ try write(12, 2, to: out) })
                break
            } catch is UserError {}
            let files = try corpus(out, reader: place)
            if files == old { olds += 1 } else { news += 1 }
            if files != old { expectSame(files, new, "call \(place)") }
        }
        #expect(olds > 20 && news > 10)
    }
}

// MARK: - two runs, other settings, other data

@Test func `a second run in the folder is refused, and leaves the first alone`() throws {
    try withShards { folder, arguments in
        let expected = try whole(folder, arguments)
        let run = try TestRun(bigram(), arguments("out"))
        try run.train(before: { step in
            for resume in ["0", "1"] {
                #expect { _ = try TestRun(bigram(), arguments("out") + ["-y", resume], resume: readBigram) } throws: {
                    ($0 as? UserError)?.message.contains("process \(getpid())") == true
                }
            }
            try write([1], to: "\(folder)/out/model_00000099.bin.\(getpid()).tmp")
        })
        unlink("\(folder)/out/model_00000099.bin.\(getpid()).tmp")
        expectSame(try filesInside(folder + "/out"), expected, "whole")
    }
}

@Test func `a run continues with its own settings`() throws {
    try withShards { folder, arguments in
        let expected = try whole(folder, arguments)
        #expect(throws: Killed.self) {
            try TestRun(bigram(), arguments("out")).train(before: { if $0 == 3 { throw Killed() } })
        }
        try TestRun(bigram(), ["-o", folder + "/out", "-y", "1", "--threads", "1"], resume: readBigram).train()
        expectSame(try filesInside(folder + "/out"), expected, "whole")
        // More epochs than the steps of the first start had.
        let more = try TestRun(bigram(), ["-o", folder + "/out", "-y", "1", "--epochs", "3"], resume: readBigram)
        #expect(more.trainer.steps == 20 * 3 * 20 / 60)
    }
}

@Test func `kept options are completed, and changes are named`() throws {
    let first = try trainingOptions(["-l", "2e-3", "-o", "there", "-y", "0", "--threads", "2", "--answer-mark", "="])
    let kept = TrainingSettings(first).kept
    #expect(kept["learning-rate"] == "2e-3" && kept["answer-mark"] == "=" && kept["batch-size"] == "4")
    #expect(["output", "resume", "threads", "dry-run", "train-data", "tokenizer"].allSatisfy { kept[$0] == nil })
    let second = try trainingOptions(["-l", "0.002", "-q", "0.5", "-b", "4", "--best-by", "accuracy"])
    let changes = second.changes(from: kept).map { "\($0.name): \($0.was) → \($0.now)" }
    #expect(changes == ["best-by: loss → accuracy", "final-lr-fraction: 1.0 → 0.5"])
    let settings = TrainingSettings(try second.completed(from: kept))
    #expect(settings.learningRate == 0.002 && settings.finalFraction == 0.5 && settings.answerMark == nil)
    // What a file says is checked like a command line, and what is no longer an option is nothing.
    expectUserError("no number") { _ = try second.completed(from: ["warmup": "soon"]) }
    _ = try second.completed(from: ["no-longer-there": "1"])
}

/// The last token of the last shard, far from its beginning.
@Test func `shards that changed anywhere are noticed`() throws {
    try withTemporaryDirectory { folder in
        let tokens = randomTokens(20_000, below: 7, seed: 1)
        try writeShard(tokens, to: folder + "/train_0.bin")
        func run(_ more: String...) throws -> TestRun {
            try TestRun(
                bigram(),
                ["-i", folder + "/train_*.bin", "-b", "2", "-t", "10", "-v", "0", "-s", "0", "-x", "2"]
                    + ["-o", folder + "/out"] + more, resume: readBigram)
        }
        try run().train()
        for place in [0, 4096, 10_000, 19_999] {
            var other = tokens
            other[place] = (other[place] + 1) % 7
            try writeShard(other, to: folder + "/train_0.bin")
            #expect { _ = try run("-y", "1") } throws: {
                ($0 as? UserError)?.message.contains("other data") == true
            }
        }
        try writeShard(tokens, to: folder + "/train_0.bin")
        _ = try run("-y", "1")
    }
}

@Test func `a dry run checks everything and writes nothing`() throws {
    try withShards { folder, arguments in
        let before = names(in: folder)
        let run = try TestRun(bigram(), arguments("out") + ["--dry-run"])
        run.trainer.introduce("a model")
        #expect(names(in: folder) == before)
        try finish(arguments("out"))
        let files = try filesInside(folder + "/out")
        _ = try TestRun(bigram(), arguments("out") + ["--dry-run", "-y", "0"])
        expectSame(try filesInside(folder + "/out"), files, "before")
        expectUserError("no data") {
            _ = try TestRun(bigram(), arguments("out") + ["--dry-run", "-y", "0", "-i", folder + "/none_*.bin"])
        }
    }
}
