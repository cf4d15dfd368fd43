// NumPy's .npy file, version 1.0: a magic number, the length of the header, the header (a Python dictionary with the type
// and the shape, filled with spaces so that the numbers begin at a multiple of 64), and the numbers.

/// Writes matrices for numpy.load.
package enum NumPyFile {
    /// The bytes before the numbers of a float32 matrix (rows,columns).
    package static func header(rows: Int, columns: Int) -> [UInt8] {
        var text = Array("{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows), \(columns)), }".utf8)
        while (10 + text.count + 1) % 64 != 0 { text.append(UInt8(ascii: " ")) }
        text.append(10)
        return [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(text.count & 0xff), UInt8(text.count >> 8)] + text
    }
}
