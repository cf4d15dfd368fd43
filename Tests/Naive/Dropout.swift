// Dropout, and the random numbers that it is made of.

import Kernels

/// Philox4x32-10 as the paper defines it: ten rounds over a counter of four words, with a key of two.
package func naivePhilox(counter: [UInt32], key: [UInt32]) -> [UInt32] {
    var (c, k) = (counter, key)
    for _ in 0..<10 {
        let left = UInt64(c[0]) * 0xD251_1F53
        let right = UInt64(c[2]) * 0xCD9E_8D57
        c = [
            UInt32(right >> 32) ^ c[1] ^ k[0], UInt32(truncatingIfNeeded: right),
            UInt32(left >> 32) ^ c[3] ^ k[1], UInt32(truncatingIfNeeded: left),
        ]
        k = [k[0] &+ 0x9E37_79B9, k[1] &+ 0xBB67_AE85]
    }
    return c
}

/// The factor 0 or 1/(1 − rate) that belongs to sixteen of a block's 128 bits. The rate is rounded to a multiple of 2⁻¹⁶.
private func naiveFactor(block: UInt64, part: Int, rate: Double, key: DropoutKey) -> Double {
    let words = naivePhilox(
        counter: [
            UInt32(truncatingIfNeeded: block), UInt32(block >> 32), UInt32(truncatingIfNeeded: key.microBatch),
            UInt32(key.microBatch >> 32),
        ], key: [key.seed, key.place])
    let bits = words[part / 2] >> (part % 2 == 0 ? 0 : 16) & 0xffff
    let threshold = min((rate * 65536).rounded(), 65535)
    return Double(bits) < threshold ? 0 : 65536 / (65536 - threshold)
}

/// The factors of `count` elements: sixteen blocks serve 128 of them, each one in sixteen.
package func naiveFactors(_ count: Int, rate: Double, key: DropoutKey) -> [Double] {
    (0..<count).map { e in
        naiveFactor(block: UInt64(e / 128 * 16 + e % 16), part: e / 16 % 8, rate: rate, key: key)
    }
}

/// The factor of the probability with which a head's query t attends to key k; a block serves eight queries. Its number
/// is that of the key, and above that of the first of the eight, counted over the batch, and of the head.
package func naiveAttentionFactor(
    first: Int, t: Int, k: Int, head: Int, NH: Int, dropout: (rate: Float, key: DropoutKey)
) -> Double {
    naiveFactor(
        block: UInt64((first + t / 8 * 8) * NH + head) << 32 | UInt64(k), part: t % 8, rate: Double(dropout.rate),
        key: dropout.key)
}

/// Dropout of each element: x · factor; without a rate, x itself. Its backward pass is the same with the gradient for x:
/// out was inp · factor, so dinp is dout · factor.
package func naiveDropout(_ x: [Double], _ dropout: (rate: Float, key: DropoutKey)?) -> [Double] {
    guard let dropout else { return x }
    return zip(x, naiveFactors(x.count, rate: Double(dropout.rate), key: dropout.key)).map { $0 * $1 }
}
