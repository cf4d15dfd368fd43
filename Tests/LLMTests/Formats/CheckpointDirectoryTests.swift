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
        checkpoints.remove(100)
        #expect(checkpoints.steps() == [])
        for path in [checkpoints.donePath(100), checkpoints.modelPath(100), checkpoints.statePath(100)] {
            #expect(!fileExists(path))
        }
    }
}

/// A step that is written again is not whole while its two files are of different runs.
@Test func `writing a step again takes DONE away first`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        let run = try Run(data: directory)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, run.state)
        try checkpoints.write(run.model, run.state)
        #expect(checkpoints.steps() == [0])
        // A directory stands where the state should go, so that the write fails between the two files.
        unlink(checkpoints.statePath(0))
        try createDirectory(checkpoints.statePath(0))
        expectUserError("a directory in the way") { try checkpoints.write(run.model, run.state) }
        #expect(!fileExists(checkpoints.donePath(0)) && checkpoints.steps() == [])
    }
}
