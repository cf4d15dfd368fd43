// Causal self-attention (Vaswani et al., 2017): every token looks back at all tokens up to itself.
//
//     score (t, k) = query_t · key_k / √HS for k ≤ t      prob = softmax over k      out_t = Σ_k prob (t, k) · value_k
//
// The (T,T) matrix of scores is never kept. The forward pass holds a few rows of it at a time and saves one number a
// row, the log-sum-exp, from which the backward pass computes any probability again: prob = exp(score − lse). This is
// FlashAttention's bookkeeping (Dao et al., 2022), with the caches of a CPU in mind: the products run through the
// register tiles of Matmul.swift.
//
// A task is one head of one sequence. It writes only its own columns of the result, so nothing is shared.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Queries that the backward pass takes at a time.
private let queryBlock = 64

/// out (B,T,C) = attention(qkv (B,T,3C)); keeps lse (B,NH,T). C = NH·HS.
package func attentionForward(
    out: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>,
    B: Int, T: Int, C: Int, NH: Int
) {
    let start = startTiming()
    defer { endTiming(start, "attention forward") }
    let HS = C / NH
    let scale = 1 / Float(HS).squareRoot()
    let panels = (T + panelWidth - 1) / panelWidth
    let paddedT = panels * panelWidth
    let paddedHS = roundedUp(HS)
    parallelFor(B * NH) { task in
        let head = task % NH
        let q = qkv + task / NH * T * 3 * C + head * HS
        let memory = Scratch()
        defer { memory.free() }
        let keys = memory.floats(paddedT * HS)
        let values = memory.floats(T * paddedHS)
        let scores = memory.floats(tileRows * paddedT)
        let tile = memory.floats(tileRows * paddedHS)
        packKeys(keys, from: q + C, stride: 3 * C, T: T, HS: HS)
        copyRows(values, from: q + 2 * C, stride: 3 * C, rows: T, HS: HS)

        for t0 in stride(from: 0, to: T, by: tileRows) {
            let rows = min(tileRows, T - t0)
            let keysSeen = t0 + rows
            // scores (rows, keysSeen) = queries · keysᵀ
            for panel in 0..<(keysSeen + panelWidth - 1) / panelWidth {
                multiplyTile(
                    scores + panel * panelWidth, tileStride: paddedT, q + t0 * 3 * C, rows: rows, rowStride: 3 * C,
                    kStride: 1, keys + panel * panelWidth * HS, K: HS, vectors: 3, start: nil)
            }
            // softmax, its division kept for the end
            var inverse = InlineArray<8, Float>(repeating: 0)
            for i in 0..<rows {
                let row = scores + i * paddedT
                let count = t0 + i + 1
                let (sum, logSum) = exponentiate(row, count: count, scale: scale)
                for k in count..<keysSeen { row[k] = 0 }
                inverse[i] = 1 / sum
                lse[task * T + t0 + i] = logSum
            }
            // out (rows, HS) = probabilities (rows, keysSeen) · values (keysSeen, HS)
            multiplyRows(
                tile, outStride: paddedHS, rows: rows, columns: paddedHS, scores, rowStride: paddedT, kStride: 1,
                values, bStride: paddedHS, K: keysSeen, accumulate: false)
            for i in 0..<rows {
                let destination = out + (task / NH * T + t0 + i) * C + head * HS
                for c in stride(from: 0, to: HS, by: Vector.scalarCount) {
                    (Vector.load(tile + i * paddedHS + c) * inverse[i]).store(destination + c, upTo: HS - c)
                }
            }
        }
    }
}

/// dqkv (B,T,3C) from dout (B,T,C), with what the forward pass read and kept.
///
/// In the forward pass this was prob = exp(score − lse), out = Σ prob · value. So now, with D_t = dout_t · out_t:
///
///     dvalue_k = Σ_t prob (t,k) · dout_t
///     dprob (t,k) = dout_t · value_k            dscore = prob · (dprob − D_t) / √HS
///     dquery_t = Σ_k dscore (t,k) · key_k       dkey_k = Σ_t dscore (t,k) · query_t
///
/// D_t is Σ_k prob · dprob without the sum over k: Σ_k prob · (dout · value_k) = dout · out.
package func attentionBackward(
    dqkv: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, qkv: UnsafePointer<Float>,
    out: UnsafePointer<Float>, lse: UnsafePointer<Float>, B: Int, T: Int, C: Int, NH: Int
) {
    let start = startTiming()
    defer { endTiming(start, "attention backward") }
    let HS = C / NH
    let scale = 1 / Float(HS).squareRoot()
    let panels = (T + panelWidth - 1) / panelWidth
    let paddedT = panels * panelWidth
    let paddedHS = roundedUp(HS)
    parallelFor(B * NH) { task in
        let head = task % NH
        let firstRow = task / NH * T
        let q = qkv + firstRow * 3 * C + head * HS
        let d = dout + firstRow * C + head * HS
        let o = out + firstRow * C + head * HS
        let logSums = lse + task * T

        let memory = Scratch()
        defer { memory.free() }
        let keysAcross = memory.floats(paddedT * HS)
        let valuesAcross = memory.floats(paddedT * HS)
        let queries = memory.floats(T * paddedHS)
        let keys = memory.floats(paddedT * paddedHS)
        let douts = memory.floats(T * paddedHS)
        let dots = memory.floats(T)
        let dqueries = memory.floats(roundedUp(T, to: tileRows) * paddedHS)
        let dkeys = memory.floats(roundedUp(panelWidth, to: tileRows) * paddedHS)
        let dvalues = memory.floats(roundedUp(panelWidth, to: tileRows) * paddedHS)
        let probs = memory.floats(queryBlock * panelWidth)
        let dscores = memory.floats(queryBlock * panelWidth)
        packKeys(keysAcross, from: q + C, stride: 3 * C, T: T, HS: HS)
        packKeys(valuesAcross, from: q + 2 * C, stride: 3 * C, T: T, HS: HS)
        copyRows(queries, from: q, stride: 3 * C, rows: T, HS: HS)
        copyRows(keys, from: q + C, stride: 3 * C, rows: T, HS: HS)
        copyRows(douts, from: d, stride: C, rows: T, HS: HS)
        for t in 0..<T {
            var sum = Vector(repeating: 0)
            for c in stride(from: 0, to: HS, by: Vector.scalarCount) {
                sum = sum.adding(.load(d + t * C + c, upTo: HS - c), times: .load(o + t * C + c, upTo: HS - c))
            }
            dots[t] = sumOfLanes(sum)
        }
        dqueries.update(repeating: 0, count: roundedUp(T, to: tileRows) * paddedHS)

        // A block of keys (one panel) against every block of queries that sees it, from the key's own token on.
        for panel in 0..<panels {
            let k0 = panel * panelWidth
            let keyCount = min(panelWidth, T - k0)
            var isFirst = true
            for t0 in stride(from: k0, to: T, by: queryBlock) {
                let rows = min(queryBlock, T - t0)
                multiplyRows(  // scores (rows, keys) = queries · keysᵀ
                    probs, outStride: panelWidth, rows: rows, columns: panelWidth, q + t0 * 3 * C, rowStride: 3 * C,
                    kStride: 1, keysAcross + k0 * HS, bStride: panelWidth, K: HS, accumulate: false)
                multiplyRows(  // dprobs (rows, keys) = dout · valuesᵀ
                    dscores, outStride: panelWidth, rows: rows, columns: panelWidth, d + t0 * C, rowStride: C,
                    kStride: 1, valuesAcross + k0 * HS, bStride: panelWidth, K: HS, accumulate: false)
                for i in 0..<rows {
                    let t = t0 + i
                    softmaxBackward(
                        probs: probs + i * panelWidth, dscores: dscores + i * panelWidth,
                        count: min(keyCount, t - k0 + 1), scale: scale, logSum: logSums[t], dot: dots[t])
                }
                multiplyRows(  // dqueries (rows, HS) += dscores (rows, keys) · keys (keys, HS)
                    dqueries + t0 * paddedHS, outStride: paddedHS, rows: rows, columns: paddedHS, dscores,
                    rowStride: panelWidth, kStride: 1, keys + k0 * paddedHS, bStride: paddedHS, K: keyCount,
                    accumulate: true)
                multiplyRows(  // dkeys (keys, HS) += dscoresᵀ (keys, rows) · queries (rows, HS)
                    dkeys, outStride: paddedHS, rows: keyCount, columns: paddedHS, dscores, rowStride: 1,
                    kStride: panelWidth, queries + t0 * paddedHS, bStride: paddedHS, K: rows, accumulate: !isFirst)
                multiplyRows(  // dvalues (keys, HS) += probsᵀ (keys, rows) · dout (rows, HS)
                    dvalues, outStride: paddedHS, rows: keyCount, columns: paddedHS, probs, rowStride: 1,
                    kStride: panelWidth, douts + t0 * paddedHS, bStride: paddedHS, K: rows, accumulate: !isFirst)
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
// Functions of their own, for the reason given at `largest(of:count:)`.

/// row (count) ← exp(scale · (row − its largest)); the row has room for whole vectors.
/// - Returns: the sum of the row, and log Σ exp(scale · row).
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

/// A row of a panel, backward: probs ← exp(scale · score − logSum) where the scores were, and dscores ← the scores'
/// gradient where the probabilities' was. From `count` on both are 0: those keys are not seen.
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

/// out (rows, columns) = or += a (rows, K) · b (K, columns), all of it small enough for the caches. `columns` is a
/// multiple of the vector's width; `out` has room for `rows` rounded up to whole tiles.
@inline(__always)
private func multiplyRows(
    _ out: UnsafeMutablePointer<Float>, outStride: Int, rows: Int, columns: Int, _ a: UnsafePointer<Float>,
    rowStride: Int, kStride: Int, _ b: UnsafePointer<Float>, bStride: Int, K: Int, accumulate: Bool
) {
    for row in stride(from: 0, to: rows, by: tileRows) {
        for column in stride(from: 0, to: columns, by: panelWidth) {
            multiplyTile(
                out + row * outStride + column, tileStride: outStride, a + row * rowStride, rows: rows - row,
                rowStride: rowStride, kStride: kStride, b + column, bStride: bStride, K: K,
                vectors: min(3, (columns - column) / Vector.scalarCount),
                start: accumulate ? UnsafePointer(out + row * outStride + column) : nil, startStride: outStride)
        }
    }
}

/// panels (T/panelWidth, HS, panelWidth) ← rows of inp (T, stride) transposed.
@inline(__always)
private func packKeys(
    _ panels: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, T: Int, HS: Int
) {
    for t in Swift.stride(from: 0, to: T, by: panelWidth) {
        packTransposed(
            panels + t * HS, from: inp, stride: stride, firstColumn: t, columns: min(panelWidth, T - t), firstK: 0,
            countK: HS)
    }
}

/// copy (rows, HS rounded up to whole vectors) ← inp (rows, stride), with zeros at the end of each row.
@inline(__always)
private func copyRows(
    _ copy: UnsafeMutablePointer<Float>, from inp: UnsafePointer<Float>, stride: Int, rows: Int, HS: Int
) {
    for t in 0..<rows {
        for c in Swift.stride(from: 0, to: HS, by: Vector.scalarCount) {
            Vector.load(inp + t * stride + c, upTo: HS - c).store(copy + t * roundedUp(HS) + c)
        }
    }
}

/// out (rows, stride) ← rows of HS floats, stored with HS rounded up to whole vectors.
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

private func roundedUp(_ count: Int, to multiple: Int = Vector.scalarCount) -> Int {
    (count + multiple - 1) / multiple * multiple
}

/// A task's own memory.
private final class Scratch {
    private var buffers: [UnsafeMutablePointer<Float>] = []

    func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
        let buffer = allocateAligned(count)
        buffers.append(buffer)
        return buffer
    }

    func free() { for buffer in buffers { freeAligned(buffer) } }
}
