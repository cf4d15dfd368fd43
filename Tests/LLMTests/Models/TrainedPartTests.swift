// Training a part: the gradients are those that the whole has there, and what is not trained keeps its bits.

import Kernels
import LLM
import Testing

private func models() -> [any LanguageModel] {
    let models: [any LanguageModel] = [
        GPT2(GPT2Configuration(maxT: 10, V: 50, L: 2, NH: 2, C: 8), trains: false),
        Phi(PhiConfiguration(maxT: 10, V: 50, L: 2, NH: 2, C: 8, FC: 20, R: 4), trains: false),
    ]
    for model in models {
        var random = MersenneTwister(seed: 5)
        let table = model.parameters.table
        random.fillNormal(
            UnsafeMutableBufferPointer(start: model.parameters.values, count: table.count), deviation: 0.3)
    }
    return models
}

private let inputs = randomTokens(30, below: 50, seed: 1)
private let targets = randomTokens(30, below: 50, seed: 2)

@Test(arguments: [TrainedPart.embeddings, .rows(46..<49)])
func `a part's gradients are the whole model's`(part: TrainedPart) {
    for (whole, some) in zip(models(), models()) {
        whole.train(.all)
        some.train(part)
        for model in [whole, some] { model.accumulate(inputs, targets, B: 3, T: 10, scale: 1.0 / 30) }
        var (expected, count): ([Float], Int) = ([], 0)
        for tensor in some.config.vocabularyTensors {
            let rows = part == .embeddings ? 0..<tensor.count / tensor.rowCount : 46..<49
            let all = whole.parameters.array(whole.parameters.gradients, tensor)
            expected += all[rows.lowerBound * tensor.rowCount..<rows.upperBound * tensor.rowCount]
            count += rows.count * tensor.rowCount
        }
        #expect(some.parameters.trained.count == count)
        let got = Array(UnsafeBufferPointer(start: some.parameters.gradients, count: count))
        #expect(relativeError(got, expected) < 1e-5 && expected.contains { $0 != 0 })
        let used = Double(whole.config.bytes(rows: 30, trains: true))
        // A gradient and two moments are saved for each that is not trained.
        let saved = 12 * Double(whole.parameters.table.count - count)
        #expect(some.config.bytes(rows: 30, training: part) == used - saved)
        #expect(some.config.bytes(rows: 30, training: .all) == used)
    }
}

@Test func `what is not trained keeps its bits, and has no moments`() {
    for model in models() {
        model.train(.rows(46..<49))
        let before = model.parameters.array(model.parameters.values)
        for step in 1...3 {
            model.accumulate(inputs, targets, B: 3, T: 10, scale: 1.0 / 30)
            model.parameters.update(
                learningRate: 0.01, beta1: 0.9, beta2: 0.95, decay: 0.1, gradientScale: 1, step: step)
        }
        let after = model.parameters.array(model.parameters.values)
        var changed = Set<Int>()
        for tensor in model.config.vocabularyTensors {
            changed.formUnion(tensor.offset + 46 * tensor.rowCount..<tensor.offset + 49 * tensor.rowCount)
        }
        for i in before.indices { #expect((before[i] == after[i]) == !changed.contains(i), "\(i)") }
    }
}
