// NumPy's files, read back by the words of its format description (numpy.lib.format, version 1.0).

import Foundation
import LLM
import Testing

/// An array of a .npy file of version 1.0, float32, in C order; nil if the file is none.
func readNPY(_ bytes: [UInt8]) -> (shape: [Int], values: [Float])? {
    // "The first 6 bytes are a magic string: exactly \x93NUMPY"; then the version, and the header's length.
    guard bytes.count > 10, Array(bytes[..<8]) == [0x93] + Array("NUMPY".utf8) + [1, 0] else { return nil }
    let start = 10 + Int(integer(bytes, at: 8, as: UInt16.self))
    // The header is a Python expression that ends in a newline, and the numbers begin at a multiple of 64.
    guard start % 64 == 0, start <= bytes.count, bytes[start - 1] == 10 else { return nil }
    let header = String(decoding: bytes[10..<start - 1], as: UTF8.self)
    let pattern =
        /\{'descr': '<f4', 'fortran_order': False, 'shape': \((|[0-9]+,|[0-9]+(?:, [0-9]+)+)\), \} */
    guard let tuple = header.wholeMatch(of: pattern)?.1 else { return nil }
    let shape = tuple.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
    guard bytes.count - start == 4 * shape.reduce(1, *) else { return nil }
    let values = stride(from: start, to: bytes.count, by: 4).map {
        Float(bitPattern: integer(bytes, at: $0, as: UInt32.self))
    }
    return (shape, values)
}

@Test func `NumPy's header is a multiple of 64 bytes, and says the shape`() throws {
    for shape in [
        [], [5], [1, 1], [123_456_789, 768], [0, 8], [2, 3, 4], [99_999, 88_888, 77_777, 66_666, 55_555],
    ] {
        let header = NPY.header(shape: shape)
        #expect(header.count % 64 == 0 && header.last == 10)
        #expect(Int(header[8]) + 256 * Int(header[9]) == header.count - 10)
        let numbers = shape.reduce(1, saturatingProduct)
        if numbers < 1000 {
            let read = readNPY(header + [UInt8](repeating: 0, count: 4 * numbers))
            #expect(read?.shape == shape)
        }
    }
    // Byte by byte, as numpy.save has it but for the number of spaces.
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"
    let whole =
        [0x93] + Array("NUMPY\u{1}\u{0}v\u{0}\(text)".utf8) + [UInt8](repeating: 32, count: 117 - text.utf8.count)
    #expect(NPY.header(shape: [5]) == whole + [10])
}

@Test func `arrays come back from NumPy's files, from parts too`() throws {
    try withTemporaryDirectory { folder in
        let values = randomFloats(24)
        try values.withUnsafeBufferPointer { buffer in
            let parts = [12..<24, 0..<12].map { UnsafeBufferPointer(rebasing: buffer[$0]) }
            try NPY.write(parts, shape: [2, 3, 4], to: "\(folder)/a.npy")
        }
        let read = try #require(readNPY(try bytes("\(folder)/a.npy")))
        #expect(read.shape == [2, 3, 4])
        #expect(read.values == Array(values[12...]) + Array(values[..<12]))
        try createDirectory("\(folder)/taken.npy")
        for (path, words) in [("taken.npy", "a directory is in its place"), ("none/a.npy", "cannot write")] {
            expectMessage([words]) { try NPY.write([], shape: [0], to: "\(folder)/\(path)") }
        }
    }
}

private func randomFloats(_ count: Int) -> [Float] {
    var random = MersenneTwister(seed: 3)
    return (0..<count).map { _ in random.uniform() - 0.5 }
}
