// llm.c's model file: it comes back in the same bytes, it lies as llm.c lays it, and a damaged one is an error and
// never a crash.

import Foundation
import LLM
import Testing

@Test(arguments: [false, true])
func `a model comes back in the same bytes`(tokenizerIsKnown known: Bool) throws {
    try withTemporaryDirectory { directory in
        let model = GPT2(tiny, trains: false)
        model.parameters.initialize(seed: 3)
        model.tokenizer = known ? TokenizerFingerprint(count: 19, hash: 5) : nil
        let path = directory + "/model.bin"
        try writeModel(model, to: path)
        #expect(try readGPT2Configuration(path) == tiny)
        let other = try readGPT2(path, trains: true)
        #expect(other.config == tiny && other.parameters.trains && other.tokenizer == model.tokenizer)
        #expect(other.parameters.bits(of: \.values) == model.parameters.bits(of: \.values))
        try writeModel(other, to: directory + "/again.bin")
        #expect(try bytes(directory + "/again.bin") == bytes(path))
    }
}

@Test func `a model lies as llm.c lays it`() throws {
    try withTemporaryDirectory { directory in
        let model = GPT2(GPT2Configuration(maxT: 9, V: 19, L: 3, NH: 2, C: 6), trains: false)
        model.parameters.initialize(seed: 3)
        try writeModel(model, to: directory + "/model.bin")
        let file = try bytes(directory + "/model.bin")
        let header = (0..<256).map { integer(file, at: 4 * $0, as: Int32.self) }
        #expect(Array(header.prefix(8)) == [20_240_326, 3, 9, 19, 3, 2, 6, 128])
        // What is ours, where llm.c does not look: the tokenizer at [8], if it is known, and the checksum at [12].
        #expect(header.enumerated().allSatisfy { $1 == 0 || $0 < 8 || 12...13 ~= $0 })
        model.tokenizer = TokenizerFingerprint(count: 17, hash: 0x0123_4567_89ab_cdef)
        try writeModel(model, to: directory + "/known.bin")
        let known = try bytes(directory + "/known.bin")
        #expect(integer(known, at: 32, as: Int32.self) == 17)
        #expect(integer(known, at: 36, as: UInt64.self) == 0x0123_4567_89ab_cdef)
        #expect(known[..<32] == file[..<32] && known[56...] == file[56...])
        #expect(file.count == 1024 + 4 * model.parameters.table.count)
        for i in [0, 1, 127 * 6, model.tensors.lnfw.offset, model.parameters.table.count - 1] {
            #expect(integer(file, at: 1024 + 4 * i, as: UInt32.self) == model.parameters.values[i].bitPattern)
        }
    }
}

/// bfloat16 is the upper half of a float32, rounded to nearest and ties to even.
@Test(arguments: [
    (0x3f80_0000, 0x3f80), (0x3f80_7fff, 0x3f80), (0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81),
    (0xbf81_8000, 0xbf82), (0x0000_0001, 0), (0x0000_8001, 1), (0x7f7f_ffff, 0x7f80), (0x7f80_0000, 0x7f80),
])
func `a model in bfloat16 is rounded to nearest even`(bits: UInt32, expected: UInt32) throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/model.bin"
        let model = GPT2(tiny, trains: false)
        model.parameters.values[5] = Float(bitPattern: bits)
        try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: .bfloat16) }
        let file = try bytes(path)
        #expect(integer(file, at: 4, as: Int32.self) == 5 && file.count == 1024 + 2 * model.parameters.table.count)
        #expect(integer(file, at: 1024 + 2 * 5, as: UInt16.self) == UInt16(expected))
        guard expected & 0x7f80 != 0x7f80 else { return }
        let other = try readGPT2(path, trains: false)
        #expect(other.parameters.values[5].bitPattern == expected << 16)
    }
}

/// More parameters than are converted at a time (65,536), with a ragged rest; what bfloat16 holds comes back exactly.
@Test func `a model in bfloat16 comes back as it was rounded`() throws {
    try withTemporaryDirectory { directory in
        let config = GPT2Configuration(maxT: 33, V: 1200, L: 1, NH: 1, C: 64)
        let model = GPT2(config, trains: false)
        model.parameters.initialize(seed: 3)
        #expect(model.parameters.table.count > 2 * 65_536 && model.parameters.table.count % 65_536 != 0)
        try writeDurably(directory + "/one.bin") { try LLMCModelFile.write(model, to: $0, format: .bfloat16) }
        let rounded = try readGPT2(directory + "/one.bin", trains: false)
        for i in 0..<model.parameters.table.count {
            let (exact, near) = (model.parameters.values[i], rounded.parameters.values[i])
            try #require(near.bitPattern & 0xffff == 0 && abs(near - exact) <= abs(exact) / 256)
        }
        try writeDurably(directory + "/two.bin") { try LLMCModelFile.write(rounded, to: $0, format: .bfloat16) }
        #expect(try bytes(directory + "/two.bin") == bytes(directory + "/one.bin"))
    }
}

// MARK: - the variant

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a model that computes something else is named and refused`(format: WeightFormat) throws {
    try withTemporaryDirectory { directory in
        let (path, ordinary) = (directory + "/relu.bin", directory + "/gelu.bin")
        let model = GPT2(tiny, trains: false)
        model.parameters.initialize(seed: 3)
        try writeDurably(ordinary) { try LLMCModelFile.write(model, to: $0, format: format, variant: "gelu_new") }
        try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: format, variant: "relu, no positions") }
        var file = try bytes(path)
        let name = Array("relu, no positions".utf8)
        #expect(Array(file[64..<64 + name.count]) == name && file[(64 + name.count)..<1024].allSatisfy { $0 == 0 })
        // What llm.c does not take for its own.
        #expect(integer(file, at: 4, as: Int32.self) == (format == .float32 ? 103 : 105))
        let variants = ["the variant relu, no positions", "computes \(GPT2Configuration.variant)"]
        expectMessage(variants) { _ = try readGPT2Configuration(path) }
        expectMessage(variants) { _ = try readGPT2(path, trains: false) }
        // All else is as in an ordinary file, whose header has no name.
        let other = try bytes(ordinary)
        #expect(other[64..<1024].allSatisfy { $0 == 0 } && other[1024...] == file[1024...])

        for (bad, what) in [([UInt8](), "no name"), ([7], "a control character"), ([0xc3, 0xa4], "not ASCII")] {
            for i in 0..<64 { file[64 + i] = i < bad.count ? bad[i] : 0 }
            try write(file, to: path)
            expectMessage(["its variant is not a text"], what) { _ = try readGPT2Configuration(path) }
        }
    }
}

// MARK: - the checksum

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a damaged model is refused, wherever the damage is`(format: WeightFormat) throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/model.bin"
        let model = GPT2(GPT2Configuration(maxT: 64, V: 300, L: 1, NH: 1, C: 200), trains: false)
        model.parameters.initialize(seed: 3)
        // More than is read, or converted, at a time.
        #expect(model.parameters.table.count > 2 << 16)
        try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: format) }
        let good = try bytes(path)
        func expectDamaged(_ what: String, _ change: (inout [UInt8]) -> Void) throws {
            var bad = good
            change(&bad)
            try write(bad, to: path)
            _ = try readGPT2Configuration(path)
            do {
                _ = try readGPT2(path, trains: false)
                Issue.record("\(what): nothing was thrown")
            } catch let error as UserError {
                #expect(error.message.contains("damaged: its checksum") && !error.hint.isEmpty, "\(what)")
            }
        }
        for at in [32, 47, 48, 55, 56, 1023, 1024, 1027, 30_000, good.count / 2, good.count - 1] {
            try expectDamaged("a bit at \(at)") { $0[at] ^= 1 }
        }
        for at in stride(from: 4096, to: good.count - 4096, by: 4096)
        where good[at..<at + 4096].contains(where: { $0 > 0 }) {
            try expectDamaged("a page of zeros at \(at)") { for i in at..<at + 4096 { $0[i] = 0 } }
        }
        try expectDamaged("two pages swapped") {
            for i in 4096..<8192 { $0.swapAt(i, i + 8192) }
        }
        // Parameters that are no numbers are damage here, not a training that diverged.
        try expectDamaged("NaN") { for i in 2000..<2016 { $0[i] = 0xff } }
    }
}

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a model without a checksum, as llm.c writes it, is read as it is`(format: WeightFormat) throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/model.bin"
        let model = GPT2(tiny, trains: false)
        model.parameters.initialize(seed: 3)
        try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: format) }
        var file = try bytes(path)
        let expected = try readGPT2(path, trains: false).parameters.bits(of: \.values)
        #expect(integer(file, at: 48, as: UInt64.self) != 0)
        replace(&file, at: 48, with: 0)
        var checksum = Checksum()
        file.withUnsafeBytes { checksum.update($0) }
        #expect(try integer(bytes(path), at: 48, as: UInt64.self) == checksum.value)
        try write(file, to: path)
        #expect(try readGPT2(path, trains: false).parameters.bits(of: \.values) == expected)
    }
}

// MARK: - bad models

/// Expects an error of `readConfiguration` and `readModel` for changed bytes of a good checkpoint.
private func expectBadModels(_ changes: [(String, (inout [UInt8]) -> Void)]) throws {
    try withTemporaryDirectory { directory in
        let model = GPT2(tiny, trains: false)
        let path = directory + "/model.bin"
        try writeModel(model, to: path)
        let good = try bytes(path)
        for (what, change) in changes {
            var bad = good
            change(&bad)
            try write(bad, to: path)
            expectUserError(what) { _ = try readGPT2Configuration(path) }
            expectUserError(what) { _ = try readGPT2(path, trains: true) }
        }
    }
}

@Test func `a missing model, and a directory`() throws {
    try withTemporaryDirectory { directory in
        expectUserError("missing") { _ = try readGPT2(directory + "/none.bin", trains: false) }
        expectUserError("a directory") { _ = try readGPT2(directory, trains: false) }
        expectUserError("nowhere to write") {
            try writeModel(GPT2(tiny, trains: false), to: directory + "/none/model.bin")
        }
    }
}

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `a model whose training diverged is refused`(format: WeightFormat) throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/model.bin"
        let model = GPT2(tiny, trains: false)
        for place in [0, model.parameters.table.count - 1] {
            for bad in [Float.nan, .infinity] {
                model.parameters.values[place] = bad
                try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: format) }
                expectUserError("\(bad)") { _ = try readGPT2(path, trains: false) }
                model.parameters.values[place] = 0
            }
        }
        try writeDurably(path) { try LLMCModelFile.write(model, to: $0, format: format) }
        _ = try readGPT2(path, trains: false)
    }
}

@Test func `a model cut off anywhere, or too long`() throws {
    let size = 1024 + 4 * GPT2Tensors(tiny).table.count
    let cuts = [0, 1, 3, 4, 31, 32, 1023, 1024, 1025, 1028, size / 2, size - 4, size - 1]
    try expectBadModels(
        (cuts + stride(from: 0, to: size, by: 211)).map { cut in ("cut to \(cut)", { $0 = Array($0[..<cut]) }) })
    try expectBadModels(
        [1, 4, 1024].map { more in ("\(more) bytes more", { $0 += [UInt8](repeating: 0, count: more) }) })
}

@Test func `a model with a wrong header`() throws {
    var changes: [(String, (inout [UInt8]) -> Void)] = []
    func header(_ index: Int, _ values: [Int32]) {
        for value in values { changes.append(("[\(index)] = \(value)", { replace(&$0, header: index, with: value) })) }
    }
    header(0, [0, 20_240_327, 20_240_527, -1])
    header(1, [0, 1, 2, 4, 5, -3, 100, 103, 105, .min, .max])
    for index in 2...6 { header(index, [0, -1, .min, .max, 1 << 24, (1 << 24) + 1, 1 << 30, 200]) }
    header(5, [4, 5, 12])  // heads that do not divide 6 channels
    header(7, [0, 19, 127, 129, 256, -128, .max])
    header(8, [-1, .min, .max, 20])  // a tokenizer larger than the vocabulary
    // Sizes whose product overflows.
    for large: Int32 in [1 << 16, 1 << 20, 1 << 24] {
        changes.append(("all \(large)", { file in for i in 2...6 { replace(&file, header: i, with: large) } }))
        changes.append(
            (
                "all \(large), padded",
                { file in for i in 2...7 { replace(&file, header: i, with: large) } }
            ))
    }
    try expectBadModels(changes)
}

@Test func `random damage of a model never traps`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/model.bin"
        try writeModel(GPT2(tiny, trains: false), to: path)
        let good = try bytes(path)
        var random = Xorshift(seed: 2)
        for _ in 0..<400 {
            var bad = good
            for _ in 0...random.below(3) { bad[random.below(32)] = UInt8(truncatingIfNeeded: random.next()) }
            try write(bad, to: path)
            do { _ = try readGPT2(path, trains: false) } catch let error as UserError { #expect(!error.hint.isEmpty) }
        }
    }
}
