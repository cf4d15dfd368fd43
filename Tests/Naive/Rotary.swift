// Rotary positions.

import Foundation

/// A row's queries and keys, turned: row (3C) at position t. Channels j and j + R/2 of a head are the two coordinates of
/// a plane, which turns by t·θ^(−2j/R).
package func naiveRotary(_ row: [Double], t: Int, C: Int, NH: Int, R: Int, theta: Double) -> [Double] {
    var out = row
    for head in 0..<2 * NH {
        for j in 0..<R / 2 {
            let angle = Double(t) * pow(theta, -2 * Double(j) / Double(R))
            let (first, second) = (head * (C / NH) + j, head * (C / NH) + j + R / 2)
            out[first] = row[first] * cos(angle) - row[second] * sin(angle)
            out[second] = row[second] * cos(angle) + row[first] * sin(angle)
        }
    }
    return out
}

/// The gradient before the turn: the turn's transpose, which is the turn back.
package func naiveRotaryBackward(_ dout: [Double], t: Int, C: Int, NH: Int, R: Int, theta: Double) -> [Double] {
    naiveRotary(dout, t: -t, C: C, NH: NH, R: R, theta: theta)
}
