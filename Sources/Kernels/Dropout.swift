// Dropout (Srivastava et al., 2014): in training each element is zero with a probability, the rate, and divided by
// 1 − rate otherwise, so that its mean stays.
//
//     out = inp · factor,  factor = 0 or 1 / (1 − rate)        dinp = dout · factor
//
// The mask is not stored. It comes from a counter-based generator, Philox4x32-10 (Salmon et al., 2011, "Parallel random
// numbers: as easy as 1, 2, 3"): a function of what it is for and of the element's number alone. So the backward pass
// computes it again, and no thread, chunk or order changes it.
//
// Attention drops its probabilities, which exist in tiles only: their factors are `fillAttentionFactors` below.
//
// An element takes 16 random bits, so one block of Philox, 128 bits, serves eight, and the rate is rounded to a multiple
// of 2⁻¹⁶; 1 − rate, too, so that the mean is exact. One core of Zen 5 takes 0.3 ns for an element, less than GELU.

/// What no two masks share: the run, the micro-batch, and the place in the model.
package struct DropoutKey: Equatable, Sendable {
    package let seed: UInt32
    package let microBatch: UInt64
    package private(set) var place: UInt32 = 0

    /// - Parameters:
    ///   - seed: the run's.
    ///   - microBatch: its number, counted from the run's first.
    package init(seed: UInt32, microBatch: Int) {
        (self.seed, self.microBatch) = (seed, UInt64(truncatingIfNeeded: microBatch))
    }

    /// The key of one place.
    /// - Parameter site: below 256; which of a layer's masks.
    package func at(site: Int, layer: Int) -> DropoutKey {
        var key = self
        key.place = UInt32(truncatingIfNeeded: layer << 8 | site)
        return key
    }
}

/// Elements dropped out: out (count) = inp · factor + residual.
/// - Parameters:
///   - out: may be `inp` or `residual` itself.
///   - residual: nil adds nothing.
package func dropoutForward(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, residual: UnsafePointer<Float>?, count: Int,
    rate: Float, key: DropoutKey
) {
    let start = startTiming()
    defer { endTiming(start, "dropout forward") }
    forEachFactor(count, DropoutMask(rate: rate, key: key)) { i, left, factor in
        let added = residual.map { Vector.load($0 + i, upTo: left) } ?? Vector(repeating: 0)
        added.adding(.load(inp + i, upTo: left), times: factor).store(out + i, upTo: left)
    }
}

/// The gradient of dropout's input: dinp (count) = or += dout · factor, with the rate and the key of the forward pass.
/// - Parameter dinp: may be `dout` itself, if it is not added to.
package func dropoutBackward(
    dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, count: Int, rate: Float, key: DropoutKey,
    accumulate: Bool
) {
    let start = startTiming()
    defer { endTiming(start, "dropout backward") }
    forEachFactor(count, DropoutMask(rate: rate, key: key)) { i, left, factor in
        let before = accumulate ? Vector.load(dinp + i, upTo: left) : Vector(repeating: 0)
        before.adding(.load(dout + i, upTo: left), times: factor).store(dinp + i, upTo: left)
    }
}

/// The floats in a task, a multiple of `blockElements`.
private let chunk = 1 << 14
/// The elements that sixteen blocks of Philox serve.
private let blockElements = 128

/// A parallel loop over vectors of factors. Element e has the bits of block e / 128 · 16 + e mod 16, of which it takes the
/// (e / 16 mod 8)-th sixteen.
@inline(__always)
private func forEachFactor(
    _ count: Int, _ mask: DropoutMask, _ body: (_ offset: Int, _ left: Int, _ factor: Vector) -> Void
) {
    parallelFor((count + chunk - 1) / chunk) { task in
        let factors = allocateAligned(blockElements)
        defer { freeAligned(factors) }
        let end = min((task + 1) * chunk, count)
        for first in stride(from: task * chunk, to: end, by: blockElements) {
            let block = UInt64(first / blockElements * 16)
            mask.fill(
                factors, stride: 16, low: UInt32(truncatingIfNeeded: block),
                high: UInt32(truncatingIfNeeded: block >> 32))
            // Whole blocks need no checks for the end, which would take a quarter of the time.
            if end - first >= blockElements {
                for i in stride(from: 0, to: blockElements, by: Vector.scalarCount) {
                    body(first + i, Vector.scalarCount, .load(factors + i))
                }
            } else {
                for i in stride(from: 0, to: end - first, by: Vector.scalarCount) {
                    body(first + i, end - first - i, .load(factors + i))
                }
            }
        }
    }
}

/// The factors of attention probabilities, a tile at a time. The probability of query t and key k has the t mod 8-th
/// sixteen bits of block k of its eight queries, wherever a tile begins.
/// - Parameters:
///   - factors: has room for 8 queries more than `queries`, since eight have their bits together.
///   - stride: floats from one query's factors to the next; at least `keys`, rounded up to 16.
///   - firstRow, t0: the sequence's first row, and the first query in the sequence.
/// - Returns: where the first query's factors are.
@inline(__always)
func fillAttentionFactors(
    _ factors: UnsafeMutablePointer<Float>, stride: Int, _ mask: DropoutMask, firstRow: Int, t0: Int, queries: Int,
    k0: Int, keys: Int, head: Int, NH: Int
) -> UnsafeMutablePointer<Float> {
    let start = t0 / 8 * 8
    for t in Swift.stride(from: start, to: t0 + queries, by: 8) {
        for k in Swift.stride(from: 0, to: keys, by: 16) {
            mask.fill(
                factors + (t - start) * stride + k, stride: stride, low: UInt32(truncatingIfNeeded: k0 + k),
                high: UInt32(truncatingIfNeeded: (firstRow + t) * NH + head))
        }
    }
    return factors + (t0 - start) * stride
}

/// A mask: the factors of a key.
struct DropoutMask {
    private let key: DropoutKey
    /// An element whose bits are below this is dropped.
    private let threshold: Int32
    private let scale: Float

    init(rate: Float, key: DropoutKey) {
        self.key = key
        threshold = Int32(min(max(0, (rate * 65536).rounded()), 65535))
        scale = 65536 / Float(65536 - threshold)
    }

    /// The factors of sixteen neighbouring blocks: factors (8,16), eight for each, from Philox4x32-10 with the key
    /// (seed, place) and the counters (block's number, micro-batch).
    /// - Parameters:
    ///   - stride: floats from one row of sixteen to the next.
    ///   - low, high: the number of the first block; the others differ in `low` alone.
    @inline(never)
    func fill(_ factors: UnsafeMutablePointer<Float>, stride: Int, low: UInt32, high: UInt32) {
        let even = SIMD8<UInt64>(0, 2, 4, 6, 8, 10, 12, 14) &+ UInt64(low)
        var (a, b) = (counters(low: even, high: high), counters(low: even &+ 1, high: high))
        var (k0, k1) = (SIMD8(repeating: UInt64(key.seed)), SIMD8(repeating: UInt64(key.place)))
        for _ in 0..<10 {
            a = DropoutMask.round(a, k0, k1)
            b = DropoutMask.round(b, k0, k1)
            k0 &+= 0x9e37_79b9
            k1 &+= 0xbb67_ae85
        }
        for word in 0..<4 {
            // Words of 32 bits, with those of the odd blocks between those of the even ones.
            let pairs = (a[word] & 0xffff_ffff) | (b[word] &<< 32)
            let bits = unsafeBitCast(pairs, to: SIMD16<Int32>.self)
            store(bits & 0xffff, factors + 2 * word * stride)
            store((bits &>> 16) & 0xffff, factors + (2 * word + 1) * stride)
        }
    }

    @inline(__always)
    private func store(_ bits: SIMD16<Int32>, _ factors: UnsafeMutablePointer<Float>) {
        // All ones where threshold ≤ bits. (A comparison of integers would ask lane by lane.)
        let kept = ((threshold - 1) &- bits) &>> 31
        UnsafeMutableRawPointer(factors).storeBytes(
            of: kept & Int32(bitPattern: scale.bitPattern), as: SIMD16<Int32>.self)
    }

    // MARK: Philox
    //
    // A word of 32 bits is the lower half of a lane of 64, so that one multiplication gives the whole product. The upper
    // halves are not cleared: only a product's factors must be, and the result.

    /// The four words of eight blocks.
    private typealias Words = InlineArray<4, SIMD8<UInt64>>

    @inline(__always)
    private func counters(low: SIMD8<UInt64>, high: UInt32) -> Words {
        [low, SIMD8(repeating: UInt64(high)), SIMD8(repeating: key.microBatch), SIMD8(repeating: key.microBatch >> 32)]
    }

    @inline(__always)
    private static func round(_ x: Words, _ k0: SIMD8<UInt64>, _ k1: SIMD8<UInt64>) -> Words {
        let product0 = (x[0] & 0xffff_ffff) &* 0xd251_1f53
        let product2 = (x[2] & 0xffff_ffff) &* 0xcd9e_8d57
        return [(product2 &>> 32) ^ x[1] ^ k0, product2, (product0 &>> 32) ^ x[3] ^ k1, product0]
    }
}
