// Training in bfloat16: near to float32, for every model, and the same whatever the threads.

import Kernels
import LLM
import Testing

private let lengths = [1, 7, 70, 64, 1, 65]

/// The loss of a batch and the gradients, in a format.
private func learnt(_ model: any LanguageModel, _ precision: Precision) -> (loss: Double, gradients: [Float]) {
    model.parameters.precision = precision
    model.parameters.zeroGradients()
    let batch = smallBatch(lengths: lengths)
    let loss = model.learn(from: batch, gradientScale: 1 / Float(batch.counted))
    return (loss.mean, model.parameters.array(model.parameters.gradients))
}

@Test func `a model learns nearly the same in bfloat16`() {
    for model in smallModels() {
        let exact = learnt(model, .float32)
        let rounded = learnt(model, .bfloat16)
        #expect(rounded.loss != exact.loss && abs(rounded.loss - exact.loss) < 0.01 * exact.loss)
        for tensor in model.parameters.table.tensors {
            let range = tensor.offset..<tensor.offset + tensor.count
            let error = relativeError(Array(rounded.gradients[range]), Array(exact.gradients[range]))
            #expect(error > 1e-4 && error < 0.05, "\(type(of: model)) \(tensor.name): \(error)")
        }
        // The rest of the model is as it was.
        #expect(learnt(model, .float32) == exact)
    }
}

extension Threads {
    @Test func `any number of threads learns the same in bfloat16`() {
        for model in smallModels() {
            expectSameBitsFromAnyThreads { learnt(model, .bfloat16).gradients.map(\.bitPattern) }
        }
    }
}

@Test func `generation from a cache multiplies floats whatever training does`() {
    for model in smallModels() {
        func logits(_ precision: Precision) -> [Float] {
            model.parameters.precision = precision
            let cache = model.makeCache(sequences: 1, capacity: 70)
            cache.begin([KVCache.Segment(sequence: 0, position: 0, count: 5)])
            model.forward(inputs: [3, 1, 4, 1, 5], .cache(cache))
            var out = [Float](repeating: 0, count: model.V)
            model.logits(into: &out, .cache(cache))
            return out
        }
        #expect(logits(.bfloat16) == logits(.float32))
    }
}

/// Logits after the last token of some sequences.
private func logits(_ model: any LanguageModel, weights: WeightFormat, sequences: Int, tokens: [Int32]) -> [Float] {
    let generator = Generator(model, sequences: sequences, capacity: 70, weights: weights)
    generator.append((0..<sequences).map { i in tokens.map { ($0 + Int32(i)) % Int32(model.V) } })
    return (0..<sequences).flatMap { Array(generator.logits(of: $0)) }
}

/// One row and few, each number that has a kernel, and as many as take training's product.
@Test(arguments: [(1, 1), (1, 5), (3, 1), (4, 1), (7, 1), (12, 1), (1, 60), (3, 60)])
func `rounded weights generate nearly what float32 does`(sequences: Int, length: Int) {
    for (weights, most) in [(WeightFormat.bfloat16, 0.03), (.int8, 0.06)] {
        for model in smallModels() {
            let tokens = (0..<Int32(length)).map { $0 * 7 % 50 }
            let exact = logits(model, weights: .float32, sequences: sequences, tokens: tokens)
            let error = relativeError(logits(model, weights: weights, sequences: sequences, tokens: tokens), exact)
            #expect(error > 1e-4 && error < most, "\(weights), \(type(of: model)): \(error)")
        }
    }
}

@Test(arguments: [WeightFormat.bfloat16, .int8])
func `what one sequence generates from rounded weights does not depend on how many there are`(weights: WeightFormat) {
    for model in smallModels() {
        let alone = logits(model, weights: weights, sequences: 1, tokens: [3, 1, 4])
        for sequences in [2, 5, 11, 23] {
            let all = logits(model, weights: weights, sequences: sequences, tokens: [3, 1, 4])
            #expect(Array(all[..<model.V]) == alone, "\(sequences)")
        }
    }
}

@Test func `rounded weights take a half and a quarter of the memory, and the embeddings that of floats`() {
    let gpt2 = GPT2Configuration(maxT: 50, V: 128, L: 5, NH: 4, C: 64)
    let phi = PhiConfiguration(maxT: 50, V: 128, L: 5, NH: 4, C: 64, R: 8)
    for config in [gpt2, phi] as [any CausalConfiguration] {
        let table = config.table
        func count(_ isCounted: (Tensor) -> Bool) -> Double {
            table.tensors.reduce(0) { $0 + (isCounted($1) ? Double($1.count) : 0) }
        }
        let layers = count { $0.layerShape.count == 2 && $0.isPerLayer }
        let classifier = 64.0 * 128
        let floats = 4 * count { !($0.layerShape.count == 2 && $0.isPerLayer) && !$0.isHead }
        for (format, bytes) in [(WeightFormat.float32, 4), (.bfloat16, 2), (.int8, 1.0625)] {
            let packed = PackedWeights.bytes(table, format)
            let expected = bytes * (layers + classifier)
            #expect(packed >= expected && packed < 1.01 * expected + 1000, "\(format)")
            guard format != .float32 else { continue }
            #expect(Parameters.bytes(table, trains: false, weights: format) - packed - floats <= 4 * 128)
            let plain = config.bytes(sequences: 1, capacity: 20)
            let both = config.bytes(sequences: 1, capacity: 20, weights: format, keepsFloats: true)
            let one = config.bytes(sequences: 1, capacity: 20, weights: format)
            #expect(both == plain + packed)
            #expect(one - packed == plain - 4 * Double(table.count) + Double(floats))
        }
    }
}
