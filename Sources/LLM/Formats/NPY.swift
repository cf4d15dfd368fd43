// NumPy's .npy file, version 1.0 (numpy.lib.format): a magic number, the length of the header, the header, and the
// numbers. The header is a Python dictionary with the type and the shape, filled with spaces so that the numbers begin at
// a multiple of 64.

/// Arrays of float32 for numpy.load, in C order: the last dimension varies fastest.
package enum NPY {
    /// The bytes before the numbers.
    package static func header(shape: [Int]) -> [UInt8] {
        // A tuple of one number is written (5,).
        let tuple = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        var text = Array("{'descr': '<f4', 'fortran_order': False, 'shape': (\(tuple)), }".utf8)
        while (10 + text.count + 1) % 64 != 0 { text.append(UInt8(ascii: " ")) }
        text.append(10)
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.count & 0xff), UInt8(text.count >> 8)] + text
    }

    /// Writes an array whose parts, along its first dimension, lie in several places.
    package static func write(_ parts: [UnsafeBufferPointer<Float>], shape: [Int], to path: String) throws {
        precondition(parts.reduce(0) { $0 + $1.count } == shape.reduce(1, *))
        try writeDurably(path) { file in
            try file.write(header(shape: shape))
            for part in parts { try file.write(UnsafeRawBufferPointer(part)) }
        }
    }
}
