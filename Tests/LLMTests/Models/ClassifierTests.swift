// The classifier's chunks, where some rows do not count. That the loss and the gradients are right is in GPT2Tests and
// PhiTests.

import Kernels
import LLM
import Testing

/// 20 rows in chunks of 7, of which 13 count.
private func models() -> [any LanguageModel] {
    [
        GPT2(GPT2Configuration(maxT: 10, V: 33, L: 1, NH: 2, C: 8), trains: true, logitRows: 7),
        Phi(PhiConfiguration(maxT: 10, V: 33, L: 1, NH: 2, C: 8, FC: 20, R: 4), trains: true, logitRows: 7),
    ]
}

private func gradients(_ model: any LanguageModel) -> [Float] { model.parameters.array(model.parameters.gradients) }

@Test func `rows that do not count keep nothing of the batch before`() {
    let inputs = randomTokens(20, below: 33, seed: 1)
    let targets = randomTokens(20, below: 33, seed: 2)
    for (used, fresh) in zip(models(), models()) {
        for model in [used, fresh] { model.parameters.initialize(seed: 1) }
        _ = used.accumulate(inputs, targets, B: 2, T: 10, scale: 1)
        used.parameters.zeroGradients()
        let losses = [used, fresh].map { $0.accumulate(inputs, hidingSome(targets), B: 2, T: 10, scale: 0.1) }
        #expect(losses[0] == losses[1])
        #expect(gradients(used) == gradients(fresh))
    }
}

@Test func `a row that does not count is not right any more`() {
    let inputs = randomTokens(20, below: 33, seed: 1)
    for model in models() {
        model.parameters.initialize(seed: 1)
        model.forward(inputs: inputs, .batch(lengths: [10, 10]))
        var logits = [Float](repeating: 0, count: 20 * 33)
        model.logits(into: &logits, .batch(lengths: [10, 10]))
        var best: [Int32] = []
        for n in 0..<20 {
            let row: [Float] = Array(logits[n * 33..<(n + 1) * 33])
            best.append(Int32(row.firstIndex(of: row.max() ?? 0) ?? 0))
        }
        #expect(model.classify(targets: best, gradientScale: nil).accuracy == 1)
        let loss = model.classify(targets: hidingSome(best), gradientScale: nil)
        #expect((0..<20).allSatisfy { loss.correct[$0] == ($0 % 3 == 0 ? 0 : 1) })
    }
}

/// A batch in which half of the rows do not count, beside one that has only the others. The sequences are single tokens,
/// so that no row sees another.
@Test func `a row that does not count is as if it were not there`() {
    let inputs = randomTokens(20, below: 33, seed: 3)
    let targets = randomTokens(20, below: 33, seed: 4)
    let counts = (0..<20).map { $0 % 5 > 1 }
    for (whole, part) in zip(models(), models()) {
        for model in [whole, part] { model.parameters.initialize(seed: 1) }
        let hidden = zip(targets, counts).map { $1 ? $0 : -1 }
        let rows = (0..<20).filter { counts[$0] }
        whole.forward(inputs: inputs, .batch(lengths: Array(repeating: 1, count: 20)))
        let loss = whole.classify(targets: hidden, gradientScale: 0.1)
        let correct = Array(loss.correct)
        whole.backward(inputs: inputs)
        let kept = rows.map { inputs[$0] }
        part.forward(inputs: kept, .batch(lengths: Array(repeating: 1, count: rows.count)))
        let other = part.classify(targets: rows.map { targets[$0] }, gradientScale: 0.1)
        #expect(loss.mean == other.mean && loss.accuracy == other.accuracy && loss.counted == rows.count)
        #expect(rows.map { correct[$0] } == Array(other.correct))
        #expect((0..<20).allSatisfy { counts[$0] || correct[$0] == 0 })
        part.backward(inputs: kept)
        #expect(relativeError(gradients(whole), gradients(part)) < 1e-5)
    }
}
