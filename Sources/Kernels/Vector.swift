// One vector register of floats, and the few functions on it that Swift's standard library lacks or makes slow.

/// The widest vector the processor has: 16 floats with AVX-512, 8 with AVX2, 4 with SSE and NEON (Package.swift decides).
#if SIMD_16
    typealias Vector = SIMD16<Float>
    typealias VectorOfInt32 = SIMD16<Int32>
#elseif SIMD_8
    typealias Vector = SIMD8<Float>
    typealias VectorOfInt32 = SIMD8<Int32>
#else
    typealias Vector = SIMD4<Float>
    typealias VectorOfInt32 = SIMD4<Int32>
#endif

/// Floats in a vector.
package let vectorWidth = Vector.scalarCount

extension Vector {
    @inline(__always) static func load(_ source: UnsafePointer<Float>) -> Vector {
        UnsafeRawPointer(source).loadUnaligned(as: Vector.self)
    }

    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(destination).storeBytes(of: self, as: Vector.self)
    }

    /// The first `count` floats, or a whole vector if there are that many: for loops whose last step may be short.
    /// The other lanes are `fill`. A count below zero reads nothing (a range would not do: built -Ounchecked, it would
    /// run on).
    @inline(__always) static func load(_ source: UnsafePointer<Float>, upTo count: Int, fill: Float = 0) -> Vector {
        if count >= Vector.scalarCount { return load(source) }
        var vector = Vector(repeating: fill)
        var i = 0
        while i < count {
            vector[i] = source[i]
            i += 1
        }
        return vector
    }

    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>, upTo count: Int) {
        if count >= Vector.scalarCount { return store(destination) }
        var i = 0
        while i < count {
            destination[i] = self[i]
            i += 1
        }
    }

    /// self + a·b. One instruction where the processor has it; where it has not, addingProduct would be a call into
    /// the C library for each lane.
    @inline(__always) func adding(_ a: Vector, times b: Vector) -> Vector {
        #if FMA
            return addingProduct(a, b)
        #else
            return self + a * b
        #endif
    }

    /// The larger of each pair of lanes. (pointwiseMax asks about NaN lane by lane; this is compare and blend.)
    @inline(__always) func maximum(_ other: Vector) -> Vector {
        replacing(with: other, where: self .< other)
    }

    @inline(__always) func minimum(_ other: Vector) -> Vector {
        replacing(with: other, where: other .< self)
    }
}

/// The sum of the lanes, by halves: `sum()` adds them one after the other and takes four times as long.
@_transparent
func sumOfLanes(_ x: Vector) -> Float {
    #if SIMD_16
        let eight = x.lowHalf + x.highHalf
        let four = eight.lowHalf + eight.highHalf
    #elseif SIMD_8
        let four = x.lowHalf + x.highHalf
    #else
        let four = x
    #endif
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}

/// The largest of the lanes, the same way.
@_transparent
func largestLane(_ x: Vector) -> Float {
    #if SIMD_16
        let eight = x.lowHalf.replacing(with: x.highHalf, where: x.lowHalf .< x.highHalf)
        let four = eight.lowHalf.replacing(with: eight.highHalf, where: eight.lowHalf .< eight.highHalf)
    #elseif SIMD_8
        let four = x.lowHalf.replacing(with: x.highHalf, where: x.lowHalf .< x.highHalf)
    #else
        let four = x
    #endif
    let two = four.lowHalf.replacing(with: four.highHalf, where: four.lowHalf .< four.highHalf)
    return max(two[0], two[1])
}

/// The largest of row (count). A function that is called: in a large body the compiler leaves the counting of such a loop
/// as a call, and with it every vector goes to memory and back.
@inline(never)
func largest(of row: UnsafePointer<Float>, count: Int) -> Float {
    let w = Vector.scalarCount
    var largest = Vector(repeating: -.infinity)
    for i in stride(from: 0, to: count, by: w) {
        largest = largest.maximum(.load(row + i, upTo: count - i, fill: -.infinity))
    }
    return largestLane(largest)
}

/// eˣ within 2 ulp for −87 ≤ x ≤ 88; beyond, the value at that end. NaN stays NaN.
///
/// eˣ = 2ⁿ·eʳ with n = round(x·log₂e) and |r| ≤ ln 2 / 2, where Taylor's polynomial of degree 7 is exact to
/// 5·10⁻⁹. Adding 1.5·2²³ rounds to a whole number AND leaves it in the low bits of the float, ready to be shifted
/// into the exponent: neither `rounded()` nor a conversion to Int32 is needed, which Swift would do lane by lane.
///
/// `@inline(__always)` is not enough here: in large loops the compiler calls the function all the same, and a vector
/// passed to a function travels in four pieces, which costs attention a tenth of its time.
@_transparent
func exponential(_ x: Vector) -> Vector {
    let x = x.maximum(Vector(repeating: -87)).minimum(Vector(repeating: 88))
    let magic = Vector(repeating: 0x1.8p23)
    let shifted = magic.adding(x, times: Vector(repeating: 1.442_695_04))
    let n = shifted - magic
    // ln 2 in two parts, so that x − n·ln 2 keeps its low bits.
    var r = x.adding(n, times: Vector(repeating: -0.693_359_375))
    r = r.adding(n, times: Vector(repeating: 2.121_944_4e-4))
    var sum = Vector(repeating: 1 / 5040)
    sum = Vector(repeating: 1 / 720).adding(sum, times: r)
    sum = Vector(repeating: 1 / 120).adding(sum, times: r)
    sum = Vector(repeating: 1 / 24).adding(sum, times: r)
    sum = Vector(repeating: 1 / 6).adding(sum, times: r)
    sum = Vector(repeating: 1 / 2).adding(sum, times: r)
    sum = Vector(repeating: 1).adding(sum, times: r)
    sum = Vector(repeating: 1).adding(sum, times: r)
    let exponent = unsafeBitCast(shifted, to: VectorOfInt32.self) &<< 23
    return unsafeBitCast(unsafeBitCast(sum, to: VectorOfInt32.self) &+ exponent, to: Vector.self)
}

/// A small square matrix in registers, to turn: 8 × 8, or 4 × 4 where a vector is no longer. With 16 × 16 the turning
/// would need more registers than there are, and takes twice as long.
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

    /// From memory, `stride` floats from row to row.
    @inline(__always) init(rows source: UnsafePointer<Float>, stride: Int) {
        rows = .init(repeating: Row(repeating: 0))
        for i in 0..<Square.width { rows[i] = UnsafeRawPointer(source + i * stride).loadUnaligned(as: Row.self) }
    }

    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>, stride: Int) {
        for i in 0..<Square.width {
            UnsafeMutableRawPointer(destination + i * stride).storeBytes(of: rows[i], as: Row.self)
        }
    }

    /// Number the elements by the bits (row, column). Taking the even lanes of every pair of rows for the upper half
    /// and the odd lanes for the lower one moves the lowest bit of the number to the top; after log₂(width) rounds row
    /// and column have changed places. Each round is one shuffle a row: eight times faster than float by float.
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
