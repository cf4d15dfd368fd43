// The whole model: its table, its gradients against PyTorch's, and its promise that neither threads nor micro-batches
// change what it learns. Its gradients against the naive model's are in Tests/GradientTests.

import Foundation
import Kernels
import LLM
import Testing

// MARK: - the table

@Test func `the table is llm.c's, without gaps`() {
    let config = GPT2Configuration(maxT: 10, V: 129, L: 3, NH: 2, C: 4)
    let table = GPT2Tensors(config).table
    let expected: [(String, [Int], Bool)] = [
        ("wte", [256, 4], true), ("wpe", [10, 4], true), ("ln1w", [3, 4], false), ("ln1b", [3, 4], false),
        ("qkvw", [3, 12, 4], true), ("qkvb", [3, 12], false), ("attprojw", [3, 4, 4], true),
        ("attprojb", [3, 4], false), ("ln2w", [3, 4], false), ("ln2b", [3, 4], false), ("fcw", [3, 16, 4], true),
        ("fcb", [3, 16], false), ("fcprojw", [3, 4, 16], true), ("fcprojb", [3, 4], false), ("lnfw", [4], false),
        ("lnfb", [4], false),
    ]
    #expect(table.tensors.map { $0.name } == expected.map { $0.0 })
    #expect(table.tensors.map { $0.shape } == expected.map { $0.1 })
    #expect(table.tensors.map { $0.decays } == expected.map { $0.2 })
    var offset = 0
    for tensor in table.tensors {
        #expect(tensor.offset == offset)
        offset += tensor.count
    }
    #expect(table.count == offset)
}

@Test func `GPT-2's four sizes have their known numbers of parameters`() throws {
    // Without the padding of the vocabulary: 124M, 355M, 774M, 1558M.
    for (name, expected) in [
        ("d12", 124_439_808), ("d24", 354_823_168), ("d36", 774_030_080), ("d48", 1_557_611_200),
    ] {
        let (L, C, NH) = try #require(GPT2Configuration.descriptors[name])
        let config = GPT2Configuration(maxT: 1024, V: 50257, L: L, NH: NH, C: C)
        #expect(GPT2Tensors(config).table.count - (config.Vp - config.V) * C == expected)
    }
}

@Test(arguments: [(1, 128), (127, 128), (128, 128), (129, 256), (50_257, 50_304)])
func `the vocabulary is padded to a multiple of 128`(V: Int, Vp: Int) {
    #expect(GPT2Configuration(maxT: 1, V: V, L: 1, NH: 1, C: 1).Vp == Vp)
}

/// Six for each parameter but the positions', and the attention's.
@Test func `a token's operations are those of the products`() {
    let config = GPT2Configuration(maxT: 9, V: 19, L: 2, NH: 2, C: 6)
    let model = GPT2(config, trains: true)
    let layer = 2 * 6 + (18 * 6 + 18) + (6 * 6 + 6) + 2 * 6 + (24 * 6 + 24) + (6 * 24 + 6)
    #expect(model.flopsPerToken(T: 5) == Double(6 * (128 * 6 + 2 * layer + 2 * 6) + 6 * 2 * 6 * 5))
}

// MARK: - initialisation

@Test func `initialisation is GPT-2's, and the seed's alone`() {
    let config = GPT2Configuration(maxT: 64, V: 300, L: 4, NH: 2, C: 64)
    func model(_ seed: UInt32) -> GPT2 {
        let model = GPT2(config, trains: false)
        model.parameters.initialize(seed: seed)
        return model
    }
    let (one, same, other) = (model(42), model(42), model(43))
    #expect(one.parameters.array(one.parameters.values) == same.parameters.array(same.parameters.values))
    #expect(one.parameters.array(one.parameters.values) != other.parameters.array(other.parameters.values))
    for tensor in one.parameters.table.tensors {
        var values = one.parameters.array(one.parameters.values, tensor)
        if tensor.name == "wte" {
            #expect(values[(config.V * config.C)...].allSatisfy { $0 == 0 }, "wte's padding")
            values.removeLast((config.Vp - config.V) * config.C)
        }
        if tensor.decays {
            let deviation = (values.reduce(0) { $0 + Double($1) * Double($1) } / Double(values.count)).squareRoot()
            let expected = tensor.name.contains("proj") ? 0.02 / 8.0.squareRoot() : 0.02
            #expect(abs(deviation / expected - 1) < 0.05, "\(tensor.name)")
            #expect(abs(values.reduce(0) { $0 + Double($1) } / Double(values.count)) < 0.05 * expected)
        } else {
            #expect(values.allSatisfy { $0 == (tensor.name.hasPrefix("ln") && tensor.name.hasSuffix("w") ? 1 : 0) })
        }
    }
}

// MARK: - gradients

/// For batches of more rows than the classifier takes at a time (here 256), and more than one task in every kernel.
private let chunked = GPT2Configuration(maxT: 70, V: 50, L: 2, NH: 2, C: 40)

private func newModel(_ config: GPT2Configuration, trains: Bool = true) -> GPT2 {
    GPT2(config, trains: trains, logitRows: 256)
}

/// Parameters large enough for every path through the model to matter.
private func fillWithNoise(_ model: GPT2, seed: UInt32) {
    var random = MersenneTwister(seed: seed)
    for tensor in model.parameters.table.tensors {
        let count = tensor.name == "wte" ? model.config.V * model.config.C : tensor.count
        let values = UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: count)
        random.fillNormal(values, deviation: tensor.decays ? 0.4 : 0.2)
        if tensor.name.hasPrefix("ln"), tensor.name.hasSuffix("w") { for i in 0..<count { values[i] += 1 } }
    }
}

@Test(arguments: ["gpt2_small", "gpt2_odd", "gpt2_onehead"])
func `logits, loss, gradients and ten steps are PyTorch's`(name: String) throws {
    let model = try readGPT2(try fixture(name + ".bin"), trains: true)
    let state = try DebugState(try fixture(name + "_debug_state.bin"), config: model.config)
    let losses = try String(contentsOfFile: try fixture(name + "_losses.txt"), encoding: .utf8)
        .split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    try #require(losses.count == 10)
    let (B, T) = (state.B, state.T)
    for step in 0..<10 {
        let loss = model.accumulate(state.inputs, state.targets, B: B, T: T, scale: 1 / Float(B * T))
        #expect(abs(loss - losses[step]) <= 1e-4, "step \(step)")
        if step == 0 {
            #expect(abs(loss - Double(state.loss)) <= 1e-5)
            #expect(relativeError(model.logits(B: B, T: T), state.logits) <= 1e-5)
            for tensor in model.parameters.table.tensors {
                let theirs = Array(state.gradients[tensor.offset..<tensor.offset + tensor.count])
                #expect(
                    relativeError(model.parameters.array(model.parameters.gradients, tensor), theirs) <= 1e-4,
                    "\(tensor.name)")
            }
        }
        model.parameters.update(
            learningRate: 1e-4, beta1: 0.9, beta2: 0.999, decay: 0.01, decaysAll: true, gradientScale: 1,
            step: step + 1)
        #expect(model.parameters.array(model.parameters.gradients).allSatisfy { $0 == 0 })
    }
}

/// The loss of some targets is the mean of what each costs alone; all of them hidden is no loss, and no gradient.
@Test func `a target that does not count changes nothing`() {
    let (B, T) = (5, 65)
    let inputs = randomTokens(B * T, below: chunked.V, seed: 1)
    let targets = randomTokens(B * T, below: chunked.V, seed: 2)
    let model = newModel(chunked)
    fillWithNoise(model, seed: 1)
    model.forward(inputs, B: B, T: T)
    let logits = model.logits(B: B, T: T)
    let hidden = hidingSome(targets)
    var (sum, right, count) = (0.0, 0, 0)
    for n in 0..<B * T where hidden[n] >= 0 {
        let row = logits[n * chunked.V..<(n + 1) * chunked.V].map { Double($0) }
        sum += log(row.reduce(0) { $0 + exp($1) }) - row[Int(hidden[n])]
        right += row.firstIndex(of: row.max() ?? 0) == Int(hidden[n]) ? 1 : 0
        count += 1
    }
    let result = model.classify(targets: hidden)
    #expect(abs(result.mean - sum / Double(count)) < 1e-5)
    #expect(result.accuracy == Double(right) / Double(count))
    #expect(zip(result.correct, hidden).allSatisfy { $0 == 0 || $1 >= 0 })

    let nothing = [Int32](repeating: -1, count: B * T)
    #expect(model.accumulate(inputs, nothing, B: B, T: T, scale: 1) == 0)
    #expect(model.parameters.gradientNorm() == 0)
}

/// Of the chunked model's 390 rows the classifier takes 256 at a time; of the halves' 195 it takes all.
@Test(arguments: [(tiny, 3, 8), (chunked, 3, 65)])
func `two micro-batches are one batch`(config: GPT2Configuration, B: Int, T: Int) {
    let inputs = randomTokens(2 * B * T, below: config.V, seed: 1)
    let targets = randomTokens(2 * B * T, below: config.V, seed: 2)
    let (whole, halves) = (newModel(config), newModel(config))
    for model in [whole, halves] { fillWithNoise(model, seed: 1) }
    let scale = 1 / Float(2 * B * T)
    let loss = whole.accumulate(inputs, targets, B: 2 * B, T: T, scale: scale)
    var sum = 0.0
    for half in 0..<2 {
        let range = half * B * T..<(half + 1) * B * T
        sum += halves.accumulate(Array(inputs[range]), Array(targets[range]), B: B, T: T, scale: scale)
    }
    #expect(abs(loss - sum / 2) < 1e-6)
    for tensor in whole.parameters.table.tensors {
        let error = relativeError(
            halves.parameters.array(halves.parameters.gradients, tensor),
            whole.parameters.array(whole.parameters.gradients, tensor))
        #expect(error <= 1e-5, "\(tensor.name)")
    }
    #expect(abs(whole.parameters.gradientNorm() / halves.parameters.gradientNorm() - 1) < 1e-5)
    halves.parameters.zeroGradients()
    #expect(halves.parameters.gradientNorm() == 0)
}

/// How many rows of logits there are at a time is nobody's business: one, several chunks, the last one ragged, or all.
/// Only a chunk of a single row has a kernel of its own, which adds in another order.
@Test(arguments: [1, 7, 64, 256, 324, 325, 326], [false, true])
func `any chunks of rows give one loss and one gradient`(rows: Int, hidesSome: Bool) {
    let (B, T) = (5, 65)
    let inputs = randomTokens(B * T, below: chunked.V, seed: 1)
    var targets = randomTokens(B * T, below: chunked.V, seed: 2)
    if hidesSome {
        // Ends of chunks among them, and all of one.
        targets = hidingSome(targets)
        for n in 60..<70 { targets[n] = -1 }
        for n in 128..<192 { targets[n] = -1 }
    }
    let scale = 1 / Float(targets.count { $0 >= 0 })
    func result(_ model: GPT2) -> (losses: [Double], correct: [Float], counted: Int, gradients: [[Float]]) {
        fillWithNoise(model, seed: 1)
        model.forward(inputs, B: B, T: T)
        let measured = model.classify(targets: targets)
        let correct = Array(measured.correct)
        let learnt = model.classify(targets: targets, gradientScale: scale)
        #expect(Array(learnt.correct) == correct)
        model.backward(inputs: inputs)
        let numbers = [measured.mean, measured.accuracy, learnt.mean, learnt.accuracy]
        let gradients = model.parameters.table.tensors.map { model.parameters.array(model.parameters.gradients, $0) }
        return (numbers, correct, measured.counted, gradients)
    }
    let whole = result(GPT2(chunked, trains: true, logitRows: 1000))
    let parts = result(GPT2(chunked, trains: true, logitRows: rows))
    let tolerance = B * T % rows == 1 || rows == 1 ? 1e-6 : 0
    for (part, all) in zip(parts.losses, whole.losses) { #expect(abs(part - all) <= tolerance) }
    #expect(parts.counted == whole.counted)
    #expect(parts.correct == whole.correct && whole.correct.contains(1))
    #expect(whole.counted == targets.count { $0 >= 0 })
    for (tensor, (part, all)) in zip(GPT2Tensors(chunked).table.tensors, zip(parts.gradients, whole.gradients)) {
        #expect(relativeError(part, all) <= 1e-5, "\(tensor.name)")
    }
}

// MARK: - training

/// Three steps of training on 5 × 65 tokens.
private func trained(
    _ config: GPT2Configuration, hidesSome: Bool = false, _ optimizer: Optimizer = .adamW
) -> GPT2 {
    let (B, T) = (5, 65)
    let model = newModel(config)
    model.parameters.initialize(seed: 7)
    for step in 1...3 {
        let tokens = randomTokens(B * T + 1, below: config.V, seed: UInt64(step))
        let targets = hidesSome ? hidingSome(Array(tokens.dropFirst())) : Array(tokens.dropFirst())
        model.accumulate(
            Array(tokens.dropLast()), targets, B: B, T: T, scale: 1 / Float(targets.count { $0 >= 0 }))
        let norm = model.parameters.gradientNorm()
        model.parameters.update(
            optimizer, learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1,
            gradientScale: Float(min(1, 0.5 / norm)),
            step: step)
    }
    return model
}

/// Serialized for `threadCount`, which is one for the whole process.
@Suite(.serialized) struct Threads {
    @Test(arguments: [false, true])
    func `any number of threads gives the same bytes`(hidesSome: Bool) {
        let before = threadCount
        defer { threadCount = before }
        threadCount = 1
        let expected = trained(chunked, hidesSome: hidesSome).parameters.bits
        for threads in 2...7 {
            threadCount = threads
            let isSame = trained(chunked, hidesSome: hidesSome).parameters.bits == expected
            #expect(isSame, "\(threads) threads")
        }
    }

    @Test func `any number of threads gives the same bytes with Muon`() {
        expectSameBitsFromAnyThreads { trained(chunked, .muon).parameters.bits }
    }
}

@Test func `the padding of wte stays zero, and everything else is finite and learns`() {
    let model = trained(chunked)
    let wte = model.parameters.array(model.parameters.values, model.tensors.wte)
    #expect(wte[(chunked.V * chunked.C)...].allSatisfy { $0 == 0 })
    #expect(model.parameters.array(model.parameters.values).allSatisfy { $0.isFinite })
    let start = newModel(chunked, trains: false)
    start.parameters.initialize(seed: 7)
    for tensor in model.parameters.table.tensors {
        let moved = model.parameters.array(model.parameters.values, tensor)
        #expect(moved != start.parameters.array(start.parameters.values, tensor), "\(tensor.name)")
    }
}

@Test func `a batch by heart`() {
    let (B, T) = (2, 8)
    let model = GPT2(GPT2Configuration(maxT: 8, V: 19, L: 2, NH: 2, C: 16), trains: true)
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
@Test func `a model without room for gradients has the same loss`() {
    let (B, T) = (5, 65)
    let inputs = randomTokens(B * T, below: chunked.V, seed: 1)
    let targets = randomTokens(B * T, below: chunked.V, seed: 2)
    let (training, plain) = (newModel(chunked), newModel(chunked, trains: false))
    for model in [training, plain] { fillWithNoise(model, seed: 1) }
    let expected = training.loss(inputs, targets, B: B, T: T)
    #expect(plain.loss(inputs, targets, B: B, T: T) == expected)
    #expect(training.accumulate(inputs, targets, B: B, T: T, scale: 1) == expected)
}

@Test func `the size of the batch before does not matter`() {
    let inputs = randomTokens(32, below: tiny.V, seed: 1)
    let targets = randomTokens(32, below: tiny.V, seed: 2)
    let model = GPT2(tiny, trains: true)
    fillWithNoise(model, seed: 1)
    let alone = model.loss(inputs, targets, B: 1, T: 3)
    for (B, T) in [(4, 8), (2, 9), (1, 1), (9, 3)] { _ = model.loss(inputs, targets, B: B, T: T) }
    #expect(model.loss(inputs, targets, B: 1, T: 3) == alone)
}

@Test func `a token does not see those after it`() {
    let model = GPT2(tiny, trains: false)
    fillWithNoise(model, seed: 1)
    let first = randomTokens(9, below: tiny.V, seed: 1)
    let V = tiny.V
    func logits(_ tokens: [Int32]) -> [Float] {
        model.forward(tokens, B: 1, T: tokens.count)
        return model.logits(B: 1, T: tokens.count)
    }
    let whole = logits(first)
    for T in 1...9 {
        #expect(relativeError(logits(Array(first[..<T])), Array(whole[..<(T * V)])) < 1e-6)
        // Other tokens after T change nothing before.
        let other = first[..<T] + randomTokens(9 - T, below: V, seed: 9)
        #expect(logits(Array(other))[..<(T * V)] == whole[..<(T * V)])
    }
}
