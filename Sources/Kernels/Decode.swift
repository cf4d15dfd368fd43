// What generating needs beyond training's kernels: products with one row, or with a handful, one for each sequence that is
// being continued, and the attention of single tokens to the keys and values that a cache has kept.
//
// With few rows a product has no arithmetic to hide memory behind: every weight is read once, from memory, and used for
// one multiply-add per row. So the weights stream by in the order in which they lie, both threads at it, and each vector
// of them serves all rows while it is in a register.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Floats of weights in a task, 128 to 512 kB: long ways in one line, but enough tasks to share out evenly.
private let taskFloats = 1 << 15...1 << 17

// MARK: - one row

/// out (OC) = inp (C) · weight (OC,C)ᵀ + bias (OC) + residual (OC).
/// - Parameters:
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
package func matmulRow(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of a row") }
    forEachBlock(C: C, OC: OC) { oc, count in
        withVectors(Vector.scalarCount) { sums in
            multiplyRow(sums, inp, weight + oc * C, count, C)
            finish(out + oc, sumOfEach(sums), bias.map { $0 + oc }, residual.map { $0 + oc }, count)
        }
    }
}

/// sums (w, w) = the products of inp (C) with `count` ≤ w rows of weights (count, C), each still to be summed over its w
/// lanes. The weights are read in one line: on the machine this was measured on, two rows side by side came at 71% of the
/// bandwidth, one at 97%.
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
        if c < C { sum = sum.adding(.load(row + c, upTo: C - c), times: .load(inp + c, upTo: C - c)) }
        sum.store(sums + r * w)
    }
}

// MARK: - a few rows

/// blocks (OC/w, C, w) ← weight (OC,C): w rows at a time are turned around, so that a vector holds what w outputs take of
/// one input. The last block is (C, OC % w) if w does not divide OC, and `vectorWidth` floats past it are read.
package func packBlocks(_ blocks: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>, C: Int, OC: Int) {
    forEachBlock(C: C, OC: OC) { oc, count in
        interleave(blocks + oc * C, rows: weight + oc * C, count: count, C: C)
    }
}

/// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC), for a few rows N, with the weights as
/// `packBlocks` writes them.
///
/// The sum of an output is one lane of one vector for every row, so nothing is left to add up at the end; the weights are
/// read once, in one line, and the inputs, a column of them after the other, are broadcast. A row has the same bits in
/// any batch that this function computes; `matmulRow` adds in another order.
package func matmulBlocks(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul of few rows") }
    let w = Vector.scalarCount
    let groups = (N + mostRows - 1) / mostRows
    let groupRows = (N + groups - 1) / groups
    let columns = allocateAligned(N * C)  // groups of (C, rows)
    defer { freeAligned(columns) }
    for n in stride(from: 0, to: N, by: groupRows) {
        interleave(columns + n * C, rows: inp + n * C, count: min(groupRows, N - n), C: C)
    }
    forEachBlock(C: C, OC: OC) { oc, count in
        let block = blocks + oc * C
        withVectors(mostRows) { sums in
            for n in stride(from: 0, to: N, by: groupRows) {
                let rows = min(groupRows, N - n)
                let x = columns + n * C
                let zero = Vector(repeating: 0)
                switch rows {
                case 1: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<1, Vector>(repeating: zero))
                case 2: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<2, Vector>(repeating: zero))
                case 3: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<3, Vector>(repeating: zero))
                case 4: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<4, Vector>(repeating: zero))
                case 5: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<5, Vector>(repeating: zero))
                case 6: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<6, Vector>(repeating: zero))
                case 7: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<7, Vector>(repeating: zero))
                case 8: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<8, Vector>(repeating: zero))
                case 9: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<9, Vector>(repeating: zero))
                case 10: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<10, Vector>(repeating: zero))
                case 11: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<11, Vector>(repeating: zero))
                default: multiplyBlock(sums, x, block, count, C, zeros: InlineArray<12, Vector>(repeating: zero))
                }
                for g in 0..<rows {
                    let place = (n + g) * OC + oc
                    finish(
                        out + place, .load(sums + g * w), bias.map { $0 + oc }, residual.map { $0 + place }, count)
                }
            }
        }
    }
}

/// Rows at a time: their sums, the weights and a broadcast fit AVX2's 16 registers. (The compiler makes a function for
/// every number of rows.)
private let mostRows = 12

/// sums (rows, w) = x (C, rows) · block (C, count ≤ w); lanes past `count` are anything.
@inline(never)
private func multiplyBlock<let rows: Int>(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ block: UnsafePointer<Float>, _ count: Int,
    _ C: Int, zeros: InlineArray<rows, Vector>
) {
    var total = zeros
    var x = x
    var weights = block
    for _ in 0..<C {
        prefetch(weights + prefetchDistance, write: 0, caches: 2, kind: 1)
        let vector = Vector.load(weights)
        for g in 0..<rows { total[g] = total[g].adding(Vector(repeating: x[g]), times: vector) }
        x += rows
        weights += count
    }
    for g in 0..<rows { total[g].store(sums + g * Vector.scalarCount) }
}

/// How far ahead weights are asked for, in floats. The processor also does that by itself, but while multiply-adds that
/// wait for weights fill its queue it gets too little ahead: ten rows take 17.5 ms of GPT-2 124M's weights without this,
/// 15 with it, when to read them takes 14.
private let prefetchDistance = 1024

// MARK: - what both have

/// Calls `body` with the first row of every block of weights (OC,C) and how many rows it has, many blocks a task.
@inline(__always)
private func forEachBlock(C: Int, OC: Int, _ body: (_ oc: Int, _ count: Int) -> Void) {
    let w = Vector.scalarCount
    let blocks = (OC + w - 1) / w
    let floats = max(taskFloats.lowerBound, min(taskFloats.upperBound, OC * C / 16))
    let blocksPerTask = max(1, floats / (w * C))
    parallelFor((blocks + blocksPerTask - 1) / blocksPerTask) { task in
        for block in task * blocksPerTask..<min((task + 1) * blocksPerTask, blocks) {
            body(block * w, min(w, OC - block * w))
        }
    }
}

/// Memory for some vectors on the stack: there is a block to be done every microsecond. With an alignment above 16, or of
/// more than 1024 bytes, it would come from malloc.
@inline(__always)
private func withVectors(_ count: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: 4 * count * Vector.scalarCount, alignment: 16) { memory in
        body(memory.assumingMemoryBound(to: Float.self).baseAddress.unsafelyUnwrapped)
    }
}

/// out (count) = sum + bias + residual.
@inline(__always)
private func finish(
    _ out: UnsafeMutablePointer<Float>, _ sum: Vector, _ bias: UnsafePointer<Float>?,
    _ residual: UnsafePointer<Float>?, _ count: Int
) {
    var sum = sum
    if let bias { sum += .load(bias, upTo: count) }
    if let residual { sum += .load(residual, upTo: count) }
    sum.store(out, upTo: count)
}

/// columns (C, count) ← rows (count, C), turned around in squares, the last of which overlap those before.
private func interleave(
    _ columns: UnsafeMutablePointer<Float>, rows: UnsafePointer<Float>, count: Int, C: Int
) {
    let w = Square.width
    guard count >= w, C >= w else {
        for c in 0..<C {
            for i in 0..<count { columns[c * count + i] = rows[i * C + c] }
        }
        return
    }
    for step in 0..<(C + w - 1) / w {
        let c = min(step * w, C - w)
        for block in 0..<(count + w - 1) / w {
            let i = min(block * w, count - w)
            Square(rows: rows + i * C + c, stride: C).transposed().store(columns + c * count + i, stride: count)
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
