// The elements of tensors in safetensors files, and their way to float32.

/// The type of a tensor's elements, by its name in safetensors headers. Floats can be read from F32, F16 and BF16; of
/// the others only the size matters, to see that a file is whole.
package enum SafetensorsDType: String, CaseIterable {
    case bool = "BOOL"
    case uint8 = "U8"
    case int8 = "I8"
    case float4 = "F4"
    case float6E2M3 = "F6_E2M3"
    case float6E3M2 = "F6_E3M2"
    case float8E5M2 = "F8_E5M2"
    case float8E4M3 = "F8_E4M3"
    case float8E5M2FNUZ = "F8_E5M2FNUZ"
    case float8E4M3FNUZ = "F8_E4M3FNUZ"
    case float8E8M0 = "F8_E8M0"
    case int16 = "I16"
    case uint16 = "U16"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case int32 = "I32"
    case uint32 = "U32"
    case float32 = "F32"
    case int64 = "I64"
    case uint64 = "U64"
    case float64 = "F64"
    case complex64 = "C64"

    /// Size of an element.
    package var bits: Int {
        switch self {
        case .float4: 4
        case .float6E2M3, .float6E3M2: 6
        case .bool, .uint8, .int8, .float8E5M2, .float8E4M3, .float8E5M2FNUZ, .float8E4M3FNUZ, .float8E8M0: 8
        case .int16, .uint16, .float16, .bfloat16: 16
        case .int32, .uint32, .float32: 32
        case .int64, .uint64, .float64, .complex64: 64
        }
    }

    package var isReadable: Bool { [.float32, .float16, .bfloat16].contains(self) }

    /// Converts `count` elements, little-endian and at any address, exactly to float32.
    /// - Precondition: `isReadable`.
    func copyFloats(_ count: Int, from source: UnsafeRawPointer, to destination: UnsafeMutablePointer<Float>) {
        switch self {
        case .float32:
            UnsafeMutableRawPointer(destination).copyMemory(from: source, byteCount: 4 * count)
        case .float16:
            for i in 0..<count {
                destination[i] = Float(float16: source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        case .bfloat16:
            for i in 0..<count {
                destination[i] = Float(bfloat16: source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        default: preconditionFailure("\(rawValue) is not readable")
        }
    }

    /// Converts some columns of a matrix to float32, as rows: the transpose, or a part of it.
    ///
    /// In blocks of 32 × 32, each by way of a small one in the nearest cache. Reading a row's piece and writing a row's
    /// piece are both in the order of memory; element by element, one of the two would touch a new line each time.
    /// - Parameters:
    ///   - source: (rows,columns).
    ///   - destination: (part.count,rows).
    func transposeFloats(
        from source: UnsafeRawPointer, rows: Int, columns: Int, part: Range<Int>,
        to destination: UnsafeMutablePointer<Float>
    ) {
        let side = 32
        let elementBytes = bits / 8
        withUnsafeTemporaryAllocation(of: Float.self, capacity: side * side) { block in
            guard let block = block.baseAddress else { return }
            for firstColumn in stride(from: part.lowerBound, to: part.upperBound, by: side) {
                let width = min(side, part.upperBound - firstColumn)
                for firstRow in stride(from: 0, to: rows, by: side) {
                    let height = min(side, rows - firstRow)
                    for r in 0..<height {
                        let start = source + ((firstRow + r) * columns + firstColumn) * elementBytes
                        copyFloats(width, from: start, to: block + r * side)
                    }
                    for c in 0..<width {
                        let row = destination + (firstColumn - part.lowerBound + c) * rows + firstRow
                        for r in 0..<height { row[r] = block[r * side + c] }
                    }
                }
            }
        }
    }
}
