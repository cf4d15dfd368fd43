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
