// What a product multiplies: float32, or bfloat16, which is the upper half of a float32, with 8 bits of precision instead of
// 24 and the same range. A processor with an instruction for it makes twice as many multiply-adds of bfloat16 as of
// float32 in the same time; sums are float32 in either case.
//
// The products of Matmul.swift are written once, for words of 32 bits. A word is a float32; or a pair of bfloat16 with
// consecutive k, for the instruction that adds both products to a sum; or, where the processor has no such instruction,
// one bfloat16 as the float32 that has its value. So nothing but packing and the multiply-add knows what a word is.

#if BFLOAT16_PAIRS
    import CInstructions
#endif

/// The format in which a product multiplies its operands. Inputs, sums and results are float32.
package enum Precision: String, CaseIterable, Sendable {
    case float32, bfloat16

    /// Whether this processor (as the program was built for it) multiplies faster in this format than in float32.
    package var isFast: Bool { self == .bfloat16 && BFloat16Words.elements == 2 }
}

/// A format of packed operands, in words of 32 bits.
protocol Words {
    /// The elements in a word.
    static var elements: Int { get }
    /// Whether rows of floats must be packed before a product can read them; if not, words are floats.
    static var areConverted: Bool { get }
    /// sum + a · b, where a word with two elements adds two products.
    static func adding(_ sum: Vector, _ a: Vector, times b: Vector) -> Vector
    /// The words of w · elements consecutive floats, of which only the first `count` are read; the others are 0.
    static func consecutive(_ source: UnsafePointer<Float>, upTo count: Int) -> Vector
    /// Words whose elements lie `stride` floats apart, one below the other, of the first `count` columns. With `rows`
    /// 1 there is only the first element; the other is 0.
    static func interleaved(_ source: UnsafePointer<Float>, stride: Int, rows: Int, upTo count: Int) -> Vector
}

extension Words {
    /// The words of so many elements.
    @inline(__always) static func count(_ elements: Int) -> Int { (elements + self.elements - 1) / self.elements }
}

/// One float32 in a word.
enum Float32Words: Words {
    @inline(__always) static var elements: Int { 1 }
    @inline(__always) static var areConverted: Bool { false }

    @inline(__always) static func adding(_ sum: Vector, _ a: Vector, times b: Vector) -> Vector {
        sum.adding(a, times: b)
    }

    @inline(__always) static func consecutive(_ source: UnsafePointer<Float>, upTo count: Int) -> Vector {
        .load(source, upTo: count)
    }

    @inline(__always) static func interleaved(
        _ source: UnsafePointer<Float>, stride: Int, rows: Int, upTo count: Int
    ) -> Vector { .load(source, upTo: count) }
}

#if BFLOAT16_PAIRS
    /// Two bfloat16 in a word.
    enum BFloat16Words: Words {
        @inline(__always) static var elements: Int { 2 }
        @inline(__always) static var areConverted: Bool { true }

        @inline(__always) static func adding(_ sum: Vector, _ a: Vector, times b: Vector) -> Vector {
            bfloat16_add_products(sum, a, b)
        }

        @inline(__always) static func consecutive(_ source: UnsafePointer<Float>, upTo count: Int) -> Vector {
            let w = Vector.scalarCount
            return bfloat16_consecutive(.load(source, upTo: count), .load(source + w, upTo: count - w))
        }

        @inline(__always) static func interleaved(
            _ source: UnsafePointer<Float>, stride: Int, rows: Int, upTo count: Int
        ) -> Vector {
            bfloat16_interleaved(
                .load(source, upTo: count), rows > 1 ? .load(source + stride, upTo: count) : Vector(repeating: 0))
        }
    }
#else
    /// One bfloat16 in a word, as the float32 with its value. A product of two such numbers is exact in float32.
    enum BFloat16Words: Words {
        @inline(__always) static var elements: Int { 1 }
        @inline(__always) static var areConverted: Bool { true }

        @inline(__always) static func adding(_ sum: Vector, _ a: Vector, times b: Vector) -> Vector {
            sum.adding(a, times: b)
        }

        @inline(__always) static func consecutive(_ source: UnsafePointer<Float>, upTo count: Int) -> Vector {
            roundedToBFloat16(.load(source, upTo: count))
        }

        @inline(__always) static func interleaved(
            _ source: UnsafePointer<Float>, stride: Int, rows: Int, upTo count: Int
        ) -> Vector { roundedToBFloat16(.load(source, upTo: count)) }
    }
#endif

/// Rows as words: words (rows, ⌈columns / elements⌉) ← inp (rows, stride). It runs on the calling thread alone.
@inline(__always)
func packRows<W: Words>(
    _: W.Type, _ words: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, rows: Int,
    columns: Int
) {
    let wordsPerRow = W.count(columns)
    let w = Vector.scalarCount
    for row in 0..<rows {
        let source = inp + row * stride
        let destination = words + row * wordsPerRow
        for word in Swift.stride(from: 0, to: wordsPerRow, by: w) {
            let column = word * W.elements
            W.consecutive(source + column, upTo: columns - column).store(
                destination + word, upTo: wordsPerRow - word)
        }
    }
}

/// Rows as words, with the words from one row to the next: those that `packRows` writes; where words are floats, the rows
/// themselves. `words` may be `inp`, if the rows lie as far apart as they are long or farther.
@inline(__always)
func rowsAsWords<W: Words>(
    _: W.Type, in words: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, stride: Int, rows: Int, columns: Int
) -> (words: UnsafePointer<Float>, stride: Int) {
    guard W.areConverted else { return (inp, stride) }
    packRows(W.self, words, from: inp, stride: stride, rows: rows, columns: columns)
    return (UnsafePointer(words), W.count(columns))
}

/// Each lane rounded to bfloat16, to nearest even: half of the last place that stays is added, less one unless that place
/// is odd, and the lower half cut off. Infinity stays infinity; a NaN stays one, by a bit that is not cut off.
@inline(__always)
private func roundedToBFloat16(_ x: Vector) -> Vector {
    let bits = unsafeBitCast(x, to: VectorOfInt32.self)
    let isOdd = (bits &>> 16) & 1
    let sum = unsafeBitCast((bits &+ 0x7fff &+ isOdd) & ~0xffff, to: Vector.self)
    let quietNaN = unsafeBitCast((bits | 0x40_0000) & ~0xffff, to: Vector.self)
    return sum.replacing(with: quietNaN, where: x .!= x)
}

/// The bfloat16 in the lower halves of words, as floats.
@inline(__always)
func lowerHalves(_ words: Vector) -> Vector {
    unsafeBitCast(unsafeBitCast(words, to: VectorOfInt32.self) &<< 16, to: Vector.self)
}

/// The bfloat16 in the upper halves of words, as floats.
@inline(__always)
func upperHalves(_ words: Vector) -> Vector {
    unsafeBitCast(unsafeBitCast(words, to: VectorOfInt32.self) & ~0xffff, to: Vector.self)
}

// MARK: - storage

/// Two bfloat16 in each word, also where products take them one by one: words (⌈count / 2⌉) ← inp (count). The last
/// word's upper half may be 0. It runs on the calling thread alone.
func packBFloat16(_ words: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, count: Int) {
    let raw = UnsafeMutableRawPointer(words)
    if count % 2 == 1 { words[count / 2] = 0 }
    for i in stride(from: 0, to: count, by: Vector.scalarCount) { storeRounded(raw, inp, at: i, count: count) }
}

/// A rounded copy in half the memory: out (count) bfloat16 ← inp (count) floats.
package func roundToBFloat16(out: UnsafeMutableRawPointer, inp: UnsafePointer<Float>, count: Int) {
    let start = startTiming()
    defer { endTiming(start, "to bfloat16") }
    forEachVector(count, chunk) { i, left in storeRounded(out, inp, at: i, count: i + left) }
}

/// A vector of floats from the i-th on, rounded: bfloat16 of `out` ← floats of `inp`, up to `count`.
@inline(__always)
private func storeRounded(_ out: UnsafeMutableRawPointer, _ inp: UnsafePointer<Float>, at i: Int, count: Int) {
    let left = count - i
    let rounded = unsafeBitCast(roundedToBFloat16(.load(inp + i, upTo: left)), to: VectorOfInt32.self)
    let bits = VectorOfUInt16(truncatingIfNeeded: rounded &>> 16)
    if left >= Vector.scalarCount {
        out.storeBytes(of: bits, toByteOffset: 2 * i, as: VectorOfUInt16.self)
    } else {
        for j in 0..<left { out.storeBytes(of: bits[j], toByteOffset: 2 * (i + j), as: UInt16.self) }
    }
}

/// The reverse, exactly: out (count) floats ← inp (count) bfloat16.
package func floatsOfBFloat16(out: UnsafeMutablePointer<Float>, inp: UnsafeRawPointer, count: Int) {
    let start = startTiming()
    defer { endTiming(start, "from bfloat16") }
    forEachVector(count, chunk) { i, left in
        if left >= Vector.scalarCount {
            let bits = inp.loadUnaligned(fromByteOffset: 2 * i, as: VectorOfUInt16.self)
            unsafeBitCast(VectorOfInt32(truncatingIfNeeded: bits) &<< 16, to: Vector.self).store(out + i)
        } else {
            for j in 0..<left {
                let bits = inp.loadUnaligned(fromByteOffset: 2 * (i + j), as: UInt16.self)
                out[i + j] = Float(bitPattern: UInt32(bits) << 16)
            }
        }
    }
}

/// The elements in a task.
private let chunk = 1 << 14
