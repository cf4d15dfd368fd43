// PyTorch's CPU generator of random numbers, and llm.c's: the same seed gives llm.c's initial weights (to the last bit
// or two) and its order of the data. Ours, so that a run repeats on any machine.

import Foundation

/// MT19937 (Matsumoto and Nishimura, 1998), seeded as PyTorch's `manual_seed` does.
package struct MersenneTwister: Equatable {
    /// The 624 words and the number of those already used; what a checkpoint must keep.
    package var state: [UInt32]
    package var position: Int

    package init(seed: UInt32) {
        state = [UInt32](repeating: seed, count: 624)
        for j in 1..<624 {
            state[j] = 1_812_433_253 &* (state[j - 1] ^ (state[j - 1] >> 30)) &+ UInt32(j)
        }
        position = 624
    }

    package mutating func next() -> UInt32 {
        if position == 624 { refill() }
        var y = state[position]
        position += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9d2c_5680
        y ^= (y << 15) & 0xefc6_0000
        y ^= y >> 18
        return y
    }

    private mutating func refill() {
        for j in 0..<624 {
            let y = (state[j] & 0x8000_0000) | (state[(j + 1) % 624] & 0x7fff_ffff)
            state[j] = state[(j + 397) % 624] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_b0df)
        }
        position = 0
    }

    private mutating func next64() -> UInt64 {
        let high = UInt64(next())
        return high << 32 | UInt64(next())
    }

    /// Uniform in [0, 1) with 24 bits, as torch's float32 `uniform_`.
    package mutating func uniform() -> Float { Float(next() & 0xff_ffff) * 0x1p-24 }

    /// Fills `data` with N(0, deviation) exactly in the order in which `torch.Tensor.normal_` draws: sixteen uniforms
    /// at a time go through Box and Muller's transform, lane t with lane t + 8; a last, incomplete group is drawn again
    /// from the end. Fewer than 16 values are drawn in pairs of doubles.
    /// The logarithm, sine and cosine are taken in double precision, so that libraries agree after rounding.
    package mutating func fillNormal(_ data: UnsafeMutableBufferPointer<Float>, deviation: Float) {
        func boxMuller(_ offset: Int) {
            for t in offset..<offset + 8 {
                let radius = (-2 * log(Double(1 - data[t] + 1e-12))).squareRoot()
                let theta = 2 * Double.pi * Double(data[t + 8])
                data[t] = Float(radius * cos(theta)) * deviation
                data[t + 8] = Float(radius * sin(theta)) * deviation
            }
        }
        let count = data.count
        if count < 16 {
            var t = 0
            while t < count {
                let u1 = Double(next64() & ((1 << 53) - 1)) * 0x1p-53
                let u2 = Double(next64() & ((1 << 53) - 1)) * 0x1p-53
                let radius = (-2 * log1p(-u2)).squareRoot()
                data[t] = Float(radius * cos(2 * .pi * u1)) * deviation
                if t + 1 < count { data[t + 1] = Float(radius * sin(2 * .pi * u1)) * deviation }
                t += 2
            }
            return
        }
        for t in 0..<count { data[t] = uniform() }
        for group in stride(from: 0, through: count - 16, by: 16) { boxMuller(group) }
        if count % 16 != 0 {
            for t in count - 16..<count { data[t] = uniform() }
            boxMuller(count - 16)
        }
    }

    /// Fisher and Yates' shuffle, in llm.c's order of draws.
    package mutating func shuffle(_ values: inout [Int32]) {
        for i in stride(from: values.count - 1, to: 0, by: -1) { values.swapAt(i, Int(next()) % (i + 1)) }
    }

    /// 0..<count, shuffled.
    package mutating func permutation(_ count: Int) -> [Int32] {
        var order = (0..<Int32(count)).map { $0 }
        shuffle(&order)
        return order
    }
}
