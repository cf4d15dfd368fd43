// generation.md's numbers: probabilities by the sampler, sizes by the cache, times by arithmetic.

import Foundation
import LLM
import Naive
import Testing

private let d12 = GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768)

@Test func `every number of generation md is computed`() throws {
    var page = try Page(
        "dev/doc/generation.md", measured: ["| Zen 4 |", "| Zen 4, PyTorch 2.13 |", "| Zen 5 |", "| Zen 5, int8 |"])
    expectTemperature(&page)
    expectCuts(&page)
    expectDraw(&page)
    expectCacheSize(&page)
    expectOperations(&page)
    expectMemory(&page)
    expectStream(&page)
    // Arguments of the examples, GPT-2's positions, and what was measured.
    let left = page.numbers(but: ["1,024", "0.9", "1.2", "0.5"])
    #expect(left.isEmpty, "no test computes these: \(left)")
}

/// What may be drawn with these settings, and with which probabilities.
private func probabilities(_ logits: [Double], _ change: (inout Sampler) -> Void) -> [Double] {
    var sampler = Sampler()
    change(&sampler)
    var scores = logits.map { Float($0) }
    scores.withUnsafeMutableBufferPointer { sampler.process($0, context: []) }
    return naiveSoftmax(scores.map { Double($0) })
}

private func expectTemperature(_ page: inout Page) {
    let logits: [Double] = [2, 1, 0]
    let columns = [0.5, 1, 2].map { t in probabilities(logits) { $0.temperature = Float(t) } }
    for i in logits.indices {
        let row = columns.map { short($0[i]) }.joined(separator: " | ")
        page.expect("| \(decimal(logits[i], 0)) | \(row) |")
    }
    // The powers of the ratios.
    let ratios = columns.map { $0[0] / $0[1] }
    #expect(abs(ratios[0] - ratios[1] * ratios[1]) < 1e-4)
    #expect(abs(ratios[2] * ratios[2] - ratios[1]) < 1e-4)
}

private let four: [Double] = [2, 1, 0, -1]

private func expectCuts(_ page: inout Page) {
    let logits = four.map { decimal($0, 0) }
    page.expect(
        "With the logits \(logits[..<3].joined(separator: ", ")) and \(logits[3]): | | "
            + "\(logits.joined(separator: " | ")) |")
    func row(_ name: String, _ p: [Double]) -> String {
        // At least one token stays.
        "| \(name) | " + p.map { $0 == 0 ? "–" : $0 == 1 ? "1.0000" : short($0) }.joined(separator: " | ") + " |"
    }
    let all = probabilities(four) { _ in }
    page.expect(row("all", all))
    page.expect(row("top k = 2", probabilities(four) { $0.topK = 2 }))
    page.expect(row("top p = 0.9", probabilities(four) { $0.topP = 0.9 }))
    page.expect(row("top p = 0.6", probabilities(four) { $0.topP = 0.6 }))
    page.expect(row("min p = 0.2", probabilities(four) { $0.minP = 0.2 }))
    page.expect("Say that they have 2% together. In a text of 100 tokens")
    page.expect("with probability 1 − .98¹⁰⁰ = \(decimal(1 - pow(0.98, 100), 2, zero: false)), and")
    page.expect("the first two have \(short(all[0] + all[1])), so 0.9 takes the third, too.")
    page.expect("share of the largest probability, here \(short(0.2 * all[0])).")

    let warm = probabilities(four) { $0.temperature = 2 }
    let stays = probabilities(four) {
        $0.temperature = 2
        $0.topP = 0.9
    }
    #expect(stays.allSatisfy { $0 > 0 })
    page.expect(
        "At τ = 2 the same top p = 0.9 keeps all four tokens, because the first three have "
            + "\(short(warm[0] + warm[1] + warm[2])) only.")
    // The exercise: where the three have 0.9.
    var (low, high) = (1.0, 2.0)
    while high - low > 1e-9 {
        let middle = (low + high) / 2
        let p = naiveSoftmax(four.map { $0 / middle })
        if p[0] + p[1] + p[2] > 0.9 { low = middle } else { high = middle }
    }
    #expect(decimal(low, 1) == "2.0")
    page.expect("from which temperature on do all four tokens stay? Nearly 2 is enough.")

    var penalty = Sampler()
    penalty.repetitionPenalty = 1.2
    var scores = four.map { Float($0) }
    scores.withUnsafeMutableBufferPointer { penalty.process($0, context: [0, 3]) }
    page.expect(
        "with 1.2 a 2 becomes \(decimal(Double(scores[0]), 4)) and a −1 becomes \(decimal(Double(scores[3]), 1)).")
}

private func expectDraw(_ page: inout Page) {
    let p = naiveSoftmax(four)
    let sums = [p[0], p[0] + p[1], p[0] + p[1] + p[2]]
    let drawn = four.map { Float($0) }.withUnsafeBufferPointer { sampleSoftmax($0, coin: 0.9) }
    let names = ["first", "second", "third", "fourth"]
    page.expect(
        "the sums are \(sums.map { short($0) }.joined(separator: ", ")) and 1: a coin of .9 draws the \(names[drawn]).")
    // As generate makes its generators.
    var seeds = Xorshift(seed: 42)
    var first = Xorshift(seed: seeds.next())
    let coins = (0..<3).map { _ in short(Double(first.uniform())) }
    page.expect("With the seed 42 the first sample's coins begin \(coins.joined(separator: ", ")).")
}

private func cacheBytes(_ sequences: Int, _ tokens: Int) -> Double {
    func bytes(_ sequences: Int) -> Double {
        KVCache.bytes(L: d12.L, C: d12.C, NH: d12.NH, sequences: sequences, capacity: tokens)
    }
    // There is one place more, for a shared prompt.
    return bytes(sequences) - bytes(0)
}

private func megabytes(_ bytes: Double, _ digits: Int = 0) -> String { "\(decimal(bytes / 1e6, digits)) MB" }

private func expectCacheSize(_ page: inout Page) {
    #expect(cacheBytes(1, 1) == Double(2 * d12.L * d12.C * 4))
    page.expect("in each of L layers, 2·L·C·4 bytes.")
    page.expect(
        "| cache | \(decimal(cacheBytes(1, 1) / 1e3, 1)) kB | \(megabytes(cacheBytes(1, 128), 1)) | "
            + "\(megabytes(cacheBytes(1, 1024), 1)) | \(megabytes(cacheBytes(10, 1024))) |")
    page.expect("than the weights, \(megabytes(Parameters.bytes(d12.table, trains: false))).")
}

/// Multiplications and additions of one pass: `rows` rows, the last of which sees `tokens`, and one row of logits.
private func operations(rows: Int, tokens: Int) -> Double {
    let matrices = 12 * d12.L * d12.C * d12.C * rows
    let seen = (tokens - rows + 1...tokens).reduce(0, +)
    return 2 * Double(matrices + 2 * d12.L * d12.C * seen + d12.V * d12.C)
}

private func expectOperations(_ page: inout Page) {
    // A model of two layers says the same of its matrices as the formula here: a third of what training takes.
    let small = GPT2(GPT2Configuration(maxT: 1, V: 128, L: 2, NH: 12, C: 768), trains: true)
    let none = GPT2(GPT2Configuration(maxT: 1, V: 128, L: 0, NH: 12, C: 768), trains: true)
    let layers = (small.flopsPerToken(T: 0) - none.flopsPerToken(T: 0)) / 3
    #expect(abs(layers / Double(2 * 12 * 2 * d12.C * d12.C) - 1) < 0.01)

    func scientific(_ x: Double) -> String {
        String(format: "%.2e", x).replacingOccurrences(of: "e+", with: "e")
    }
    for count in [128, 1024] {
        let with = (1...count).reduce(0) { $0 + operations(rows: 1, tokens: $1) }
        let without = (1...count).reduce(0) { $0 + operations(rows: $1, tokens: $1) }
        page.expect(
            "| \(grouped(count)) tokens | \(scientific(with)) | \(scientific(without)) | "
                + "\(decimal(without / with, 0)) times |")
    }
}

private func expectMemory(_ page: inout Page) {
    let tensors = GPT2Tensors(d12).table.tensors
    // Of the positions a step reads one row.
    let weights = tensors.filter { $0.name != "wpe" }.reduce(0) { $0 + $1.usedCount * $1.layers }
    let (peak, bandwidth) = (236e9, 32e9)
    let arithmetic = 2 * Double(weights) / peak
    let memory = 4 * Double(weights) / bandwidth
    page.expect("all but the positions, \(grouped(weights)) weights or \(megabytes(4 * Double(weights))) a token.")
    page.expect(
        "cores make \(decimal(peak / 1e9, 0)) billion operations a second, and its memory gives "
            + "\(decimal(bandwidth / 1e9, 0)) GB in one:")
    page.expect("arithmetic 2 · \(grouped(weights)) / 236e9 = \(decimal(1e3 * arithmetic, 2)) ms")
    page.expect(
        "memory \(grouped(4 * weights)) / 32e9 = \(decimal(1e3 * memory, 2)) ms at most "
            + "\(decimal(1 / memory, 0)) tokens a second")
    for (name, bytes, measured) in [("float32", 4.0, 67), ("bfloat16", 2, 133), ("int8", 1 + 4.0 / 64, 255)] {
        let read = bytes * Double(weights)
        page.expect("| \(name) | \(decimal(read / 1e6, 0)) | \(decimal(bandwidth / read, 0)) | \(measured) |")
    }
    let texts = memory / arithmetic
    page.expect(
        "The arithmetic takes \(decimal(1e4 * arithmetic, 1)) ms, still less than memory's "
            + "\(decimal(1e3 * memory, 2)); the two are equal at \(decimal(texts, 0)) texts.")
    page.expect("552 tokens a second, \(decimal(552.0 / 67, 1)) times one text's.")

    // In the last layer all but the last token stop after qkv.
    let rest = 511
    let prompt = operations(rows: 512, tokens: 512) - 2 * Double(9 * d12.C * d12.C * rest + d12.C * rest * (rest + 1))
    page.expect("512 tokens take \(decimal(prompt / 1e9, 0)) billion operations")
    page.expect(
        "\(decimal(1e3 * prompt / peak, 0)) ms at 236 billion a second, so at most "
            + "\(grouped(Int((512 * peak / prompt).rounded()))) tokens a second. Measured: 1,178.")
    #expect(Int((1178.0 / 67).rounded()) == 18)
    page.expect("A token of the prompt costs an eighteenth of one that is written.")
}

private func expectStream(_ page: inout Page) {
    func shown(_ pieces: [[UInt8]], stops: [String]) -> (texts: [String], isStopped: Bool) {
        var stream = TextStream(stops: stops.map { Array($0.utf8) })
        let texts = pieces.map { stream.add($0) }
        return (texts, stream.isStopped)
    }
    func quoted(_ pieces: [String]) -> String { pieces.map { "\"\($0)\"" }.joined(separator: " ") }
    for last in ["joy", "D of"] {
        let pieces = ["the E", "N", last]
        let result = shown(pieces.map { Array($0.utf8) }, stops: ["END"])
        #expect(result.isStopped == (last == "D of"))
        let texts = quoted(result.texts) + (result.isStopped ? ", and stops" : "")
        page.expect("\(quoted(pieces)) shown: \(texts)")
    }
    let bytes: [[UInt8]] = [Array("밥".utf8) + [0xEC], [0x9D], [0x84]]
    #expect(bytes.joined().elementsEqual("밥을".utf8))
    let texts = shown(bytes, stops: []).texts
    page.expect("\"밥\\xEC\" \"\\x9D\" \"\\x84\" shown: \(quoted(texts))")
}
