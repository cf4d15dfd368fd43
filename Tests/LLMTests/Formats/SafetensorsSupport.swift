// What the tests of safetensors share.

import Foundation
import LLM
import Testing

/// A safetensors file of these bytes.
func safetensors(_ header: String, _ data: [UInt8] = []) -> [UInt8] { safetensors(Array(header.utf8), data) }

func safetensors(_ header: [UInt8], _ data: [UInt8]) -> [UInt8] {
    littleEndian(UInt64(header.count)) + header + data
}

func littleEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

func littleEndian(_ values: [Float]) -> [UInt8] { values.flatMap { littleEndian($0.bitPattern) } }

func fileBytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

/// Opens a file of these bytes.
func withSafetensors(_ bytes: [UInt8], _ body: (SafetensorsFile) throws -> Void) throws {
    try withTemporaryDirectory { directory in
        try write(bytes, to: directory + "/model.safetensors")
        try body(try SafetensorsFile(directory + "/model.safetensors"))
    }
}

extension SafetensorsFile {
    func floats(_ name: String) throws -> [Float] {
        let entry = try #require(entries[name])
        return try [Float](unsafeUninitializedCapacity: entry.count) { buffer, initialized in
            try readFloats(name, shape: entry.shape, into: try #require(buffer.baseAddress))
            initialized = entry.count
        }
    }

    func transposedFloats(_ name: String) throws -> [Float] {
        let entry = try #require(entries[name])
        return try [Float](unsafeUninitializedCapacity: entry.count) { buffer, initialized in
            try readTransposedFloats(
                name, shape: (entry.shape[0], entry.shape[1]), into: try #require(buffer.baseAddress))
            initialized = entry.count
        }
    }
}

/// The transpose of a matrix of `columns`, element by element.
func transposed<Value>(_ values: [Value], columns: Int) -> [Value] {
    guard columns > 0 else { return [] }
    let rows = values.count / columns
    return (0..<columns).flatMap { c in (0..<rows).map { r in values[r * columns + c] } }
}

/// Bits that stand for every kind of float.
func hardBits(_ count: Int, seed: UInt64) -> [UInt32] {
    let special: [Float] = [
        0, -0.0, 1, -1, .infinity, -.infinity, .nan, .leastNonzeroMagnitude, .leastNormalMagnitude,
        .greatestFiniteMagnitude, .signalingNaN, 65504, 65520,
    ]
    var random = Xorshift(seed: seed)
    return (0..<count).map { i in
        i % 7 == 3
            ? special[random.below(special.count)].bitPattern : UInt32(truncatingIfNeeded: random.next() >> 16)
    }
}

/// Expects a UserError whose message has all of these parts.
func expectMessage(
    _ parts: [String], _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("\(what): nothing was thrown, not even \(parts)", sourceLocation: sourceLocation)
    } catch let error as UserError {
        #expect(!error.hint.isEmpty, sourceLocation: sourceLocation)
        for part in parts where !error.message.contains(part) {
            Issue.record("\(what): \"\(error.message)\" lacks \"\(part)\"", sourceLocation: sourceLocation)
        }
    } catch {
        Issue.record("\(what): \(error) is not a UserError", sourceLocation: sourceLocation)
    }
}
