// Batches of sequences of any lengths, for every model that predicts the next token.

import Foundation
import Kernels
import LLM
import Testing

/// Models that are small enough for anything, with parameters large enough for every path to matter.
func smallModels() -> [any LanguageModel] {
    let gpt2 = GPT2Configuration(maxT: 70, V: 50, L: 2, NH: 2, C: 40)
    let phi = PhiConfiguration(maxT: 70, V: 50, L: 2, NH: 2, C: 40, R: 8)
    let models: [any LanguageModel] = [GPT2(gpt2, trains: true, logitRows: 64), Phi(phi, trains: true, logitRows: 64)]
    for model in models {
        var random = MersenneTwister(seed: 1)
        for tensor in model.parameters.table.tensors {
            let count = tensor.name == "wte" ? model.V * 40 : tensor.count  // GPT-2's padding stays zero
            let values = UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: count)
            random.fillNormal(values, deviation: tensor.decays ? 0.4 : 0.2)
        }
    }
    return models
}

func smallBatch(lengths: [Int]) -> Batch {
    let N = lengths.reduce(0, +)
    return Batch(
        lengths: lengths, inputs: randomTokens(N, below: 50, seed: 1),
        targets: hidingSome(randomTokens(N, below: 50, seed: 2)))
}

private let various = [1, 7, 70, 64, 1, 65]

@Test func `a batch of sequences learns what each of them does alone`() {
    for model in smallModels() {
        let whole = smallBatch(lengths: various)
        let scale = 1 / Float(whole.counted)
        let loss = model.learn(from: whole, gradientScale: scale)
        let gradients = model.parameters.array(model.parameters.gradients)
        model.parameters.zeroGradients()
        var (sum, first) = (0.0, 0)
        for T in various {
            let range = first..<first + T
            let one = Batch(B: 1, T: T, inputs: Array(whole.inputs[range]), targets: Array(whole.targets[range]))
            sum += model.learn(from: one, gradientScale: scale).mean * Double(one.counted)
            first += T
        }
        #expect(abs(loss.mean - sum / Double(whole.counted)) < 1e-6)
        for tensor in model.parameters.table.tensors {
            let error = relativeError(
                Array(gradients[tensor.offset..<tensor.offset + tensor.count]),
                model.parameters.array(model.parameters.gradients, tensor))
            #expect(error <= 1e-5, "\(type(of: model)) \(tensor.name)")
        }
    }
}

@Test func `a sequence has the logits in a batch that it has alone`() {
    for model in smallModels() {
        func logits(_ inputs: [Int32], _ lengths: [Int]) -> [Float] {
            model.forward(inputs: inputs, .batch(lengths: lengths))
            return model.logits(B: 1, T: inputs.count)
        }
        let inputs = smallBatch(lengths: various).inputs
        let whole = logits(inputs, various)
        var first = 0
        for T in various {
            let alone = logits(Array(inputs[first..<first + T]), [T])
            #expect(relativeError(Array(whole[first * model.V..<(first + T) * model.V]), alone) <= 1e-6)
            first += T
        }
    }
}

extension Threads {
    @Test func `any number of threads learns the same from sequences of any lengths`() {
        let before = threadCount
        defer { threadCount = before }
        for model in smallModels() {
            func learnt(_ threads: Int) -> [Float] {
                threadCount = threads
                model.parameters.zeroGradients()
                model.learn(from: smallBatch(lengths: various), gradientScale: 1)
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
