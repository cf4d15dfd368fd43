// Writing safetensors: the bytes that Hugging Face's library writes, and the same floats when they are read again.

import Foundation
import LLM
import Testing

/// The bytes of the file with these tensors.
private func written(_ format: WeightFormat, _ tensors: [SafetensorsTensor]) throws -> [UInt8] {
    var result: [UInt8] = []
    try withTemporaryDirectory { directory in
        let path = directory + "/model.safetensors"
        try writeDurably(path) { try writeSafetensors(tensors, as: format, to: $0) }
        result = try fileBytes(path)
    }
    return result
}

@Test func `a file lies as the format says`() throws {
    let floats: [Float] = [1, 2, 3, 4, 5, 6]
    let file = try floats.withUnsafeBufferPointer { buffer in
        let base = try #require(buffer.baseAddress)
        return try written(
            .float32,
            [
                SafetensorsTensor("b", shape: [3, 2], floats: base, isTransposed: true),
                SafetensorsTensor("a\"\n", shape: [], floats: base),
                SafetensorsTensor("B", shape: [2, 2], floats: base + 1),
            ])
    }
    let header =
        #"{"__metadata__":{"format":"pt"},"B":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#
        + #""a\"\n":{"dtype":"F32","shape":[],"data_offsets":[16,20]},"#
        + #""b":{"dtype":"F32","shape":[3,2],"data_offsets":[20,44]}}"#
    let padded = Array(header.utf8) + [UInt8](repeating: 0x20, count: (8 - header.utf8.count % 8) % 8)
    #expect(file == safetensors(padded, littleEndian([2, 3, 4, 5, 1, 1, 4, 2, 5, 3, 6])))
    #expect((file.count - 44) % 8 == 0)
}

@Test func `the header is padded to 8 bytes whatever its length`() throws {
    let floats: [Float] = [1]
    for length in 1...17 {
        let file = try floats.withUnsafeBufferPointer {
            try written(
                .float32,
                [
                    SafetensorsTensor(
                        String(repeating: "a", count: length), shape: [1], floats: try #require($0.baseAddress))
                ])
        }
        #expect((file.count - 4) % 8 == 0)
        try withSafetensors(file) { file in
            let floats = try file.floats(String(repeating: "a", count: length))
            #expect(floats == [1])
        }
    }
    #expect(try written(.float32, []) == safetensors(#"{"__metadata__":{"format":"pt"}}"#))
}

@Test(arguments: [WeightFormat.float32, .bfloat16])
func `what transformers wrote is written again in the same bytes`(format: WeightFormat) throws {
    let path = try fixture("huggingface/\(format.rawValue)/model.safetensors")
    let file = try SafetensorsFile(path)
    var buffers: [UnsafeMutablePointer<Float>] = []
    defer { for buffer in buffers { buffer.deallocate() } }
    for transposes in [false, true] {
        var tensors: [SafetensorsTensor] = []
        for (name, entry) in file.entries {
            let buffer = UnsafeMutablePointer<Float>.allocate(capacity: entry.count)
            buffers.append(buffer)
            let turns = transposes && entry.shape.count == 2
            if turns {
                try file.readTransposedFloats(name, shape: (entry.shape[0], entry.shape[1]), into: buffer)
            } else {
                try file.readFloats(name, shape: entry.shape, into: buffer)
            }
            tensors.append(SafetensorsTensor(name, shape: entry.shape, floats: buffer, isTransposed: turns))
        }
        let isSame = try written(format, tensors) == fileBytes(path)
        #expect(isSame)
    }
}

/// Sizes below, at and above a block, a stripe and a piece, with ragged ends.
@Test(arguments: [(1, 1), (1, 70), (70, 1), (31, 33), (32, 32), (33, 65), (97, 131), (0, 5), (5, 0), (300, 701)])
func `tensors come back bit for bit`(rows: Int, columns: Int) throws {
    let bits = hardBits(rows * columns, seed: UInt64(rows + columns))
    // Two rows more than are written, as a padded vocabulary has.
    let floats = bits.map { Float(bitPattern: $0) } + [Float](repeating: 9, count: 2 * columns)
    let turned = transposed(bits, columns: columns).map { Float(bitPattern: $0) } + [9]
    for format in [WeightFormat.float32, .bfloat16] {
        let file = try floats.withUnsafeBufferPointer { floats in
            try turned.withUnsafeBufferPointer { turned in
                try written(
                    format,
                    [
                        SafetensorsTensor("x", shape: [rows, columns], floats: try #require(floats.baseAddress)),
                        SafetensorsTensor(
                            "y", shape: [rows, columns], floats: try #require(turned.baseAddress), isTransposed: true),
                    ])
            }
        }
        let expected = bits.map { bits in
            format == .float32 ? bits : UInt32(Float(bitPattern: bits).bfloat16) << 16
        }
        try withSafetensors(file) { file in
            for name in ["x", "y"] {
                #expect(file.entries[name]?.dtype == (format == .float32 ? .float32 : .bfloat16))
                let isSame = try file.floats(name).map { $0.bitPattern } == expected
                #expect(isSame, "\(name) in \(format)")
            }
        }
    }
}

@Test func `a name that is there twice is not written`() throws {
    let floats: [Float] = [1]
    try floats.withUnsafeBufferPointer { buffer in
        let tensor = SafetensorsTensor("a", shape: [1], floats: try #require(buffer.baseAddress))
        expectMessage(["tensor a is there twice"]) { _ = try written(.float32, [tensor, tensor]) }
    }
}
