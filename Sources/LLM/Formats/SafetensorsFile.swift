// Hugging Face's safetensors, read: a file of named tensors.
//
//     8 bytes      N, the header's length, little-endian
//     N bytes      a JSON object: name → {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, and possibly
//                  "__metadata__", whose values are strings
//     the rest     the elements, row-major and little-endian; data_offsets count from here
//
// The tensors cover the data without gap or overlap, in any order, and may begin at any address.

import Foundation
import Kernels

/// The tensors of a safetensors file, which stays mapped for as long as this object lives. Opening it checks the whole
/// header against the format and the file's length, so that every entry can be read. A UserError names the file, the
/// tensor and the rule that was broken.
package final class SafetensorsFile {
    /// What the header says about a tensor.
    package struct Entry: Equatable {
        package let dtype: SafetensorsDType
        /// Empty for a single number.
        package let shape: [Int]
        /// Where its elements lie in the file.
        package let bytes: Range<Int>
        /// Of elements.
        package var count: Int { shape.reduce(1, *) }
    }

    package let path: String
    /// By name.
    package let entries: [String: Entry]
    private let file: MappedFile
    /// The texts in `__metadata__`.
    package let metadata: [String: String]
    /// The checksum in `__metadata__`; nil where there is none.
    private var checksum: String? { metadata["checksum"] }

    private static let longestHeader = 100_000_000
    /// In the header. A tensor takes eight of them, so a quarter of a million tensors can be described.
    private static let mostValues = 1 << 21

    package init(_ path: String) throws {
        file = try MappedFile(path, hint: "give a file written by safetensors, such as model.safetensors")
        self.path = path
        let size = file.bytes.count
        func refuse(_ what: String) -> UserError { SafetensorsFile.error("\(path): \(what)") }
        guard size >= 8 else { throw refuse("\(size) bytes are too few for the length of a header") }
        let length = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(SafetensorsFile.longestHeader) else {
            throw refuse("a header of \(length) bytes is longer than \(grouped(SafetensorsFile.longestHeader))")
        }
        let dataStart = 8 + Int(length)
        guard dataStart <= size else { throw refuse("a header of \(length) bytes does not fit in a file of \(size)") }
        let header = try JSON(
            Array(file.bytes[8..<dataStart]), name: "\(path), header", allowsDuplicateKeys: false,
            mostValues: SafetensorsFile.mostValues)
        guard case .object(let members) = header else { throw refuse("its header is not a JSON object") }

        var entries: [String: Entry] = [:]
        var texts: [String: String] = [:]
        for (key, value) in members {
            if key.elementsEqual("__metadata__".utf8) {
                guard case .object(let metadata) = value, metadata.allSatisfy({ $0.value.text != nil }) else {
                    throw refuse("__metadata__ is not an object of strings")
                }
                for (key, value) in metadata { texts[String(decoding: key, as: UTF8.self)] = value.text }
                continue
            }
            let name = String(decoding: key, as: UTF8.self)
            let entry = try SafetensorsFile.entry(value, dataStart..<size) {
                refuse("tensor \(JSON.shown(key)): \($0)")
            }
            // Swift takes two spellings of one character for equal; the JSON parser, which compares bytes, does not.
            guard entries.updateValue(entry, forKey: name) == nil else {
                throw refuse("tensor \(JSON.shown(key)) is there twice, in two Unicode spellings")
            }
        }
        self.entries = entries
        metadata = texts

        var position = dataStart
        let inOrder = entries.sorted {
            ($0.value.bytes.lowerBound, $0.value.bytes.upperBound, $0.key)
                < ($1.value.bytes.lowerBound, $1.value.bytes.upperBound, $1.key)
        }
        for (name, entry) in inOrder {
            guard entry.bytes.lowerBound == position else {
                let what = entry.bytes.lowerBound < position ? "it overlaps another one" : "there is a gap before it"
                throw refuse(
                    "tensor \(JSON.shown(Array(name.utf8))): its data_offsets begin at "
                        + "\(entry.bytes.lowerBound - dataStart), not at \(position - dataStart): \(what)")
            }
            position = entry.bytes.upperBound
        }
        guard position == size else { throw refuse("\(size - position) bytes after the last tensor belong to none") }
    }

    /// - Parameters:
    ///   - data: where the elements of all tensors lie in the file.
    ///   - refuse: makes the error.
    private static func entry(_ json: JSON, _ data: Range<Int>, refuse: (String) -> UserError) throws -> Entry {
        guard case .object = json else { throw refuse("its entry is not a JSON object") }
        guard let dtypeName = json["dtype"]?.text else { throw refuse("its dtype is missing or not a string") }
        guard let dtype = SafetensorsDType(rawValue: dtypeName) else {
            throw refuse("its dtype \(JSON.shown(Array(dtypeName.utf8))) is unknown")
        }
        func sizes(_ key: String) throws -> [Int] {
            guard case .array(let values)? = json[key] else { throw refuse("its \(key) is missing or not an array") }
            return try values.map { value in
                guard let size = value.int, size >= 0 else {
                    throw refuse("its \(key) has a value that is not a whole number from 0 to 2⁶³ − 1")
                }
                return size
            }
        }
        let shape = try sizes("shape")
        let offsets = try sizes("data_offsets")
        guard offsets.count == 2 else { throw refuse("its data_offsets are \(offsets.count) numbers, not 2") }
        guard offsets[0] <= offsets[1] else {
            throw refuse("its data_offsets end at \(offsets[1]), before they begin at \(offsets[0])")
        }
        guard offsets[1] <= data.count else {
            throw refuse("its data_offsets end at \(offsets[1]), after the data's \(data.count) bytes")
        }
        var bits = 1
        for factor in shape + [dtype.bits] {
            let (product, overflow) = bits.multipliedReportingOverflow(by: factor)
            guard !overflow else { throw refuse("its shape has more elements than there can be") }
            bits = product
        }
        guard bits % 8 == 0 else { throw refuse("its shape of \(dtypeName) does not end at a whole byte") }
        guard bits / 8 == offsets[1] - offsets[0] else {
            throw refuse(
                "its shape of \(dtypeName) takes \(bits / 8) bytes, its data_offsets \(offsets[1] - offsets[0])")
        }
        return Entry(
            dtype: dtype, shape: shape, bytes: data.lowerBound + offsets[0]..<data.lowerBound + offsets[1])
    }

    // MARK: - the elements

    /// Throws if the file has a checksum that does not fit its contents. It reads the whole file.
    package func checkSum() throws {
        guard let checksum else { return }
        guard checksum.wholeMatch(of: /[0-9a-f]{16}/) != nil else {
            throw UserError(
                "\(path): the checksum \(JSON.shown(Array(checksum.utf8))) in __metadata__ is not 16 hexadecimal digits",
                hint: "the file is damaged: copy it again; or another program wrote that: save the model without it")
        }
        let dataStart = 8 + Int(UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self)))
        var header = Array(file.bytes[..<dataStart])
        var sum = Checksum()
        // It was computed with its own digits zero.
        if let place = Data(header).range(of: Data("\"checksum\":\"\(checksum)\"".utf8)) {
            for i in place.upperBound - 17..<place.upperBound - 1 { header[i] = UInt8(ascii: "0") }
        }
        header.withUnsafeBytes { sum.update($0) }
        let piece = 1 << 24
        for start in stride(from: dataStart, to: file.bytes.count, by: piece) {
            let part = start..<min(start + piece, file.bytes.count)
            sum.update(UnsafeRawBufferPointer(rebasing: file.bytes[part]))
        }
        guard hexadecimal(sum.value) == checksum else {
            throw UserError(
                "\(path) is damaged: its checksum does not fit its contents",
                hint: "copy it again, or take another checkpoint; if another program changed it, save it there without "
                    + "the checksum in its metadata")
        }
    }

    /// Throws unless a tensor is there, has this shape, and can be read as floats.
    /// - Parameter isInt8: whether it must be I8 instead.
    package func check(_ name: String, shape: [Int], isInt8: Bool = false) throws {
        _ = try find(name, shape, isInt8: isInt8)
    }

    /// Reads some elements of a tensor as float32, exactly.
    /// - Parameters:
    ///   - shape: what the tensor must have; another one is an error.
    ///   - part: of its elements, in the order of memory.
    package func readFloats(
        _ name: String, shape: [Int], part: Range<Int>, into destination: UnsafeMutablePointer<Float>
    ) throws {
        let (entry, source) = try find(name, shape)
        precondition(part.upperBound <= entry.count)
        guard let source else { return }
        entry.dtype.copyFloats(
            part.count, from: source + part.lowerBound * entry.dtype.bits / 8, to: destination)
    }

    /// Reads a tensor's elements as float32, exactly.
    /// - Parameters:
    ///   - shape: what the tensor must have; another one is an error.
    ///   - destination: as many floats as the shape has.
    package func readFloats(
        _ name: String, shape: [Int], into destination: UnsafeMutablePointer<Float>
    ) throws {
        let (entry, source) = try find(name, shape)
        guard let source else { return }
        defer { file.release(entry.bytes) }
        let piece = 1 << 18
        parallelFor((entry.count + piece - 1) / piece) { i in
            entry.dtype.copyFloats(
                min(piece, entry.count - i * piece), from: source + i * piece * entry.dtype.bits / 8,
                to: destination + i * piece)
        }
    }

    /// Reads a matrix's elements as float32, exactly, and transposes it.
    /// - Parameters:
    ///   - shape: (rows,columns), what the tensor must have; another one is an error.
    ///   - destination: (columns,rows).
    package func readTransposedFloats(
        _ name: String, shape: (rows: Int, columns: Int), into destination: UnsafeMutablePointer<Float>
    ) throws {
        let (entry, source) = try find(name, [shape.rows, shape.columns])
        guard let source else { return }
        defer { file.release(entry.bytes) }
        let width = 64
        parallelFor((shape.columns + width - 1) / width) { i in
            let part = i * width..<min((i + 1) * width, shape.columns)
            entry.dtype.transposeFloats(
                from: source, rows: shape.rows, columns: shape.columns, part: part,
                to: destination + part.lowerBound * shape.rows)
        }
    }

    /// Calls `body` with the first element of a tensor of whole numbers, I8; not if it has none.
    /// - Parameter shape: what the tensor must have; another one is an error.
    package func withInt8(_ name: String, shape: [Int], _ body: (UnsafePointer<Int8>) throws -> Void) throws {
        let (entry, source) = try find(name, shape, isInt8: true)
        defer { file.release(entry.bytes) }
        if let source { try body(source.assumingMemoryBound(to: Int8.self)) }
    }

    /// A tensor that is there, has this shape, and can be read as floats (or is I8), and its first byte; nil if it has none.
    private func find(
        _ name: String, _ shape: [Int], isInt8: Bool = false
    ) throws -> (Entry, UnsafeRawPointer?) {
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(path): tensor \(JSON.shown(Array(name.utf8))) \(what)",
                hint: "check that config.json and the weights are of one model, and of a kind that is supported")
        }
        guard let entry = entries[name] else { throw refuse("is missing") }
        guard entry.shape == shape else { throw refuse("has the shape \(entry.shape), not \(shape)") }
        guard isInt8 ? entry.dtype == .int8 : entry.dtype.isReadable else {
            throw refuse(
                "is \(entry.dtype.rawValue)" + (isInt8 ? ", not I8" : "; only F32, F16 and BF16 can be read as floats"))
        }
        return (entry, entry.count == 0 ? nil : file.bytes.baseAddress.map { $0 + entry.bytes.lowerBound })
    }

    private static func error(_ message: String) -> UserError {
        UserError(
            message,
            hint: "the file is damaged, was cut off, or is only a Git LFS pointer; download it again or write it again")
    }
}
