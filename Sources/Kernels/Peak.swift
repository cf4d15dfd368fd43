// What this machine could do at most: the yardstick for every kernel.

import Dispatch

/// Floating-point operations per second of multiply-adds that wait for nothing, on all threads together.
///
/// Every thread times itself, so that waking it does not count, and the rates are added; the best of sixteen runs of a few
/// milliseconds, because on a shared machine another process may be in the way of some.
package func measurePeakFlops() -> Double {
    let rounds = 50_000
    var best = 0.0
    withUnsafeTemporaryAllocation(of: Double.self, capacity: threadCount) { rates in
        for _ in 0..<16 {
            parallelFor(threadCount) { thread in
                let start = DispatchTime.now().uptimeNanoseconds
                spinMultiplyAdds(rounds)
                let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                // Twelve independent chains hide the latency of any multiply-add unit there is.
                rates[thread] = Double(rounds * 12 * Vector.scalarCount * 2) / seconds
            }
            var sum = 0.0
            for thread in 0..<threadCount { sum += rates[thread] }
            best = max(best, sum)
        }
    }
    return best
}

nonisolated(unsafe) private var impossible: Float = 0

@inline(never)
private func spinMultiplyAdds(_ rounds: Int) {
    let factor = Vector(repeating: 0.999)
    var chains = InlineArray<12, Vector>(repeating: Vector(repeating: 1))
    for _ in 0..<rounds {
        for i in 0..<12 { chains[i] = factor.adding(chains[i], times: factor) }
    }
    var sum = Vector(repeating: 0)
    for i in 0..<12 { sum += chains[i] }
    // A result that nobody could want, but that the compiler can't know: it keeps the loop.
    if sum[0] == 12_345 { impossible = sum[1] }
}

/// Bytes per second at which all threads together read `floats` once, in order: the yardstick of whatever is bound by
/// memory. To be larger than the caches by far. The best of `runs`.
package func measureReadBandwidth(_ floats: UnsafePointer<Float>, count: Int, runs: Int = 3) -> Double {
    let chunk = 1 << 15
    let chunks = count / chunk
    var best = 0.0
    for _ in 0..<runs {
        let start = DispatchTime.now().uptimeNanoseconds
        parallelFor(chunks) { task in
            let source = floats + task * chunk
            var sums = InlineArray<8, Vector>(repeating: Vector(repeating: 0))
            for i in stride(from: 0, to: chunk, by: 8 * Vector.scalarCount) {
                for j in 0..<8 { sums[j] += .load(source + i + j * Vector.scalarCount) }
            }
            var sum = Vector(repeating: 0)
            for j in 0..<8 { sum += sums[j] }
            if sum[0] == 12_345.678 { impossible = sum[1] }
        }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        best = max(best, Double(chunks * chunk * MemoryLayout<Float>.stride) / seconds)
    }
    return best
}
