// Weights in int8 in files, and weights that are rounded while a model is loaded.

import Foundation
import Kernels
import LLM
import Testing

/// Models of odd sizes whose parameters are all drawn, and what writes them as directories.
private func noisyModels() -> [any LanguageModel] {
    let gpt2 = GPT2(GPT2Configuration(maxT: 9, V: 61, L: 2, NH: 3, C: 66), trains: false)
    let phi = Phi(PhiConfiguration(maxT: 9, V: 61, L: 2, NH: 2, C: 68, FC: 130, R: 8), trains: false)
    for model in [gpt2, phi] as [any LanguageModel] {
        var random = MersenneTwister(seed: 1)
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                random.fillNormal(
                    UnsafeMutableBufferPointer(start: model.parameters.values.at(tensor, l), count: tensor.usedCount),
                    deviation: 0.3)
            }
        }
    }
    return [gpt2, phi]
}

private func write(_ model: any LanguageModel, to folder: String, format: WeightFormat) throws {
    if let model = model as? GPT2 { try HuggingFaceGPT2.write(model, try smallTokenizer(), to: folder, format: format) }
    if let model = model as? Phi { try HuggingFacePhi.write(model, try smallTokenizer(), to: folder, format: format) }
}

/// The floats of a tensor in one layer, row by row.
private func rows(_ model: any LanguageModel, _ tensor: Tensor, _ l: Int) -> [[Float]] {
    let values = model.parameters.values.at(tensor, l)
    return (0..<tensor.usedRows).map { row in
        (0..<tensor.rowCount).map { values[row * tensor.rowCount + $0] }
    }
}

private func logits(_ model: any LanguageModel, _ weights: WeightFormat, sequences: Int = 1) -> [Float] {
    let generator = Generator(model, sequences: sequences, capacity: 9, weights: weights)
    generator.append([[Int32]](repeating: [3, 1, 4, 1], count: sequences))
    generator.append([[Int32]](repeating: [5], count: sequences))
    return Array(generator.logits(of: sequences - 1))
}

@Test func `a model comes back from int8 with the nearest whole numbers of its groups' scales`() throws {
    for model in noisyModels() {
        try withTemporaryDirectory { folder in
            try write(model, to: folder + "/once", format: .int8)
            let other = try readModel(folder + "/once")
            for tensor in model.parameters.table.tensors {
                let isRounded = tensor.isLinearWeight || tensor.name == "wte"
                for l in 0..<tensor.layers {
                    for (row, exact) in zip(rows(other, tensor, l), rows(model, tensor, l)) {
                        guard isRounded else {
                            #expect(row == exact, "\(tensor.name)")
                            continue
                        }
                        for first in stride(from: 0, to: row.count, by: 64) {
                            let group = first..<min(first + 64, row.count)
                            let scale = (exact[group].map(abs).max() ?? 0) / 127
                            let worst = zip(row[group], exact[group]).map { abs($0 - $1) }.max() ?? 0
                            #expect(worst <= 0.501 * scale, "\(tensor.name)")
                        }
                        #expect(row != exact)
                    }
                }
            }
            // Once more in int8 it is the same file.
            try write(other, to: folder + "/twice", format: .int8)
            let isSame =
                try fileBytes(folder + "/once/model.safetensors") == fileBytes(folder + "/twice/model.safetensors")
            #expect(isSame)
            let size = try fileBytes(folder + "/once/model.safetensors").count
            let floats = model.parameters.table.count
            #expect(size < 2 * floats, "\(size) bytes for \(floats) parameters")
        }
    }
}

@Test func `what generates from a file of int8 is what generates from the floats in int8`() throws {
    for model in noisyModels() {
        try withTemporaryDirectory { folder in
            // The embeddings that are looked up are rounded in the file.
            try write(model, to: folder, format: .int8)
            let (floats, whole) = (try readModel(folder), try readModel(folder, weights: .int8))
            #expect(logits(whole, .int8) == logits(floats, .int8))
            let format = try weightFormat(ofModel: folder)
            #expect(format == .int8)
            try write(model, to: folder + "/floats", format: .bfloat16)
            let other = try weightFormat(ofModel: folder + "/floats")
            #expect(other == .float32)
        }
    }
}

@Test(arguments: [WeightFormat.bfloat16, .int8])
func `weights that are rounded while they are loaded generate the same, and their floats are gone`(
    weights: WeightFormat
) throws {
    for model in noisyModels() {
        try withTemporaryDirectory { folder in
            var paths = [folder + "/float32", folder + "/bfloat16"]
            for (path, format) in zip(paths, [WeightFormat.float32, .bfloat16]) {
                try write(model, to: path, format: format)
            }
            if let model = model as? GPT2 {
                for format in [WeightFormat.float32, .bfloat16] {
                    paths.append(folder + "/\(format).bin")
                    try writeDurably(paths[paths.count - 1]) { try LLMCModelFile.write(model, to: $0, format: format) }
                }
            }
            for path in paths {
                let (floats, rounded) = (try readModel(path), try readModel(path, weights: weights))
                for sequences in [1, 3] {
                    #expect(
                        logits(rounded, weights, sequences: sequences) == logits(floats, weights, sequences: sequences))
                }
                for tensor in floats.parameters.table.tensors {
                    for l in 0..<tensor.layers where !tensor.isLinearWeight {
                        #expect(rows(rounded, tensor, l) == rows(floats, tensor, l))
                    }
                }
                // A whole page and more of them.
                let weight = try #require(rounded.parameters.table.tensors.first { $0.name == "fcw" })
                let middle = UnsafeBufferPointer(start: rounded.parameters.values.at(weight, 0) + 1024, count: 2048)
                #expect(middle.allSatisfy { $0 == 0 })
                #expect(rounded.parameters.areFinite)
            }
        }
    }
}

@Test(arguments: [WeightFormat.float32, .bfloat16, .int8])
func `a weight that is not a number is noticed in every format`(weights: WeightFormat) throws {
    for model in noisyModels() {
        for name in ["fcw", "wte", "lnfw"] {
            let tensor = try #require(model.parameters.table.tensors.first { $0.name == name })
            let place = model.parameters.values.at(tensor, 0) + tensor.usedCount - 1
            let value = place.pointee
            for format in [WeightFormat.float32, .int8] {
                try withTemporaryDirectory { folder in
                    place.pointee = .nan
                    try write(model, to: folder, format: format)
                    expectMessage(["NaN or infinite"]) { _ = try readModel(folder, weights: weights) }
                    place.pointee = value
                }
            }
        }
    }
}

@Test func `a file of int8 lies as it says`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/model.safetensors"
        // (outputs 2, inputs 65), and its transpose.
        var weight = [Float](repeating: 0, count: 130)
        (weight[0], weight[1], weight[64], weight[65 + 63]) = (127, -3.4, 254, -63.5)
        try weight.withUnsafeBufferPointer { floats in
            let start = try #require(floats.baseAddress)
            try writeDurably(path) {
                try writeSafetensors(
                    [
                        SafetensorsTensor("a", shape: [2, 65], floats: start, isWeight: true),
                        SafetensorsTensor("b", shape: [65, 2], floats: start, isTransposed: true, isWeight: true),
                        SafetensorsTensor("c", shape: [3], floats: start),
                    ], as: .int8, to: $0)
            }
        }
        let file = try SafetensorsFile(path)
        #expect(Set(file.entries.keys) == ["a", "a_scale", "b", "b_scale", "c"])
        #expect(file.entries["a"]?.dtype == .int8 && file.entries["b"]?.shape == [2, 2, 64])
        #expect(file.metadata["int8"]?.contains("NAME_scale[output, g]") ?? false)
        let bytes = try fileBytes(path)
        func whole(_ name: String) throws -> [Int8] {
            bytes[try #require(file.entries[name]).bytes].map { Int8(bitPattern: $0) }
        }
        // (outputs 2, groups 2, inputs 64), and the same of the transpose.
        var q = [Int8](repeating: 0, count: 256)
        (q[0], q[1], q[64], q[128 + 63]) = (127, -3, 127, -127)
        for name in ["a", "b"] {
            let found = try whole(name)
            #expect(found == q)
        }
        for name in ["a_scale", "b_scale"] {
            var scales = [Float](repeating: 9, count: 4)
            try file.readFloats(name, shape: [2, 2], into: &scales)
            #expect(scales == [1, 2, 0.5, 0])
        }
    }
}

@Test func `int8 without its scales, or with others, is refused by name`() throws {
    let weight = "h.0.attn.c_attn.weight"
    func expectRefusedAfter(
        _ change: (inout [String: (dtype: SafetensorsDType, shape: [Int])]) -> Void, _ words: String
    ) throws {
        try withTemporaryDirectory { folder in
            let model = GPT2(GPT2Configuration(maxT: 5, V: 61, L: 1, NH: 1, C: 66), trains: false)
            try write(model, to: folder, format: .int8)
            let file = try SafetensorsFile(folder + "/model.safetensors")
            var entries = file.entries.mapValues { (dtype: $0.dtype, shape: $0.shape) }
            change(&entries)
            var (header, offset) = ("{", 0)
            for (name, entry) in entries.sorted(by: { $0.key < $1.key }) {
                let end = offset + entry.shape.reduce(1, *) * entry.dtype.bits / 8
                header += (offset > 0 ? "," : "") + "\"\(name)\":{\"dtype\":\"\(entry.dtype.rawValue)\","
                header += "\"shape\":\(entry.shape),\"data_offsets\":[\(offset),\(end)]}"
                offset = end
            }
            let content = safetensors(header + "}", [UInt8](repeating: 0, count: offset))
            try Data(content).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
            LLMTests.expectRefused(folder, words)
        }
    }
    let (name, scale) = ("transformer.\(weight)", "transformer.\(weight)_scale")
    try expectRefusedAfter({ $0[scale] = nil }, "\(scale)\" is missing")
    try expectRefusedAfter({ $0[scale]?.shape = [198, 3] }, "has the shape [198, 3], not [198, 2]")
    try expectRefusedAfter({ $0[scale]?.dtype = .int8 }, "\(scale)\" is I8; only F32")
    try expectRefusedAfter({ $0[name]?.shape = [66, 198] }, "has the shape [66, 198], not [198, 2, 64]")
    try expectRefusedAfter({ $0[name]?.dtype = .uint8 }, "has the shape [198, 2, 64], not [66, 198]")
    try expectRefusedAfter({ $0["transformer.h.0.ln_1.weight"]?.dtype = .int8 }, "ln_1.weight\" is I8; only F32")
    try expectRefusedAfter({ $0[name] = (.float32, [66, 198]) }, "\(scale) is not part of a GPT-2")
}
