// LoRA: an adapter beside a model's weights, against a model whose weights have it merged, and its gradients against
// finite differences and against those of the weights.

import Foundation
import Kernels
import LLM
import Testing

private let smallGPT2 = GPT2Configuration(maxT: 9, V: 19, L: 2, NH: 2, C: 8)
private let (B, T) = (2, 5)
private let inputs: [Int32] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
private let targets: [Int32] = [1, 4, 1, 5, 9, 2, 6, 5, 3, 18]

private func noise(_ values: UnsafeMutablePointer<Float>, _ table: TensorTable, seed: UInt32, deviation: Float) {
    var random = MersenneTwister(seed: seed)
    for tensor in table.tensors {
        random.fillNormal(
            UnsafeMutableBufferPointer(start: values + tensor, count: tensor.layers * tensor.usedCount),
            deviation: deviation)
        if tensor.name.hasPrefix("ln"), tensor.name.hasSuffix("w") {
            for i in 0..<tensor.count { (values + tensor)[i] += 1 }
        }
    }
}

/// The settings in most tests: rank 3, and some more that matter.
private func configuration(_ targets: ModulePattern = .allLinear, rank: Int = 3) -> LoRAConfiguration {
    var configuration = LoRAConfiguration()
    (configuration.targets, configuration.rank, configuration.alpha) = (targets, rank, 5)
    return configuration
}

/// A model with noise for parameters, and an adapter for it, also of noise.
private func newModel(
    _ kind: ModelKind, trains: Bool = false, _ configuration: LoRAConfiguration = configuration()
) throws -> (model: any LanguageModel, adapter: Adapter) {
    let model: any LanguageModel = kind == .gpt2 ? GPT2(smallGPT2, trains: trains) : Phi(tinyPhi, trains: trains)
    noise(model.parameters.values, model.parameters.table, seed: 1, deviation: 0.3)
    let adapter =
        try kind == .gpt2 ? Adapter(configuration, on: smallGPT2) : Adapter(configuration, on: tinyPhi)
    noise(adapter.values, adapter.table, seed: 2, deviation: 0.3)
    return (model, adapter)
}

private func values(_ adapter: Adapter) -> [Float] {
    Array(UnsafeBufferPointer(start: adapter.values, count: adapter.table.count))
}

private func gradients(_ model: any LanguageModel) -> [Float] {
    Array(UnsafeBufferPointer(start: model.parameters.gradients, count: model.parameters.trained.count))
}

// MARK: - the same model

/// Textbook: the weight W + s·B·A, element by element.
private func merge(_ adapter: Adapter, into parameters: Parameters) {
    for product in adapter.products {
        let module = product.module
        let (a, b) = (adapter.values + product.a, adapter.values + product.b)
        let weight = parameters.values.at(module.weight, module.layer)
        for row in module.rows {
            for c in 0..<module.C {
                let sum = (0..<product.rank).reduce(0.0) { sum, k in
                    sum + Double(b[(row - module.rows.lowerBound) * product.rank + k]) * Double(a[k * module.C + c])
                }
                weight[row * module.C + c] += Float(Double(product.scale) * sum)
            }
        }
    }
}

@Test(
    arguments: [ModelKind.gpt2, .phi],
    [
        ModulePattern.allLinear, .names(["c_attn", "v_proj"]), .names(["mlp.c_proj", "q_proj", "v_proj", "lm_head"]),
        .expression(".*\\.1\\..*(c_proj|fc2)"),
    ])
func `a model with an adapter is the model with the merged weights`(kind: ModelKind, pattern: ModulePattern) throws {
    let (model, adapter) = try newModel(kind, configuration(pattern))
    let plain = try newModel(kind).model
    let (merged, second) = (try newModel(kind).model, try newModel(kind).model)
    merge(adapter, into: merged.parameters)
    adapter.merge(into: second.parameters)
    plain.forward(inputs, B: B, T: T)
    merged.forward(inputs, B: B, T: T)
    second.forward(inputs, B: B, T: T)
    model.parameters.put(adapter)
    model.forward(inputs, B: B, T: T)
    let expected = merged.logits(B: B, T: T)
    #expect(relativeError(model.logits(B: B, T: T), expected) < 1e-6)
    #expect(relativeError(second.logits(B: B, T: T), expected) < 1e-6)
    #expect(relativeError(plain.logits(B: B, T: T), expected) > 1e-2)
    model.parameters.put(nil)
    model.forward(inputs, B: B, T: T)
    #expect(model.logits(B: B, T: T) == plain.logits(B: B, T: T))
}

@Test(arguments: [ModelKind.gpt2, .phi], [1, 3])
func `generating with an adapter is generating with the merged weights`(kind: ModelKind, sequences: Int) throws {
    let (model, adapter) = try newModel(kind)
    let merged = try newModel(kind).model
    merge(adapter, into: merged.parameters)
    model.parameters.put(adapter)
    let logits = [model, merged].map { model in
        let generator = Generator(model, sequences: sequences, capacity: 9)
        generator.start(with: [3, 1, 4])
        generator.append((0..<sequences).map { [Int32($0 + 1)] })
        return (0..<sequences).flatMap { Array(generator.logits(of: $0)) }
    }
    #expect(relativeError(logits[0], logits[1]) < 1e-5)
}

// MARK: - gradients

@Test(
    arguments: [ModelKind.gpt2, .phi], [.allLinear, ModulePattern.names(["c_proj", "q_proj", "v_proj", "lm_head"])])
func `an adapter's gradients are the derivatives of the loss`(kind: ModelKind, pattern: ModulePattern) throws {
    let (model, adapter) = try newModel(kind, configuration(pattern))
    let before = model.parameters.array(model.parameters.values)
    model.parameters.train([], adapter: adapter)
    #expect(model.parameters.trained.count == adapter.table.count)
    let counted = hidingSome(targets)
    model.accumulate(inputs, counted, B: B, T: T, scale: 1 / Float(counted.count { $0 >= 0 }))
    let all = gradients(model)
    for tensor in adapter.table.tensors {
        expectDerivative(
            model, tensor.name, at: adapter.values + tensor, Array(all[tensor.offset..<tensor.offset + tensor.count]),
            inputs, counted, B: B, T: T)
    }
    model.parameters.update(learningRate: 0.1, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1, step: 1)
    #expect(model.parameters.array(model.parameters.values) == before, "the base is frozen")
    #expect(gradients(model).allSatisfy { $0 == 0 })
}

/// The inputs of A are dropped out, those of the model's own weights are not; the masks are the same in both passes.
@Test(arguments: [ModelKind.gpt2, .phi]) func `every layer of an adapter drops by masks of its own`(kind: ModelKind)
    throws
{
    var settings = configuration()
    settings.dropout = 0.3
    let (_, adapter) = try newModel(kind, settings)
    let key = DropoutKey(seed: 1, microBatch: 2)
    let keys = adapter.products.compactMap { adapter.dropout(key, $0)?.key }
    #expect(keys.count == adapter.products.count)
    for i in keys.indices { for j in 0..<i { #expect(keys[i] != keys[j]) } }
}

@Test(arguments: [ModelKind.gpt2, .phi]) func `an adapter's gradients add up over micro-batches`(kind: ModelKind) throws
{
    let (model, adapter) = try newModel(kind)
    model.parameters.train([], adapter: adapter)
    model.accumulate(inputs, targets, B: B, T: T, scale: 0.1)
    let once = gradients(model)
    model.accumulate(inputs, targets, B: B, T: T, scale: 0.1)
    #expect(relativeError(gradients(model), once.map { 2 * $0 }) < 1e-5)
    // Each matrix for itself: the small ones are lost among the large.
    for tensor in adapter.table.tensors {
        let range = tensor.offset..<tensor.offset + tensor.count
        #expect(relativeError(Array(gradients(model)[range]), once[range].map { 2 * $0 }) < 1e-4, "\(tensor.name)")
    }
}

@Test(arguments: [ModelKind.gpt2, .phi]) func `an adapter's gradients with dropout`(kind: ModelKind) throws {
    var settings = configuration()
    settings.dropout = 0.4
    let (model, adapter) = try newModel(kind, settings)
    let key = DropoutKey(seed: 3, microBatch: 5)
    model.parameters.train([], adapter: adapter)
    let without = model.loss(inputs, targets, B: B, T: T)
    #expect(model.loss(inputs, targets, B: B, T: T, dropout: key) != without)
    #expect(
        model.loss(inputs, targets, B: B, T: T, dropout: key)
            != model.loss(inputs, targets, B: B, T: T, dropout: DropoutKey(seed: 3, microBatch: 6)))
    model.accumulate(inputs, targets, B: B, T: T, scale: 1 / Float(targets.count), dropout: key)
    let all = gradients(model)
    for tensor in adapter.table.tensors {
        expectDerivative(
            model, tensor.name, at: adapter.values + tensor, Array(all[tensor.offset..<tensor.offset + tensor.count]),
            inputs, targets, B: B, T: T, dropout: key)
    }
    // Where the adapter adds nothing, dropout changes nothing.
    for tensor in adapter.table.tensors where tensor.name.contains("lora_B") {
        (adapter.values + tensor).update(repeating: 0, count: tensor.count)
    }
    #expect(
        model.loss(inputs, targets, B: B, T: T, dropout: key) == model.loss(inputs, targets, B: B, T: T))
}

/// A frozen model is trained in part as a whole one is.
@Test(arguments: [ModelKind.gpt2, .phi]) func `frozen tensors change nothing of the others' gradients`(kind: ModelKind)
    throws
{
    let whole = try newModel(kind, trains: true).model
    whole.accumulate(inputs, targets, B: B, T: T, scale: 0.1)
    let all = gradients(whole)
    let part = try newModel(kind).model
    let table = part.parameters.table
    let embeddings = table.tensors.filter { ["wte", "wpe"].contains($0.name) }
    let rows = 4..<7
    part.parameters.train(
        table.tensors.filter { tensor in !embeddings.contains { $0.index == tensor.index } },
        rows: [(embeddings[0], rows)])
    part.accumulate(inputs, targets, B: B, T: T, scale: 0.1)
    var expected = all.enumerated().filter { i, _ in
        !embeddings.contains { ($0.offset..<$0.offset + $0.count).contains(i) }
    }.map(\.element)
    let C = embeddings[0].shape[1]
    expected += all[embeddings[0].offset + rows.lowerBound * C..<embeddings[0].offset + rows.upperBound * C]
    #expect(relativeError(gradients(part), expected) < 1e-6)
    let before = part.parameters.array(part.parameters.values)
    part.parameters.update(learningRate: 0.1, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1, step: 1)
    let after = part.parameters.array(part.parameters.values)
    for tensor in embeddings {
        for i in 0..<tensor.count {
            let isTrained = tensor.name == "wte" && rows.contains(i / C)
            let (old, new) = (before[tensor.offset + i], after[tensor.offset + i])
            #expect(isTrained ? old != new : old == new)
        }
    }
}

@Test(arguments: [ModelKind.gpt2, .phi]) func `threads do not change an adapter`(kind: ModelKind) throws {
    defer { useThreads(2) }
    let results = try (1...7).map { threads in
        useThreads(threads)
        let (model, adapter) = try newModel(kind)
        model.parameters.train([], adapter: adapter)
        for step in 1...2 {
            model.accumulate(inputs, targets, B: B, T: T, scale: 0.1)
            model.parameters.update(learningRate: 0.1, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1, step: step)
        }
        return values(adapter).map(\.bitPattern)
    }
    #expect(results.allSatisfy { $0 == results[0] })
}

@Test func `an adapter begins as nothing, within peft's bounds`() throws {
    let (model, adapter) = try newModel(.phi)
    adapter.initialize(seed: 1)
    for product in adapter.products {
        let a = Array(UnsafeBufferPointer(start: adapter.values + product.a, count: product.a.count))
        let bound = 1 / Float(product.module.C).squareRoot()
        #expect(a.allSatisfy { abs($0) <= bound } && a.contains { abs($0) > bound / 2 } && a.contains { $0 < 0 })
        #expect((0..<product.b.count).allSatisfy { (adapter.values + product.b)[$0] == 0 })
    }
    model.forward(inputs, B: B, T: T)
    let plain = model.logits(B: B, T: T)
    model.parameters.put(adapter)
    model.forward(inputs, B: B, T: T)
    #expect(model.logits(B: B, T: T) == plain)
}

@Test func `operations are counted by what is trained`() throws {
    let (model, adapter) = try newModel(.phi)
    let all = Phi(tinyPhi, trains: true).flopsPerToken(T: 5) - Double(6 * 2 * 8 * 5)
    model.parameters.train([], adapter: adapter)
    #expect(model.flopsPerToken(T: 5) == all * 4 / 6 + Double(6 * adapter.table.count) + Double(6 * 2 * 8 * 5))
}

// MARK: - targets

private func names(_ configuration: LoRAConfiguration, _ config: some CausalConfiguration) throws -> [String] {
    try Adapter(configuration, on: config).products.map(\.module.name)
}

@Test func `targets are found as peft finds them`() throws {
    var settings = configuration(.names(["c_proj"]))
    #expect(
        try names(settings, smallGPT2)
            == (0..<2).flatMap {
                ["transformer.h.\($0).attn.c_proj", "transformer.h.\($0).mlp.c_proj"]
            })
    settings.excluded = .names(["mlp.c_proj"])
    settings.layers = [1]
    #expect(try names(settings, smallGPT2) == ["transformer.h.1.attn.c_proj"])
    #expect(try names(configuration(), smallGPT2).count == 8)
    #expect(try names(configuration(), tinyPhi).count == 12)
    #expect(try names(configuration(.names(["lm_head"])), tinyPhi) == ["lm_head"])
    #expect(
        try names(configuration(.expression("model\\.layers\\.[01]\\.mlp\\.fc1")), tinyPhi)
            == ["model.layers.0.mlp.fc1", "model.layers.1.mlp.fc1"])
    // An expression must match the whole name.
    for none in [ModulePattern.expression("fc1"), .names(["fc3"]), .names(["1"]), .names([])] {
        expectUserError("\(none)") { _ = try names(configuration(none), tinyPhi) }
    }
}

@Test func `ranks and scales of single layers`() throws {
    var settings = configuration(.names(["fc1", "fc2"]), rank: 4)
    settings.ranks = [("layers.0.mlp.fc1", 2), ("fc1", 1)]
    settings.alphas = [(".*1.mlp.fc2", 8)]
    var adapter = try Adapter(settings, on: tinyPhi)
    #expect(adapter.products.map(\.rank) == [2, 4, 1, 4])
    #expect(adapter.products.map(\.scale) == [2.5, 1.25, 5, 2])
    settings.isRankStabilized = true
    adapter = try Adapter(settings, on: tinyPhi)
    #expect(adapter.products.map(\.scale) == [5 / Float(2).squareRoot(), 2.5, 5, 4])
    for rank in [0, 9, -1] {
        expectUserError("rank \(rank)") { _ = try Adapter(configuration(rank: rank), on: tinyPhi) }
    }
    _ = try Adapter(configuration(rank: 8), on: tinyPhi)
}
