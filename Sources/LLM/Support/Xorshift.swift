// The small generator of random numbers that llm.c samples with. Ours, so that a run repeats on any machine.

/// xorshift64* (Vigna, 2016): a word of state, for sampling and for synthetic data.
package struct Xorshift: RandomNumberGenerator {
    package var state: UInt64

    /// - Parameter seed: any number; zero, the one state the generator never leaves, is replaced.
    package init(seed: UInt64) { state = seed == 0 ? 0x9e37_79b9_7f4a_7c15 : seed }

    package mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_f491_4f6c_dd1d
    }

    /// Uniform in [0, 1) with 24 bits.
    package mutating func uniform() -> Float { Float(next() >> 40) * 0x1p-24 }

    /// Uniform in 0..<bound, without the bias of a remainder (Lemire, 2019).
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0)
        return Int(next(upperBound: UInt64(bound)))
    }
}
