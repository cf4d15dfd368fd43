// Rotary positions.

import Foundation
import Kernels
import Naive
import Testing

// MARK: - the twin

/// What the turn is for: the product of a query and a key depends on their distance alone.
@Test func `only the distance of two tokens matters`() {
    let (C, R, theta) = (8, 8, 50.0)
    let row = doubles(noise(3 * C, seed: 3))
    func product(_ t: Int, _ u: Int) -> Double {
        let query = naiveRotary(row, t: t, C: C, NH: 1, R: R, theta: theta)[..<C]
        let key = naiveRotary(row, t: u, C: C, NH: 1, R: R, theta: theta)[C..<2 * C]
        return zip(query, key).reduce(0) { $0 + $1.0 * $1.1 }
    }
    #expect(abs(product(9, 4) - product(105, 100)) < 1e-12)
    #expect(abs(product(9, 4) - product(9, 5)) > 1e-3)
}

// MARK: - the kernels

/// (N, NH, HS, R): planes fewer than a vector, several vectors and a rest, all channels and a few of them.
@Test(
    arguments: [
        (1, 1, 2, 2), (3, 2, 5, 4), (7, 3, 20, 8), (65, 2, 64, 32), (70, 1, 64, 64), (130, 2, 80, 32), (64, 3, 12, 6),
        (9, 1, 100, 70), (5, 2, 33, 2),
    ])
func `rotaryForward and rotaryBackward`(N: Int, NH: Int, HS: Int, R: Int) {
    let (C, maxT, theta) = (NH * HS, 300, 10000.0)
    let positions = randomIndices(N, below: maxT, seed: 4)
    let filled = Fenced(unwritten: maxT * R)
    fillRotaryTable(filled.pointer, maxT: maxT, R: R, theta: Float(theta))
    #expect(filled.isFenceWhole && filled.values.allSatisfy { abs($0) <= 1 })
    let table = Fenced(filled.values)
    let values = noise(N * 3 * C, seed: 5)
    /// The kernel on rows, and the reference row by row.
    func expect(
        _ naive: ([Double], Int) -> [Double], _ kernel: (UnsafeMutablePointer<Float>) -> Void
    ) {
        let qkv = Fenced(values)
        kernel(qkv.pointer)
        var expected: [Double] = []
        for n in 0..<N { expected += naive(doubles(Array(values[n * 3 * C..<(n + 1) * 3 * C])), Int(positions[n])) }
        // Angles up to 300 are rounded to float32, to within 1.5e-5.
        for (ours, wanted) in zip(qkv.values, expected) { #expect(abs(Double(ours) - wanted) < 5e-5) }
        // The values, and the channels that don't turn, are untouched.
        for i in values.indices {
            let column = i % (3 * C)
            guard column >= 2 * C || column % HS >= R else { continue }
            #expect(qkv.values[i] == values[i])
        }
        expectIntact(outputs: [qkv], inputs: [table])
    }
    expect({ naiveRotary($0, t: $1, C: C, NH: NH, R: R, theta: theta) }) {
        rotaryForward(qkv: $0, table: table.pointer, positions: positions, N: N, C: C, NH: NH, R: R)
    }
    expect({ naiveRotaryBackward($0, t: $1, C: C, NH: NH, R: R, theta: theta) }) {
        rotaryBackward(dqkv: $0, table: table.pointer, positions: positions, N: N, C: C, NH: NH, R: R)
    }
}

/// Near positions are exact to float32, whatever the frequency.
@Test func `the table has cosines, then sines`() {
    let (maxT, R) = (4, 6)
    let table = Fenced(unwritten: maxT * R)
    fillRotaryTable(table.pointer, maxT: maxT, R: R, theta: 500)
    for t in 0..<maxT {
        for j in 0..<3 {
            let angle = Double(t) * pow(500, -Double(2 * j) / 6)
            #expect(abs(Double(table.values[t * R + j]) - cos(angle)) < 1e-6)
            #expect(abs(Double(table.values[t * R + 3 + j]) - sin(angle)) < 1e-6)
        }
    }
}
