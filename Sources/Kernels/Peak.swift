// The machine's peak rates of arithmetic and of memory, to compare kernels with.

import Dispatch

/// The peak floating-point operations per second of all threads together, measured with independent multiply-adds.
///
/// Each thread times itself, so that waking it is not counted, and the rates are added. The result is the best of
/// sixteen runs of a few milliseconds, because other processes may slow down some of them.
/// - Parameter precision: the format of the factors.
package func measurePeakFlops(_ precision: Precision = .float32) -> Double {
    switch precision {
    case .float32: measurePeakFlops(Float32Words.self)
    case .bfloat16: measurePeakFlops(BFloat16Words.self)
    }
}

private func measurePeakFlops<W: Words>(_: W.Type) -> Double {
    let rounds = 50_000
    var best = 0.0
    // More threads than cores would time each other's absence.
    let threads = min(threadCount, coreCount)
    withUnsafeTemporaryAllocation(of: Double.self, capacity: threads) { rates in
        for _ in 0..<16 {
            parallelFor(threads) { thread in
                let start = DispatchTime.now().uptimeNanoseconds
                let result = spinMultiplyAdds(W.self, rounds)
                let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
                // The result is always positive; testing it keeps the compiler from removing the loop.
                let operations = Double(rounds * 12 * Vector.scalarCount * W.elements * 2)
                rates[thread] = result > 0 ? operations / seconds : 0
            }
            var sum = 0.0
            for thread in 0..<threads { sum += rates[thread] }
            best = max(best, sum)
        }
    }
    return best
}

/// The work that is timed: twelve independent chains of multiply-adds, enough to hide their latency on any processor.
@inline(never)
private func spinMultiplyAdds<W: Words>(_: W.Type, _ rounds: Int) -> Float {
    let factor = Vector(repeating: 0.001)
    var chains = InlineArray<12, Vector>(repeating: Vector(repeating: 1))
    for _ in 0..<rounds {
        for i in 0..<12 { chains[i] = W.adding(chains[i], factor, times: factor) }
    }
    var sum = Vector(repeating: 0)
    for i in 0..<12 { sum += chains[i] }
    return sum[0]
}

/// The read bandwidth, in bytes per second: the rate at which all threads together read `floats` in order. It is the
/// best of `runs`. The memory should be far larger than the caches; a last part of less than 2 MB is not read.
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

/// The update bandwidth, in bytes per second: as `measureReadBandwidth`, but each float is also written back and so
/// counts twice.
package func measureUpdateBandwidth(_ floats: UnsafeMutablePointer<Float>, count: Int, runs: Int = 3) -> Double {
    bestRate(runs: runs, chunks: count / chunk, bytesPerFloat: 8) { task in
        let place = floats + task * chunk
        for i in stride(from: 0, to: chunk, by: Vector.scalarCount) {
            (Vector.load(place + i) * Vector(repeating: 0.999)).store(place + i)
        }
        return place[0]
    }
}

/// The floats in a task: 2 MB. Long sequential reads are faster, by 8% compared with 128 kB.
private let chunk = 1 << 19

/// The best rate, in bytes per second, of several runs over chunks of memory.
/// - Parameter body: returns a number that depends on its work, so that the compiler does not remove it.
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
