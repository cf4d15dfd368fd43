// What this machine could do at most: the yardstick for every kernel.

import Dispatch

/// Floating-point operations per second of multiply-adds that wait for nothing, on all threads together; the best of
/// a few short runs, about 50 ms in all.
package func measurePeakFlops() -> Double {
    let rounds = 100_000
    var best = 0.0
    for _ in 0..<4 {
        let start = DispatchTime.now().uptimeNanoseconds
        parallelFor(threadCount) { _ in spinMultiplyAdds(rounds) }
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
        // Twelve independent chains hide the latency of any multiply-add unit there is.
        best = max(best, Double(threadCount * rounds * 12 * Vector.scalarCount * 2) / seconds)
    }
    return best
}

private nonisolated(unsafe) var impossible: Float = 0

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
