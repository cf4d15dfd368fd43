// The steps from a matrix product in three loops to the project's, each a function: dev/doc/matmul.md. `bench ladder` times
// them.
//
// All compute out (N,OC) = inp (N,C) · weight (OC,C)ᵀ, as matmulForward does, on one thread. B is the weight transposed,
// (C,OC). N is a multiple of `rungTileRows`, C of 8 vectors, and OC of `rungPanelWidth`: the project's kernel, which takes any
// size, is Matmul.swift.
//
// A vector does not cross a module's border, so what the steps need of Kernels' Vector.swift is here again. And each step is
// written out, though some lines are the last one's: they are read and timed one by one.

#if SIMD_16
    typealias Vector = SIMD16<Float>
#elseif SIMD_8
    typealias Vector = SIMD8<Float>
#else
    typealias Vector = SIMD4<Float>
#endif

/// The rows of a register tile, as in Matmul.swift.
#if REGISTERS_32
    package let rungTileRows = 8
    private typealias Column = InlineArray<8, Vector>
#else
    package let rungTileRows = 4
    private typealias Column = InlineArray<4, Vector>
#endif
/// The columns of a panel: three vectors.
package let rungPanelWidth = 3 * Vector.scalarCount

extension Vector {
    @inline(__always) fileprivate static func load(_ source: UnsafePointer<Float>) -> Vector {
        UnsafeRawPointer(source).loadUnaligned(as: Vector.self)
    }

    @inline(__always) fileprivate func store(_ destination: UnsafeMutablePointer<Float>) {
        UnsafeMutableRawPointer(destination).storeBytes(of: self, as: Vector.self)
    }

    /// self + a·b, in one instruction if the processor has it.
    @inline(__always) fileprivate func adding(_ a: Vector, times b: Vector) -> Vector {
        #if FMA
            addingProduct(a, b)
        #else
            self + a * b
        #endif
    }

    /// The sum of the lanes, by halves.
    @inline(__always) fileprivate var sumOfLanes: Float {
        #if SIMD_16
            let eight = lowHalf + highHalf
            let four = eight.lowHalf + eight.highHalf
        #elseif SIMD_8
            let four = lowHalf + highHalf
        #else
            let four = self
        #endif
        let two = four.lowHalf + four.highHalf
        return two[0] + two[1]
    }
}

// MARK: - three loops

/// The naive twin's loops, in float. Each addition waits for the one before.
@inline(never)
package func threeLoops(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, N: Int, C: Int,
    OC: Int
) {
    for n in 0..<N {
        for oc in 0..<OC {
            var sum: Float = 0
            for c in 0..<C { sum += inp[n * C + c] * weight[oc * C + c] }
            out[n * OC + oc] = sum
        }
    }
}

/// The same with B: the next weight is a whole row of memory away.
@inline(never)
package func threeLoopsDownColumns(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, B: UnsafePointer<Float>, N: Int, C: Int, OC: Int
) {
    for n in 0..<N {
        for oc in 0..<OC {
            var sum: Float = 0
            for c in 0..<C { sum += inp[n * C + c] * B[c * OC + oc] }
            out[n * OC + oc] = sum
        }
    }
}

/// The two inner loops in the other order. Neighbours in memory are independent sums, so the compiler makes vectors of them.
@inline(never)
package func threeLoopsInOrder(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, B: UnsafePointer<Float>, N: Int, C: Int, OC: Int
) {
    for n in 0..<N {
        let row = out + n * OC
        row.update(repeating: 0, count: OC)
        for c in 0..<C {
            let x = inp[n * C + c]
            let weights = B + c * OC
            for oc in 0..<OC { row[oc] += x * weights[oc] }
        }
    }
}

// MARK: - vectors

/// A dot product of vectors for each output, in one sum or in eight independent ones.
package func dotProducts(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, N: Int, C: Int,
    OC: Int, inEightSums: Bool
) {
    // Types, so that the number of sums is known where the loop is compiled.
    if inEightSums {
        dotProducts(out, inp, weight, N: N, C: C, OC: OC, zeros: InlineArray<8, Float>(repeating: 0))
    } else {
        dotProducts(out, inp, weight, N: N, C: C, OC: OC, zeros: InlineArray<1, Float>(repeating: 0))
    }
}

@inline(never)
private func dotProducts<let sums: Int>(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>, N: Int, C: Int,
    OC: Int, zeros: InlineArray<sums, Float>
) {
    let w = Vector.scalarCount
    for n in 0..<N {
        for oc in 0..<OC {
            var partial = InlineArray<sums, Vector>(repeating: Vector(repeating: 0))
            var c = 0
            while c < C {
                for i in 0..<sums {
                    partial[i] = partial[i].adding(
                        .load(inp + n * C + c + i * w), times: .load(weight + oc * C + c + i * w))
                }
                c += sums * w
            }
            var sum = partial[0]
            for i in 1..<max(sums, 1) { sum += partial[i] }
            out[n * OC + oc] = sum.sumOfLanes
        }
    }
}

// MARK: - the tile

/// A tile: tile (rungTileRows, rungPanelWidth) = a (rungTileRows, C) · b (C, rungPanelWidth). All sums stay in registers.
@inline(never)
package func registerTile(
    _ tile: UnsafeMutablePointer<Float>, tileStride: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
    bStride: Int, C: Int
) {
    let w = Vector.scalarCount
    var c0 = Column(repeating: Vector(repeating: 0))
    var c1 = c0
    var c2 = c0
    var b = b
    for k in 0..<C {
        let b0 = Vector.load(b)
        let b1 = Vector.load(b + w)
        let b2 = Vector.load(b + 2 * w)
        for i in 0..<rungTileRows {
            let value = Vector(repeating: a[i * C + k])
            c0[i] = c0[i].adding(value, times: b0)
            c1[i] = c1[i].adding(value, times: b1)
            c2[i] = c2[i].adding(value, times: b2)
        }
        b += bStride
    }
    for i in 0..<rungTileRows {
        c0[i].store(tile + i * tileStride)
        c1[i].store(tile + i * tileStride + w)
        c2[i].store(tile + i * tileStride + 2 * w)
    }
}

/// Tiles, each of which reads its columns of B where they lie, OC floats from one k to the next.
@inline(never)
package func tiles(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, B: UnsafePointer<Float>, N: Int, C: Int, OC: Int
) {
    for row in stride(from: 0, to: N, by: rungTileRows) {
        for column in stride(from: 0, to: OC, by: rungPanelWidth) {
            registerTile(
                out + row * OC + column, tileStride: OC, inp + row * C, B + column, bStride: OC, C: C)
        }
    }
}

/// Panel after panel: `panel` (C, rungPanelWidth) is a copy of B's columns, which stays in the L2 cache for all rows.
@inline(never)
package func tilesOfPanels(
    _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, B: UnsafePointer<Float>,
    panel: UnsafeMutablePointer<Float>, N: Int, C: Int, OC: Int
) {
    for column in stride(from: 0, to: OC, by: rungPanelWidth) {
        for c in 0..<C {
            (panel + c * rungPanelWidth).update(from: B + c * OC + column, count: rungPanelWidth)
        }
        for row in stride(from: 0, to: N, by: rungTileRows) {
            registerTile(
                out + row * OC + column, tileStride: OC, inp + row * C, panel, bStride: rungPanelWidth, C: C)
        }
    }
}

// MARK: - tiles of other sizes

/// The rows that `tileAlone` knows.
package let tileHeights = [1, 2, 4, 8, 9, 12]

/// The multiply-adds of `times` tiles of `rows` × 3 vectors, C long: all in the L1 cache. The result depends on them, so that they
/// are not left out.
package func tileAlone(
    rows: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, C: Int, times: Int
) -> Float {
    switch rows {
    case 1: repeatTile(a, b, C, times, InlineArray<1, Float>(repeating: 0))
    case 2: repeatTile(a, b, C, times, InlineArray<2, Float>(repeating: 0))
    case 4: repeatTile(a, b, C, times, InlineArray<4, Float>(repeating: 0))
    case 8: repeatTile(a, b, C, times, InlineArray<8, Float>(repeating: 0))
    case 9: repeatTile(a, b, C, times, InlineArray<9, Float>(repeating: 0))
    default: repeatTile(a, b, C, times, InlineArray<12, Float>(repeating: 0))
    }
}

private func repeatTile<let rows: Int>(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ C: Int, _ times: Int, _ zeros: InlineArray<rows, Float>
) -> Float {
    var sum: Float = 0
    // Not the same every time: the compiler would compute it once.
    for i in 0..<times { sum += tileOf(a + i % 8, b, C, zeros) }
    return sum
}

@inline(never)
private func tileOf<let rows: Int>(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ C: Int, _ zeros: InlineArray<rows, Float>
) -> Float {
    let w = Vector.scalarCount
    var c0 = InlineArray<rows, Vector>(repeating: Vector(repeating: 0))
    var c1 = c0
    var c2 = c0
    var b = b
    for k in 0..<C {
        let b0 = Vector.load(b)
        let b1 = Vector.load(b + w)
        let b2 = Vector.load(b + 2 * w)
        for i in 0..<rows {
            let value = Vector(repeating: a[i * C + k])
            c0[i] = c0[i].adding(value, times: b0)
            c1[i] = c1[i].adding(value, times: b1)
            c2[i] = c2[i].adding(value, times: b2)
        }
        b += 3 * w
    }
    var sum = Vector(repeating: 0)
    for i in 0..<rows { sum += c0[i] + c1[i] + c2[i] }
    return sum.sumOfLanes
}

// MARK: - caches

/// The sum of `count` floats, a multiple of 8 vectors: nothing but loads.
@inline(never)
package func readAll(_ floats: UnsafePointer<Float>, count: Int) -> Float {
    let w = Vector.scalarCount
    var sums = InlineArray<8, Vector>(repeating: Vector(repeating: 0))
    for i in stride(from: 0, to: count, by: 8 * w) {
        for j in 0..<8 { sums[j] += .load(floats + i + j * w) }
    }
    var sum = Vector(repeating: 0)
    for j in 0..<8 { sum += sums[j] }
    return sum.sumOfLanes
}
