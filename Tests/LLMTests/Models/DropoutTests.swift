// Dropout in the models: where it is, and that its backward pass knows what the forward pass dropped.

import Foundation
import Kernels
import LLM
import Testing

private let key = DropoutKey(seed: 3, microBatch: 5)

/// A GPT-2 and a Phi, with parameters large enough for every path through them to matter.
private func models(dropout: Float) -> [any LanguageModel] {
    let gpt2 = GPT2(GPT2Configuration(maxT: 70, V: 50, L: 2, NH: 2, C: 40), trains: true)
    let phi = Phi(PhiConfiguration(maxT: 70, V: 50, L: 2, NH: 2, C: 40, R: 8), trains: true)
    let models: [any LanguageModel] = [gpt2, phi]
    for model in models {
        var random = MersenneTwister(seed: 1)
        for tensor in model.parameters.table.tensors {
            let count = tensor.name == "wte" ? model.V * 40 : tensor.count  // GPT-2's padding stays zero
            let values = UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: count)
            random.fillNormal(values, deviation: tensor.decays ? 0.15 : 0.1)
            if tensor.name.hasPrefix("ln"), tensor.name.hasSuffix("w") { for i in 0..<count { values[i] += 1 } }
        }
        model.dropout = dropout
    }
    return models
}

private func batch(lengths: [Int], key: DropoutKey?) -> Batch {
    let N = lengths.reduce(0, +)
    var batch = Batch(
        lengths: lengths, inputs: randomTokens(N, below: 50, seed: 1), targets: randomTokens(N, below: 50, seed: 2))
    batch.dropoutKey = key
    return batch
}

/// The logits of all rows of a batch.
private func logits(_ model: any LanguageModel, _ batch: Batch) -> [Float] {
    model.forward(inputs: batch.inputs, .batch(lengths: batch.lengths, dropout: batch.dropoutKey))
    return model.logits(B: 1, T: batch.inputs.count)
}

// MARK: - gradients

/// A Phi's; GPT-2's is in Tests/GradientTests.
@Test func `with the mask held fixed every tensor's gradient is the loss's derivative`() {
    let (B, T) = (2, 9)
    let model = models(dropout: 0.3)[1]
    let batch = batch(lengths: [T, T], key: key)
    model.learn(from: batch, gradientScale: 1 / Float(B * T))
    expectDerivative(model, batch.inputs, batch.targets, B: B, T: T, dropout: key)
}

@Test func `the mean over many masks is the output without dropout`() {
    for model in models(dropout: 0.02) {
        let plain = logits(model, batch(lengths: [2, 7], key: nil))
        var sum = [Float](repeating: 0, count: plain.count)
        var worst = 0.0
        for i in 0..<400 {
            let one = logits(model, batch(lengths: [2, 7], key: DropoutKey(seed: 1, microBatch: i)))
            worst = max(worst, relativeError(one, plain))
            for n in sum.indices { sum[n] += one[n] / 400 }
        }
        // 400 masks leave a twentieth of the noise, and the layer norms make the mean a little different.
        let error = relativeError(sum, plain)
        #expect(worst > 0.02 && error < worst / 3, "\(type(of: model)): \(error), and once \(worst)")
    }
}

// MARK: - where it is

@Test func `without a rate or without a key nothing is dropped`() {
    for (plain, dropping) in zip(models(dropout: 0), models(dropout: 0.3)) {
        let lengths = [7, 70]
        let expected = logits(plain, batch(lengths: lengths, key: nil))
        #expect(logits(plain, batch(lengths: lengths, key: key)) == expected)
        #expect(logits(dropping, batch(lengths: lengths, key: nil)) == expected)
        let dropped = logits(dropping, batch(lengths: lengths, key: key))
        #expect(dropped != expected)
        // Validating between two passes leaves nothing behind.
        let measured = dropping.loss(of: batch(lengths: lengths, key: key)).mean
        #expect(measured == plain.loss(of: batch(lengths: lengths, key: nil)).mean)
        #expect(logits(dropping, batch(lengths: lengths, key: key)) == dropped)
        #expect(logits(dropping, batch(lengths: lengths, key: DropoutKey(seed: 3, microBatch: 6))) != dropped)
    }
}

/// Each place, by what it leaves of one half in GPT-2's activations. In sequences of one token the attention's
/// probability is 1, so that a whole head is dropped or doubled.
@Test func `GPT-2 drops where transformers does`() throws {
    let model = try #require(models(dropout: 0.5)[0] as? GPT2)
    let (N, C) = (200, 40)
    let batch = batch(lengths: Array(repeating: 1, count: N), key: key)
    model.forward(inputs: batch.inputs, .batch(lengths: batch.lengths))
    let embedded = model.activation("residual")
    model.forward(inputs: batch.inputs, .batch(lengths: batch.lengths, dropout: key))
    func expectHalf(_ isDropped: [Bool], _ what: String) {
        let share = Double(isDropped.count { $0 }) / Double(isDropped.count)
        #expect(abs(share - 0.5) < 2.5 / Double(isDropped.count).squareRoot(), "\(what)")
    }
    let residual = model.activation("residual")
    expectHalf(residual.map { $0 == 0 }, "embedding")
    #expect(zip(residual, embedded).allSatisfy { $0 == 0 || $0 == 2 * $1 })
    for l in 0..<2 {
        let (before, middle) = (model.activation("residual", layer: l), model.activation("residual2", layer: l))
        expectHalf(zip(before, middle).map { $0 == $1 }, "attention projection")
        expectHalf(zip(middle, model.activation("residual", layer: l + 1)).map { $0 == $1 }, "mlp")
        let (atty, qkv) = (model.activation("atty", layer: l), model.activation("qkv", layer: l))
        expectHalf((0..<2 * N).map { atty[$0 * C / 2] == 0 }, "attention")
        for n in 0..<N {
            for c in 0..<C {
                let (out, value) = (atty[n * C + c], qkv[n * 3 * C + 2 * C + c])
                try #require(out == 0 || abs(out - 2 * value) <= 1e-6 * abs(value))
            }
        }
    }
}

/// Each place of Phi's, by what remains when all others have nothing to drop: a mask of it changes the logits.
@Test func `Phi drops where transformers does`() throws {
    func logitsOf(_ changing: [String], rate: Float, microBatch: Int) throws -> [Float] {
        let model = try #require(models(dropout: rate)[1] as? Phi)
        for tensor in model.parameters.table.tensors
        where ["wte", "attprojw", "attprojb", "fcprojw", "fcprojb"].contains(tensor.name)
            && !changing.contains(tensor.name)
        {
            (model.parameters.values + tensor).update(repeating: 0, count: tensor.count)
        }
        let key = DropoutKey(seed: 1, microBatch: microBatch)
        return logits(model, batch(lengths: Array(repeating: 1, count: 200), key: key))
    }
    for place in ["wte", "attprojb", "fcprojb"] {
        let logits = try (0..<2).map { try logitsOf([place], rate: 0.5, microBatch: $0) }
        #expect(logits[0] != logits[1], "\(place)")
    }
    // Of the attention's output nothing is left where both heads are dropped, in both layers.
    let nothing = Array(try logitsOf([], rate: 0, microBatch: 0)[..<50])
    let some = try logitsOf(["attprojw"], rate: 0.5, microBatch: 0)
    let count = (0..<200).count { Array(some[$0 * 50..<($0 + 1) * 50]) == nothing }
    #expect((3...30).contains(count), "\(count) of 200 rows, where 1 in 16 is expected")
}

extension Threads {
    @Test func `any number of threads drops the same`() {
        let before = threadCount
        defer { threadCount = before }
        for model in models(dropout: 0.2) {
            func learnt(_ threads: Int) -> [Float] {
                threadCount = threads
                model.parameters.zeroGradients()
                model.learn(from: batch(lengths: [1, 7, 70, 64, 65], key: key), gradientScale: 1)
                return model.parameters.array(model.parameters.gradients)
            }
            let expected = learnt(1)
            for threads in 2...7 {
                let isSame = learnt(threads) == expected
                #expect(isSame, "\(type(of: model)), \(threads) threads")
            }
        }
    }
}
