// Parameters: how they begin, and what a step does to each tensor.

import Foundation
import Kernels
import LLM
import Testing

/// A table of every kind of tensor, with padding behind the first.
private func table() -> TensorTable {
    var table = TensorTable()
    _ = table.add("a", 6, 4, usedRows: 5, initialValues: .normal(deviation: 0.5), decays: true)
    _ = table.add("b", layers: 2, 3, initialValues: .ones)
    _ = table.add("c", layers: 3, 4, 5, initialValues: .normal(deviation: 2), decays: true)
    _ = table.add("d", layers: 3, 2)
    _ = table.add("e", 7, initialValues: .normal(deviation: 1))
    return table
}

/// llm.c's order: what there is once belongs to the first layer.
@Test func `tensors are drawn layer by layer`() {
    let parameters = Parameters(table(), trains: false)
    parameters.initialize(seed: 9)
    var random = MersenneTwister(seed: 9)
    func draw(_ count: Int, _ deviation: Float) -> [Float] {
        var values = [Float](repeating: 0, count: count)
        values.withUnsafeMutableBufferPointer { random.fillNormal($0, deviation: deviation) }
        return values
    }
    let a = draw(20, 0.5)
    var c = draw(20, 2)
    let e = draw(7, 1)
    c += draw(20, 2)
    c += draw(20, 2)
    let padding = [Float](repeating: 0, count: 4)
    let (b, d) = ([Float](repeating: 1, count: 6), [Float](repeating: 0, count: 6))
    let expected: [Float] = [a, padding, b, c, d, e].flatMap { $0 }
    #expect(parameters.array(parameters.values) == expected)
}

/// AdamW's first step moves a parameter by the learning rate against its gradient's sign, whatever the gradient's size;
/// decay takes its share before.
@Test(arguments: [false, true])
func `decay acts on the tensors whose row says so`(decaysAll: Bool) {
    let parameters = Parameters(table(), trains: true)
    parameters.values.update(repeating: 2, count: parameters.table.count)
    for i in 0..<parameters.table.count { parameters.gradients[i] = i % 2 == 0 ? 8 : -8 }
    parameters.update(
        learningRate: 0.25, beta1: 0.9, beta2: 0.95, decay: 0.5, decaysAll: decaysAll, gradientScale: 0.5, step: 1)
    for tensor in parameters.table.tensors {
        let start: Float = decaysAll || tensor.decays ? 2 - 0.25 * 0.5 * 2 : 2
        for i in tensor.offset..<tensor.offset + tensor.count {
            #expect(abs(parameters.values[i] - (start - (i % 2 == 0 ? 0.25 : -0.25))) < 1e-6, "\(tensor.name)")
            #expect(abs(parameters.m[i] - (i % 2 == 0 ? 0.4 : -0.4)) < 1e-6)
            #expect(abs(parameters.v[i] - 0.05 * 16) < 1e-6)
        }
    }
    #expect(parameters.array(parameters.gradients).allSatisfy { $0 == 0 })
}

/// Of the table, c is the weights of three layers: three matrices, each by itself. AdamW updates the rest.
@Test func `Muon takes the layers' matrices, and AdamW the rest`() {
    func started() -> Parameters {
        let parameters = Parameters(table(), trains: true)
        parameters.initialize(seed: 9)
        return parameters
    }
    let (parameters, twin, adamW) = (started(), started(), started())
    for step in 1...2 {
        let gradients = randomTokens(parameters.table.count, below: 1000, seed: UInt64(step)).map {
            Float($0) / 500 - 1
        }
        for one in [parameters, twin, adamW] {
            for i in gradients.indices { one.gradients[i] = gradients[i] }
        }
        parameters.update(
            .muon, learningRate: 0.1, beta1: 0.9, beta2: 0.95, decay: 0.5, gradientScale: 0.5, step: step)
        adamW.update(learningRate: 0.1, beta1: 0.9, beta2: 0.95, decay: 0.5, gradientScale: 0.5, step: step)
        var scratch = [Float](repeating: 0, count: muonScratch(rows: 4, columns: 5))
        let c = twin.table.tensors[2]
        for layer in 0..<3 {
            let i = c.offset + layer * 20
            muon(
                parameters: twin.values + i, gradients: twin.gradients + i, m: twin.m + i, rows: 4, columns: 5,
                learningRate: 0.1, decay: 0.5, gradientScale: 0.5, scratch: &scratch)
        }
    }
    for tensor in parameters.table.tensors {
        let expected = tensor.name == "c" ? twin : adamW
        for i in tensor.offset..<tensor.offset + tensor.count {
            #expect(parameters.values[i] == expected.values[i], "\(tensor.name)")
            #expect(parameters.m[i] == expected.m[i] && parameters.v[i] == expected.v[i], "\(tensor.name)")
        }
    }
    #expect(parameters.array(parameters.gradients).allSatisfy { $0 == 0 })
}

@Test func `the gradient's norm is over all parameters, and NaN anywhere is seen`() {
    let parameters = Parameters(table(), trains: true)
    let count = parameters.table.count
    for i in 0..<count { parameters.gradients[i] = Float(i) }
    let expected = (0..<count).reduce(0.0) { $0 + Double($1 * $1) }.squareRoot()
    #expect(abs(parameters.gradientNorm() / expected - 1) < 1e-6)
    parameters.zeroGradients()
    #expect(parameters.gradientNorm() == 0)
    for place in [0, count / 2, count - 1] {
        for bad in [Float.nan, .infinity, -.infinity] {
            #expect(parameters.areFinite)
            parameters.values[place] = bad
            #expect(!parameters.areFinite)
            parameters.values[place] = 0
        }
    }
}
