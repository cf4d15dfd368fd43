// A state comes back whole, lies as llm.c lays it, and a damaged one is an error and never a crash.

import Foundation
import LLM
import Testing

@Test(arguments: [true, false])
func `a resumed run ends in the same bytes as one never interrupted`(shuffles: Bool) throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        // Long enough for several epochs: 4 and 6 samples each.
        let checkpoints = CheckpointDirectory(directory)
        for interruption in [0, 1, 3, 5, 10, 13] {
            var whole = try Run(data: directory, shuffles: shuffles)
            try whole.train(steps: 24)

            var first = try Run(data: directory, shuffles: shuffles)
            try first.train(steps: interruption)
            try checkpoints.write(first.model, first.state)

            let model = try readGPT2(checkpoints.modelPath(interruption), trains: true)
            let state = try checkpoints.readState(interruption, into: model.parameters)
            #expect(state == first.state)
            var second = try Run(data: directory, shuffles: shuffles, model: model)
            try second.loader.resume(at: state.loader)
            (second.step, second.lossWindow, second.normWindow) = (state.step, state.lossWindow, state.normWindow)
            try second.train(steps: 24 - interruption)

            #expect(second.losses == Array(whole.losses[interruption...]))
            let isSame = second.model.parameters.bits == whole.model.parameters.bits
            #expect(isSame, "interrupted after step \(interruption)")
            #expect(second.state == whole.state)
        }
    }
}

@Test func `a state lies as llm.c lays it`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        var run = try Run(data: directory)
        try run.train(steps: 6)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, run.state)
        #expect(checkpoints.modelPath(6) == directory + "/model_00000006.bin")
        #expect(checkpoints.statePath(6) == directory + "/state_00000006_00000.bin")
        #expect(checkpoints.donePath(6) == directory + "/DONE_00000006")

        var file = try bytes(checkpoints.statePath(6))
        func int32(_ index: Int) -> Int32 { integer(file, at: 4 * index, as: Int32.self) }
        func word(_ index: Int) -> UInt64 { integer(file, at: 4 * index, as: UInt64.self) }
        #expect((0..<6).map { int32($0) } == [20_240_527, 1, 1, 0, 0, 1])
        #expect(int32(10) == 6)
        #expect(word(20) == 0x1234_5678_9abc_def0 && word(22) == word(20))
        #expect(word(30) == UInt64(run.loader.position.shard) && word(32) == UInt64(run.loader.position.sample))
        let used: Set<Int> = [0, 1, 2, 3, 4, 5, 10, 20, 21, 22, 23, 30, 31, 32, 33, 46, 47]
        #expect((0..<256).allSatisfy { used.contains($0) || int32($0) == 0 })

        let count = run.model.parameters.table.count
        for i in [0, count - 1] {
            #expect(integer(file, at: 1024 + 4 * i, as: UInt32.self) == run.model.parameters.m[i].bitPattern)
            #expect(integer(file, at: 1024 + 4 * (count + i), as: UInt32.self) == run.model.parameters.v[i].bitPattern)
        }
        // The loader: two orders with their lengths, then llm.c's mt19937_state.
        let shuffle = try #require(run.loader.position.shuffle)
        var offset = 1024 + 8 * count
        for order in [shuffle.shards, shuffle.samples] {
            #expect(integer(file, at: offset, as: UInt64.self) == UInt64(order.count))
            offset += 8
            #expect(order.indices.map { integer(file, at: offset + 4 * $0, as: Int32.self) } == order)
            offset += 4 * order.count
        }
        #expect(integer(file, at: offset, as: UInt64.self) == 0)  // seed_
        let used624 = shuffle.random.position
        #expect(integer(file, at: offset + 8, as: Int32.self) == Int32(624 - used624 + 1))  // left_
        #expect(integer(file, at: offset + 12, as: UInt32.self) == UInt32(used624))  // next_
        #expect(
            (0..<624).map { integer(file, at: offset + 16 + 4 * $0, as: UInt32.self) } == shuffle.random.state)
        offset += 16 + 4 * 624
        #expect(integer(file, at: offset, as: UInt32.self) == 0)  // MATRIX_A
        #expect(integer(file, at: offset + 4, as: UInt32.self) == 0x9908_b0df)

        // llm.c's own file ends here: no windows, no best result, no checksum.
        replace(&file, at: 4 * 46, with: 0)
        try write(Array(file[..<(offset + 8)]), to: checkpoints.statePath(6))
        let state = try checkpoints.readState(6, into: run.model.parameters)
        #expect(state.loader == run.state.loader && state.best == nil)
        #expect(state.lossWindow == OutlierWindow() && state.normWindow == OutlierWindow())

        // With a bfloat16 model, llm.c keeps the parameters in float32 after the moments.
        let exact = run.model.parameters.bits(of: \.values)
        var masters = Array(file[..<(1024 + 8 * count)])
        replace(&masters, header: 4, with: 1)
        masters += exact.flatMap { bits in (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) } }
        masters += file[(1024 + 8 * count)..<(offset + 8)]
        try write(masters, to: checkpoints.statePath(6))
        for i in 0..<count { run.model.parameters.values[i] = Float(bfloat16: run.model.parameters.values[i].bfloat16) }
        #expect(run.model.parameters.bits(of: \.values) != exact)
        #expect(try checkpoints.readState(6, into: run.model.parameters).loader == run.state.loader)
        #expect(run.model.parameters.bits(of: \.values) == exact)
    }
}

@Test func `full windows, extreme numbers and no best result come back`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        var run = try Run(data: directory)
        for i in 0..<200 {
            _ = run.lossWindow.score(Double(i) * 0.1)
            _ = run.normWindow.score(-Double(i))
        }
        var state = run.state
        state.best = nil
        (state.step, state.samplerState) = (99_999_999, .max)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, state)
        #expect(try checkpoints.readState(99_999_999, into: run.model.parameters) == state)
    }
}

/// Where llm.c does not look, a state says which data and batches it is of, and what its best result was measured by.
@Test(arguments: BestBy.allCases)
func `a state says what a resumed run must share`(bestBy: BestBy) throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        let run = try Run(data: directory)
        var state = run.state
        (state.B, state.T, state.data, state.bestBy) = (3, 1024, 0xfedc_ba98_7654_3210, bestBy)
        state.settings = ["learning-rate": "3e-4", "answer-mark": "결과 \"\\\n", "empty": ""]
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, state)
        #expect(try checkpoints.readState(0, into: run.model.parameters) == state)
        let file = try bytes(checkpoints.statePath(0))
        #expect([40, 41].map { integer(file, at: 4 * $0, as: Int32.self) } == [3, 1024])
        #expect(integer(file, at: 4 * 48, as: UInt64.self) == state.data)
        let number = try #require([.none, .loss, .accuracy].firstIndex(of: bestBy))
        #expect(integer(file, at: 4 * 44, as: Int32.self) == Int32(number))
    }
}

/// llm.c counts what is left of 624 random numbers, and begins at 1; a generator that has used all of them, or none
/// yet, fills up before the next one.
@Test(arguments: [0, 1, 623, 624])
func `random numbers go on where they were`(used: Int) throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        let run = try Run(data: directory)
        var random = MersenneTwister(seed: 5)
        for _ in 0..<used { _ = random.next() }
        var state = run.state
        state.loader.shuffle?.random = random
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, state)
        let read = try #require(try checkpoints.readState(0, into: run.model.parameters).loader.shuffle?.random)
        var (ours, theirs) = (random, read)
        for _ in 0..<1300 { try #require(ours.next() == theirs.next()) }
    }
}

// MARK: - bad states

/// Reads changed bytes of a good state, and puts a loader there if they are read.
private func withState(
    _ body: (_ good: [UInt8], _ loaderOffset: Int, _ read: (_ bytes: [UInt8]) throws -> Void) throws -> Void
) throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        var run = try Run(data: directory)
        try run.train(steps: 3)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, run.state)
        let loader = try Run(data: directory).loader
        let path = checkpoints.statePath(3)
        // Without its checksum, so that what is wrong is found for itself.
        var good = try bytes(path)
        replace(&good, at: 4 * 46, with: 0)
        try body(good, 1024 + 8 * run.model.parameters.table.count) { bytes in
            try write(bytes, to: path)
            try loader.resume(at: try checkpoints.readState(3, into: run.model.parameters).loader)
            for _ in 0..<20 { try loader.nextBatch() }
        }
    }
}

@Test func `a state cut off anywhere, too long, or missing`() throws {
    try withState { good, loaderOffset, read in
        try read(good)
        // Where the mt19937 state ends, llm.c's files end too: that one is whole.
        let samples = integer(good, at: loaderOffset + 8 + 4 * 2, as: UInt64.self)
        let llmcEnd = loaderOffset + 8 + 4 * 2 + 8 + 4 * Int(samples) + 8 + 8 + 4 * 624 + 8
        let cuts = [0, 1, 4, 1023, 1024, 1025, loaderOffset - 4, loaderOffset - 1, loaderOffset, loaderOffset + 7]
        let all =
            cuts + [llmcEnd - 1, llmcEnd + 1, good.count - 1, good.count - 8] + stride(from: 0, to: good.count, by: 97)
        for cut in all where cut != llmcEnd { expectUserError("cut to \(cut)") { try read(Array(good[..<cut])) } }
        try read(Array(good[..<llmcEnd]))
        for more in [1, 8, 1024] {
            expectUserError("\(more) bytes more") { try read(good + [UInt8](repeating: 0, count: more)) }
        }
    }
    try withTemporaryDirectory { directory in
        expectUserError("missing") {
            _ = try CheckpointDirectory(directory).readState(1, into: GPT2(tiny, trains: true).parameters)
        }
    }
}

@Test func `a state with wrong numbers`() throws {
    try withState { good, loaderOffset, read in
        func expectBad(_ what: String, _ change: (inout [UInt8]) -> Void) {
            var bad = good
            change(&bad)
            expectUserError(what) { try read(bad) }
        }
        for (index, values) in [
            (0, [0, 20_240_326]), (1, [0, 2]), (2, [0, 2, -1]), (3, [1]), (4, [1]), (5, [0]), (10, [-1, .min]),
        ] as [(Int, [Int32])] {
            for value in values { expectBad("[\(index)] = \(value)") { replace(&$0, header: index, with: value) } }
        }
        let huge: [UInt64] = [1 << 20, 1 << 31, 1 << 32, 1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63, .max]
        for value in huge + [2, 7] { expectBad("shard \(value)") { replace(&$0, at: 4 * 30, with: value) } }
        for value in huge + [20] { expectBad("sample \(value)") { replace(&$0, at: 4 * 32, with: value) } }
        for value in huge + [0, 1, 3] {
            expectBad("\(value) shards") { replace(&$0, at: loaderOffset, with: value) }
            expectBad("\(value) samples") { replace(&$0, at: loaderOffset + 16, with: value) }
        }
        // No permutations: [1, 1] of the shards, and sample 0 twice.
        expectBad("a shard twice") { replace(&$0, at: loaderOffset + 8, with: 1 << 32 | 1) }
        expectBad("a sample twice") { replace(&$0, at: loaderOffset + 24, with: 0) }
        expectBad("negative samples") { replace(&$0, at: loaderOffset + 24, with: .max) }
        // The windows: lengths that are negative, fractions, too long or no numbers.
        let samples = Int(integer(good, at: loaderOffset + 16, as: UInt64.self))
        let windows = loaderOffset + 24 + 4 * samples + 16 + 4 * 624 + 12
        for length in [-1, 0.5, 129, 1e300, .nan, .infinity, 2] {
            expectBad("a window of \(length)") { replace(&$0, at: windows, with: length.bitPattern) }
        }
        // The twister's place: 700 of 624.
        expectBad("a place in the random numbers") {
            replace(&$0, at: windows - 12 - 4 * 624 - 8, with: 700 << 32 | 5)
        }
    }
}

@Test func `the state of another model`() throws {
    try withTemporaryDirectory { directory in
        try makeData(directory)
        let run = try Run(data: directory)
        let checkpoints = CheckpointDirectory(directory)
        try checkpoints.write(run.model, run.state)
        for config in [
            GPT2Configuration(maxT: 10, V: 19, L: 2, NH: 2, C: 6), GPT2Configuration(maxT: 8, V: 19, L: 2, NH: 2, C: 6),
            GPT2Configuration(maxT: 9, V: 19, L: 3, NH: 2, C: 6), GPT2Configuration(maxT: 9, V: 19, L: 2, NH: 2, C: 64),
            GPT2Configuration(maxT: 9, V: 19, L: 1, NH: 1, C: 1),
        ] {
            expectUserError("\(config)") {
                _ = try checkpoints.readState(0, into: GPT2(config, trains: true).parameters)
            }
        }
    }
}

/// Whatever stands in a header or a length, reading ends: with a state or with an error.
@Test func `random damage of a state never traps`() throws {
    try withState { good, loaderOffset, read in
        var random = Xorshift(seed: 1)
        for _ in 0..<400 {
            var bad = good
            for _ in 0...random.below(3) {
                let anywhere =
                    random.below(2) == 0 ? random.below(140) : loaderOffset + random.below(good.count - loaderOffset)
                bad[anywhere] = UInt8(truncatingIfNeeded: random.next())
            }
            do { try read(bad) } catch let error as UserError { #expect(!error.hint.isEmpty) }
        }
    }
}
