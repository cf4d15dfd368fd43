// Small square matrices in registers, from which the transpose of a larger one is made.

/// A small square matrix in registers: 8 × 8, or 4 × 4 where a vector has only four floats. Transposing 16 × 16 would
/// need more registers than there are, and takes twice as long.
struct Square {
    #if SIMD_16 || SIMD_8
        static let width = 8
        typealias Row = SIMD8<Float>
        typealias Pair = SIMD16<Float>
        var rows: InlineArray<8, Row>
    #else
        static let width = 4
        typealias Row = SIMD4<Float>
        typealias Pair = SIMD8<Float>
        var rows: InlineArray<4, Row>
    #endif

    /// The square at `source`, `stride` floats from row to row.
    @inline(__always) init(rows source: UnsafePointer<Float>, stride: Int) {
        rows = .init(repeating: Row(repeating: 0))
        for i in 0..<Square.width { rows[i] = UnsafeRawPointer(source + i * stride).loadUnaligned(as: Row.self) }
    }

    /// The counterpart of `init(rows:stride:)`.
    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>, stride: Int) {
        for i in 0..<Square.width {
            UnsafeMutableRawPointer(destination + i * stride).storeBytes(of: rows[i], as: Row.self)
        }
    }

    /// The transpose. Number the elements by the bits (row, column). Moving the even lanes of each pair of rows to the
    /// upper half of the square, and the odd lanes to the lower half, rotates the lowest bit of that number to the top.
    /// After log₂(width) rounds, row and column have changed places. A round is one shuffle per row, which is eight
    /// times faster than float by float.
    @inline(__always) func transposed() -> Square {
        var square = self
        var round = 1
        while round < Square.width {
            var next = square
            for i in 0..<Square.width / 2 {
                let pair = Pair(lowHalf: square.rows[2 * i], highHalf: square.rows[2 * i + 1])
                next.rows[i] = pair.evenHalf
                next.rows[i + Square.width / 2] = pair.oddHalf
            }
            square = next
            round *= 2
        }
        return square
    }
}
