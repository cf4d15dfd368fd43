// Phi: its table, its gradients against finite differences and against transformers, and its promise that neither threads
// nor micro-batches change what it learns.

import Foundation
import Kernels
import LLM
import Testing

/// A Phi small enough for anything. Half of a head's four channels turn.
let tinyPhi = PhiConfiguration(maxT: 9, V: 19, L: 2, NH: 2, C: 8, FC: 20, R: 2, theta: 100)

/// For batches of more rows than the classifier takes at a time (here 256), and more than one task in every kernel.
private let chunked = PhiConfiguration(maxT: 70, V: 50, L: 2, NH: 2, C: 40, R: 8)

private func newModel(_ config: PhiConfiguration, trains: Bool = true) -> Phi {
    Phi(config, trains: trains, logitRows: 256)
}

/// Parameters large enough for every path through the model to matter.
private func fillWithNoise(_ model: Phi, seed: UInt32) {
    var random = MersenneTwister(seed: seed)
    for tensor in model.parameters.table.tensors {
        let values = UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: tensor.count)
        random.fillNormal(values, deviation: tensor.decays ? 0.4 : 0.2)
        if tensor.name.hasPrefix("ln"), tensor.name.hasSuffix("w") { for i in values.indices { values[i] += 1 } }
    }
}

// MARK: - the table

@Test func `Phi-1.5 has its known number of parameters and tensors`() {
    let table = PhiTensors(.phi1_5).table
    #expect(table.count == 1_418_270_720)
    var names: [String] = []
    for tensor in table.tensors {
        for l in 0..<tensor.layers { names += tensor.huggingFace?(layer: l) ?? [] }
    }
    #expect(names.count == 341 && Set(names).count == 341)
    #expect(names.contains("model.layers.23.self_attn.k_proj.weight"))
    let spared = table.tensors.filter { !$0.decays }.map(\.name)
    #expect(spared == ["lnw", "lnb", "qkvb", "attprojb", "fcb", "fcprojb", "lnfw", "lnfb", "headb"])
}

@Test func `a Phi begins as transformers begins it`() {
    let model = Phi(PhiConfiguration(maxT: 8, V: 300, L: 4, NH: 2, C: 64, R: 16), trains: false)
    model.parameters.initialize(seed: 42)
    for tensor in model.parameters.table.tensors {
        let values = model.parameters.array(model.parameters.values, tensor)
        if tensor.decays {
            let deviation = (values.reduce(0) { $0 + Double($1) * Double($1) } / Double(values.count)).squareRoot()
            #expect(abs(deviation / 0.02 - 1) < 0.05, "\(tensor.name)")
        } else {
            #expect(values.allSatisfy { $0 == (["lnw", "lnfw"].contains(tensor.name) ? 1 : 0) })
        }
    }
}

/// Six for each parameter but the embeddings', and the attention's.
@Test func `a token's operations are those of Phi's products`() {
    let layer = 2 * 8 + (24 * 8 + 24) + (8 * 8 + 8) + (20 * 8 + 20) + (8 * 20 + 8)
    let expected = 6 * (2 * layer + 2 * 8 + 19 * 8 + 19) + 6 * 2 * 8 * 5
    #expect(Phi(tinyPhi, trains: true).flopsPerToken(T: 5) == Double(expected))
}

/// Of 32 rows, so that no tensor is padded to a cache line.
@Test(arguments: [7, 20, 1000])
func `a Phi's memory is what its tensors take`(FC: Int) {
    let config = PhiConfiguration(maxT: 11, V: 40, L: 3, NH: 2, C: 8, FC: FC, R: 4)
    let (N, C, L, NH, widest) = (32, 8, 3, 2, max(3 * 8, FC))
    let parameters = PhiTensors(config).table.count
    // Residual, norm, queries to values in the MLP's place, attention; two means and deviations, lse, loss, hit.
    let plain = parameters + 11 * 4 + N * (3 * C + widest + 4 + NH + 2)
    #expect(config.bytes(rows: N, trains: false) == Double(4 * plain))
    let kept = N * (C + L * (C + 3 * C + C + FC + 2 + NH))
    let shared = N * (C + FC + C + 2 + 2 + 4 * C + widest)
    let classifier = N * (48 + 2 * C + 2)
    #expect(config.bytes(rows: N, trains: true) == Double(4 * (4 * parameters + 11 * 4 + kept + shared + classifier)))
}

// MARK: - gradients

@Test(arguments: [false, true])
func `every tensor's gradient is the derivative of Phi's loss`(hidesSome: Bool) {
    let (B, T) = (2, 7)
    let model = Phi(tinyPhi, trains: true)
    fillWithNoise(model, seed: 1)
    let inputs = randomTokens(B * T, below: tinyPhi.V, seed: 1)
    var targets = randomTokens(B * T, below: tinyPhi.V, seed: 2)
    if hidesSome { targets = hidingSome(targets) }
    model.accumulate(inputs, targets, B: B, T: T, scale: 1 / Float(targets.count { $0 >= 0 }))
    expectDerivative(model, inputs, targets, B: B, T: T)
}

@Test(arguments: ["small", "odd", "one", "full"])
func `Phi's logits, loss, gradients and ten steps are transformers'`(name: String) throws {
    let model = try readPhi(try fixture("phi/" + name), trains: true)
    let state = try DebugState(
        safetensors: try fixture("phi/\(name)_reference.safetensors"), config: model.config)
    let (B, T) = (state.B, state.T)
    let scale = 1 / Float(state.targets.count { $0 >= 0 })
    for step in 0..<10 {
        let loss = model.accumulate(state.inputs, state.targets, B: B, T: T, scale: scale)
        #expect(abs(loss - state.losses[step]) <= 1e-5, "step \(step)")
        if step == 0 {
            #expect(abs(loss - Double(state.loss)) <= 1e-5)
            #expect(relativeError(model.logits(B: B, T: T), state.logits) <= 1e-5)
            for tensor in model.parameters.table.tensors {
                let theirs = Array(state.gradients[tensor.offset..<tensor.offset + tensor.count])
                #expect(
                    relativeError(model.parameters.array(model.parameters.gradients, tensor), theirs) <= 1e-5,
                    "\(tensor.name)")
            }
        }
        model.parameters.update(
            learningRate: 1e-4, beta1: 0.9, beta2: 0.999, decay: 0.01, decaysAll: true, gradientScale: 1,
            step: step + 1)
    }
}

/// Of the chunked model's 390 rows the classifier takes 256 at a time; of the halves' 195 it takes all.
@Test func `two micro-batches are one batch of Phi's`() {
    let (B, T) = (3, 65)
    let inputs = randomTokens(2 * B * T, below: chunked.V, seed: 1)
    let targets = hidingSome(randomTokens(2 * B * T, below: chunked.V, seed: 2))
    let (whole, halves) = (newModel(chunked), newModel(chunked))
    for model in [whole, halves] { fillWithNoise(model, seed: 1) }
    let scale = 1 / Float(targets.count { $0 >= 0 })
    whole.accumulate(inputs, targets, B: 2 * B, T: T, scale: scale)
    for half in 0..<2 {
        let range = half * B * T..<(half + 1) * B * T
        halves.accumulate(Array(inputs[range]), Array(targets[range]), B: B, T: T, scale: scale)
    }
    for tensor in whole.parameters.table.tensors {
        let error = relativeError(
            halves.parameters.array(halves.parameters.gradients, tensor),
            whole.parameters.array(whole.parameters.gradients, tensor))
        #expect(error <= 1e-5, "\(tensor.name)")
    }
}

// MARK: - training

/// Three steps of training on 5 × 65 tokens.
private func trained() -> Phi {
    let (B, T) = (5, 65)
    let model = newModel(chunked)
    model.parameters.initialize(seed: 7)
    for step in 1...3 {
        let tokens = randomTokens(B * T + 1, below: chunked.V, seed: UInt64(step))
        let targets = hidingSome(Array(tokens.dropFirst()))
        model.accumulate(
            Array(tokens.dropLast()), targets, B: B, T: T, scale: 1 / Float(targets.count { $0 >= 0 }))
        model.parameters.update(
            learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1, gradientScale: 0.5, step: step)
    }
    return model
}

extension Threads {
    @Test func `any number of threads gives the same Phi`() {
        expectSameBitsFromAnyThreads { trained().parameters.bits }
    }
}

@Test func `a Phi learns a batch by heart`() {
    let (B, T) = (2, 8)
    let model = Phi(PhiConfiguration(maxT: 8, V: 19, L: 2, NH: 2, C: 16, R: 4), trains: true)
    model.parameters.initialize(seed: 1)
    let tokens = randomTokens(B * T + 1, below: 19, seed: 1)
    let (inputs, targets) = (Array(tokens.dropLast()), Array(tokens.dropFirst()))
    #expect(abs(model.loss(inputs, targets, B: B, T: T) - log(19)) < 0.1)
    for step in 1...200 {
        model.accumulate(inputs, targets, B: B, T: T, scale: 1 / Float(B * T))
        model.parameters.update(learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1, step: step)
    }
    model.forward(inputs, B: B, T: T)
    let result = model.classify(targets: targets)
    #expect(result.mean < 0.01 && result.accuracy == 1)
}

/// A model that does not train lets its layers write over one another.
@Test(arguments: [tinyPhi, chunked, PhiConfiguration(maxT: 70, V: 50, L: 2, NH: 3, C: 36, FC: 7, R: 12)])
func `a Phi without room for gradients has the same loss`(config: PhiConfiguration) {
    let (B, T) = (5, min(65, config.maxT))
    let inputs = randomTokens(B * T, below: config.V, seed: 1)
    let targets = randomTokens(B * T, below: config.V, seed: 2)
    let (training, plain) = (newModel(config), newModel(config, trains: false))
    for model in [training, plain] { fillWithNoise(model, seed: 1) }
    let expected = training.loss(inputs, targets, B: B, T: T)
    #expect(plain.loss(inputs, targets, B: B, T: T) == expected)
    #expect(training.accumulate(inputs, targets, B: B, T: T, scale: 1) == expected)
    _ = training.loss(inputs, targets, B: 1, T: 3)
    #expect(training.loss(inputs, targets, B: B, T: T) == expected)
}

@Test func `a token of Phi's does not see those after it`() {
    let model = Phi(tinyPhi, trains: false)
    fillWithNoise(model, seed: 1)
    let first = randomTokens(9, below: tinyPhi.V, seed: 1)
    let V = tinyPhi.V
    func logits(_ tokens: [Int32]) -> [Float] {
        model.forward(tokens, B: 1, T: tokens.count)
        return model.logits(B: 1, T: tokens.count)
    }
    let whole = logits(first)
    for T in 1...9 {
        #expect(relativeError(logits(Array(first[..<T])), Array(whole[..<(T * V)])) < 1e-6)
        let other = first[..<T] + randomTokens(9 - T, below: V, seed: 9)
        #expect(logits(Array(other))[..<(T * V)] == whole[..<(T * V)])
    }
}
