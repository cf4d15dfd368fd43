// The check of a change to GPT-2 (dev/doc/CHANGING.md), in two steps. The naive GPT-2's gradients are the derivative of its
// loss: in double precision ε is so small that no kink of an activation lies between the two losses. And the fast
// model's activations and gradients are the naive one's, tensor by tensor. A failure is a list of all tensors in the
// order in which they are computed, with each one's relative error; the mistake is where it begins.

import Foundation
import Kernels
import LLM
import Naive
import Testing

// MARK: - a model and its twin

/// What both compute.
struct Example: CustomTestStringConvertible {
    let config: GPT2Configuration
    let lengths: [Int]
    var hidesSome = false
    var dropout: Float = 0

    var testDescription: String {
        "\(lengths)\(hidesSome ? ", some targets hidden" : "")\(dropout > 0 ? ", dropout" : "")"
    }

    static let tiny = GPT2Configuration(maxT: 9, V: 19, L: 2, NH: 2, C: 6)
    /// More rows and columns than a vector, a tile of the products or a block of the attention has; and no multiples.
    static let larger = GPT2Configuration(maxT: 70, V: 50, L: 3, NH: 2, C: 40)

    private var N: Int { lengths.reduce(0, +) }
    private var key: DropoutKey? { dropout > 0 ? DropoutKey(seed: 3, microBatch: 5) : nil }

    var batch: NaiveGPT2.Batch {
        var targets = randomIndices(N, below: config.V, seed: 2)
        if hidesSome { for n in stride(from: 0, to: N, by: 3) { targets[n] = -1 } }
        return NaiveGPT2.Batch(
            inputs: randomIndices(N, below: config.V, seed: 1), targets: targets, lengths: lengths)
    }

    /// The fast model, with parameters large enough for every path through it to matter.
    func fast() -> GPT2 {
        let model = GPT2(config, trains: true, logitRows: 32)
        model.dropout = dropout
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                let values = model.parameters.values.at(tensor, l)
                let seed = UInt64(100 * tensor.index + l + 1)
                for (i, value) in noise(tensor.usedCount, seed: seed, scale: tensor.decays ? 0.6 : 0.3).enumerated() {
                    values[i] = value + (tensor.initialValues == .ones ? 1 : 0)
                }
            }
        }
        return model
    }

    /// The naive model with the parameters of a fast one.
    func naive(_ fast: GPT2) -> NaiveGPT2 {
        let w = tensors(of: fast) { fast.parameters.values.at($0, $1) }
        var model = NaiveGPT2(V: config.V, L: config.L, NH: config.NH, C: config.C, w: w)
        model.dropout = key.map { (dropout, $0) }
        return model
    }

    /// The fast model's forward and backward pass.
    func run(_ fast: GPT2) -> Double {
        let batch = batch
        fast.forward(inputs: batch.inputs, .batch(lengths: lengths, dropout: key))
        let loss = fast.classify(
            targets: batch.targets, gradientScale: 1 / Float(batch.targets.count { $0 >= 0 }))
        fast.backward(inputs: batch.inputs)
        return loss.mean
    }
}

/// A buffer of a fast model's, without its padding.
private func tensors(of model: GPT2, at place: (Tensor, Int) -> UnsafeMutablePointer<Float>) -> NaiveTensors {
    var result = NaiveTensors()
    for tensor in model.parameters.table.tensors {
        for l in 0..<tensor.layers {
            let values = UnsafeBufferPointer(start: place(tensor, l), count: tensor.usedCount)
            result[tensor.name, tensor.isPerLayer ? l : nil] = doubles(Array(values))
        }
    }
    return result
}

/// The names of all parameters in the order in which the backward pass completes their gradients.
private func backwardOrder(_ config: GPT2Configuration) -> [(name: String, layer: Int?)] {
    let tensors = Array(config.table.tensors.reversed())
    let layers = tensors.filter(\.isPerLayer)
    let others = tensors.filter { !$0.isPerLayer }
    let last = others.filter { $0.name.hasPrefix("lnf") }
    let first = others.filter { !$0.name.hasPrefix("lnf") }
    return last.map { ($0.name, nil) }
        + (0..<config.L).reversed().flatMap { l in layers.map { ($0.name, l) } }
        + first.map { ($0.name, nil) }
}

// MARK: - the check

/// A check that arrays agree, which fails with a list of all of them: `ok`, or the relative error ‖ours − expected‖ /
/// ‖expected‖.
/// - Returns: whether they do.
@discardableResult private func expectSame(
    _ ours: NaiveTensors, _ expected: NaiveTensors, _ names: [(name: String, layer: Int?)], tolerance: Double,
    _ what: String
) -> Bool {
    var lines = ""
    var wrong: [String] = []
    var previous: Int? = -1
    for (name, l) in names {
        if l != previous { lines += "\n  " + (l.map { "layer \($0): " } ?? "") }
        previous = l
        let error = relativeError(ours[name, l], expected[name, l])
        let isSame = error <= tolerance  // false for NaN, too
        if !isSame { wrong.append(name + (l.map { " of layer \($0)" } ?? "")) }
        lines += "\(name) \(isSame ? "ok" : String(format: "%.1e", error))  "
    }
    guard !wrong.isEmpty else { return true }
    Issue.record(
        """
        \(wrong.count) of \(names.count) \(what). The first is \(wrong[0]). In the order of the pass, with relative \
        errors above \(tolerance):\(lines)
        """)
    return false
}

@Test(arguments: [
    Example(config: Example.tiny, lengths: [7, 7]), Example(config: Example.tiny, lengths: [1, 9, 3], hidesSome: true),
    Example(config: Example.tiny, lengths: [7, 7], dropout: 0.3),
])
func `the naive GPT-2's gradients are its loss's derivative`(example: Example) {
    let batch = example.batch
    var model = example.naive(example.fast())
    let gradients = model.backward(batch, model.forward(batch).a)
    var expected = NaiveTensors()
    let names = backwardOrder(example.config)
    for (name, layer) in names {
        let values = model.w[name, layer]
        expected[name, layer] = finiteDifferences(at: values, epsilon: 1e-6) {
            model.w[name, layer] = $0
            return model.forward(batch).loss
        }
        model.w[name, layer] = values
    }
    expectSame(
        gradients, expected, names, tolerance: 1e-7,
        "gradients of the naive GPT-2 are not the derivative of its loss: its backward pass (Tests/Naive) is wrong")
}

@Test(arguments: [
    Example(config: Example.tiny, lengths: [7, 7]),
    Example(config: Example.larger, lengths: [1, 7, 70], hidesSome: true),
    Example(config: Example.larger, lengths: [33, 50], dropout: 0.3),
])
func `the fast GPT-2 computes what the naive one does`(example: Example) {
    let (batch, fast) = (example.batch, example.fast())
    let naive = example.naive(fast)
    let loss = example.run(fast)
    let (expectedLoss, a) = naive.forward(batch)

    let kept = ["residual", "qkv", "atty", "residual2", "fch"]
    let names = (0..<example.config.L).flatMap { l in kept.map { (name: $0, layer: Int?(l)) } } + [("lnf", nil)]
    var activations = NaiveTensors()
    for (name, layer) in names { activations[name, layer] = doubles(fast.activation(name, layer: layer ?? 0)) }
    // Behind a wrong forward pass the gradients are those of another function.
    guard
        expectSame(
            activations, a, names, tolerance: 1e-5,
            "activations of the fast GPT-2 are not the naive one's: the forward passes differ")
    else { return }
    #expect(abs(loss / expectedLoss - 1) < 1e-6, "the loss is \(loss), the naive one's \(expectedLoss)")

    let gradients = tensors(of: fast) { fast.parameters.gradients.at($0, $1) }
    expectSame(
        gradients, naive.backward(batch, a), backwardOrder(example.config), tolerance: 1e-5,
        "gradients of the fast GPT-2 are not the naive one's: its backward pass is wrong, or the naive one's is "
            + "(then the naive one's own test fails, too)")
    let wte = fast.tensors.wte
    let padding = UnsafeBufferPointer(
        start: fast.parameters.gradients + wte.offset + wte.usedCount, count: wte.count - wte.usedCount)
    #expect(padding.allSatisfy { $0 == 0 }, "wte's padding has a gradient")
}
