// Self-attention (Vaswani et al., 2017): each token attends to all tokens up to itself (causal) or to all of its sequence.
//
//     score (t, k) = query_t · key_k / √HS      prob = softmax over k      out_t = Σ_k prob (t, k) · value_k
//
// Causal, the sums over k end at t.
//
// The (T,T) matrix of scores is never stored. The forward pass computes a few rows of it at a time and saves one
// number per row, the log-sum-exp, from which the backward pass recomputes any probability: prob = exp(score − lse).
// This is FlashAttention's method (Dao et al., 2022), adapted to a CPU's caches: the products use the register tiles
// of Matmul.swift.
//
// A batch is sequences of any lengths, one after another without padding; a token sees those of its own sequence.
//
// Dropout is of the probabilities, after the softmax: out_t = Σ_k factor (t, k) · prob (t, k) · value_k, where the factors
// (Dropout.swift) are computed with each tile of scores, forward and backward.
//
// In bfloat16 (BFloat16.swift) the factors of all products are converted: queries, keys, values and gradients when a task
// copies them, probabilities and the gradients of scores tile by tile. The softmax and all sums are float32.
//
// A task is one head of one sequence. It writes only its own columns of the result, so tasks share nothing.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The number of queries in a block of the backward pass.
private let queryBlock = 64

/// One head of one sequence of T tokens.
private struct AttentionTask {
    let head: Int
    /// The sequence's first row, and its length.
    let firstRow, T: Int
    /// Where its T log-sum-exps begin.
    let lse: Int

    /// All tasks of a batch, the longest sequences first, so that none of them is left for the end, when the other
    /// threads have nothing more to do.
    static func all(lengths: [Int], NH: Int) -> [AttentionTask] {
        var firstRow = 0
        let sequences = lengths.map { T in
            defer { firstRow += T }
            return (firstRow: firstRow, T: T)
        }
        return sequences.sorted { $0.T > $1.T }.flatMap { sequence in
            (0..<NH).map { head in
                AttentionTask(
                    head: head, firstRow: sequence.firstRow, T: sequence.T,
                    lse: NH * sequence.firstRow + head * sequence.T)
            }
        }
    }
}

/// The attention of every token: out (N,C) from qkv (N,3C), with C = NH·HS. Also gives lse (N,NH), the log-sum-exp of
/// each row of scores, which the backward pass needs: (NH,T) for each sequence, from NH · its first row on.
/// - Parameters:
///   - lengths: of the sequences, one after another; N is their sum.
///   - causal: whether a token sees only those before it, and itself.
///   - dropout: of the probabilities; nil drops none.
///   - precision: the format of the products' factors.
package func attentionForward(
    out: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>,
    lengths: [Int], C: Int, NH: Int, causal: Bool = true, dropout: (rate: Float, key: DropoutKey)? = nil,
    precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "attention forward") }
    func run<W: Words>(_: W.Type) {
        forward(
            W.self, out: out, lse: lse, qkv: qkv, lengths: lengths, C: C, NH: NH, causal: causal, dropout: dropout)
    }
    switch precision {
    case .float32: run(Float32Words.self)
    case .bfloat16: run(BFloat16Words.self)
    }
}

@inline(__always)
private func forward<W: Words>(
    _: W.Type, out: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>,
    lengths: [Int], C: Int, NH: Int, causal: Bool, dropout: (rate: Float, key: DropoutKey)?
) {
    let HS = C / NH
    let scale = 1 / Float(HS).squareRoot()
    let paddedHS = roundedUp(HS)
    let mask = dropout.map { DropoutMask(rate: $0.rate, key: $0.key) }
    let tasks = AttentionTask.all(lengths: lengths, NH: NH)
    parallelFor(tasks.count) { number in
        let task = tasks[number]
        let (T, head, firstRow) = (task.T, task.head, task.firstRow)
        let paddedT = roundedUp(T, to: panelWidth)
        let q = qkv + firstRow * 3 * C + head * HS
        let buffers = TaskBuffers()
        defer { buffers.free() }
        let keys = buffers.floats(paddedT * W.count(HS))
        let values = buffers.floats(W.count(T) * paddedHS)
        let scores = buffers.floats(tileRows * paddedT)
        let tile = buffers.floats(tileRows * paddedHS)
        let factorStride = roundedUp(paddedT, to: 16)
        let factors = buffers.floats(mask == nil ? 0 : (tileRows + 8) * factorStride)
        let queries = rowsAsWords(
            W.self, in: buffers.floats(W.areConverted ? T * W.count(HS) : 0), q, stride: 3 * C, rows: T, columns: HS)
        packKeys(W.self, keys, from: q + C, stride: 3 * C, T: T, HS: HS)
        copyRows(W.self, values, from: q + 2 * C, stride: 3 * C, rows: T, HS: HS)

        for t0 in stride(from: 0, to: T, by: tileRows) {
            let rows = min(tileRows, T - t0)
            let keysSeen = causal ? t0 + rows : T
            // scores (rows, keysSeen) = queries · keysᵀ
            for panel in 0..<(keysSeen + panelWidth - 1) / panelWidth {
                multiplyTile(
                    W.self, scores + panel * panelWidth, tileStride: paddedT, queries.words + t0 * queries.stride,
                    rows: rows, rowStride: queries.stride, kStride: 1, keys + panel * panelWidth * W.count(HS),
                    K: W.count(HS), vectors: 3, start: nil)
            }
            // softmax, whose division is left to the end
            var inverse = InlineArray<8, Float>(repeating: 0)
            for i in 0..<rows {
                let row = scores + i * paddedT
                let count = causal ? t0 + i + 1 : T
                let (sum, logSum) = exponentiate(row, count: count, scale: scale)
                for k in count..<keysSeen { row[k] = 0 }
                inverse[i] = 1 / sum
                lse[task.lse + t0 + i] = logSum
            }
            if let mask {
                let rowFactors = fillAttentionFactors(
                    factors, stride: factorStride, mask, firstRow: firstRow, t0: t0, queries: rows, k0: 0,
                    keys: keysSeen, head: head, NH: NH)
                multiply(
                    scores, stride: paddedT, by: rowFactors, stride: factorStride, rows: rows, columns: keysSeen)
            }
            // out (rows, HS) = probabilities (rows, keysSeen) · values (keysSeen, HS)
            let probs = rowsAsWords(W.self, in: scores, scores, stride: paddedT, rows: rows, columns: keysSeen)
            multiplyRows(
                W.self, tile, outStride: paddedHS, rows: rows, columns: paddedHS, probs.words,
                rowStride: probs.stride, kStride: 1, values, bStride: paddedHS, K: W.count(keysSeen),
                accumulate: false)
            for i in 0..<rows {
                let destination = out + (firstRow + t0 + i) * C + head * HS
                for c in stride(from: 0, to: HS, by: Vector.scalarCount) {
                    (Vector.load(tile + i * paddedHS + c) * inverse[i]).store(destination + c, upTo: HS - c)
                }
            }
        }
    }
}

/// The gradient dqkv (N,3C) from dout (N,C), with the inputs and outputs of the forward pass.
///
/// The forward pass was prob = exp(score − lse), out = Σ prob · value. With D_t = dout_t · out_t its gradients are
///
///     dvalue_k = Σ_t prob (t,k) · dout_t
///     dprob (t,k) = dout_t · value_k            dscore = prob · (dprob − D_t) / √HS
///     dquery_t = Σ_k dscore (t,k) · key_k       dkey_k = Σ_t dscore (t,k) · query_t
///
/// D_t is Σ_k prob · dprob without a sum over k, because Σ_k prob · (dout · value_k) = dout · out.
///
/// With dropout, out = Σ factor · prob · value. Then dvalue_k = Σ_t factor · prob · dout_t and
/// dprob (t,k) = factor · (dout_t · value_k), and D_t stays what it was: Σ_k prob · factor · (dout · value_k) = dout · out.
package func attentionBackward(
    dqkv: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, qkv: UnsafePointer<Float>,
    out: UnsafePointer<Float>, lse: UnsafePointer<Float>, lengths: [Int], C: Int, NH: Int, causal: Bool = true,
    dropout: (rate: Float, key: DropoutKey)? = nil, precision: Precision = .float32
) {
    let start = startTiming()
    defer { endTiming(start, "attention backward") }
    func run<W: Words>(_: W.Type) {
        backward(
            W.self, dqkv: dqkv, dout: dout, qkv: qkv, out: out, lse: lse, lengths: lengths, C: C, NH: NH,
            causal: causal, dropout: dropout)
    }
    switch precision {
    case .float32: run(Float32Words.self)
    case .bfloat16: run(BFloat16Words.self)
    }
}

@inline(__always)
private func backward<W: Words>(
    _: W.Type, dqkv: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, qkv: UnsafePointer<Float>,
    out: UnsafePointer<Float>, lse: UnsafePointer<Float>, lengths: [Int], C: Int, NH: Int, causal: Bool,
    dropout: (rate: Float, key: DropoutKey)?
) {
    let HS = C / NH
    let scale = 1 / Float(HS).squareRoot()
    let paddedHS = roundedUp(HS)
    let mask = dropout.map { DropoutMask(rate: $0.rate, key: $0.key) }
    let tasks = AttentionTask.all(lengths: lengths, NH: NH)
    parallelFor(tasks.count) { number in
        let task = tasks[number]
        let (T, head, firstRow) = (task.T, task.head, task.firstRow)
        let paddedT = roundedUp(T, to: panelWidth)
        let q = qkv + firstRow * 3 * C + head * HS
        let d = dout + firstRow * C + head * HS
        let o = out + firstRow * C + head * HS
        let logSums = lse + task.lse

        let buffers = TaskBuffers()
        defer { buffers.free() }
        let keyPanels = buffers.floats(paddedT * W.count(HS))
        let valuePanels = buffers.floats(paddedT * W.count(HS))
        let queries = buffers.floats(W.count(T) * paddedHS)
        let keys = buffers.floats(W.count(T) * paddedHS)
        let douts = buffers.floats(W.count(T) * paddedHS)
        let dots = buffers.floats(T)
        let dqueries = buffers.floats(roundedUp(T, to: tileRows) * paddedHS)
        let dkeys = buffers.floats(roundedUp(panelWidth, to: tileRows) * paddedHS)
        let dvalues = buffers.floats(roundedUp(panelWidth, to: tileRows) * paddedHS)
        let probs = buffers.floats(queryBlock * panelWidth)
        let dscores = buffers.floats(queryBlock * panelWidth)
        let factorStride = roundedUp(panelWidth, to: 16)
        let factors = buffers.floats(mask == nil ? 0 : (queryBlock + 8) * factorStride)
        let converted = W.areConverted ? 1 : 0
        let queryRows = rowsAsWords(
            W.self, in: buffers.floats(converted * T * W.count(HS)), q, stride: 3 * C, rows: T, columns: HS)
        let doutRows = rowsAsWords(
            W.self, in: buffers.floats(converted * T * W.count(HS)), d, stride: C, rows: T, columns: HS)
        let block = buffers.floats(converted * queryBlock * panelWidth)
        packKeys(W.self, keyPanels, from: q + C, stride: 3 * C, T: T, HS: HS)
        packKeys(W.self, valuePanels, from: q + 2 * C, stride: 3 * C, T: T, HS: HS)
        copyRows(W.self, queries, from: q, stride: 3 * C, rows: T, HS: HS)
        copyRows(W.self, keys, from: q + C, stride: 3 * C, rows: T, HS: HS)
        copyRows(W.self, douts, from: d, stride: C, rows: T, HS: HS)
        for t in 0..<T {
            var sum = Vector(repeating: 0)
            for c in stride(from: 0, to: HS, by: Vector.scalarCount) {
                sum = sum.adding(.load(d + t * C + c, upTo: HS - c), times: .load(o + t * C + c, upTo: HS - c))
            }
            dots[t] = sumOfLanes(sum)
        }
        dqueries.update(repeating: 0, count: roundedUp(T, to: tileRows) * paddedHS)

        // Each block of keys (one panel) with all blocks of queries that attend to it: causal, from the first key's token
        // on.
        for k0 in stride(from: 0, to: T, by: panelWidth) {
            let keyCount = min(panelWidth, T - k0)
            var isFirst = true
            for t0 in stride(from: causal ? k0 : 0, to: T, by: queryBlock) {
                let rows = min(queryBlock, T - t0)
                multiplyRows(  // scores (rows, keys) = queries · keysᵀ
                    W.self, probs, outStride: panelWidth, rows: rows, columns: panelWidth,
                    queryRows.words + t0 * queryRows.stride, rowStride: queryRows.stride, kStride: 1,
                    keyPanels + k0 * W.count(HS), bStride: panelWidth, K: W.count(HS), accumulate: false)
                multiplyRows(  // dprobs (rows, keys) = dout · valuesᵀ
                    W.self, dscores, outStride: panelWidth, rows: rows, columns: panelWidth,
                    doutRows.words + t0 * doutRows.stride, rowStride: doutRows.stride, kStride: 1,
                    valuePanels + k0 * W.count(HS), bStride: panelWidth, K: W.count(HS), accumulate: false)
                let blockFactors = mask.map {
                    fillAttentionFactors(
                        factors, stride: factorStride, $0, firstRow: firstRow, t0: t0, queries: rows, k0: k0,
                        keys: keyCount, head: head, NH: NH)
                }
                if let blockFactors {
                    multiply(
                        dscores, stride: panelWidth, by: blockFactors, stride: factorStride, rows: rows,
                        columns: keyCount)
                }
                for i in 0..<rows {
                    let t = t0 + i
                    softmaxBackward(
                        probs: probs + i * panelWidth, dscores: dscores + i * panelWidth,
                        count: causal ? min(keyCount, t - k0 + 1) : keyCount, scale: scale, logSum: logSums[t],
                        dot: dots[t])
                }
                if let blockFactors {
                    multiply(
                        probs, stride: panelWidth, by: blockFactors, stride: factorStride, rows: rows,
                        columns: keyCount)
                }
                let queriesBlock = queries + t0 / W.elements * paddedHS
                let doutsBlock = douts + t0 / W.elements * paddedHS
                let dscoreRows = rowsAsWords(
                    W.self, in: block, dscores, stride: panelWidth, rows: rows, columns: keyCount)
                multiplyRows(  // dqueries (rows, HS) += dscores (rows, keys) · keys (keys, HS)
                    W.self, dqueries + t0 * paddedHS, outStride: paddedHS, rows: rows, columns: paddedHS,
                    dscoreRows.words, rowStride: dscoreRows.stride, kStride: 1, keys + k0 / W.elements * paddedHS,
                    bStride: paddedHS, K: W.count(keyCount), accumulate: true)
                multiplyRows(  // dkeys (keys, HS) += dscoresᵀ (keys, rows) · queries (rows, HS)
                    W.self, dkeys, outStride: paddedHS, rows: keyCount, columns: paddedHS,
                    columnsAsWords(W.self, in: block, dscores, rows: rows), rowStride: 1, kStride: panelWidth,
                    queriesBlock, bStride: paddedHS, K: W.count(rows), accumulate: !isFirst)
                multiplyRows(  // dvalues (keys, HS) += probsᵀ (keys, rows) · dout (rows, HS)
                    W.self, dvalues, outStride: paddedHS, rows: keyCount, columns: paddedHS,
                    columnsAsWords(W.self, in: block, probs, rows: rows), rowStride: 1, kStride: panelWidth,
                    doutsBlock, bStride: paddedHS, K: W.count(rows), accumulate: !isFirst)
                isFirst = false
            }
            let destination = dqkv + (firstRow + k0) * 3 * C + head * HS
            storeRows(destination + C, stride: 3 * C, from: dkeys, rows: keyCount, HS: HS)
            storeRows(destination + 2 * C, stride: 3 * C, from: dvalues, rows: keyCount, HS: HS)
        }
        storeRows(dqkv + firstRow * 3 * C + head * HS, stride: 3 * C, from: dqueries, rows: T, HS: HS)
    }
}

// MARK: - the softmax of a row
//
// Not inlined, for the reason given at `largest(of:count:)`.

/// The softmax of a row without its division: row (count) ← exp(scale · (row − its maximum)). The row must have room
/// for whole vectors.
/// - Returns: the sum of the new row, and log Σ exp(scale · row) of the old one.
@inline(never)
private func exponentiate(_ row: UnsafeMutablePointer<Float>, count: Int, scale: Float) -> (sum: Float, logSum: Float) {
    let w = Vector.scalarCount
    let maximum = largest(of: row, count: count)
    var sums = Vector(repeating: 0)
    for k in stride(from: 0, to: count, by: w) {
        let e = exponential((Vector.load(row + k) - maximum) * scale)
        e.store(row + k)
        if count - k >= w {
            sums += e
        } else {
            for j in 0..<count - k { sums[j] += e[j] }
        }
    }
    let sum = sumOfLanes(sums)
    return (sum, maximum * scale + log(sum))
}

/// The backward pass of the softmax, for one row of a panel: probs ← exp(scale · scores − logSum), where `probs` holds
/// the scores, and dscores ← the gradient of the scores, where `dscores` holds that of the probabilities. From `count`
/// on both are set to 0: the query does not attend to those keys.
@inline(never)
private func softmaxBackward(
    probs: UnsafeMutablePointer<Float>, dscores: UnsafeMutablePointer<Float>, count: Int, scale: Float, logSum: Float,
    dot: Float
) {
    for k in stride(from: 0, to: panelWidth, by: Vector.scalarCount) {
        let prob = exponential(Vector.load(probs + k) * scale - logSum)
        prob.store(probs + k)
        (prob * (.load(dscores + k) - dot) * scale).store(dscores + k)
    }
    for k in count..<panelWidth {
        probs[k] = 0
        dscores[k] = 0
    }
}

// MARK: - small products and copies

/// A product of matrices that fit in the caches: out (rows, columns) = or += a (rows, K) · b (K, columns). `columns`
/// is a multiple of the vector width, and `out` has room for `rows` rounded up to whole tiles.
@inline(__always)
private func multiplyRows<W: Words>(
    _: W.Type, _ out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, _ a: UnsafePointer<Float>,
    rowStride: Int, kStride: Int, _ b: UnsafePointer<Float>, bStride: Int, K: Int, accumulate: Bool
) {
    for row in stride(from: 0, to: rows, by: tileRows) {
        for column in stride(from: 0, to: columns, by: panelWidth) {
            multiplyTile(
                W.self, out + row * outStride + column, tileStride: outStride, a + row * rowStride,
                rows: rows - row,
                rowStride: rowStride, kStride: kStride, b + column, bStride: bStride, K: K,
                vectors: min(3, (columns - column) / Vector.scalarCount),
                start: accumulate ? UnsafePointer(out + row * outStride + column) : nil, startStride: outStride)
        }
    }
}

/// The product of each element with its factor: matrix (rows, columns) ·= factors (rows, columns). Both have room for
/// whole vectors.
@inline(never)
private func multiply(
    _ matrix: UnsafeMutablePointer<Float>, stride: Int, by factors: UnsafePointer<Float>, stride factorStride: Int,
    rows: Int, columns: Int
) {
    for row in 0..<rows {
        for c in Swift.stride(from: 0, to: columns, by: Vector.scalarCount) {
            let product = Vector.load(matrix + row * stride + c) * .load(factors + row * factorStride + c)
            product.store(matrix + row * stride + c)
        }
    }
}

/// Columns of a block as words: (words of rows, panelWidth) ← block (rows, panelWidth); where words are floats, the
/// block itself.
@inline(__always)
private func columnsAsWords<W: Words>(
    _: W.Type, in words: UnsafeMutablePointer<Float>, _ block: UnsafePointer<Float>, rows: Int
) -> UnsafePointer<Float> {
    guard W.areConverted else { return block }
    packStraight(
        W.self, words, from: block, stride: panelWidth, firstColumn: 0, columns: panelWidth, firstK: 0, countK: rows)
    return UnsafePointer(words)
}

/// The transpose of keys (or values) in panels: panels (T/panelWidth, words of HS, panelWidth) ← inp (T, stride).
@inline(__always)
private func packKeys<W: Words>(
    _: W.Type, _ panels: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, T: Int, HS: Int
) {
    for t in Swift.stride(from: 0, to: T, by: panelWidth) {
        packTransposed(
            W.self, panels + t * W.count(HS), from: inp, stride: stride, firstColumn: t,
            columns: min(panelWidth, T - t), firstK: 0,
            countK: HS)
    }
}

/// A copy with padded rows: copy (words of rows, HS rounded up to whole vectors) ← inp (rows, stride). The padding is
/// zero.
@inline(__always)
private func copyRows<W: Words>(
    _: W.Type, _ copy: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, rows: Int, HS: Int
) {
    for word in 0..<W.count(rows) {
        let t = word * W.elements
        for c in Swift.stride(from: 0, to: HS, by: Vector.scalarCount) {
            W.interleaved(inp + t * stride + c, stride: stride, rows: rows - t, upTo: HS - c).store(
                copy + word * roundedUp(HS) + c)
        }
    }
}

/// The reverse of `copyRows` with floats: out (rows, stride) ← rowsOfHS (rows, HS rounded up to whole vectors).
@inline(__always)
private func storeRows(
    _ out: UnsafeMutablePointer<Float>, stride: Int, from rowsOfHS: UnsafePointer<Float>, rows: Int, HS: Int
) {
    for t in 0..<rows {
        for c in Swift.stride(from: 0, to: HS, by: Vector.scalarCount) {
            Vector.load(rowsOfHS + t * roundedUp(HS) + c).store(out + t * stride + c, upTo: HS - c)
        }
    }
}

/// The temporary buffers of one task, which are freed together.
private final class TaskBuffers {
    private var buffers: [UnsafeMutablePointer<Float>] = []

    func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
        let buffer = allocateAligned(count)
        buffers.append(buffer)
        return buffer
    }

    func free() { for buffer in buffers { freeAligned(buffer) } }
}
