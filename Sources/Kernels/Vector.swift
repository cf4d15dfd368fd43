// One vector register of floats, and the operations on it that Swift's standard library lacks or compiles to slow code.

/// The widest vector the processor has: 16 floats with AVX-512, 8 with AVX2, 4 with SSE and NEON (Package.swift
/// decides).
#if SIMD_16
    typealias Vector = SIMD16<Float>
    typealias VectorOfInt32 = SIMD16<Int32>
    typealias VectorOfUInt16 = SIMD16<UInt16>
    typealias VectorOfUInt8 = SIMD16<UInt8>
#elseif SIMD_8
    typealias Vector = SIMD8<Float>
    typealias VectorOfInt32 = SIMD8<Int32>
    typealias VectorOfUInt16 = SIMD8<UInt16>
    typealias VectorOfUInt8 = SIMD8<UInt8>
#else
    typealias Vector = SIMD4<Float>
    typealias VectorOfInt32 = SIMD4<Int32>
    typealias VectorOfUInt16 = SIMD4<UInt16>
    typealias VectorOfUInt8 = SIMD4<UInt8>
#endif

/// The number of floats in a vector.
package let vectorWidth = Vector.scalarCount

/// `count` rounded up to a multiple, by default of the vector width.
func roundedUp(_ count: Int, to multiple: Int = Vector.scalarCount) -> Int {
    (count + multiple - 1) / multiple * multiple
}

extension Vector {
    /// A whole vector from memory, which need not be aligned.
    @inline(__always) static func load(_ source: UnsafePointer<Float>) -> Vector {
        UnsafeRawPointer(source).loadUnaligned(as: Vector.self)
    }

    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(destination).storeBytes(of: self, as: Vector.self)
    }

    /// The first `count` floats, at most a whole vector, for loops whose last step may be short. The other lanes are
    /// `fill`. A negative count reads nothing. (`0..<count` would not do: built -Ounchecked, that loop would never
    /// end.)
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

    /// The counterpart of `load(_:upTo:fill:)`.
    @inline(__always) func store(_ destination: UnsafeMutablePointer<Float>, upTo count: Int) {
        if count >= Vector.scalarCount { return store(destination) }
        var i = 0
        while i < count {
            destination[i] = self[i]
            i += 1
        }
    }

    /// self + a·b, in one instruction if the processor has it. If not, addingProduct would call the C library for each
    /// lane.
    @inline(__always) func adding(_ a: Vector, times b: Vector) -> Vector {
        #if FMA
            return addingProduct(a, b)
        #else
            return self + a * b
        #endif
    }

    /// The larger of each pair of lanes, by compare and blend. (pointwiseMax tests each lane for NaN.)
    @inline(__always) func maximum(_ other: Vector) -> Vector {
        replacing(with: other, where: self .< other)
    }

    /// The smaller of each pair of lanes.
    @inline(__always) func minimum(_ other: Vector) -> Vector {
        replacing(with: other, where: other .< self)
    }
}

/// The sum of the lanes, by halves. `sum()` adds them one after another and takes four times as long.
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

/// The vector whose lane i is the sum of the lanes of vectors[i], for w vectors (w, w), which are overwritten.
/// Transposing turns the sums over lanes into a sum of rows; a `sumOfLanes` for each vector would take several times
/// as long.
@inline(__always)
func sumOfEach(_ vectors: UnsafeMutablePointer<Float>) -> Vector {
    let w = Vector.scalarCount
    for i in stride(from: 0, to: w, by: Square.width) {
        var square = Square(rows: vectors + i * w, stride: w)
        if w > Square.width {
            let right = Square(rows: vectors + i * w + Square.width, stride: w)
            for j in 0..<Square.width { square.rows[j] += right.rows[j] }
        }
        var rows = square.transposed().rows
        var count = Square.width
        while count > 1 {
            count /= 2
            for j in 0..<count { rows[j] += rows[count + j] }
        }
        // Stored over lanes of the first vector that are already summed.
        UnsafeMutableRawPointer(vectors + i).storeBytes(of: rows[0], as: Square.Row.self)
    }
    return .load(vectors)
}

/// The largest lane, also by halves.
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

/// The largest element of row (count). Not inlined: in a large function the compiler does not inline the loop's
/// iterator, and each call to it spills all vectors to memory.
@inline(never)
func largest(of row: UnsafePointer<Float>, count: Int) -> Float {
    let w = Vector.scalarCount
    var largest = Vector(repeating: -.infinity)
    for i in stride(from: 0, to: count, by: w) {
        largest = largest.maximum(.load(row + i, upTo: count - i, fill: -.infinity))
    }
    return largestLane(largest)
}

/// Stack memory for `count` vectors. With an alignment above 16, or more than 1024 bytes, it would come from malloc,
/// which is too slow for a block that takes a microsecond.
@inline(__always)
func withVectors(_ count: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 4 * count * Vector.scalarCount, alignment: 16) { memory in
        body(memory.assumingMemoryBound(to: Float.self).baseAddress.unsafelyUnwrapped)
    }
}
