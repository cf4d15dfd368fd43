// The optimizer of matrices.

import Foundation
import Kernels
import Naive
import Testing

private func matrix(_ values: [Float], rows: Int) -> Matrix {
    let columns = values.count / rows
    return (0..<rows).map { doubles(Array(values[$0 * columns..<($0 + 1) * columns])) }
}

@Test(arguments: [(1, 1), (1, 5), (5, 1), (2, 2), (7, 7), (3, 17), (17, 3), (33, 50), (97, 48), (64, 192)])
func `muon over three steps`(rows: Int, columns: Int) {
    let start = noise(rows * columns, seed: 1, scale: 0.1)
    let parameters = Fenced(start)
    let m = Fenced([Float](repeating: 0, count: start.count))
    let scratch = Fenced(unwritten: muonScratch(rows: rows, columns: columns))
    var expected = (p: matrix(start, rows: rows), m: matrix(m.values, rows: rows))
    for step in 0..<3 {
        let values = noise(start.count, seed: UInt64(10 + step))
        let gradients = Fenced(values)
        let scale: Float = step == 1 ? 0.37 : 1
        naiveMuon(
            parameters: &expected.p, gradient: matrix(values, rows: rows), m: &expected.m, learningRate: 0.02,
            decay: 0.1, scale: Double(scale))
        muon(
            parameters: parameters.pointer, gradients: gradients.pointer, m: m.pointer, rows: rows, columns: columns,
            learningRate: 0.02, decay: 0.1, gradientScale: scale, scratch: scratch.pointer)
        #expect(gradients.values.allSatisfy { $0 == 0 })
        expectIntact(outputs: [parameters, gradients, m, scratch], inputs: [])
    }
    expectClose(m.values, expected.m.flatMap { $0 }, tolerance: 5e-7)
    // The smallest of a square matrix's lengths grow by 3.4⁵, and float32's rounding with them.
    expectClose(parameters.values, expected.p.flatMap { $0 }, tolerance: 2e-5)
}

/// Rows of very different lengths, at right angles: the update's are all about as long.
@Test func `rare directions move as far as common ones`() {
    let (rows, columns) = (4, 12)
    var gradient = [Float](repeating: 0, count: rows * columns)
    for i in 0..<rows { gradient[i * columns + 3 * i] = [5, 1, 0.3, 0.1][i] }
    let parameters = Fenced([Float](repeating: 0, count: gradient.count))
    let g = Fenced(gradient)
    let m = Fenced([Float](repeating: 0, count: gradient.count))
    let scratch = Fenced(unwritten: muonScratch(rows: rows, columns: columns))
    muon(
        parameters: parameters.pointer, gradients: g.pointer, m: m.pointer, rows: rows, columns: columns,
        learningRate: 1, decay: 0, gradientScale: 1, scratch: scratch.pointer)
    let size = 0.2 * Float(columns).squareRoot()
    for (i, value) in parameters.values.enumerated() {
        let isDirection = i % columns == 3 * (i / columns)
        #expect(isDirection ? (-1.25 * size)...(-0.65 * size) ~= value : value == 0, "\(i): \(value / size)")
    }
    expectIntact(outputs: [parameters, g, m, scratch], inputs: [])
}

@Test func `a gradient of zero moves nothing`() {
    let parameters = Fenced(noise(15, seed: 1))
    let zeros = (0..<2).map { _ in Fenced([Float](repeating: 0, count: 15)) }
    let scratch = Fenced(unwritten: muonScratch(rows: 3, columns: 5))
    muon(
        parameters: parameters.pointer, gradients: zeros[0].pointer, m: zeros[1].pointer, rows: 3, columns: 5,
        learningRate: 0.1, decay: 0, gradientScale: 1, scratch: scratch.pointer)
    #expect(parameters.isUnchanged)
    expectIntact(outputs: [parameters, scratch] + zeros, inputs: [])
}
