// A model with more tokens: what is there stays, and the new rows begin as they are asked to.

import Foundation
import Kernels
import LLM
import Testing

private func models(V: Int = 50, C: Int = 8) -> [any LanguageModel] {
    let models: [any LanguageModel] = [
        GPT2(GPT2Configuration(maxT: 10, V: V, L: 2, NH: 2, C: C), trains: false),
        Phi(PhiConfiguration(maxT: 10, V: V, L: 2, NH: 2, C: C, FC: 20, R: 4), trains: false),
    ]
    for (seed, model) in models.enumerated() {
        var random = MersenneTwister(seed: UInt32(seed))
        random.fillNormal(
            UnsafeMutableBufferPointer(start: model.parameters.values, count: model.parameters.table.count),
            deviation: 0.3)
    }
    return models
}

/// Row i of a tensor.
private func row(_ model: any LanguageModel, _ tensor: Tensor, _ i: Int) -> [Float] {
    let start = model.parameters.values + tensor
    return (0..<tensor.rowCount).map { start[i * tensor.rowCount + $0] }
}

private func mean(_ rows: [[Float]]) -> [Float] {
    (0..<rows[0].count).map { c in Float(rows.reduce(0.0) { $0 + Double($1[c]) } / Double(rows.count)) }
}

/// Of a grown model: its matrices and biases that have grown, and whether all the rest and the old rows are the same.
private func expectGrown(
    _ grown: any LanguageModel, _ model: any LanguageModel, known: Int, _ newRow: ([[Float]], Int) -> [Float]
) {
    let vocabulary = grown.config.vocabularyTensors
    #expect(vocabulary.map(\.name) == (model is GPT2 ? ["wte"] : ["wte", "headw", "headb"]))
    for (old, new) in zip(model.parameters.table.tensors, grown.parameters.table.tensors) {
        guard vocabulary.contains(where: { $0.name == new.name }) else {
            #expect(
                model.parameters.array(model.parameters.values, old)
                    == grown.parameters.array(grown.parameters.values, new))
            continue
        }
        let rows = (0..<known).map { row(model, old, $0) }
        for i in 0..<known { #expect(row(grown, new, i) == rows[i], "\(new.name)") }
        for i in known..<grown.V { #expect(row(grown, new, i) == newRow(rows, i), "\(new.name) \(i)") }
    }
}

@Test(arguments: [50, 47]) func `new rows begin as they are asked to`(known: Int) {
    for model in models() {
        func grown(_ rows: NewRows) -> any LanguageModel { model.grown(to: 54, from: known, rows) }
        expectGrown(grown(.zero), model, known: known) { rows, _ in rows[0].map { _ in 0 } }
        expectGrown(grown(.mean), model, known: known) { rows, _ in mean(rows) }
        expectGrown(grown(.like(7)), model, known: known) { rows, _ in rows[7] }
        // The second has no pieces, and from the fourth on there is nothing.
        let pieces: [[Int32]] = [[3, 5, 5], [], [46]]
        expectGrown(grown(.meanOfPieces(pieces)), model, known: known) { rows, i in
            let own = i - known < 3 ? pieces[i - known] : []
            return mean(own.isEmpty ? rows : own.map { rows[Int($0)] })
        }
    }
}

@Test func `a model's scores for the tokens that it had are the same bits`() {
    for model in models() {
        let inputs = randomTokens(10, below: 50, seed: 1)
        func logits(_ model: any LanguageModel) -> [[Float]] {
            model.forward(inputs: inputs, .batch(lengths: [10]))
            var all = [Float](repeating: 0, count: 10 * model.V)
            model.logits(into: &all, .batch(lengths: [10]))
            return (0..<10).map { Array(all[$0 * model.V..<$0 * model.V + 50]) }
        }
        #expect(logits(model.grown(to: 205, .normal(seed: 1))) == logits(model))
    }
}

/// After growing like a token, a text with the new one has the scores of the text with the old one.
@Test func `a copy of a token is read as the token`() {
    for model in models() {
        let grown = model.grown(to: 51, .like(9))
        func logits(_ inputs: [Int32]) -> [Float] {
            grown.forward(inputs: inputs, .batch(lengths: [4]))
            var all = [Float](repeating: 0, count: 4 * 51)
            grown.logits(into: &all, .batch(lengths: [4]))
            return all
        }
        let scores = logits([50, 3, 50, 4])
        #expect(scores == logits([9, 3, 9, 4]))
        for n in 0..<4 { #expect(scores[n * 51 + 50] == scores[n * 51 + 9]) }
    }
}

/// As transformers draws: 4,000 rows have the mean of the old ones, and 1e-9 times their covariance. The old rows are
/// correlated. That the difference is not lost in float32 takes a mean near zero.
@Test func `normal rows have the old rows' mean and covariance`() {
    let (V, C, new) = (600, 8, 4_000)
    for model in models(V: V, C: C) {
        for tensor in model.config.vocabularyTensors where tensor.rowCount == C {
            let values = model.parameters.values + tensor
            for i in 0..<V {
                for c in 1..<C { values[i * C + c] += 0.8 * values[i * C + c - 1] }
            }
            for c in 0..<C {
                let all = (0..<V).reduce(0.0) { $0 + Double(values[$1 * C + c]) } / Double(V)
                for i in 0..<V { values[i * C + c] -= Float(all) }
            }
        }
        let grown = model.grown(to: V + new, .normal(seed: 3))
        let other = model.grown(to: V + new, .normal(seed: 4))
        for (tensor, large) in zip(model.config.vocabularyTensors, grown.config.vocabularyTensors)
        where tensor.rowCount == C {
            let old = (0..<V).map { row(model, tensor, $0).map { Double($0) } }
            let drawn = (V..<V + new).map { row(grown, large, $0).map { Double($0) } }
            #expect(row(grown, large, V) != row(other, large, V))
            let center = mean(old.map { $0.map { Float($0) } }).map { Double($0) }
            for a in 0..<C {
                for b in 0...a {
                    let wanted = old.reduce(0.0) { $0 + ($1[a] - center[a]) * ($1[b] - center[b]) } / Double(V) * 1e-9
                    let got = drawn.reduce(0.0) { $0 + ($1[a] - center[a]) * ($1[b] - center[b]) } / Double(new)
                    let size = old.reduce(0.0) { $0 + $1[a] * $1[a] } / Double(V) * 1e-9
                    #expect(abs(got - wanted) < 0.12 * size, "\(tensor.name) \(a) \(b)")
                }
            }
        }
        guard let bias = grown.config.vocabularyTensors.first(where: { $0.rowCount == 1 }),
            let before = model.config.vocabularyTensors.first(where: { $0.rowCount == 1 })
        else { continue }
        let old = (0..<V).map { row(model, before, $0)[0] }
        #expect((V..<V + new).allSatisfy { abs(row(grown, bias, $0)[0] - mean(old.map { [$0] })[0]) < 1e-7 })
    }
    // Fewer rows than channels have a covariance without a factor.
    for model in models(V: 6, C: 8) {
        let grown = model.grown(to: 9, .normal(seed: 3))
        expectGrown(grown, model, known: 6) { rows, i in
            rows[0].count == 1 ? row(grown, grown.config.vocabularyTensors[2], i) : mean(rows)
        }
    }
}

/// The standard deviation of a mean-free sample.
private func deviation(_ values: [Float]) -> Double {
    (values.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(values.count)).squareRoot()
}

/// A bias whose mean is 0, so that what is drawn about it is not lost in float32.
@Test func `a new bias is drawn about the old ones' mean, or is 0 where the classifier is the embeddings`() throws {
    let phi = models(V: 600)[1]
    let bias = try #require(phi.config.vocabularyTensors.last)
    let values = phi.parameters.values + bias
    for i in 0..<600 { values[i] = i % 2 == 0 ? 0.5 : -0.5 }
    let grown = phi.grown(to: 4_600, .normal(seed: 3))
    let large = try #require(grown.config.vocabularyTensors.last)
    let drawn = (600..<4_600).map { row(grown, large, $0)[0] }
    #expect(abs(deviation(drawn) / 0.5e-9 - 1) < 0.05)

    let bert = noisyBERT(tinyBERT(), trains: false).grown(to: 22, .normal(seed: 3))
    let headb = try #require(bert.tensors.head?.headb)
    let all = bert.parameters.array(bert.parameters.values, headb)
    #expect(all[..<19].contains { $0 != 0 } && all[19...].allSatisfy { $0 == 0 })
}

/// Of all rows, as transformers divides: with three, one less would be half as much again.
@Test func `the covariance is that of all rows`() {
    let model = GPT2(GPT2Configuration(maxT: 4, V: 3, L: 1, NH: 1, C: 2), trains: false)
    let wte = model.parameters.values + model.tensors.wte
    for (i, value) in ([1, 0, -0.5, 0.5, -0.5, -0.5] as [Float]).enumerated() { wte[i] = value }
    let grown = model.grown(to: 4_003, .normal(seed: 3))
    let drawn = (3..<4_003).map { (grown.parameters.values + grown.tensors.wte)[$0 * 2] }
    #expect(abs(deviation(drawn) / (0.5e-9).squareRoot() - 1) < 0.05)
}
