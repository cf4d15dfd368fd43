// Generating with a cache of keys and values.

import Foundation
import Kernels
import LLM
import Testing

private let config = GPT2Configuration(maxT: 40, V: 53, L: 3, NH: 3, C: 24)

private func noisyModel(_ config: GPT2Configuration = config) -> GPT2 {
    let model = GPT2(config, trains: false)
    var random = MersenneTwister(seed: 5)
    for tensor in model.table.tensors {
        let count = tensor.name == "wte" ? config.V * config.C : tensor.count
        random.fillNormal(
            UnsafeMutableBufferPointer(start: model.parameters + tensor, count: count),
            deviation: tensor.isMatrix ? 0.4 : 0.2)
    }
    return model
}

/// The logits after `tokens`, by the pass that training uses.
private func uncached(_ model: GPT2, _ tokens: [Int32]) -> [Float] {
    var out = [Float](repeating: 0, count: model.config.V)
    model.forward(inputs: tokens, B: 1, T: tokens.count)
    out.withUnsafeMutableBufferPointer { buffer in
        if let base = buffer.baseAddress { model.logits(rows: tokens.count - 1..<tokens.count, into: base) }
    }
    return out
}

@Test(arguments: [1, 5, 8, 17])
func `the cached path is the uncached one`(promptLength: Int) {
    let model = noisyModel()
    var text = randomTokens(promptLength, below: config.V, seed: UInt64(promptLength))
    let decoder = BatchDecoder(model, sequences: 1, capacity: config.maxT)
    decoder.start(with: text)
    for (i, token) in randomTokens(config.maxT - promptLength, below: config.V, seed: 9).enumerated() {
        #expect(relativeError(Array(decoder.logits(of: 0)), uncached(model, text)) < 1e-5, "after \(i) tokens")
        text.append(token)
        decoder.append([[token]])
    }
    #expect(relativeError(Array(decoder.logits(of: 0)), uncached(model, text)) < 1e-5)
    #expect(decoder.tokens[0] == text && text.count == config.maxT)
}

@Test(arguments: [1, 3, 8, 12])
func `greedy decoding in batches is greedy decoding`(batch: Int) {
    let model = noisyModel()
    let prompts = (1...13).map { randomTokens($0, below: config.V, seed: UInt64($0)) }
    let stop: Int32 = 7
    let limit = 12
    var found = [[Int32]?](repeating: nil, count: prompts.count)
    model.continueGreedily(prompts, limit: limit, stop: stop, batch: batch) { i, continuation in
        #expect(found[i] == nil)
        found[i] = continuation
    }
    for (prompt, continuation) in zip(prompts, found) {
        var text = prompt
        while text.count < prompt.count + limit {
            let next = Int32(uncached(model, text).withUnsafeBufferPointer { argmax($0) })
            if next == stop { break }
            text.append(next)
        }
        #expect(continuation == Array(text[prompt.count...]))
    }
}
