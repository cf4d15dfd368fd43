// A directory of checkpoints: only whole ones count.

import Foundation
import LLM
import Testing

@Test func `only whole checkpoints count`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        var run = try Run(data: directory)
        let checkpoints = CheckpointDirectory(directory)
        #expect(checkpoints.steps() == [])
        #expect(CheckpointDirectory(directory + "/none").steps() == [])
        for step in [10, 2, 7, 100] {
            run.step = step
            try checkpoints.write(run.model, run.state)
        }
        #expect(checkpoints.steps() == [2, 7, 10, 100])
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory).allSatisfy { !$0.hasSuffix(".tmp") })
        unlink(checkpoints.donePath(7))
        #expect(checkpoints.steps() == [2, 10, 100])
        unlink(checkpoints.statePath(10))
        #expect(checkpoints.steps() == [2, 100])
        unlink(checkpoints.modelPath(2))
        #expect(checkpoints.steps() == [100])
        try write([], to: directory + "/DONE_nonsense")
        try write([], to: directory + "/DONE_")
        #expect(checkpoints.steps() == [100])
        try checkpoints.remove([100])
        #expect(checkpoints.steps() == [])
        for path in [checkpoints.donePath(100), checkpoints.modelPath(100), checkpoints.statePath(100)] {
            #expect(!fileExists(path))
        }
    }
}

/// Whatever stops the write of a step that is there already, the old files stay.
@Test func `writing a step again replaces all of it or nothing`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        let run = try Run(data: directory)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, run.state)
        let old = try filesInside(directory)
        run.model.parameters.values[0] += 1
        func dies(_ path: String, _ files: DurableFiles) throws { throw Killed() }
        do {
            try checkpoints.write(run.model.parameters, run.state, writeModel: dies)
            Issue.record("nothing was thrown")
        } catch is Killed {}
        #expect(try filesInside(directory) == old)
        try checkpoints.write(run.model, run.state)
        #expect(checkpoints.steps() == [0])
        #expect(try filesInside(directory)["model_00000000.bin"] != old["model_00000000.bin"])
        // A directory stands where the state should go.
        unlink(checkpoints.statePath(0))
        try createDirectory(checkpoints.statePath(0))
        let model = try bytes(checkpoints.modelPath(0))
        run.model.parameters.values[0] += 1
        expectUserError("a directory in the way") { try checkpoints.write(run.model, run.state) }
        #expect(try bytes(checkpoints.modelPath(0)) == model)
    }
}

// MARK: - Hugging Face's layout

/// A folder of checkpoints as directories, in `folder`/out.
private func withDirectories(
    _ body: (_ checkpoints: CheckpointDirectory, _ write: (_ step: Int, _ seed: UInt32) throws -> Void) throws -> Void
) throws {
    try withTemporaryDirectory { folder in
        try makeData(folder)
        let state = try Run(data: folder).state
        let checkpoints = CheckpointDirectory(folder + "/out", .directories)
        try createDirectory(checkpoints.path)
        try body(checkpoints) { try checkpoints.write(state, step: $0, seed: $1) }
    }
}

extension CheckpointDirectory {
    /// Writes a checkpoint of a Phi that is another one for each seed.
    fileprivate func write(_ state: TrainingState, step: Int, seed: UInt32) throws {
        let model = Phi(tinyPhi, trains: true)
        model.parameters.initialize(seed: seed)
        var state = state
        state.step = step
        try write(model.parameters, state, writeModel: model.write)
    }

    fileprivate func writeBest(seed: UInt32) throws {
        let model = Phi(tinyPhi, trains: true)
        model.parameters.initialize(seed: seed)
        try writeBest(model.write)
    }
}

@Test func `a directory counts if it is whole, and others are left alone`() throws {
    try withDirectories { checkpoints, write in
        #expect(checkpoints.steps() == [])
        for step in [10, 2, 7, 100, 0] { try write(step, 1) }
        try checkpoints.writeBest(seed: 2)
        #expect(checkpoints.steps() == [0, 2, 7, 10, 100])
        #expect(names(in: checkpoints.path).count == 6)
        #expect(
            names(in: checkpoints.modelPath(7))
                == ["config.json", "generation_config.json", "model.safetensors", "state.bin"])
        for (step, name) in [(2, "config.json"), (7, "model.safetensors"), (10, "state.bin")] {
            unlink("\(checkpoints.modelPath(step))/\(name)")
        }
        #expect(checkpoints.steps() == [0, 100])

        // Of other programs and people, and of other names.
        let path = checkpoints.path
        for name in ["checkpoint-abc", "checkpoint-007", "checkpoint-", "checkpoint-5x", "bests", "notes.tmp"] {
            try FileManager.default.copyItem(atPath: checkpoints.modelPath(100), toPath: "\(path)/\(name)")
        }
        try LLMTests.write([1], to: path + "/checkpoint-5")
        try LLMTests.write([1], to: path + "/notes")
        // A link, to another disk for instance.
        try createDirectory(path + "/../kept")
        try FileManager.default.copyItem(atPath: checkpoints.modelPath(100), toPath: path + "/../kept/there")
        try FileManager.default.createSymbolicLink(
            atPath: checkpoints.modelPath(8), withDestinationPath: "../kept/there")
        #expect(checkpoints.steps() == [0, 8, 100])
        let foreign = try filesInside(path).filter { name, _ in
            name != "checkpoint-5" && !name.contains(/^(checkpoint-(0|2|7|8|10|100)|best)\//)
        }
        #expect(foreign.count == 6 * 4 + 1)

        // What a killed run leaves.
        for name in ["checkpoint-3.tmp", "checkpoint-3.tmp.tmp", "best.tmp"] {
            try FileManager.default.copyItem(atPath: checkpoints.modelPath(100), toPath: "\(path)/\(name)")
        }
        try createDirectory(path + "/checkpoint-4.tmp/more")
        try LLMTests.write([1], to: path + "/best/model.safetensors.5000000.tmp")
        try LLMTests.write([1], to: path + "/.journal.5000000.tmp")
        let locked = try checkpoints.locked()
        #expect(!names(in: path).contains { $0.hasPrefix("checkpoint-") && $0.hasSuffix(".tmp") || $0 == "best.tmp" })
        #expect(!names(in: path).contains { $0.hasPrefix(".journal") })
        #expect(names(in: path + "/best").count == 3)

        expectMessage(["checkpoint-5: a file is in its place"]) { try write(5, 1) }
        #expect(!fileExists(path + "/checkpoint-5.tmp"))
        // Where a directory goes to lose its name, something is in the way.
        try createDirectory(path + "/checkpoint-2.tmp/more")
        try locked.removeAll()
        var left = try filesInside(path)
        #expect(left.removeValue(forKey: "checkpoint-5") == [1])
        expectSame(left, foreign, "all removed")
        #expect(try filesInside(path + "/../kept/there").count == 4)
    }
}

/// What a start of a run that was killed at its first best model finds: nothing.
@Test func `a best model that was begun and never there leaves nothing`() throws {
    try withDirectories { checkpoints, _ in
        try createDirectory(checkpoints.bestPath)
        try write([1], to: checkpoints.bestPath + "/model.safetensors.5000000.tmp")
        #expect(!checkpoints.hasBest)
        _ = try checkpoints.locked()
        #expect(names(in: checkpoints.path) == [])
        try checkpoints.writeBest(seed: 1)
        #expect(checkpoints.hasBest)
        unlink(checkpoints.bestPath + "/config.json")
        #expect(!checkpoints.hasBest)
    }
}

/// What changes a folder of checkpoints.
private struct Change: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// What was to go, and may be gone without the rest.
    var mayGo: [String] = []
    let prepare: @Sendable (_ checkpoints: CheckpointDirectory, _ state: TrainingState) throws -> Void
    let change: @Sendable (_ checkpoints: CheckpointDirectory, _ state: TrainingState) throws -> Void
}

private let changes: [Change] = [
    Change(testDescription: "a new checkpoint") {
        for step in [2, 4] { try $0.write($1, step: step, seed: 1) }
    } change: {
        try $0.write($1, step: 6, seed: 2)
    },
    Change(testDescription: "a checkpoint in place of a damaged one", mayGo: ["checkpoint-6"]) {
        for step in [4, 6] { try $0.write($1, step: step, seed: 1) }
        try write([1, 2, 3], to: $0.statePath(6))
        try createDirectory($0.modelPath(6) + "/more")
    } change: {
        try $0.write($1, step: 6, seed: 2)
    },
    Change(testDescription: "a first best model") { _, _ in
    } change: { checkpoints, _ in
        try checkpoints.writeBest(seed: 2)
    },
    Change(testDescription: "another best model") { checkpoints, _ in
        try checkpoints.writeBest(seed: 1)
    } change: { checkpoints, _ in
        try checkpoints.writeBest(seed: 2)
    },
    Change(testDescription: "old ones removed", mayGo: ["checkpoint-2", "checkpoint-4"]) {
        for step in [2, 4, 6] { try $0.write($1, step: step, seed: 1) }
    } change: { checkpoints, _ in
        try checkpoints.remove([2, 4])
    },
    Change(testDescription: "all removed") {
        for step in [2, 4, 6] { try $0.write($1, step: step, seed: 1) }
        try $0.writeBest(seed: 1)
        unlink($0.modelPath(2) + "/config.json")
    } change: { checkpoints, _ in
        try checkpoints.removeAll()
    },
]

/// At every call to the system the disk fails once, or for good as after a kill.
@Test(arguments: changes, [false, true])
private func `a folder of directories is before or after a change, wherever the disk fails`(
    of change: Change, lasts: Bool
) throws {
    try withTemporaryDirectory { folder in
        try FaultInjector()({ try expectAllOrNothing(of: change, lasts: lasts, in: folder) })
    }
}

private func expectAllOrNothing(of change: Change, lasts: Bool, in folder: String) throws {
    try makeData(folder)
    let state = try Run(data: folder).state
    let before = CheckpointDirectory(folder + "/before", .directories)
    try createDirectory(before.path)
    try change.prepare(before, state)
    func copy(_ name: String) throws -> CheckpointDirectory {
        try FileManager.default.copyItem(atPath: before.path, toPath: "\(folder)/\(name)")
        return CheckpointDirectory("\(folder)/\(name)", .directories)
    }
    let after = try copy("after")
    let counter = FaultInjector()
    try counter { try change.change(after, state) }
    let (old, new) = (try filesInside(before.path), try filesInside(after.path))
    #expect(old != new && !new.keys.contains { $0.contains("tmp") || $0.contains(".journal") })
    let allowed = [old, new] + change.mayGo.map { gone in old.filter { !$0.key.hasPrefix(gone + "/") } }
    var (olds, news) = (0, 0)
    for place in 0..<counter.count {
        let checkpoints = try copy("\(place)")
        var threw = false
        do {
            try FaultInjector(.error(EIO), at: place, lasts: lasts)({ try change.change(checkpoints, state) })
        } catch let error as UserError {
            #expect(error.message.hasPrefix("cannot ") && !error.hint.isEmpty, "\(error)")
            threw = true
        }
        // What has a name is whole, even before anybody puts the folder in order.
        for step in checkpoints.steps() {
            let files = try filesInside(checkpoints.modelPath(step))
            #expect([before, after].contains { (try? filesInside($0.modelPath(step))) == files }, "call \(place)")
        }
        var locked: CheckpointDirectory? = try checkpoints.locked()
        let files = try filesInside(checkpoints.path)
        #expect(allowed.contains(files), "call \(place): \(files.keys.sorted())")
        if !threw { expectSame(files, new, "call \(place)") }
        if files == new { news += 1 } else { olds += 1 }
        try change.change(locked ?? checkpoints, state)
        locked = nil
        expectSame(try filesInside(checkpoints.path), new, "again after call \(place)")
        try FileManager.default.removeItem(atPath: checkpoints.path)
        guard !lasts else { continue }
        // The same process may try again, without a start in between.
        let again = try copy("\(place)")
        try? FaultInjector(.error(EIO), at: place)({ try change.change(again, state) })
        try change.change(again, state)
        try finishInterruptedWrites(in: again.path)
        _ = try again.locked()
        expectSame(try filesInside(again.path), new, "again after call \(place)")
        try FileManager.default.removeItem(atPath: again.path)
    }
    #expect(olds > 0 && news > 0)
}

/// Nobody may remove checkpoint 2. The others go, and later checkpoints are written.
@Test func `a directory that nobody may remove stands in the way of nothing`() throws {
    try withDirectories { checkpoints, write in
        for step in [2, 4, 6] { try write(step, 1) }
        func refusing(_ refused: FileCalls.Call) -> FileCalls.FaultyDisk {
            FileCalls.FaultyDisk { call, path in
                call == refused && path.contains("/checkpoint-2") ? .error(EPERM) : nil
            }
        }
        for call in [FileCalls.Call.rename, .remove] {
            try FileCalls.$disk.withValue(refusing(call)) {
                for _ in 0..<2 {
                    expectMessage(["cannot remove ", "/checkpoint-2"]) { try checkpoints.remove([2, 4]) }
                }
                try write(8, 1)
                #expect(checkpoints.steps() == (call == .rename ? [2, 6, 8] : [6, 8]))
                try? checkpoints.remove([8])  // and it says again what stays
            }
        }
        // To start over, all must go. A list that could not be finished would stop every later start.
        try write(2, 1)
        try createDirectory(checkpoints.path + "/checkpoint-2.tmp")
        try LLMTests.write([1], to: checkpoints.path + "/checkpoint-2.tmp/more")
        FileCalls.$disk.withValue(refusing(.remove)) {
            expectMessage(["cannot remove ", "/checkpoint-2.tmp"]) { try checkpoints.removeAll() }
            #expect(checkpoints.steps() == [2, 6] && !fileExists(checkpoints.path + "/.journal"))
        }
        try checkpoints.locked().removeAll()
        #expect(names(in: checkpoints.path) == [])
    }
}
