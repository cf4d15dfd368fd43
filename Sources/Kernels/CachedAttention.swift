// Attention of single tokens to the keys and values that generation has kept in a cache.

/// The number of floats that one token's keys, or its values, take in a cache: NH heads, each padded to whole vectors,
/// so that every load is a whole vector.
package func cacheRowWidth(C: Int, NH: Int) -> Int { NH * roundedUp(C / NH) }

/// The keys and values of one sequence in one layer: `keys` and `values` (NH,T,HSp), where HSp is the padded head
/// size. Those of the first `shared` tokens are read from `sharedKeys` and `sharedValues` instead, which sequences
/// with the same beginning can have in common. The sequence's own memory has room for these tokens too, but it is not
/// read there.
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

/// The copy of new keys and values into a cache: keys and values (NH,T,HSp), from `position` on, ← the last two thirds
/// of qkv (count,3C). The padding of each head is set to zero.
package func storeKeysAndValues(
    keys: UnsafeMutablePointer<Float>, values: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>, count: Int,
    position: Int, T: Int, C: Int, NH: Int
) {
    let HS = C / NH
    let HSp = roundedUp(HS)
    let tasks = count < 16 ? 1 : NH  // waking a thread costs more than copying a few rows
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

/// The attention out (rows,C) of single tokens, each to the tokens of its own sequence up to itself. Row i is the
/// token at `positions[i]` of `sequences[i]`. Its query is at qkv + i · 3C; its key and value are already in the
/// cache.
/// - Parameter T: the number of tokens that a sequence's memory has room for.
package func attentionToCache(
    out: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>, sequences: UnsafePointer<CachedSequence>,
    positions: UnsafePointer<Int>, rows: Int, T: Int, C: Int, NH: Int
) {
    let start = startTiming()
    defer { endTiming(start, "attention to cache") }
    let w = Vector.scalarCount
    let HS = C / NH
    let HSp = roundedUp(HS)
    let scale = 1 / Float(HS).squareRoot()
    var longest = 0
    for row in 0..<rows { longest = max(longest, positions[row] + 1) }
    let floatsPerTask = w * w + HSp + roundedUp(longest)
    let memory = allocateAligned(rows * NH * floatsPerTask)
    defer { freeAligned(memory) }
    // One head after another, and within a head all rows: the keys and values that rows share are then in the
    // processor's cache.
    parallelFor(rows * NH) { task in
        let (h, row) = task.quotientAndRemainder(dividingBy: rows)
        let sequence = sequences[row]
        let count = positions[row] + 1
        let shared = min(sequence.shared, count)
        let products = memory + task * floatsPerTask
        let query = products + w * w
        let scores = query + HSp
        for i in stride(from: 0, to: HS, by: w) {
            (Vector.load(qkv + row * 3 * C + h * HS + i, upTo: HS - i) * scale).store(query + i)
        }
        let head = h * T * HSp
        func key(_ t: Int) -> UnsafePointer<Float> {
            UnsafePointer((t < shared ? sequence.sharedKeys : sequence.keys) + head + t * HSp)
        }

        // One key per lane; past the end, the last key again.
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

/// A part of the weighted sum of values: total (vectors ≤ 4) += Σ score · value over `tokens`.
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
