// Hugging Face's safetensors, written: the same bytes as Hugging Face's library writes.

import Foundation

/// A tensor for `writeSafetensors`: its name, its shape in the file, and where its floats are.
package struct SafetensorsTensor {
    package let name: String
    package let shape: [Int]
    /// Row-major; as many as the shape has. A buffer with more rows, such as a padded one, is fine.
    package let floats: UnsafePointer<Float>
    /// Whether the floats are the transpose of what the file shall have: (columns,rows) for a shape of (rows,columns).
    package let isTransposed: Bool

    package init(_ name: String, shape: [Int], floats: UnsafePointer<Float>, isTransposed: Bool = false) {
        precondition(!isTransposed || shape.count == 2, "only a matrix can be transposed")
        (self.name, self.shape, self.floats, self.isTransposed) = (name, shape, floats, isTransposed)
    }
}

/// Writes a safetensors file: a header with `__metadata__` {"format": "pt"}, padded with spaces to 8 bytes, then the
/// tensors by name. bfloat16 is rounded to nearest even. Beside the model it takes the memory of a few rows.
/// - Parameters:
///   - hasChecksum: whether the file is to notice if it is damaged later: `__metadata__` then has a checksum of the whole
///     file, computed with its 16 digits zero. Other programs pass it over.
///   - metadata: further members of `__metadata__`, which other programs pass over.
///   - file: from `writeDurably`; empty.
package func writeSafetensors(
    _ tensors: [SafetensorsTensor], as precision: WeightPrecision, hasChecksum: Bool = false,
    metadata more: [(key: String, value: String)] = [], to file: OutputFile
) throws {
    // The library sorts by the size of an element, the largest first, then by name. There is one size here.
    let tensors = tensors.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    func quoted(_ text: String) -> String { String(decoding: JSON.quoted(Array(text.utf8)), as: UTF8.self) }
    let members = more.map { "\(quoted($0.key)):\(quoted($0.value))" } + (hasChecksum ? [safetensorsChecksumField] : [])
    let metadata = "{\"__metadata__\":{\((members + ["\"format\":\"pt\""]).joined(separator: ","))}"
    var header = Array(metadata.utf8)
    var offset = 0
    for (i, tensor) in tensors.enumerated() {
        guard i == 0 || tensors[i - 1].name != tensor.name else {
            throw UserError("\(file.path): tensor \(tensor.name) is there twice", hint: "give each tensor its own name")
        }
        let end = offset + tensor.shape.reduce(1, *) * precision.dtype.bits / 8
        let shape = tensor.shape.map { "\($0)" }.joined(separator: ",")
        header += [UInt8(ascii: ",")] + JSON.quoted(Array(tensor.name.utf8))
        header += Array(
            ":{\"dtype\":\"\(precision.dtype.rawValue)\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}"
                .utf8)
        offset = end
    }
    header.append(UInt8(ascii: "}"))
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    try file.write([UInt64(header.count).littleEndian])
    try file.write(header)
    for tensor in tensors { try write(tensor, as: precision, to: file) }
    guard hasChecksum, let field = metadata.range(of: safetensorsChecksumField, options: .backwards) else { return }
    let digits = Array(hexadecimal(file.checksum).utf8)
    let place = 8 + metadata[..<field.upperBound].utf8.count - 1 - digits.count
    try digits.withUnsafeBytes { try file.overwrite($0, at: place) }
}

/// The checksum's member of `__metadata__` before its value is known.
let safetensorsChecksumField = "\"checksum\":\"\(hexadecimal(0))\""

/// 16 digits.
func hexadecimal(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

private func write(_ tensor: SafetensorsTensor, as precision: WeightPrecision, to file: OutputFile) throws {
    guard tensor.isTransposed else {
        try write(tensor.floats, count: tensor.shape.reduce(1, *), as: precision, to: file)
        return
    }
    let (rows, columns) = (tensor.shape[0], tensor.shape[1])
    let height = 32
    let stripe = UnsafeMutablePointer<Float>.allocate(capacity: height * columns)
    defer { stripe.deallocate() }
    for first in stride(from: 0, to: rows, by: height) {
        let part = first..<min(first + height, rows)
        SafetensorsDType.float32.transposeFloats(
            from: tensor.floats, rows: columns, columns: rows, part: part, to: stripe)
        try write(stripe, count: part.count * columns, as: precision, to: file)
    }
}

private func write(
    _ floats: UnsafePointer<Float>, count: Int, as precision: WeightPrecision, to file: OutputFile
) throws {
    switch precision {
    case .float32: try file.write(UnsafeRawBufferPointer(start: floats, count: 4 * count))
    case .bfloat16:
        let piece = 1 << 16
        for first in stride(from: 0, to: count, by: piece) {
            let values = [UInt16](unsafeUninitializedCapacity: min(piece, count - first)) { buffer, initialized in
                initialized = min(piece, count - first)
                for i in 0..<initialized { buffer[i] = floats[first + i].bfloat16.littleEndian }
            }
            try file.write(values)
        }
    }
}
