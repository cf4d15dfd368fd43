// Where tokens look: the probabilities that follow from qkv and lse, and their picture.

import Foundation
import LLM
import Naive
import Testing

private func map(_ model: any LanguageModel, layer l: Int, T: Int) throws -> AttentionMap {
    let qkv = try #require(model.activations.first { $0.name == "qkv" })
    let lse = try #require(model.activations.first { $0.name == "lse" })
    return AttentionMap(qkv: qkv.layer(l), lse: lse.layer(l), T: T, C: model.config.C, NH: model.config.NH)
}

@Test func `the map's rows are the naive attention's, and their sum is 1`() throws {
    let sizes = (maxT: 40, V: 50, L: 2, NH: 3, C: 24, T: 37)
    let models: [any LanguageModel] = [
        GPT2(GPT2Configuration(maxT: 40, V: 50, L: 2, NH: 3, C: 24), trains: true),
        Phi(PhiConfiguration(maxT: 40, V: 50, L: 2, NH: 3, C: 24, R: 4), trains: true),
    ]
    for model in models {
        var random = MersenneTwister(seed: 5)
        for tensor in model.parameters.table.tensors {
            let part = UnsafeMutableBufferPointer(
                start: model.parameters.values + tensor, count: tensor.usedCount * tensor.layers)
            random.fillNormal(part, deviation: 0.5)
        }
        let inputs = randomTokens(sizes.T, below: sizes.V, seed: 1)
        let targets = Array(inputs.dropFirst()) + [-1]
        // A longer pass before it: what is shown must be the last one's alone.
        model.learn(
            from: Batch(B: 1, T: 40, inputs: inputs + [1, 2, 3], targets: targets + [1, 2, 3]), gradientScale: 1)
        model.learn(from: Batch(B: 1, T: sizes.T, inputs: inputs, targets: targets), gradientScale: 1)
        for l in 0..<sizes.L {
            let heads = try map(model, layer: l, T: sizes.T).probabilities
            let expected = naiveProbabilities(
                qkv: doubles(model.activation("qkv", layer: l)), lengths: [sizes.T], C: sizes.C, NH: sizes.NH)[0]
            #expect(heads.count == sizes.NH)
            for (head, wanted) in zip(heads, expected) {
                #expect(head.map(\.count) == Array(1...sizes.T))
                let worst = zip(head.joined(), wanted.joined()).map { abs($0 - $1) }.max() ?? 1
                #expect(worst < 1e-5)
                let sums = head.map { abs($0.reduce(0, +) - 1) }.max() ?? 1
                #expect(sums < 1e-5)
            }
        }
    }
}

/// A map of one head, with scores that are known.
private func small(_ probabilities: [Double]) -> AttentionMap {
    // One channel, and keys and queries of √score: T = 2, scores of the second row log p.
    let qkv: [Float] = [0, Float(log(probabilities[0])), 0, 1, Float(log(probabilities[1])), 0]
    let lse: [Float] = [0, 0]
    return qkv.withUnsafeBufferPointer { qkv in
        lse.withUnsafeBufferPointer { AttentionMap(qkv: qkv, lse: $0, T: 2, C: 1, NH: 1) }
    }
}

@Test func `a picture has what can be seen, and its words are XML's`() {
    let map = small([0.25, 0.75])
    let svg = map.svg("a < b", tokens: ["<|x|>", "&\u{1}\u{FFFE}"])
    #expect(svg.contains("<title>a &lt; b</title>") && !svg.contains("<|") && !svg.contains("\u{1}"))
    #expect(svg.contains("<title>1 &amp;\u{FFFD}\u{FFFD} → 0 &lt;|x|&gt;: 0.250</title>"))
    #expect(svg.contains(#"x="15" y="15" width="15" height="15" fill-opacity="0.75""#))
    #expect(svg.contains("prefers-color-scheme: dark"))
    #expect(svg.matches(of: /<rect class="p"/).count == 3)
    // 0.4% is not drawn; of chosen rows neither are columns that get less than a tenth.
    let sharp = small([0.004, 0.996])
    #expect(sharp.svg("", tokens: ["a", "b"]).matches(of: /<rect class="p"/).count == 2)
    let chosen = sharp.svg("", tokens: ["first", "second"], rows: 1..<2)
    #expect(chosen.matches(of: /<rect class="p"/).count == 1 && !chosen.contains("first"))
    let long = map.svg("", tokens: ["abcdefghijklmnop", "b"])
    #expect(long.contains(">0 abcdefghijklm…<"))
}

@Test func `a token's label is on one line, and shows white space`() {
    #expect(tokenLabel(Array(" a b\n\t\r\\".utf8)) == "␣a␣b\\n\\t\\r\\\\")
    #expect(tokenLabel(Array("결".utf8) + [0xEA, 0xB2]) == "결\\xEA\\xB2")
    #expect(tokenLabel([0]) == "\\x00")
}
