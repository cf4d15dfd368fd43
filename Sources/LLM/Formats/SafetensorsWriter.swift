// Hugging Face's safetensors, written: the same bytes as Hugging Face's library writes.

import Foundation
import Kernels

/// A tensor for `writeSafetensors`: its name, its shape in the file, and where its floats are.
package struct SafetensorsTensor {
    package let name: String
    package let shape: [Int]
    /// Row-major; as many as the shape has. A buffer with more rows, such as a padded one, is fine.
    package let floats: UnsafePointer<Float>
    /// Whether the floats are the transpose of what the file shall have: (columns,rows) for a shape of (rows,columns).
    package let isTransposed: Bool
    /// Whether int8 rounds it: a matrix whose floats are (outputs,inputs). What it does not round it leaves in float32.
    package let isWeight: Bool

    package init(
        _ name: String, shape: [Int], floats: UnsafePointer<Float>, isTransposed: Bool = false, isWeight: Bool = false
    ) {
        precondition(!isTransposed && !isWeight || shape.count == 2, "only a matrix can be transposed or rounded")
        (self.name, self.shape, self.floats) = (name, shape, floats)
        (self.isTransposed, self.isWeight) = (isTransposed, isWeight)
    }
}

/// Writes a safetensors file: a header with `__metadata__` {"format": "pt"}, padded with spaces to 8 bytes, then the
/// tensors by name, the larger elements first. bfloat16 is rounded to nearest even. A matrix in int8 is two tensors: the
/// whole numbers under its name, I8 (outputs,⌈inputs/64⌉,64), and `NAME_scale` (outputs,⌈inputs/64⌉), F32; `__metadata__`
/// says so. That is not the shape that other programs expect, so they refuse the whole numbers instead of taking them for
/// weights. Beside the model it takes the memory of a few rows; in int8, of the largest matrix in 8 bits.
/// - Parameters:
///   - hasChecksum: whether the file is to notice if it is damaged later: `__metadata__` then has a checksum of the whole
///     file, computed with its 16 digits zero. Other programs pass it over.
///   - metadata: further members of `__metadata__`, which other programs pass over.
///   - file: from `writeDurably`; empty.
package func writeSafetensors(
    _ tensors: [SafetensorsTensor], as format: WeightFormat, hasChecksum: Bool = false,
    metadata more: [(key: String, value: String)] = [], to file: OutputFile
) throws {
    // The library sorts by the size of an element, the largest first, then by name.
    let parts = tensors.flatMap { FilePart.parts(of: $0, as: format) }.sorted {
        if $0.dtype.bits != $1.dtype.bits { return $0.dtype.bits > $1.dtype.bits }
        return $0.name.utf8.lexicographicallyPrecedes($1.name.utf8)
    }
    func quoted(_ text: String) -> String { String(decoding: JSON.quoted(Array(text.utf8)), as: UTF8.self) }
    let says = format == .int8 ? [(key: "int8", value: int8Description)] : []
    let members =
        (more + says).map { "\(quoted($0.key)):\(quoted($0.value))" } + (hasChecksum ? [safetensorsChecksumField] : [])
    let metadata = "{\"__metadata__\":{\((members + ["\"format\":\"pt\""]).joined(separator: ","))}"
    var header = Array(metadata.utf8)
    var offset = 0
    var names: Set<[UInt8]> = []
    for part in parts {
        guard names.insert(Array(part.name.utf8)).inserted else {
            throw UserError("\(file.path): tensor \(part.name) is there twice", hint: "give each tensor its own name")
        }
        let end = offset + part.shape.reduce(1, *) * part.dtype.bits / 8
        let shape = part.shape.map { "\($0)" }.joined(separator: ",")
        header += [UInt8(ascii: ",")] + JSON.quoted(Array(part.name.utf8))
        header += Array(
            ":{\"dtype\":\"\(part.dtype.rawValue)\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}".utf8)
        offset = end
    }
    header.append(UInt8(ascii: "}"))
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    try file.write([UInt64(header.count).littleEndian])
    try file.write(header)
    for part in parts { try part.write(to: file) }
    guard hasChecksum, let field = metadata.range(of: safetensorsChecksumField, options: .backwards) else { return }
    let digits = Array(hexadecimal(file.checksum).utf8)
    let place = 8 + metadata[..<field.upperBound].utf8.count - 1 - digits.count
    try digits.withUnsafeBytes { try file.overwrite($0, at: place) }
}

/// What a file with weights in int8 says of them.
private let int8Description =
    "weight[output, 64 * g + i] = NAME_scale[output, g] * NAME[output, g, i], whichever way the floats would lie"

/// The name of a matrix's scales.
func int8ScaleName(_ name: String) -> String { name + "_scale" }

/// The checksum's member of `__metadata__` before its value is known.
let safetensorsChecksumField = "\"checksum\":\"\(hexadecimal(0))\""

/// 16 digits.
func hexadecimal(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}

/// A tensor as the file has it.
private struct FilePart {
    let name: String
    let dtype: SafetensorsDType
    let shape: [Int]
    private let tensor: SafetensorsTensor
    private let content: Content

    private enum Content { case floats, whole, scales }

    /// What a tensor becomes in a format.
    static func parts(of tensor: SafetensorsTensor, as format: WeightFormat) -> [FilePart] {
        let (name, shape) = (tensor.name, tensor.shape)
        switch format {
        case .int8 where tensor.isWeight:
            let whole = int8Shape(C: tensor.inputs, OC: tensor.outputs)
            return [
                FilePart(name: name, dtype: .int8, shape: whole, tensor: tensor, content: .whole),
                FilePart(
                    name: int8ScaleName(name), dtype: .float32, shape: Array(whole.dropLast()), tensor: tensor,
                    content: .scales),
            ]
        case .float32, .int8:
            return [FilePart(name: name, dtype: .float32, shape: shape, tensor: tensor, content: .floats)]
        case .bfloat16:
            return [FilePart(name: name, dtype: .bfloat16, shape: shape, tensor: tensor, content: .floats)]
        }
    }

    func write(to file: OutputFile) throws {
        guard content == .floats else { return try writeInt8(to: file) }
        guard tensor.isTransposed else { return try write(tensor.floats, count: shape.reduce(1, *), to: file) }
        let (rows, columns) = (shape[0], shape[1])
        let height = 32
        let stripe = UnsafeMutablePointer<Float>.allocate(capacity: height * columns)
        defer { stripe.deallocate() }
        for first in stride(from: 0, to: rows, by: height) {
            let part = first..<min(first + height, rows)
            SafetensorsDType.float32.transposeFloats(
                from: tensor.floats, rows: columns, columns: rows, part: part, to: stripe)
            try write(stripe, count: part.count * columns, to: file)
        }
    }

    private func write(_ floats: UnsafePointer<Float>, count: Int, to file: OutputFile) throws {
        guard dtype == .bfloat16 else {
            return try file.write(UnsafeRawBufferPointer(start: floats, count: 4 * count))
        }
        let piece = 1 << 16
        for first in stride(from: 0, to: count, by: piece) {
            let values = [UInt16](unsafeUninitializedCapacity: min(piece, count - first)) { buffer, initialized in
                initialized = min(piece, count - first)
                for i in 0..<initialized { buffer[i] = floats[first + i].bfloat16.littleEndian }
            }
            try file.write(values)
        }
    }

    /// The matrix is rounded twice, for its whole numbers and for its scales: that takes less than the writing.
    private func writeInt8(to file: OutputFile) throws {
        let (OC, C) = (tensor.outputs, tensor.inputs)
        let whole = int8Shape(C: C, OC: OC)
        let (groups, count) = (whole[0] * whole[1], whole.reduce(1, *))
        let q = UnsafeMutablePointer<Int8>.allocate(capacity: count)
        let scales = UnsafeMutablePointer<Float>.allocate(capacity: groups)
        defer {
            q.deallocate()
            scales.deallocate()
        }
        quantizeInt8(q, scales: scales, weight: tensor.floats, C: C, OC: OC)
        try file.write(
            content == .whole
                ? UnsafeRawBufferPointer(start: q, count: count)
                : UnsafeRawBufferPointer(start: scales, count: 4 * groups))
    }
}

extension SafetensorsTensor {
    /// A weight's rows and columns in memory.
    fileprivate var outputs: Int { isTransposed ? shape[1] : shape[0] }
    fileprivate var inputs: Int { isTransposed ? shape[0] : shape[1] }
}
