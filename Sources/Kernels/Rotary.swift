// Rotary positions (Su et al., 2021): a token's place is not added to its embedding, but turns its queries and keys.
//
// The first R of a head's HS channels are R/2 planes: plane j is channels j and j + R/2. At position t a plane turns by
// the angle t·ωⱼ, ωⱼ = θ^(−2j/R): the first plane by one radian for each token, the last one hardly at all.
//
//     a′ = a·cos(tω) − b·sin(tω)       b′ = b·cos(tω) + a·sin(tω)
//
// A turn keeps lengths, and in a dot product only the difference of two turns remains: with q at position t and k at u,
// q′·k′ = q·(k turned by (u − t)ω). So attention sees how far apart two tokens are, wherever they stand. Values are not
// turned. The halves of R belong together as in transformers' Phi; the original paper pairs neighbours.
//
// The inverse of a turn is the turn by −tω, which is also its transpose; so the backward pass turns gradients back. With
// da the gradient of the loss with respect to a:
//
//     da = da′·cos(tω) + db′·sin(tω)     db = db′·cos(tω) − da′·sin(tω)

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The rows in a task.
private let rowsPerTask = 64

/// Cosines and sines of all angles: table (maxT,R), a row of which is R/2 cosines, then R/2 sines. Frequencies and
/// angles are rounded to float32 as transformers rounds them, so that distant positions turn alike.
package func fillRotaryTable(_ table: UnsafeMutablePointer<Float>, maxT: Int, R: Int, theta: Float) {
    for j in 0..<R / 2 {
        let frequency = 1 / Float(pow(Double(theta), Double(Float(2 * j) / Float(R))))
        for t in 0..<maxT {
            let angle = Double(frequency * Float(t))
            table[t * R + j] = Float(cos(angle))
            table[t * R + R / 2 + j] = Float(sin(angle))
        }
    }
}

/// The turn of queries and keys by their positions, in place: the first two thirds of qkv (N,3C), C = NH·HS.
/// - Parameters:
///   - positions: (N).
///   - R: channels of a head that turn, even; the others stay.
package func rotaryForward(
    qkv: UnsafeMutablePointer<Float>, table: UnsafePointer<Float>, positions: UnsafePointer<Int32>, N: Int, C: Int,
    NH: Int, R: Int
) {
    let start = startTiming()
    defer { endTiming(start, "rotary forward") }
    rotate(qkv, table, positions, N, C, NH, R, sign: 1)
}

/// The gradient of queries and keys before their turn, from the one after it, in place: the first two thirds of dqkv
/// (N,3C).
package func rotaryBackward(
    dqkv: UnsafeMutablePointer<Float>, table: UnsafePointer<Float>, positions: UnsafePointer<Int32>, N: Int, C: Int,
    NH: Int, R: Int
) {
    let start = startTiming()
    defer { endTiming(start, "rotary backward") }
    rotate(dqkv, table, positions, N, C, NH, R, sign: -1)
}

/// - Parameter sign: of the angles.
@inline(__always)
private func rotate(
    _ qkv: UnsafeMutablePointer<Float>, _ table: UnsafePointer<Float>, _ positions: UnsafePointer<Int32>, _ N: Int,
    _ C: Int, _ NH: Int, _ R: Int, sign: Float
) {
    let (HS, half) = (C / NH, R / 2)
    parallelFor((N + rowsPerTask - 1) / rowsPerTask) { task in
        for n in task * rowsPerTask..<min((task + 1) * rowsPerTask, N) {
            let cosines = table + Int(positions[n]) * R
            for j in stride(from: 0, to: half, by: Vector.scalarCount) {
                let count = half - j
                let c = Vector.load(cosines + j, upTo: count)
                let s = Vector.load(cosines + half + j, upTo: count) * sign
                // The keys' heads follow the queries'.
                for head in 0..<2 * NH {
                    let first = qkv + n * 3 * C + head * HS + j
                    let second = first + half
                    let (a, b) = (Vector.load(first, upTo: count), Vector.load(second, upTo: count))
                    (a * c).adding(-b, times: s).store(first, upTo: count)
                    (b * c).adding(a, times: s).store(second, upTo: count)
                }
            }
        }
    }
}
