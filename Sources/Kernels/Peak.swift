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
                let result = spinMultiplyAdds(rounds)
                let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                // Twelve independent chains hide the latency of any multiply-add unit there is. The result is always
                // positive; asking keeps the compiler from leaving the loop out.
                rates[thread] = result > 0 ? Double(rounds * 12 * Vector.scalarCount * 2) / seconds : 0
            }
            var sum = 0.0
            for thread in 0..<threadCount { sum += rates[thread] }
            best = max(best, sum)
        }
    }
    return best
}

@inline(never)
private func spinMultiplyAdds(_ rounds: Int) -> Float {
    let factor = Vector(repeating: 0.999)
    var chains = InlineArray<12, Vector>(repeating: Vector(repeating: 1))
    for _ in 0..<rounds {
        for i in 0..<12 { chains[i] = factor.adding(chains[i], times: factor) }
    }
    var sum = Vector(repeating: 0)
    for i in 0..<12 { sum += chains[i] }
    return sum[0]
}
