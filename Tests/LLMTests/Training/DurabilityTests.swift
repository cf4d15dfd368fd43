// What people who train for nights rely on: whatever happens to the disk, the files or the run, the last good checkpoint
// is there, the run goes on from it, and nothing goes wrong without a word.

import Foundation
import LLM
import Synchronization
import Testing

private typealias Layout = CheckpointDirectory.Layout

private func bigram(_ layout: Layout = .files) -> BigramModel {
    let model = BigramModel(V: 7, layout)
    model.parameters.initialize(seed: 3)
    return model
}

private func readBigram(_ layout: Layout) -> (_ path: String) throws -> any Pupil {
    { path in
        let model = BigramModel(V: 7, layout)
        try model.read(path)
        return model
    }
}

private func readBigram(_ path: String) throws -> any Pupil { try readBigram(.files)(path) }

/// A folder with shards, on a disk that nobody waits for, and a run of six steps: checkpoints at 2, 4 and 6, of which two
/// are kept.
private func withShards(_ body: (_ folder: String, _ arguments: (_ out: String) -> [String]) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        try writeShard(randomTokens(401, below: 7, seed: 1), to: folder + "/train_0.bin")
        try writeShard(randomTokens(101, below: 7, seed: 2), to: folder + "/val_0.bin")
        func arguments(_ out: String) -> [String] {
            [
                "-i", folder + "/train_*.bin", "-b", "2", "-t", "10", "-d", "60", "-v", "2", "-m", "2", "-s", "0", "-x",
                "6", "-n", "2", "-nk", "2", "-l", "0.05", "-u", "2", "-q", "0.1", "-o", folder + "/" + out,
            ]
        }
        try FaultInjector()({ try body(folder, arguments) })
    }
}

/// Trains a run to its end, from its last checkpoint if it has one.
/// - Parameter before: is given a step before anything happens at it.
private func finish(_ arguments: [String], _ layout: Layout = .files, before: (Int) throws -> Void = { _ in }) throws {
    try TestRun(bigram(layout), arguments + ["-y", "1"], layout, resume: readBigram(layout)).train(before: before)
}

/// The files of a run that nothing interrupts.
private func whole(
    _ folder: String, _ arguments: (String) -> [String], _ layout: Layout = .files
) throws -> [String: [UInt8]] {
    try finish(arguments("whole"), layout)
    return try filesInside(folder + "/whole")
}

extension CheckpointDirectory {
    /// The bytes of a checkpoint's files, by name.
    fileprivate func files(ofStep step: Int) throws -> [String: [UInt8]] {
        guard layout == .files else { return try filesInside(modelPath(step)) }
        return ["model.bin": try bytes(modelPath(step)), "state.bin": try bytes(statePath(step))]
    }

    /// A file's name as `filesInside` has it.
    fileprivate func name(of path: String) -> String { String(path.dropFirst(self.path.count + 1)) }

    /// Where damage to a checkpoint's weights can be done.
    fileprivate func weightsPath(_ step: Int) -> String {
        layout == .files ? modelPath(step) : "\(modelPath(step))/model.safetensors"
    }
}

// MARK: - the disk

/// Each call to the system fails in turn, once or from there on. The run is told of it, and goes on to its last step. What
/// is there in between is whole, and no older than what was there before.
@Test(arguments: CheckpointDirectory.Layout.allCases, [false, true])
func `whichever call to the disk fails, the run can be resumed to the same bytes`(
    layout: CheckpointDirectory.Layout, lasts: Bool
) throws {
    try withShards { folder, arguments in
        var checkpoints: [Int: [String: [UInt8]]] = [:]
        let unharmed = CheckpointDirectory(folder + "/whole", layout)
        func collect() throws {
            for step in unharmed.steps() { checkpoints[step] = try unharmed.files(ofStep: step) }
        }
        try finish(arguments("whole"), layout) { _ in try collect() }
        try collect()
        #expect(checkpoints.keys.sorted() == [2, 4, 6])
        let expected = try filesInside(folder + "/whole")
        let counter = FaultInjector()
        try counter { try finish(arguments("counted"), layout) }
        #expect(counter.count > 100)
        for place in 0..<counter.count {
            let out = "out\(place)"
            let directory = CheckpointDirectory("\(folder)/\(out)", layout)
            let codes = [ENOSPC, EIO, EROFS]
            var (warned, reached, newest) = (false, 6, 0)
            do {
                try FaultInjector(.error(codes[place % codes.count]), at: place, lasts: lasts)({
                    let run = try TestRun(
                        bigram(layout), arguments(out) + ["-y", "1"], layout, resume: readBigram(layout))
                    defer { warned = run.said.contains { $0.hasPrefix("warning: cannot ") } }
                    try run.train(before: {
                        reached = $0
                        newest = max(newest, directory.steps().last ?? 0)
                    })
                })
            } catch let error as UserError {
                #expect(error.message.hasPrefix("cannot ") && !error.hint.isEmpty, "\(error)")
                warned = true
            }
            #expect(reached == 6, "call \(place)")
            if lasts { #expect(warned, "call \(place)") }
            let steps = directory.steps()
            #expect(steps.last ?? 0 >= newest, "call \(place)")
            for step in steps {
                var files = try directory.files(ofStep: step)
                // Where the best model failed, the state knows.
                if !lasts { files["state.bin"] = checkpoints[step]?["state.bin"] }
                #expect(files == checkpoints[step], "call \(place)")
            }
            try FaultInjector()({ try finish(arguments(out), layout) })
            var files = try filesInside(directory.path)
            if !lasts {
                // What failed once may have been the best model, or an earlier checkpoint, or its removal.
                let weights = directory.name(of: directory.weightsPath(6))
                for name in expected.keys where ![weights, "main.log"].contains(name) { files[name] = expected[name] }
                files = files.filter { expected[$0.key] != nil }
            }
            expectSame(files, expected, "call \(place)")
            try FileManager.default.removeItem(atPath: directory.path)
        }
    }
}

@Test(arguments: CheckpointDirectory.Layout.allCases)
func `a save that fails is tried again, and only the last one's failure ends in an error`(
    layout: CheckpointDirectory.Layout
) throws {
    try withShards { folder, arguments in
        for (bad, throwsAtTheEnd) in [(2, false), (6, true)] {
            let out = folder + "/out\(bad)"
            let isFull = Mutex(false)
            let disk = FileCalls.FaultyDisk { call, path in
                call == .write && path.contains("/state") && isFull.withLock { $0 } ? .error(ENOSPC) : nil
            }
            try FileCalls.$disk.withValue(disk) {
                let run = try TestRun(bigram(layout), arguments("out\(bad)"), layout)
                func train() throws { try run.train(before: { step in isFull.withLock { $0 = step == bad } }) }
                if throwsAtTheEnd {
                    #expect { try train() } throws: { ($0 as? UserError)?.exitCode == 1 }
                } else {
                    try train()
                }
                #expect(run.said.count { $0.contains("No space left") && $0.contains("step \(bad) ") } == 1)
                let lastWritten = CheckpointDirectory(out, layout).modelPath(bad == 2 ? 6 : 4)
                #expect(run.said.contains("wrote \(lastWritten)"))
            }
            #expect(CheckpointDirectory(out, layout).steps() == (bad == 2 ? [4, 6] : [2, 4]))
            #expect(!names(in: out).contains { $0.contains("tmp") })
            #expect(try logged("trl", in: out).count == 6)
        }
    }
}

/// A damaged checkpoint counts as one of those to keep. If the step cannot be written again, the whole one before it must
/// stay.
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `no checkpoint is removed for one that could not be written`(layout: CheckpointDirectory.Layout) throws {
    try withShards { folder, arguments in
        try finish(arguments("out"), layout)
        let checkpoints = CheckpointDirectory(folder + "/out", layout)
        try write([1, 2, 3], to: checkpoints.statePath(6))
        let disk = FileCalls.FaultyDisk { call, path in
            call == .write && path.contains("/state") ? .error(ENOSPC) : nil
        }
        FileCalls.$disk.withValue(disk) {
            expectUserError("a full disk") { try finish(arguments("out") + ["-nk", "1"], layout) }
        }
        #expect(checkpoints.steps() == [4, 6])
        func resumed() throws -> (step: Int, said: [String]) {
            let run = try TestRun(bigram(layout), arguments("out") + ["-y", "1"], layout, resume: readBigram(layout))
            let step = run.step
            try run.train()
            return (step, run.said)
        }
        #expect(try resumed().step == 4)
        expectSame(try filesInside(folder + "/out"), try whole(folder, arguments, layout), "whole")
        // There is nothing left to do, and nothing that it says it has written.
        let again = try resumed()
        #expect(again.step == 6 && !again.said.contains { $0.hasPrefix("wrote ") })
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
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `starting over removes all of the old run or nothing, wherever it dies`(
    layout: CheckpointDirectory.Layout
) throws {
    try withShards { folder, arguments in
        let other = ["-l", "0.01"]
        try finish(arguments("old"), layout)
        try finish(arguments("new") + other, layout)
        let old = try filesInside(folder + "/old")
        let new = try filesInside(folder + "/new")
        #expect(old != new)
        var (olds, news) = (0, 0)
        for place in 0..<40 {
            let out = "out\(place)"
            let checkpoints = CheckpointDirectory("\(folder)/\(out)", layout)
            try FileManager.default.copyItem(atPath: folder + "/old", toPath: checkpoints.path)
            #expect(throws: (any Error).self) {
                try FaultInjector(.error(EIO), at: place, lasts: true)({
                    try TestRun(bigram(layout), arguments(out) + other + ["-y", "0"], layout)
                        .train(before: { if $0 == 1 { throw Killed() } })
                })
            }
            try FaultInjector()({ try finish(arguments(out) + other, layout) })
            let files = try filesInside(checkpoints.path)
            let weights = checkpoints.name(of: checkpoints.weightsPath(6))
            let isOld = files[weights] == old[weights]
            if isOld { olds += 1 } else { news += 1 }
            if !isOld { expectSame(files, new, "call \(place)") }
            try FileManager.default.removeItem(atPath: checkpoints.path)
        }
        #expect(olds > 5 && news > 5)
    }
}

/// Else a power cut could leave a checkpoint and lose lines of the log from before it, which no resumed run writes again.
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `the log's lines are on the disk before the checkpoint that follows them`(
    layout: CheckpointDirectory.Layout
) throws {
    try withShards { folder, arguments in
        let calls = Mutex<[(FileCalls.Call, String)]>([])
        let disk = FileCalls.FaultyDisk { call, path in
            calls.withLock { $0.append((call, path)) }
            return nil
        }
        try FileCalls.$disk.withValue(disk) { try finish(arguments("out"), layout) }
        let all = calls.withLock { $0 }
        let checkpoints = all.indices.filter {
            all[$0].0 == .rename && all[$0].1.contains(layout == .files ? /\/DONE_/ : /\/checkpoint-\d$/)
        }
        #expect(checkpoints.count == 3)
        for place in checkpoints {
            let ofLog = all[..<place].filter { $0.1.hasSuffix("/main.log") }.map(\.0)
            #expect(ofLog.last == .synchronize && ofLog.contains(.write))
        }
    }
}

// MARK: - damaged checkpoints

@Test(arguments: CheckpointDirectory.Layout.allCases)
func `a damaged checkpoint is passed over, and nothing is removed`(layout: CheckpointDirectory.Layout) throws {
    try withTemporaryDirectory { folder in
        try makeData(folder)
        func arguments(_ out: String) -> [String] {
            [
                "-i", folder + "/train_*.bin", "-b", "2", "-t", "8", "-x", "6", "-n", "1", "-v", "0", "-s", "0", "-o",
                folder + "/" + out, "-y", "1",
            ]
        }
        func run(_ out: String) throws -> TestRun {
            let new: any Pupil = layout == .files ? GPT2(tiny, trains: true) : Phi(tinyPhi, trains: true)
            new.parameters.initialize(seed: 1)
            return try TestRun(new, arguments(out), layout) {
                layout == .files ? try readGPT2($0, trains: true) : try readPhi($0, trains: true) as any Pupil
            }
        }
        try run("whole").train()
        let out = folder + "/whole"
        let expected = try filesInside(out)
        let checkpoints = CheckpointDirectory(out, layout)
        func expectPassedOver(_ what: String) throws {
            var before = try filesInside(out)
            #expect(try run("whole").step == 5, "\(what)")
            before["main.log"] = try bytes(out + "/main.log")  // goes back to step 5
            expectSame(try filesInside(out), before, what)
            try FaultInjector()({ try run("whole").train() })
            expectSame(try filesInside(out), expected, what)
        }
        let size = 4 * (layout == .files ? GPT2Tensors(tiny).table : PhiTensors(tinyPhi).table).count
        let damages: [(String, (inout [UInt8]) -> Void)] = [
            ("a bit of a moment", { $0[1024 + 40] ^= 1 }), ("the sign of v", { $0[1024 + size] ^= 0x80 }),
            ("the last byte", { $0[$0.count - 1] ^= 16 }), ("the header", { $0[4 * 200] = 1 }),
            ("cut off", { $0.removeLast() }), ("empty", { $0 = [] }),
            ("a zeroed page", { for i in 1024..<min(5120, $0.count) { $0[i] = 0 } }),
        ]
        for (what, damage) in damages {
            for path in [checkpoints.statePath(6), checkpoints.weightsPath(6)] {
                var file = try bytes(path)
                if what == "the sign of v", path == checkpoints.weightsPath(6) { continue }
                damage(&file)
                try write(file, to: path)
                try expectPassedOver(what)
            }
        }
        if layout == .directories {
            for damage in ["", "{}", "{\"model_type\": \"phi\"}"] {
                try write(Array(damage.utf8), to: checkpoints.modelPath(6) + "/config.json")
                try expectPassedOver("config.json is \(damage)")
            }
            for name in ["config.json", "model.safetensors", "state.bin"] {
                unlink("\(checkpoints.modelPath(6))/\(name)")
                try expectPassedOver("no \(name)")
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
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `a run stopped anywhere and resumed ends in the same bytes`(layout: CheckpointDirectory.Layout) throws {
    try withShards { folder, all in
        func arguments(_ out: String) -> [String] { all(out) + ["-nk", "0"] }
        let expected = try whole(folder, arguments, layout)
        var place = 0
        while true {
            var (asked, stoppedAt) = (0, -1)
            let out = "out\(place)"
            let checkpoints = CheckpointDirectory("\(folder)/\(out)", layout)
            do {
                try FaultInjector()({
                    try TestRun(bigram(layout), arguments(out), layout, resume: readBigram(layout)).train(until: {
                        asked += 1
                        return asked > place
                    })
                })
            } catch let error as UserError {
                #expect(error.exitCode == 130 && error.message.hasPrefix("stopped before step "))
                stoppedAt = (Int(error.message.suffix(1)) ?? 0) - 1
            }
            guard stoppedAt >= 0 else { break }
            // What was learnt so far is kept.
            #expect(stoppedAt == 0 || checkpoints.steps().contains(stoppedAt))
            try FaultInjector()({ try finish(arguments(out), layout) })
            // Where it stopped there may be one checkpoint more, or one without a best model: it is measured again.
            var files = try filesInside(checkpoints.path).filter { expected[$0.key] != nil }
            let state = checkpoints.name(of: checkpoints.statePath(stoppedAt))
            files[state] = expected[state]
            expectSame(files, expected, "\(place)")
            place += 1
        }
        // Seven checks of what comes before a step's batches, three batches in each of six, two in each of four
        // validations.
        #expect(place == 6 + 6 * 3 + 4 * 2)
    }
}

/// Where it stops, there is a damaged checkpoint.
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `a run that is stopped writes its checkpoint in place of a damaged one`(layout: CheckpointDirectory.Layout) throws
{
    try withShards { folder, arguments in
        try finish(arguments("out") + ["-n", "1", "-nk", "3"], layout)
        let checkpoints = CheckpointDirectory(folder + "/out", layout)
        #expect(checkpoints.steps() == [4, 5, 6])
        for step in [5, 6] { try write([1, 2, 3], to: checkpoints.statePath(step)) }
        func run() throws -> TestRun {
            try TestRun(bigram(layout), arguments("out") + ["-y", "1"], layout, resume: readBigram(layout))
        }
        var stops = false
        #expect {
            try run().train(before: { stops = $0 == 5 }, until: { stops })
        } throws: { error in
            (error as? UserError)?.message == "stopped before step 6"
        }
        #expect(try run().step == 5)
    }
}

/// What would stop the new run later is found before the old one goes.
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `starting over removes nothing if the new run cannot begin`(layout: CheckpointDirectory.Layout) throws {
    try withShards { folder, arguments in
        try finish(arguments("out"), layout)
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
                    _ = try TestRun(
                        bigram(layout), arguments("out") + ["-y", "0"] + more + dry, layout, tokenizer: tokenizer)
                }
                expectSame(try filesInside(folder + "/out"), files, "\(more)")
            }
        }
    }
}

/// Copies that leave out empty files, for one.
@Test(arguments: CheckpointDirectory.Layout.allCases)
func `what is left of a run is not taken for an empty folder`(layout: CheckpointDirectory.Layout) throws {
    try withShards { folder, arguments in
        try finish(arguments("out"), layout)
        let out = folder + "/out"
        let checkpoints = CheckpointDirectory(out, layout)
        for step in [4, 6] { unlink(layout == .files ? checkpoints.donePath(step) : checkpoints.statePath(step)) }
        let files = try filesInside(out)
        for resume in [[], ["-y", "1"]] {
            expectUserError("no DONE") {
                _ = try TestRun(bigram(layout), arguments("out") + resume, layout, resume: readBigram(layout))
            }
            expectSame(try filesInside(out), files, "\(resume)")
        }
        try TestRun(bigram(layout), arguments("out") + ["-y", "0"], layout).train()
        try finish(arguments("whole"), layout)
        expectSame(try filesInside(out), try filesInside(folder + "/whole"), "over")
    }
}

@Test func `a run of another kind of model is refused, and left alone`() throws {
    try withShards { folder, arguments in
        for layout in CheckpointDirectory.Layout.allCases {
            let other: CheckpointDirectory.Layout = layout == .files ? .directories : .files
            let out = "out-\(layout)"
            func expectRefused() throws {
                let files = try filesInside("\(folder)/\(out)")
                for more in [[], ["-y", "0"], ["-y", "1"], ["-y", "0", "--dry-run"]] {
                    #expect {
                        _ = try TestRun(bigram(other), arguments(out) + more, other, resume: readBigram(other))
                    } throws: { error in
                        (error as? UserError)?.message.contains("/\(out) holds a run of another kind of model") == true
                    }
                }
                if !files.keys.contains(".journal") { expectSame(try filesInside("\(folder)/\(out)"), files, out) }
            }
            try finish(arguments(out), layout)
            try expectRefused()
            guard layout == .files else {
                // Another program's run has directories of the same names.
                let last = CheckpointDirectory("\(folder)/\(out)", layout).modelPath(6)
                try write([1], to: last + "/trainer_state.json")
                let files = try filesInside("\(folder)/\(out)")
                for more in [[], ["-y", "0"], ["-y", "1"]] {
                    expectMessage(["holds a run of transformers' Trainer, such as checkpoint-6"]) {
                        _ = try TestRun(bigram(layout), arguments(out) + more, layout, resume: readBigram(layout))
                    }
                }
                expectSame(try filesInside("\(folder)/\(out)"), files, out)
                continue
            }
            // Killed while its first checkpoint took its names.
            var place = 0
            while !fileExists("\(folder)/\(out)/.journal") || !CheckpointDirectory("\(folder)/\(out)").steps().isEmpty {
                try? FileManager.default.removeItem(atPath: "\(folder)/\(out)")
                try? FaultInjector(.error(EIO), at: place, lasts: true)({ try finish(arguments(out)) })
                place += 1
            }
            try expectRefused()
        }
    }
}

/// What is left of it may not be a model.
@Test func `a best model that is no longer there is written again`() throws {
    try withShards { folder, arguments in
        for layout in CheckpointDirectory.Layout.allCases {
            let expected = try whole(folder, arguments, layout)
            let best = CheckpointDirectory(folder + "/whole", layout).bestPath
            if layout == .files { unlink(best) } else { unlink(best + "/config.json") }
            // It validates once more, with the same result.
            try finish(arguments("whole"), layout)
            expectSame(try filesInside(folder + "/whole"), expected, "\(layout)")
            try FileManager.default.removeItem(atPath: folder + "/whole")
        }
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

@Test(arguments: CheckpointDirectory.Layout.allCases)
func `a dry run checks everything and writes nothing`(layout: CheckpointDirectory.Layout) throws {
    try withShards { folder, arguments in
        let before = names(in: folder)
        let run = try TestRun(bigram(layout), arguments("out") + ["--dry-run"], layout)
        run.trainer.introduce("a model")
        #expect(names(in: folder) == before)
        try finish(arguments("out"), layout)
        let files = try filesInside(folder + "/out")
        _ = try TestRun(bigram(layout), arguments("out") + ["--dry-run", "-y", "0"], layout)
        expectSame(try filesInside(folder + "/out"), files, "before")
        expectUserError("no data") {
            _ = try TestRun(
                bigram(layout), arguments("out") + ["--dry-run", "-y", "0", "-i", folder + "/none_*.bin"], layout)
        }
    }
}
