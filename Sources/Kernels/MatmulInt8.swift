// Products with weights in 8 bits, for generation: a quarter of float32's bytes, where a step waits for bytes.
//
// The weights of one output lie in groups of 64 inputs. A group has one scale, its largest magnitude / 127, and each weight is
// the nearest whole number of scales:
//
//     weight ≈ scale · q,   q = −127…127
//
// The scale is rounded to 17 bits. Then scale · q, of 17 + 7 bits, is a float32, and the floats that a group stands for
// become the same scale and the same q again.
//
// An input is rounded in the same way when it comes, so that a group's products are a sum of whole numbers, exact in 32
// bits:
//
//     Σ_k weight · inp ≈ scale · inputScale · Σ_k q · p
//
// The processor's instruction (AVX-512 VNNI) adds four such products to a sum, of unsigned and signed bytes. So a weight is
// stored as q + 128, and the sum starts at −128 · Σ_k p. Without the instruction the same sums are made one by one, and
// the results have the same bits.

#if INT8_PRODUCTS
    import CInstructions
#endif

/// The inputs of a group.
private let group = 64
/// The words of four weights in a group of one output.
private let groupWords = group / 4

/// The words of 32 bits that the weights (OC,C) take: blocks (⌈OC/w⌉, groups, 1 + 16, w), where the first w words of a
/// group are its scales.
package func int8Words(C: Int, OC: Int) -> Int {
    (OC + Vector.scalarCount - 1) / Vector.scalarCount * blockWords(C)
}

private func groups(_ C: Int) -> Int { (C + group - 1) / group }
private func blockWords(_ C: Int) -> Int { groups(C) * (1 + groupWords) * Vector.scalarCount }

/// The weights in 8 bits: blocks ← weight (OC,C). What is missing of the last group and of the last block is 0.
package func packInt8(_ blocks: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>, C: Int, OC: Int) {
    let w = Vector.scalarCount
    parallelFor((OC + w - 1) / w) { block in
        let destination = blocks + block * blockWords(C)
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: groupWords) { words in
            for lane in 0..<w {
                let row = block * w + lane < OC ? weight + (block * w + lane) * C : nil
                for g in 0..<groups(C) {
                    let place = destination + g * (1 + groupWords) * w + lane
                    let count = row == nil ? 0 : min(group, C - g * group)
                    let scale = quantize(words.baseAddress.unsafelyUnwrapped, row ?? weight, g * group, count).scale
                    place.pointee = scale
                    for k in 0..<groupWords {
                        // q + 128 in each byte: the upper bit is the other one.
                        place[(1 + k) * w] = Float(bitPattern: UInt32(bitPattern: words[k]) ^ 0x8080_8080)
                    }
                }
            }
        }
    }
}

/// The weights in 8 bits as a file has them: q (OC,⌈C/64⌉,64) and scales (OC,⌈C/64⌉) ← weight (OC,C). What is missing of the
/// last group is 0.
package func quantizeInt8(
    _ q: UnsafeMutablePointer<Int8>, scales: UnsafeMutablePointer<Float>, weight: UnsafePointer<Float>, C: Int, OC: Int
) {
    parallelFor(OC) { row in
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: groupWords) { words in
            for g in 0..<groups(C) {
                let count = min(group, C - g * group)
                let start = words.baseAddress.unsafelyUnwrapped
                scales[row * groups(C) + g] = quantize(start, weight + row * C, g * group, count).scale
                UnsafeMutableRawPointer(q + (row * groups(C) + g) * group).copyMemory(from: start, byteCount: group)
            }
        }
    }
}

/// The floats that weights in 8 bits stand for, exactly: weight (OC,C) ← scales (OC,⌈C/64⌉) · q (OC,⌈C/64⌉,64).
package func dequantizeInt8(
    _ weight: UnsafeMutablePointer<Float>, q: UnsafePointer<Int8>, scales: UnsafePointer<Float>, C: Int, OC: Int
) {
    parallelFor(OC) { row in
        for g in 0..<groups(C) {
            let place = row * groups(C) + g
            for k in 0..<min(group, C - g * group) {
                weight[row * C + g * group + k] = scales[place] * Float(q[place * group + k])
            }
        }
    }
}

/// The shape in which a file has the weights (OC,C) in 8 bits: outputs, groups, and the inputs of a group.
package func int8Shape(C: Int, OC: Int) -> [Int] { [OC, groups(C), group] }

/// A group in signed bytes: words (16) ← row[first..<first + count], what is missing is 0.
/// - Returns: the scale, which is NaN if a number is infinite or NaN, and the sum of the bytes.
@inline(__always)
private func quantize(
    _ words: UnsafeMutablePointer<Int32>, _ row: UnsafePointer<Float>, _ first: Int, _ count: Int
) -> (scale: Float, sum: Int32) {
    let w = Vector.scalarCount
    var largest = Vector(repeating: 0)
    var zero = largest
    for i in stride(from: 0, to: count, by: w) {
        let x = Vector.load(row + first + i, upTo: count - i)
        largest = largest.maximum(x.maximum(-x))
        zero += x * 0  // a maximum passes over NaN
    }
    let magnitude = largestLane(largest) + sumOfLanes(zero)
    var scale = Float(bitPattern: ((magnitude / 127).bitPattern + 0x40) & ~0x7f)
    // Of numbers so small that the scale has fewer bits nothing is left.
    if scale < Float.leastNormalMagnitude { scale = 0 }
    let inverse = scale > 0 ? 1 / scale : 0
    var sum = VectorOfInt32(repeating: 0)
    let bytes = UnsafeMutableRawPointer(words)
    for i in stride(from: 0, to: group, by: w) {
        // Adding 1.5 · 2²³ leaves no bits for a fraction: what is added is the nearest whole number.
        let magic = Vector(repeating: 12_582_912)
        let shifted = magic.adding(.load(row + first + i, upTo: count - i), times: Vector(repeating: inverse))
        let whole = unsafeBitCast(shifted, to: VectorOfInt32.self) &- unsafeBitCast(magic, to: VectorOfInt32.self)
        sum &+= whole
        bytes.storeBytes(of: VectorOfUInt8(truncatingIfNeeded: whole), toByteOffset: i, as: VectorOfUInt8.self)
    }
    return (scale, sum.wrappedSum())
}

/// The product with weights in 8 bits: out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC). A row's
/// result has the same bits whatever other rows are in the batch.
/// - Parameters:
///   - blocks: the weights as `packInt8` writes them.
///   - bias: nil for none.
///   - residual: added to the result if not nil; may be `out` itself.
package func matmulInt8(
    out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, blocks: UnsafePointer<Float>,
    bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
) {
    let start = startTiming()
    defer { endTiming(start, "matmul in 8 bits") }
    let w = Vector.scalarCount
    let rowGroups = (N + maxRows - 1) / maxRows
    func firstRow(_ rowGroup: Int) -> Int { N * rowGroup / rowGroups }
    // Of each group of rows, and of each group of inputs: 16 words, a scale and a start for every row.
    let groups = groups(C)
    let width = groups * (groupWords + 2)
    let x = allocateAligned(max(N, 1) * width)
    defer { freeAligned(x) }
    parallelFor(rowGroups) { rowGroup in
        let first = firstRow(rowGroup)
        let rows = firstRow(rowGroup + 1) - first
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: groupWords) { words in
            for i in 0..<rows {
                for g in 0..<groups {
                    let place = x + first * width + g * (groupWords + 2) * rows + i
                    let (scale, sum) = quantize(
                        words.baseAddress.unsafelyUnwrapped, inp + (first + i) * C, g * group, min(group, C - g * group)
                    )
                    for k in 0..<groupWords {
                        place[k * rows] = Float(bitPattern: UInt32(bitPattern: words[k]))
                    }
                    place[groupWords * rows] = scale
                    place[(groupWords + 1) * rows] = Float(bitPattern: UInt32(bitPattern: -128 &* sum))
                }
            }
        }
    }
    forEachTask(C: blockWords(C) / w, OC: OC) { range in
        withVectors(maxRows) { sums in
            for block in range {
                let oc = block * w
                for rowGroup in 0..<rowGroups {
                    let n = firstRow(rowGroup)
                    let rows = firstRow(rowGroup + 1) - n
                    let (x, weights, zero) = (x + n * width, blocks + block * blockWords(C), Vector(repeating: 0))
                    switch rows {
                    case 1: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<1, Vector>(repeating: zero))
                    case 2: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<2, Vector>(repeating: zero))
                    case 3: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<3, Vector>(repeating: zero))
                    case 4: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<4, Vector>(repeating: zero))
                    case 5: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<5, Vector>(repeating: zero))
                    case 6: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<6, Vector>(repeating: zero))
                    case 7: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<7, Vector>(repeating: zero))
                    case 8: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<8, Vector>(repeating: zero))
                    case 9: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<9, Vector>(repeating: zero))
                    default: multiplyBlock(sums, x, weights, groups, zeros: InlineArray<10, Vector>(repeating: zero))
                    }
                    for i in 0..<rows {
                        let place = (n + i) * OC + oc
                        finish(
                            out + place, .load(sums + i * w), bias.map { $0 + oc }, residual.map { $0 + place },
                            min(w, OC - oc))
                    }
                }
            }
        }
    }
}

/// The most rows that `multiplyBlock` takes: two registers for each, of 32.
private let maxRows = 10

/// The products of one block: sums (rows, w) = x (groups, 16 + 2, rows) · block (groups, 1 + 16, w).
@inline(never)
private func multiplyBlock<let rows: Int>(
    _ sums: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ block: UnsafePointer<Float>, _ groups: Int,
    zeros: InlineArray<rows, Vector>
) {
    let w = Vector.scalarCount
    var total = zeros
    var x = x
    var block = block
    for _ in 0..<groups {
        var whole = InlineArray<rows, VectorOfInt32>(repeating: VectorOfInt32(repeating: 0))
        for i in 0..<rows { whole[i] = VectorOfInt32(repeating: bits(x[(groupWords + 1) * rows + i])) }
        for k in 0..<groupWords {
            let weights = block + (1 + k) * w
            prefetch(weights + prefetchDistance, write: 0, caches: 2, kind: 1)
            let words = unsafeBitCast(Vector.load(weights), to: VectorOfInt32.self)
            for i in 0..<rows { whole[i] = addProducts(whole[i], words, bits(x[k * rows + i])) }
        }
        let scales = Vector.load(block)
        for i in 0..<rows {
            total[i] = total[i].adding(Vector(whole[i]), times: scales * Vector(repeating: x[groupWords * rows + i]))
        }
        x += (groupWords + 2) * rows
        block += (1 + groupWords) * w
    }
    for i in 0..<rows { total[i].store(sums + i * w) }
}

@inline(__always)
private func bits(_ word: Float) -> Int32 { Int32(bitPattern: word.bitPattern) }

/// sum + Σ a · b over the four bytes of each word, those of `a` unsigned and of `b` signed.
@inline(__always)
private func addProducts(_ sum: VectorOfInt32, _ a: VectorOfInt32, _ b: Int32) -> VectorOfInt32 {
    #if INT8_PRODUCTS
        return int8_add_products(sum, a, VectorOfInt32(repeating: b))
    #else
        var sum = sum
        for byte: Int32 in 0..<4 {
            sum &+= ((a &>> (8 &* byte)) & 0xff) &* VectorOfInt32(repeating: (b << (24 &- 8 &* byte)) >> 24)
        }
        return sum
    #endif
}
