// The optimizer.

import Foundation
import Kernels
import Naive
import Testing

// MARK: - the kernels

private struct Settings {
    var learningRate = 1e-3
    var beta1 = 0.9
    var beta2 = 0.999
    var epsilon = 1e-8
    var decay = 0.1
    var gradientScale: Float = 1

    /// The twin's step with these settings.
    func step(_ t: Int, _ p: inout Double, gradient: Float, _ m: inout Double, _ v: inout Double) {
        naiveAdamW(
            parameter: &p, gradient: Double(gradient) * Double(gradientScale), m: &m, v: &v,
            learningRate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon, decay: decay, step: t)
    }
}

@Test(arguments: [1, 2, 3, 7, 17, 33, 100, 193, 65_536, 65_537, 140_001])
func `adamW over five steps`(count: Int) {
    for settings in [
        Settings(), Settings(beta2: 0.95, decay: 0, gradientScale: 0.37), Settings(learningRate: 0.1, epsilon: 1e-3),
    ] {
        let start = noise(count, seed: 1)
        let parameters = Fenced(start)
        let m = Fenced([Float](repeating: 0, count: count))
        let v = Fenced([Float](repeating: 0, count: count))
        let zeros = [Double](repeating: 0, count: count)
        var expected = (p: doubles(start), m: zeros, v: zeros)
        for step in 1...5 {
            let values = noise(count, seed: UInt64(10 + step))
            let gradients = Fenced(values)
            for i in 0..<count {
                settings.step(step, &expected.p[i], gradient: values[i], &expected.m[i], &expected.v[i])
            }
            adamW(
                parameters: parameters.pointer, gradients: gradients.pointer, m: m.pointer, v: v.pointer, count: count,
                learningRate: settings.learningRate, beta1: settings.beta1, beta2: settings.beta2,
                epsilon: settings.epsilon, decay: settings.decay, gradientScale: settings.gradientScale, step: step)
            #expect(gradients.values.allSatisfy { $0 == 0 })
            expectIntact(outputs: [parameters, gradients, m, v], inputs: [])
        }
        expectClose(parameters.values, expected.p, tolerance: 1e-6)
        expectClose(m.values, expected.m, tolerance: 5e-7)
        expectClose(v.values, expected.v, tolerance: 1e-6)
    }
}

/// A late step, where βᵗ is tiny, and gradients whose squares vanish in float32 or become huge.
@Test(arguments: [(1, Float(1e-25)), (1, 0), (100_000, 0.5), (1, 1e15)])
func `adamW late, and with tiny and huge gradients`(step: Int, gradient: Float) {
    let settings = Settings()
    let p = Fenced([0.5])
    let g = Fenced([gradient])
    let m = Fenced([0])
    let v = Fenced([0])
    var expected = (p: 0.5, m: 0.0, v: 0.0)
    settings.step(step, &expected.p, gradient: gradient, &expected.m, &expected.v)
    adamW(
        parameters: p.pointer, gradients: g.pointer, m: m.pointer, v: v.pointer, count: 1,
        learningRate: settings.learningRate, beta1: settings.beta1, beta2: settings.beta2,
        epsilon: settings.epsilon, decay: settings.decay, gradientScale: 1, step: step)
    expectClose(p.values, [expected.p], tolerance: 2e-7)
    expectIntact(outputs: [p, g, m, v], inputs: [])
}

@Test(arguments: [0, 1, 2, 7, 17, 100, 1023, 1025, 65_535, 65_536, 65_537, 200_001])
func `sumOfSquares of as many floats as`(count: Int) {
    let x = Fenced(noise(count, seed: 1))
    let expected = x.values.reduce(0) { $0 + Double($1) * Double($1) }
    #expect(abs(sumOfSquares(x.pointer, count: count) - expected) <= 1e-6 * expected)
    expectIntact(outputs: [], inputs: [x])
}
