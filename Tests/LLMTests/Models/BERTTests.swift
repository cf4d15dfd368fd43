// BERT and DistilBERT: their tables, their gradients against finite differences and against transformers, and their
// promise that neither threads, nor micro-batches, nor neighbours change what they compute.

import Foundation
import Kernels
import LLM
import Testing

/// A BERT small enough for anything.
func tinyBERT(isDistilBERT: Bool = false, hasHead: Bool = true, hasPooler: Bool = false) -> BERTConfiguration {
    var config = BERTConfiguration(maxT: 9, V: 19, L: 2, NH: 2, C: 8, FC: 20, isDistilBERT: isDistilBERT)
    (config.hasHead, config.hasPooler) = (hasHead, hasPooler)
    return config
}

/// For batches with more than one task in every kernel, and more targets than the classifier takes at a time (here 64).
private let chunked = BERTConfiguration(maxT: 70, V: 50, L: 2, NH: 2, C: 40, FC: 90)

/// A model with parameters large enough for every path through it to matter.
func noisyBERT(_ config: BERTConfiguration, trains: Bool = true, seed: UInt32 = 1) -> BERT {
    let model = BERT(config, trains: trains, logitRows: 64)
    var random = MersenneTwister(seed: seed)
    for tensor in model.parameters.table.tensors {
        let values = UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: tensor.count)
        random.fillNormal(values, deviation: tensor.decays ? 0.4 : 0.2)
        if tensor.name.hasPrefix("ln"), tensor.name.hasSuffix("w") { for i in values.indices { values[i] += 1 } }
    }
    return model
}

/// Texts of these lengths, in two segments; every third token is masked.
private func masked(_ config: BERTConfiguration, lengths: [Int], key: DropoutKey? = nil) -> Batch {
    let N = lengths.reduce(0, +)
    let tokens = randomTokens(N, below: config.V, seed: 1)
    var batch = Batch(
        lengths: lengths, inputs: randomTokens(N, below: config.V, seed: 2),
        targets: tokens.indices.map { $0 % 3 == 1 ? tokens[$0] : $0 % 2 == 0 ? -1 : -100 },
        segments: config.isDistilBERT ? nil : randomTokens(N, below: 2, seed: 3))
    batch.dropoutKey = key
    return batch
}

/// One of the texts of a batch, alone.
private func text(_ i: Int, of batch: Batch) -> Batch {
    let first = batch.lengths[..<i].reduce(0, +)
    let range = first..<first + batch.lengths[i]
    return Batch(
        lengths: [batch.lengths[i]], inputs: Array(batch.inputs[range]), targets: Array(batch.targets[range]),
        segments: batch.segments.map { Array($0[range]) })
}

private func hidden(_ model: BERT, _ batch: Batch) -> [Float] {
    model.forward(
        inputs: batch.inputs, segments: batch.segments, lengths: batch.lengths, dropout: batch.dropoutKey)
    return Array(UnsafeBufferPointer(start: model.hidden, count: batch.inputs.count * model.config.C))
}

private let various = [1, 7, 70, 64, 1, 65]

// MARK: - the table

/// Their numbers of parameters are transformers'.
@Test func `BERT-base and DistilBERT have their known numbers of parameters`() {
    var config = BERTConfiguration.base
    #expect(config.table.count == 109_514_298 && BERTConfiguration.distilBase.table.count == 66_985_530)
    config.V = 32000
    #expect(config.table.count == 110_650_880)
    (config.V, config.hasHead, config.hasPooler) = (30522, false, true)
    #expect(config.table.count == 109_482_240)
    config = .distilBase
    config.hasHead = false
    #expect(config.table.count == 66_362_880)
    let spared = BERTConfiguration.base.table.tensors.filter { !$0.decays }.map(\.name)
    #expect(
        spared == [
            "ln0w", "ln0b", "qkvb", "attprojb", "ln1w", "ln1b", "fcb", "fcprojb", "ln2w", "ln2b", "transb", "lnfw",
            "lnfb", "headb",
        ])
}

@Test func `a BERT begins as transformers begins it`() {
    var config = BERTConfiguration(maxT: 80, V: 300, L: 4, NH: 2, C: 64)
    config.hasPooler = true
    let model = BERT(config, trains: false)
    model.parameters.initialize(seed: 42)
    for tensor in model.parameters.table.tensors {
        let values = model.parameters.array(model.parameters.values, tensor)
        if tensor.decays {
            let deviation = (values.reduce(0) { $0 + Double($1) * Double($1) } / Double(values.count)).squareRoot()
            #expect(abs(deviation / 0.02 - 1) < (tensor.count < 1000 ? 0.3 : 0.05), "\(tensor.name)")
        } else {
            let isNorm = tensor.name.hasPrefix("ln") && tensor.name.hasSuffix("w")
            #expect(values.allSatisfy { $0 == (isNorm ? 1 : 0) }, "\(tensor.name)")
        }
    }
}

/// Six for each parameter of the layers, the same of the head for 15% of the tokens, and the attention's.
@Test func `a token's operations are those of BERT's products`() {
    let layer = (24 * 8 + 24) + (8 * 8 + 8) + (20 * 8 + 20) + (8 * 20 + 8) + 4 * 8
    let head = (8 * 8 + 8) + 2 * 8 + 19 + 19 * 8
    let expected = Double(6 * 2 * layer + 12 * 2 * 8 * 5) + 0.15 * Double(6 * head)
    let model = BERT(tinyBERT(), trains: true)
    #expect(model.flopsPerToken(T: 5) == expected)
    model.parameters.train([model.tensors.wte])
    #expect(abs(model.flopsPerToken(T: 5) - expected + 2 * Double(2 * layer) + 0.3 * Double(head - 19 * 8)) < 1e-6)
}

/// Of 32 rows, so that no tensor is padded to a cache line.
@Test(arguments: [7, 20, 1000])
func `a BERT's memory is what its tensors take`(FC: Int) {
    let config = BERTConfiguration(maxT: 11, V: 40, L: 3, NH: 2, C: 8, FC: FC)
    let (N, C, L, NH, widest) = (32, 8, 3, 2, max(3 * 8, FC))
    let parameters = config.table.count
    // Hidden states, queries to values in the MLP's place, attention; two means and deviations, lse, loss, hit.
    #expect(config.bytes(rows: N, trains: false) == Double(4 * (parameters + N * (2 * C + widest + 4 + NH + 2))))
    let kept = N * ((C + 2) * (L + 1) + L * (C + 3 * C + C + FC + 2 + NH))
    let shared = N * (C + FC + 2 + 3 * C + widest)
    let head = N * (5 * C + 4) + N * (48 + 2 * C + 2)
    #expect(config.bytes(rows: N, trains: true) == Double(4 * (4 * parameters + kept + shared + head)))
}

// MARK: - gradients

@Test(arguments: [false, true], [nil, DropoutKey(seed: 3, microBatch: 5)])
func `every tensor's gradient is the derivative of BERT's masked loss`(isDistilBERT: Bool, key: DropoutKey?) {
    for hasTanhGELU in [false, true] {
        var config = tinyBERT(isDistilBERT: isDistilBERT)
        config.hasTanhGELU = hasTanhGELU
        let model = noisyBERT(config)
        (model.dropout, model.attentionDropout) = (0.2, 0.3)
        let batch = masked(config, lengths: [7, 1, 9, 4], key: key)
        model.learn(from: batch, gradientScale: 1 / Float(batch.counted))
        let gradients = model.parameters.array(model.parameters.gradients)
        for tensor in model.parameters.table.tensors {
            expectDerivative(
                tensor.name, at: model.parameters.values + tensor,
                Array(gradients[tensor.offset..<tensor.offset + tensor.count])
            ) {
                _ = hidden(model, batch)
                return model.classify(targets: batch.targets).mean
            }
        }
    }
}

@Test(arguments: ["small", "distil", "pooled"])
func `BERT's states, logits, loss, gradients and ten steps are transformers'`(name: String) throws {
    let path = try fixture("bert/" + name)
    let config = try readBERTConfiguration(path)
    let model = try readBERT(path, trains: config.hasHead)
    let reference = try MaskedReference(try fixture("bert/\(name)_reference.safetensors"), config: config)
    let (batch, C) = (reference.batches[0], config.C)
    #expect(batch.lengths.count == 3 && relativeError(hidden(model, batch), reference.hidden) <= 2e-6)
    var out = [Float](repeating: 0, count: batch.inputs.count * config.V + 3 * C)
    if let pooled = reference.pooled {
        out.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { model.pool(into: base) } }
        #expect(relativeError(Array(out[..<(3 * C)]), pooled) <= 2e-6)
    }
    guard let logits = reference.logits else {
        #expect(name == "pooled" && reference.pooled != nil)
        return
    }
    out.withUnsafeMutableBufferPointer {
        if let base = $0.baseAddress { model.logits(into: base, rows: Array(batch.inputs.indices)) }
    }
    #expect(relativeError(Array(out[..<logits.count]), logits) <= 2e-6)
    let scale = 1 / Float(batch.counted)
    #expect(reference.losses.count == 10)
    for (step, expected) in reference.losses.enumerated() {
        let loss = model.learn(from: batch, gradientScale: scale).mean
        #expect(abs(loss - expected) <= 1e-5, "step \(step)")
        if step == 0 {
            for tensor in model.parameters.table.tensors {
                let theirs = Array(reference.gradients[tensor.offset..<tensor.offset + tensor.count])
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

// MARK: - batches

@Test func `a text has the hidden states in a batch that it has alone`() {
    for isDistilBERT in [false, true] {
        var config = chunked
        if isDistilBERT { (config.isDistilBERT, config.segments) = (true, 0) }
        config.hasPooler = !isDistilBERT
        let model = noisyBERT(config, trains: false)
        let batch = masked(config, lengths: various)
        let whole = hidden(model, batch)
        func pooled() -> [Float] {
            guard config.hasPooler else { return [] }
            var out = [Float](repeating: 0, count: 6 * config.C)
            out.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { model.pool(into: base) } }
            return out
        }
        let vectors = pooled()
        var first = 0
        for (i, T) in various.enumerated() {
            let alone = hidden(model, text(i, of: batch))
            #expect(relativeError(Array(whole[first * 40..<(first + T) * 40]), alone) <= 1e-6)
            if config.hasPooler {
                #expect(relativeError(Array(vectors[i * 40..<(i + 1) * 40]), Array(pooled()[..<40])) <= 1e-6)
            }
            first += T
        }
    }
}

@Test func `two micro-batches are one batch of BERT's`() {
    let batch = masked(chunked, lengths: various)
    let (whole, parts) = (noisyBERT(chunked), noisyBERT(chunked))
    let scale = 1 / Float(batch.counted)
    let loss = whole.learn(from: batch, gradientScale: scale)
    #expect(loss.counted == 69)  // more than the classifier takes at a time
    var sum = 0.0
    for i in various.indices {
        let one = parts.learn(from: text(i, of: batch), gradientScale: scale)
        sum += one.mean * Double(one.counted)
    }
    #expect(abs(loss.mean - sum / 69) < 1e-6)
    for tensor in whole.parameters.table.tensors {
        let error = relativeError(
            parts.parameters.array(parts.parameters.gradients, tensor),
            whole.parameters.array(whole.parameters.gradients, tensor))
        #expect(error <= 1e-5, "\(tensor.name)")
    }
}

@Test func `a batch without a target that counts has no loss and no gradients`() {
    let model = noisyBERT(tinyBERT())
    let inputs = randomTokens(9, below: 19, seed: 1)
    let loss = model.learn(
        from: Batch(lengths: [5, 4], inputs: inputs, targets: .init(repeating: -100, count: 9)), gradientScale: 1)
    #expect(loss.mean == 0 && loss.counted == 0 && model.parameters.gradientNorm() == 0)
}

/// Every token sees those after it.
@Test func `the last token changes the first one's hidden state, and another text's does not`() {
    let model = noisyBERT(tinyBERT(), trains: false)
    var tokens = randomTokens(9, below: 19, seed: 1)
    func states() -> [Float] { hidden(model, Batch(lengths: [5, 4], inputs: tokens, targets: tokens)) }
    let before = states()
    tokens[4] = (tokens[4] + 1) % 19
    let after = states()
    #expect(relativeError(Array(after[..<8]), Array(before[..<8])) > 1e-3)
    #expect(after[40...] == before[40...])
}

@Test func `without segments all tokens are in the first`() {
    let model = noisyBERT(tinyBERT(), trains: false)
    let tokens = randomTokens(9, below: 19, seed: 1)
    func states(_ segments: [Int32]?) -> [Float] {
        hidden(model, Batch(lengths: [9], inputs: tokens, targets: tokens, segments: segments))
    }
    #expect(states(nil) == states(.init(repeating: 0, count: 9)))
    #expect(states(nil) != states(.init(repeating: 1, count: 9)))
}

// MARK: - memory

/// A model that does not train lets its layers write over one another.
@Test(arguments: [7, 90, 300]) func `a BERT without room for gradients has the same states and loss`(FC: Int) {
    var config = chunked
    config.FC = FC
    let (training, plain) = (noisyBERT(config), noisyBERT(config, trains: false))
    let batch = masked(config, lengths: various)
    #expect(hidden(plain, batch) == hidden(training, batch))
    let expected = training.loss(of: batch).mean
    #expect(plain.loss(of: batch).mean == expected)
    #expect(training.learn(from: batch, gradientScale: 1).mean == expected)
    _ = training.loss(of: text(1, of: batch))
    #expect(training.loss(of: batch).mean == expected)
    var alone = config
    alone.hasHead = false
    #expect(hidden(noisyBERT(alone, trains: false), batch) == hidden(plain, batch))
}

@Test func `the pooler is not trained`() {
    let model = noisyBERT(tinyBERT(hasPooler: true))
    let pooler = model.tensors.pooler.map(\.tensors) ?? []
    let others = model.parameters.table.count - pooler.reduce(0) { $0 + $1.count }
    #expect(pooler.count == 2 && model.parameters.trained.count == others)
    let before = pooler.map { model.parameters.array(model.parameters.values, $0) }
    model.learn(from: masked(model.config, lengths: [9]), gradientScale: 1)
    model.parameters.update(
        learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1, decaysAll: true, gradientScale: 1, step: 1)
    #expect(pooler.map { model.parameters.array(model.parameters.values, $0) } == before)
}

// MARK: - training

/// What dropout may do to the sites of each model, one at a time.
@Test func `a DistilBERT drops nothing of its attention's projection`() {
    // With all other sites' sources zero, only that one could change anything.
    for isDistilBERT in [false, true] {
        var config = tinyBERT(isDistilBERT: isDistilBERT)
        config.L = 1
        let model = noisyBERT(config)
        let (p, t) = (model.parameters.values, model.tensors)
        for tensor in [t.wte, t.wpe, t.wse, t.ln0w, t.ln0b, t.fcprojw, t.fcprojb].compactMap({ $0 }) {
            (p + tensor).update(repeating: 0, count: tensor.count)
        }
        model.dropout = 0.5
        let plain = hidden(model, masked(config, lengths: [9]))
        let dropped = hidden(model, masked(config, lengths: [9], key: DropoutKey(seed: 1, microBatch: 1)))
        #expect((plain == dropped) == isDistilBERT)
    }
}

/// Three steps of training, with dropout.
private func trained() -> BERT {
    let model = BERT(chunked, trains: true, logitRows: 64)
    (model.dropout, model.attentionDropout) = (0.1, 0.2)
    model.parameters.initialize(seed: 7)
    for step in 1...3 {
        let batch = masked(chunked, lengths: various, key: DropoutKey(seed: 1, microBatch: step))
        model.learn(from: batch, gradientScale: 1 / Float(batch.counted))
        model.parameters.update(
            learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1, gradientScale: 0.5, step: step)
    }
    return model
}

extension Threads {
    @Test func `any number of threads gives the same BERT`() {
        expectSameBitsFromAnyThreads { trained().parameters.bits }
    }
}

@Test func `a BERT learns the masked words of a batch by heart`() {
    var config = BERTConfiguration(maxT: 8, V: 19, L: 2, NH: 2, C: 16)
    config.hasPooler = true
    let model = BERT(config, trains: true)
    model.parameters.initialize(seed: 1)
    let batch = masked(config, lengths: [8, 5, 3])
    #expect(abs(model.loss(of: batch).mean - log(19)) < 0.1)
    for step in 1...200 {
        model.learn(from: batch, gradientScale: 1 / Float(batch.counted))
        model.parameters.update(learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1, step: step)
    }
    let result = model.loss(of: batch)
    #expect(result.mean < 0.01 && result.accuracy == 1 && result.counted == batch.counted)
    #expect((0..<16).allSatisfy { (result.correct[$0] == 1) == (batch.targets[$0] >= 0) })
}

/// Only some rows of the vocabulary are trained, and the same rows of the classifier's bias.
@Test func `the new rows of a BERT's vocabulary learn what they learn when all is trained`() {
    let batch = masked(tinyBERT(), lengths: [7, 9])
    let (whole, part) = (noisyBERT(tinyBERT()), noisyBERT(tinyBERT()))
    let (wte, headb) = (part.tensors.wte, part.tensors.head?.headb ?? part.tensors.wte)
    part.parameters.train([], rows: [(wte, 15..<19), (headb, 15..<19)])
    for model in [whole, part] { model.learn(from: batch, gradientScale: 1) }
    let own = Array(UnsafeBufferPointer(start: part.parameters.gradients, count: part.parameters.trained.count))
    let expected =
        whole.parameters.array(whole.parameters.gradients, wte)[(15 * 8)...]
        + whole.parameters.array(whole.parameters.gradients, headb)[15...]
    #expect(relativeError(own, Array(expected)) <= 1e-6)
}
