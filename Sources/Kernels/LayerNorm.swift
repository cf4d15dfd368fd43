// Layer normalisation (Ba, Kiros and Hinton, 2016): each row of C channels is scaled to mean 0 and variance 1, then
// multiplied by a learnt weight and shifted by a learnt bias for each channel.

/// The rows in a task: enough work to be worth a task, but enough tasks to balance the threads.
private let rowsPerTask = 16

/// The layer norm of each row: out (N,C) = (inp − mean) · rstd · weight + bias. Also gives mean (N) and rstd (N), the
/// reciprocal standard deviation, which the backward pass needs.
/// - Parameters:
///   - out: may be `inp` itself.
///   - epsilon: added to the variance; the default is GPT-2's.
package func layerNormForward(
    out: UnsafeMutablePointer<Float>, mean: UnsafeMutablePointer<Float>, rstd: UnsafeMutablePointer<Float>,
    inp: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, N: Int, C: Int,
    epsilon: Float = 1e-5
) {
    let start = startTiming()
    defer { endTiming(start, "layernorm forward") }
    let w = Vector.scalarCount
    forEachRow(N) { n in
        let x = inp + n * C
        var sum = Vector(repeating: 0)
        for c in stride(from: 0, to: C, by: w) { sum += .load(x + c, upTo: C - c) }
        let m = sumOfLanes(sum) / Float(C)
        // A second pass over the row, which is now in the cache: Σx² − (Σx)² would cancel.
        var squares = Vector(repeating: 0)
        for c in stride(from: 0, to: C, by: w) {
            let difference = Vector.load(x + c, upTo: C - c, fill: m) - m
            squares = squares.adding(difference, times: difference)
        }
        let s = 1 / (sumOfLanes(squares) / Float(C) + epsilon).squareRoot()
        mean[n] = m
        rstd[n] = s
        normalize(out + n * C, x, weight, bias, mean: m, rstd: s, C)
    }
}

/// The output of the forward pass again, from its mean and rstd. The backward pass needs it once, and recomputing it is
/// cheaper than storing (N,C) floats per layer.
package func layerNormRecompute(
    out: UnsafeMutablePointer<Float>, mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>,
    inp: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "layernorm forward") }
    forEachRow(N) { n in normalize(out + n * C, inp + n * C, weight, bias, mean: mean[n], rstd: rstd[n], C) }
}

/// The last step of the forward pass, for one row.
@inline(__always)
private func normalize(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ weight: UnsafePointer<Float>,
    _ bias: UnsafePointer<Float>, mean: Float, rstd: Float, _ C: Int
) {
    for c in stride(from: 0, to: C, by: Vector.scalarCount) {
        let norm = (Vector.load(x + c, upTo: C - c) - mean) * rstd
        Vector.load(bias + c, upTo: C - c).adding(norm, times: .load(weight + c, upTo: C - c))
            .store(out + c, upTo: C - c)
    }
}

/// The gradients dinp (N,C), dweight (C) and dbias (C) from dout (N,C), added to what is there.
///
/// Let norm = (inp − mean)·rstd and dnorm = weight·dout. The mean and the variance depend on every channel, so
/// dinp = rstd · (dnorm − mean(dnorm) − norm · mean(dnorm · norm)).
/// - Parameter dweight, dbias: nil if the two are frozen.
package func layerNormBackward(
    dinp: UnsafeMutablePointer<Float>, dweight: UnsafeMutablePointer<Float>?, dbias: UnsafeMutablePointer<Float>?,
    dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>, N: Int, C: Int
) {
    let start = startTiming()
    defer { endTiming(start, "layernorm backward") }
    let w = Vector.scalarCount
    forEachRow(N) { n in
        let x = inp + n * C
        let d = dout + n * C
        let m = mean[n]
        let s = rstd[n]
        var sum = Vector(repeating: 0)
        var sumNorm = Vector(repeating: 0)
        for c in stride(from: 0, to: C, by: w) {
            let norm = (Vector.load(x + c, upTo: C - c, fill: m) - m) * s
            let dnorm = Vector.load(weight + c, upTo: C - c) * .load(d + c, upTo: C - c)
            sum += dnorm
            sumNorm = sumNorm.adding(dnorm, times: norm)
        }
        let meanDnorm = sumOfLanes(sum) / Float(C)
        let meanDnormNorm = sumOfLanes(sumNorm) / Float(C)
        for c in stride(from: 0, to: C, by: w) {
            let norm = (Vector.load(x + c, upTo: C - c) - m) * s
            let dnorm = Vector.load(weight + c, upTo: C - c) * .load(d + c, upTo: C - c)
            let gradient = (dnorm - meanDnorm - norm * meanDnormNorm) * s
            (gradient + .load(dinp + n * C + c, upTo: C - c)).store(dinp + n * C + c, upTo: C - c)
        }
    }
    guard let dweight, let dbias else { return }
    // The sums over rows, split by columns: each task adds to sums of its own.
    forEachColumnBlock(of: C) { column, count in
        var totalWeight = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
        var totalBias = totalWeight
        for n0 in stride(from: 0, to: N, by: rowsPerPartialSum) {
            var partialWeight = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
            var partialBias = partialWeight
            for n in n0..<min(n0 + rowsPerPartialSum, N) {
                for j in 0..<4 {
                    let left = count - j * w
                    let offset = n * C + column + j * w
                    let d = Vector.load(dout + offset, upTo: left)
                    partialBias[j] += d
                    partialWeight[j] = partialWeight[j].adding(
                        d, times: (.load(inp + offset, upTo: left) - mean[n]) * rstd[n])
                }
            }
            for j in 0..<4 {
                totalWeight[j] += partialWeight[j]
                totalBias[j] += partialBias[j]
            }
        }
        addVectors(totalWeight, to: dweight + column, count: count)
        addVectors(totalBias, to: dbias + column, count: count)
    }
}

/// A parallel loop over N rows, `rowsPerTask` per task.
@inline(__always)
private func forEachRow(_ N: Int, _ body: (Int) -> Void) {
    parallelFor((N + rowsPerTask - 1) / rowsPerTask) { task in
        for n in task * rowsPerTask..<min((task + 1) * rowsPerTask, N) { body(n) }
    }
}
