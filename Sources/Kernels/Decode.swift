// What generating needs beyond training's kernels: products with a handful of rows, one for each sequence that is being
// continued, and the attention of single tokens to the keys and values that a cache has kept.
//
// With few rows a product has no arithmetic to hide memory behind: every weight is read once, from memory, and used for
// one multiply-add per row. So the weights stream by in the order in which they lie, both threads at it, and each vector
// of them serves all rows while it is in a register or in the L1 cache. Nothing is packed.
//
// A sum over k stays in ONE vector, whatever the number of rows, and its lanes are added in one fixed tree. So a row's
// result has the same bits alone and in any batch, and for any number of threads.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Rows of inp at a time, four rows of weights by them: 24 sums of one vector each stay in registers.
#if REGISTERS_32
    private let mostRows = 6
#else
    private let mostRows = 2
#endif
/// Floats of weights in a task, 128 to 512 kB: long ways in one line, but enough tasks to share out evenly.
private let taskFloats = 1 << 15...1 << 17

/// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC), for a few rows N; as `matmulForward`, which
/// is faster from a dozen rows on.
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
package func matmulFewRows(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of few rows") }
    let w = Vector.scalarCount
    let groups = (N + mostRows - 1) / mostRows
    let groupRows = (N + groups - 1) / groups
    // Every group (C/w, rows, w): the loop over c walks through it in one line. Where they are, rows a multiple of 4 kB
    // apart would all fall into one cache set.
    let steps = (C + w - 1) / w
    let packed = allocateAligned(N * steps * w)
    defer { freeAligned(packed) }
    for n in 0..<N {
        let (group, g) = n.quotientAndRemainder(dividingBy: groupRows)
        let rows = min(groupRows, N - group * groupRows)
        let destination = packed + group * groupRows * steps * w + g * w
        for step in 0..<steps {
            Vector.load(inp + n * C + step * w, upTo: C - step * w).store(destination + step * rows * w)
        }
    }

    let blocks = (OC + w - 1) / w
    let floats = max(taskFloats.lowerBound, min(taskFloats.upperBound, OC * C / 16))
    let blocksPerTask = max(1, floats / (w * C))
    parallelFor((blocks + blocksPerTask - 1) / blocksPerTask) { task in
        let zero = Vector(repeating: 0)
        let sums = allocateAligned(mostRows * w * w)
        defer { freeAligned(sums) }
        for block in task * blocksPerTask..<min((task + 1) * blocksPerTask, blocks) {
            let oc = block * w
            let count = min(w, OC - oc)
            for n in stride(from: 0, to: N, by: groupRows) {
                let rows = min(groupRows, N - n)
                let x = packed + n * steps * w
                let weights = weight + oc * C
                switch rows {
                case 1: multiplyRow(sums, x, weights, count, C)
                case 2: multiplyRows(sums, x, zeros: InlineArray<2, Vector>(repeating: zero), weights, count, C)
                case 3: multiplyRows(sums, x, zeros: InlineArray<3, Vector>(repeating: zero), weights, count, C)
                case 4: multiplyRows(sums, x, zeros: InlineArray<4, Vector>(repeating: zero), weights, count, C)
                case 5: multiplyRows(sums, x, zeros: InlineArray<5, Vector>(repeating: zero), weights, count, C)
                default: multiplyRows(sums, x, zeros: InlineArray<6, Vector>(repeating: zero), weights, count, C)
                }
                for g in 0..<rows {
                    var value = sumOfEach(sums + g * w * w)
                    let destination = (n + g) * OC + oc
                    if let bias { value += .load(bias + oc, upTo: count) }
                    if let residual { value += .load(residual + destination, upTo: count) }
                    value.store(out + destination, upTo: count)
                }
            }
        }
    }
}

/// sums (1, w, w) = the products of inp (C/w, w) with `count` ≤ w rows of weights (count, C), each still to be summed over
/// its w lanes. The weights are read in one line: on the machine this was measured on, two rows side by side came at 71%
/// of the bandwidth, one at 97%.
@inline(never)
private func multiplyRow(
    _ sums: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, _ count: Int,
    _ C: Int
) {
    let w = Vector.scalarCount
    for r in 0..<count {
        var sum = Vector(repeating: 0)
        let row = weight + r * C
        var c = 0
        while c + w <= C {
            sum = sum.adding(.load(row + c), times: .load(inp + c))
            c += w
        }
        if c < C { sum = sum.adding(.load(row + c, upTo: C - c), times: .load(inp + c)) }
        sum.store(sums + r * w)
    }
}

/// sums (rows, w, w) = the same for packed inp (C/w, rows, w); past `count` the last row of weights is read again, and the
/// caller ignores the result. Four rows of weights at a time share what is loaded of inp, a quarter of the block apart, so
/// that they are streams of their own to the processor. The compiler makes a function for every number of rows.
@inline(never)
private func multiplyRows<let rows: Int>(
    _ sums: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, zeros: InlineArray<rows, Vector>,
    _ weight: UnsafePointer<Float>, _ count: Int, _ C: Int
) {
    let w = Vector.scalarCount
    let quarter = w / 4
    for r in 0..<quarter {
        let row0 = weight + min(r, count - 1) * C
        let row1 = weight + min(r + quarter, count - 1) * C
        let row2 = weight + min(r + 2 * quarter, count - 1) * C
        let row3 = weight + min(r + 3 * quarter, count - 1) * C
        var (s0, s1, s2, s3) = (zeros, zeros, zeros, zeros)
        var x = inp
        var c = 0
        while c + w <= C {
            let (w0, w1) = (Vector.load(row0 + c), Vector.load(row1 + c))
            let (w2, w3) = (Vector.load(row2 + c), Vector.load(row3 + c))
            for g in 0..<rows {
                let value = Vector.load(x + g * w)
                s0[g] = s0[g].adding(w0, times: value)
                s1[g] = s1[g].adding(w1, times: value)
                s2[g] = s2[g].adding(w2, times: value)
                s3[g] = s3[g].adding(w3, times: value)
            }
            c += w
            x += rows * w
        }
        if c < C {
            let (w0, w1) = (Vector.load(row0 + c, upTo: C - c), Vector.load(row1 + c, upTo: C - c))
            let (w2, w3) = (Vector.load(row2 + c, upTo: C - c), Vector.load(row3 + c, upTo: C - c))
            for g in 0..<rows {
                let value = Vector.load(x + g * w)
                s0[g] = s0[g].adding(w0, times: value)
                s1[g] = s1[g].adding(w1, times: value)
                s2[g] = s2[g].adding(w2, times: value)
                s3[g] = s3[g].adding(w3, times: value)
            }
        }
        for g in 0..<rows {
            let destination = sums + (g * w + r) * w
            s0[g].store(destination)
            s1[g].store(destination + quarter * w)
            s2[g].store(destination + 2 * quarter * w)
            s3[g].store(destination + 3 * quarter * w)
        }
    }
}

/// The vector whose lane i is the sum of the i-th of w vectors (w, w): transposed, their lanes are rows, and the sums a sum
/// of rows; `sumOfLanes` for each would take several times as long. The vectors are overwritten.
@inline(__always)
private func sumOfEach(_ vectors: UnsafeMutablePointer<Float>) -> Vector {
    let w = Vector.scalarCount
    for i in stride(from: 0, to: w, by: Square.width) {
        var square = Square(rows: vectors + i * w, stride: w)
        if w > Square.width {
            let right = Square(rows: vectors + i * w + Square.width, stride: w)
            for j in 0..<Square.width { square.rows[j] += right.rows[j] }
        }
        var rows = square.transposed().rows
        var count = Square.width
        while count > 1 {
            count /= 2
            for j in 0..<count { rows[j] += rows[count + j] }
        }
        // Over the first vector, the part of it that is already summed.
        UnsafeMutableRawPointer(vectors + i).storeBytes(of: rows[0], as: Square.Row.self)
    }
    return .load(vectors)
}

// MARK: - attention to a cache

/// Floats that one token's keys, or its values, take in a cache: NH heads, each rounded up to whole vectors, so that no
/// load is ever short.
package func cacheRowWidth(C: Int, NH: Int) -> Int { NH * paddedHeadSize(C / NH) }

private func paddedHeadSize(_ HS: Int) -> Int {
    (HS + Vector.scalarCount - 1) / Vector.scalarCount * Vector.scalarCount
}

/// Where a sequence's keys and values of one layer lie: `keys` and `values` (NH,T,HSp), HSp the head size padded. Those
/// of the first `shared` tokens are read at `sharedKeys` and `sharedValues` instead, which many sequences may have in
/// common; the sequence's own memory has room for them, and is not touched there.
package struct CachedSequence {
    package var keys, values, sharedKeys, sharedValues: UnsafeMutablePointer<Float>
    package var shared: Int

    package init(
        keys: UnsafeMutablePointer<Float>, values: UnsafeMutablePointer<Float>,
        sharedKeys: UnsafeMutablePointer<Float>, sharedValues: UnsafeMutablePointer<Float>, shared: Int
    ) {
        (self.keys, self.values) = (keys, values)
        (self.sharedKeys, self.sharedValues, self.shared) = (sharedKeys, sharedValues, shared)
    }
}

/// keys and values (NH,T,HSp) at `position` and after ← the last two thirds of qkv (count,3C). The padding stays zero.
package func storeKeysAndValues(
    keys: UnsafeMutablePointer<Float>, values: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>, count: Int,
    position: Int, T: Int, C: Int, NH: Int
) {
    let HS = C / NH
    let HSp = paddedHeadSize(HS)
    let tasks = count < 16 ? 1 : NH  // waking a thread costs more than to copy a few rows
    parallelFor(tasks) { task in
        for h in stride(from: task, to: NH, by: tasks) {
            for t in 0..<count {
                let source = qkv + t * 3 * C + h * HS
                let offset = (h * T + position + t) * HSp
                for i in stride(from: 0, to: HS, by: Vector.scalarCount) {
                    Vector.load(source + C + i, upTo: HS - i).store(keys + offset + i)
                    Vector.load(source + 2 * C + i, upTo: HS - i).store(values + offset + i)
                }
            }
        }
    }
}

/// out (rows,C): the attention of single tokens, each of a sequence whose keys and values, its own included, the cache
/// has. Row i is the token at `positions[i]` of `sequences[i]`; its query is at qkv + i · 3C.
/// - Parameter T: tokens that a sequence's memory has room for.
package func attentionToCache(
    out: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>, sequences: UnsafePointer<CachedSequence>,
    positions: UnsafePointer<Int>, rows: Int, T: Int, C: Int, NH: Int
) {
    let start = startTiming()
    defer { endTiming(start, "attention to cache") }
    let w = Vector.scalarCount
    let HS = C / NH
    let HSp = paddedHeadSize(HS)
    let scale = 1 / Float(HS).squareRoot()
    var longest = 0
    for row in 0..<rows { longest = max(longest, positions[row] + 1) }
    let scratchSize = w * w + HSp + (longest + w - 1) / w * w
    let memory = allocateAligned(rows * NH * scratchSize)
    defer { freeAligned(memory) }
    // A head after another, and within a head all rows: what they share is then still in the cache.
    parallelFor(rows * NH) { task in
        let (h, row) = task.quotientAndRemainder(dividingBy: rows)
        let sequence = sequences[row]
        let count = positions[row] + 1
        let shared = min(sequence.shared, count)
        let scratch = memory + task * scratchSize
        let (products, query, scores) = (scratch, scratch + w * w, scratch + w * w + HSp)
        for i in stride(from: 0, to: HS, by: w) {
            (Vector.load(qkv + row * 3 * C + h * HS + i, upTo: HS - i) * scale).store(query + i)
        }
        let head = h * T * HSp
        func key(_ t: Int) -> UnsafePointer<Float> {
            UnsafePointer((t < shared ? sequence.sharedKeys : sequence.keys) + head + t * HSp)
        }

        // As many keys at a time as a vector has lanes, past the end the last one again.
        var largest = Vector(repeating: -.infinity)
        for t0 in stride(from: 0, to: count, by: w) {
            for j in 0..<w {
                let k = key(min(t0 + j, count - 1))
                var sum = Vector(repeating: 0)
                for i in stride(from: 0, to: HSp, by: w) { sum = sum.adding(.load(k + i), times: .load(query + i)) }
                sum.store(products + j * w)
            }
            let score = sumOfEach(products)
            largest = largest.maximum(score)
            score.store(scores + t0)
        }
        let maximum = largestLane(largest)
        var sums = Vector(repeating: 0)
        for t0 in stride(from: 0, to: count, by: w) {
            let e = exponential(Vector.load(scores + t0) - maximum)
            e.store(scores + t0)
            if count - t0 >= w {
                sums += e
            } else {
                for j in 0..<count - t0 { sums[j] += e[j] }
            }
        }
        let inverse = 1 / sumOfLanes(sums)
        // out = Σ score · value, in the order of the tokens.
        for i in stride(from: 0, to: HSp, by: 4 * w) {
            let vectors = min(4, (HSp - i) / w)
            var total = InlineArray<4, Vector>(repeating: Vector(repeating: 0))
            addWeighted(
                &total, sequence.sharedValues + head + i, stride: HSp, scores: scores, tokens: 0..<shared,
                vectors: vectors)
            addWeighted(
                &total, sequence.values + head + i, stride: HSp, scores: scores, tokens: shared..<count,
                vectors: vectors)
            for j in 0..<vectors {
                let offset = i + j * w
                (total[j] * inverse).store(out + row * C + h * HS + offset, upTo: HS - offset)
            }
        }
    }
}

/// total (vectors ≤ 4) += Σ score · value over some tokens.
@inline(__always)
private func addWeighted(
    _ total: inout InlineArray<4, Vector>, _ values: UnsafePointer<Float>, stride: Int,
    scores: UnsafePointer<Float>, tokens: Range<Int>, vectors: Int
) {
    let w = Vector.scalarCount
    if vectors == 4 {
        for t in tokens {
            let score = Vector(repeating: scores[t])
            for j in 0..<4 { total[j] = total[j].adding(score, times: .load(values + t * stride + j * w)) }
        }
    } else {
        for j in 0..<vectors {
            var sum = total[j]
            for t in tokens {
                sum = sum.adding(Vector(repeating: scores[t]), times: .load(values + t * stride + j * w))
            }
            total[j] = sum
        }
    }
}

// MARK: - probabilities

/// out (count) = softmax(inp); where inp is −∞, zero.
package func softmaxForward(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
    let w = Vector.scalarCount
    let maximum = largest(of: inp, count: count)
    var sum = Vector(repeating: 0)
    for i in stride(from: 0, to: count, by: w) {
        let x = Vector.load(inp + i, upTo: count - i, fill: -.infinity) - maximum
        // The vector exponential stops at e⁻⁸⁷, which is little, but not nothing.
        let e = exponential(x).replacing(with: 0, where: x .< -87)
        e.store(out + i, upTo: count - i)
        sum += e
    }
    let inverse = 1 / sumOfLanes(sum)
    for i in stride(from: 0, to: count, by: w) {
        (Vector.load(out + i, upTo: count - i) * inverse).store(out + i, upTo: count - i)
    }
}
