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

/// Bytes per second at which all threads together read `floats` in order, every `chunk` of them a task: the yardstick of
/// whatever is bound by memory. To be larger than the caches by far. The best of `runs`.
package func measureReadBandwidth(_ floats: UnsafePointer<Float>, count: Int, runs: Int = 3) -> Double {
    bestRate(runs: runs, chunks: count / chunk, bytesPerFloat: 4) { task in
        let source = floats + task * chunk
        var sums = InlineArray<8, Vector>(repeating: Vector(repeating: 0))
        for i in stride(from: 0, to: chunk, by: 8 * Vector.scalarCount) {
            for j in 0..<8 { sums[j] += .load(source + i + j * Vector.scalarCount) }
        }
        var sum = Vector(repeating: 0)
        for j in 0..<8 { sum += sums[j] }
        return sum[0]
    }
}

/// The same where everything is written back: each float counts twice.
package func measureUpdateBandwidth(_ floats: UnsafeMutablePointer<Float>, count: Int, runs: Int = 3) -> Double {
    bestRate(runs: runs, chunks: count / chunk, bytesPerFloat: 8) { task in
        let place = floats + task * chunk
        for i in stride(from: 0, to: chunk, by: Vector.scalarCount) {
            (Vector.load(place + i) * Vector(repeating: 0.999)).store(place + i)
        }
        return place[0]
    }
}

/// Floats of a task: 2 MB. Long ways in one line are read faster, by 8% against 128 kB.
private let chunk = 1 << 19

/// - Parameter body: gives a number that depends on its work, so that the compiler does not leave it out.
private func bestRate(runs: Int, chunks: Int, bytesPerFloat: Int, _ body: (Int) -> Float) -> Double {
    var best = 0.0
    withUnsafeTemporaryAllocation(of: Float.self, capacity: max(chunks, 1)) { results in
        for _ in 0..<runs {
            let start = DispatchTime.now().uptimeNanoseconds
            parallelFor(chunks) { task in results[task] = body(task) }
            let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
            let bytes = Double(chunks * chunk * bytesPerFloat)
            best = max(best, results[0].isNaN ? 0 : bytes / seconds)
        }
    }
    return best
}
