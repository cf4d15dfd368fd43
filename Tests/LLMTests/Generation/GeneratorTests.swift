// Generating with a cache of keys and values.

import Foundation
import Kernels
import LLM
import Testing

private let config = GPT2Configuration(maxT: 40, V: 53, L: 3, NH: 3, C: 24)

private func noisyModel(_ config: GPT2Configuration = config) -> GPT2 {
    let model = GPT2(config, trains: false)
    var random = MersenneTwister(seed: 5)
    for tensor in model.parameters.table.tensors {
        let count = tensor.name == "wte" ? config.V * config.C : tensor.count
        random.fillNormal(
            UnsafeMutableBufferPointer(start: model.parameters.values + tensor, count: count),
            deviation: tensor.decays ? 0.4 : 0.2)
    }
    return model
}

/// The logits after `tokens`, by the pass that training uses.
private func uncached(_ model: GPT2, _ tokens: [Int32]) -> [Float] {
    model.forward(tokens, B: 1, T: tokens.count)
    return Array(model.logits(B: 1, T: tokens.count).suffix(model.config.V))
}

@Test(arguments: [1, 5, 8, 17])
func `the cached path is the uncached one`(promptLength: Int) {
    let model = noisyModel()
    var text = randomTokens(promptLength, below: config.V, seed: UInt64(promptLength))
    let generator = Generator(model, sequences: 1, capacity: config.maxT)
    generator.start(with: text)
    for (i, token) in randomTokens(config.maxT - promptLength, below: config.V, seed: 9).enumerated() {
        #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, text)) < 1e-5, "after \(i) tokens")
        text.append(token)
        generator.append([[token]])
    }
    #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, text)) < 1e-5)
    #expect(generator.tokens[0] == text && text.count == config.maxT)
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

// MARK: - transformers

private struct GenerateCases {
    let greedy: [JSON]
    let sampling: [JSON]

    init() throws {
        let path = try fixture("generate_cases.json")
        let json = try JSON(try contents(of: path), name: path)
        guard case .array(let greedy)? = json["greedy"], case .array(let sampling)? = json["sampling"] else {
            throw UserError("the cases are incomplete", hint: "write the fixtures anew")
        }
        (self.greedy, self.sampling) = (greedy, sampling)
    }
}

extension JSON {
    fileprivate var numbers: [Double?] {
        guard case .array(let values) = self else { return [] }
        return values.map { if case .number(let number) = $0 { number } else { nil } }
    }
    fileprivate var tokens: [Int32] { numbers.compactMap { $0.map { Int32($0) } } }
}

@Test func `greedy decoding is transformers', token for token, with and without repetition penalty`() throws {
    let model = try readModel(try fixture("gpt2_generate.bin"), trains: false)
    let cases = try GenerateCases().greedy
    #expect(cases.count >= 14)
    for json in cases {
        let prompt = try #require(json["prompt"]).tokens
        let expected = try #require(json["tokens"]).tokens
        let limit = try #require(json["limit"]?.int)
        let endOfText = try #require(json["end_of_text"]?.int)
        var sampler = Sampler()
        sampler.isGreedy = true
        sampler.repetitionPenalty = Float(try #require(json["penalty"]?.number))
        let generator = Generator(model, sequences: 1, capacity: prompt.count + limit)
        generator.start(with: prompt)
        var found: [Int32] = []
        var randoms = [Xorshift(seed: 1)]
        generator.generate(
            limit: limit, sampler: sampler, randoms: &randoms, endOfText: endOfText < 0 ? nil : Int32(endOfText)
        ) { _, token in
            found.append(token)
            return true
        }
        #expect(found == expected, "penalty \(sampler.repetitionPenalty), prompt of \(prompt.count)")
        #expect(expected.count == limit || expected.last == Int32(endOfText))
    }
}

@Test func `what may be drawn, and its probabilities, are transformers'`() throws {
    let cases = try GenerateCases().sampling
    #expect(cases.count >= 17)
    for json in cases {
        var scores = try #require(json["logits"]).numbers.compactMap { $0.map { Float($0) } }
        let expected = try #require(json["scores"]).numbers
        let settings = try #require(json["settings"])
        var sampler = Sampler()
        sampler.repetitionPenalty = Float(settings["repetition_penalty"]?.number ?? 1)
        sampler.temperature = Float(settings["temperature"]?.number ?? 1)
        sampler.topK = settings["top_k"]?.int ?? 0
        sampler.topP = Float(settings["top_p"]?.number ?? 1)
        sampler.minP = Float(settings["min_p"]?.number ?? 0)
        let context = try #require(json["context"]).tokens
        scores.withUnsafeMutableBufferPointer { sampler.process($0, context: context) }
        try #require(scores.count == expected.count)
        for (i, (score, theirs)) in zip(scores, expected).enumerated() {
            guard let theirs else {
                #expect(score == -.infinity, "token \(i), \(sampler)")
                continue
            }
            #expect(abs(Double(score) - theirs) <= 1e-5 * max(1, abs(theirs)), "token \(i), \(sampler)")
        }
    }
}

// MARK: - samples

/// What `count` sequences write after one prompt.
private func samples(
    _ model: GPT2, prompt: [Int32], count: Int, limit: Int, sampler: Sampler = Sampler(), endOfText: Int32? = nil,
    until: (Int32) -> Bool = { _ in false }
) -> [[Int32]] {
    let generator = Generator(model, sequences: count, capacity: prompt.count + limit)
    generator.start(with: prompt)
    var seeds = Xorshift(seed: 3)
    var randoms = (0..<count).map { _ in Xorshift(seed: seeds.next()) }
    var found = [[Int32]](repeating: [], count: count)
    generator.generate(limit: limit, sampler: sampler, randoms: &randoms, endOfText: endOfText) { i, token in
        found[i].append(token)
        return !until(token)
    }
    return found
}

@Test func `a sample is the same alone and among others`() {
    let model = noisyModel()
    let prompt = randomTokens(9, below: config.V, seed: 1)
    let ten = samples(model, prompt: prompt, count: 10, limit: 20)
    #expect(ten.allSatisfy { $0.count == 20 } && Set(ten).count == 10)
    for count in [1, 3, 7] {
        #expect(samples(model, prompt: prompt, count: count, limit: 20) == Array(ten[..<count]), "\(count) samples")
    }
}

@Test func `each sample ends where it should`() {
    let model = noisyModel()
    let free = samples(model, prompt: [1], count: 5, limit: 30)
    let end = free[0][4]
    let ended = samples(model, prompt: [1], count: 5, limit: 30, endOfText: end)
    let stopped = samples(model, prompt: [1], count: 5, limit: 30, until: { $0 == end })
    for (i, whole) in free.enumerated() {
        let expected = whole.firstIndex(of: end).map { Array(whole[...$0]) } ?? whole
        #expect(ended[i] == expected && stopped[i] == expected)
    }
    #expect(samples(model, prompt: [1], count: 2, limit: 1).allSatisfy { $0.count == 1 })
}

/// Every sample goes on by itself past the model's positions: its oldest tokens go, all that stays is computed anew.
@Test func `a text may outgrow the model's positions`() {
    let model = noisyModel()
    let prompt = randomTokens(30, below: config.V, seed: 1)
    let generator = Generator(model, sequences: 2, capacity: 1000)
    #expect(generator.capacity == config.maxT)
    generator.start(with: prompt)
    var texts = [prompt, prompt]
    for step in 0..<100 {
        // The second sequence pauses now and then.
        let new = [[Int32(step % config.V)], step % 3 == 0 ? [] : [Int32(step * 7 % config.V)]]
        generator.append(new)
        for i in 0..<2 {
            texts[i] += new[i]
            let held = generator.tokens[i]
            #expect(held.count <= config.maxT && held.count >= config.maxT / 2)
            #expect(held == Array(texts[i].suffix(held.count)))
            guard !new[i].isEmpty else { continue }
            #expect(relativeError(Array(generator.logits(of: i)), uncached(model, held)) < 1e-5, "step \(step)")
        }
    }
}

@Test func `a conversation keeps its context`() {
    let model = noisyModel()
    let generator = Generator(model, sequences: 1, capacity: config.maxT)
    var text: [Int32] = []
    var randoms = [Xorshift(seed: 8)]
    for turn in 0..<4 {
        let line = randomTokens(turn * 2 + 1, below: config.V, seed: UInt64(turn))
        text += line
        generator.append([line])
        #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, text)) < 1e-5)
        generator.generate(limit: 3, sampler: Sampler(), randoms: &randoms, endOfText: nil) { _, token in
            text.append(token)
            return true
        }
    }
    // A line longer than the model's positions leaves its end.
    let long = randomTokens(100, below: config.V, seed: 1)
    generator.append([long])
    #expect(generator.tokens[0] == Array(long.suffix(config.maxT)))
    #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, generator.tokens[0])) < 1e-5)
}

/// More rows than go through the layers at a time (2048), prompts short and long, mixed with single tokens.
@Test func `many prompts at once are each alone`() {
    let model = noisyModel()
    let prompts = (0..<90).map { randomTokens(1 + $0 * 7 % 40, below: config.V, seed: UInt64($0)) }
    #expect(prompts.reduce(0) { $0 + 2 * $1.count } > 2048)
    let generator = Generator(model, sequences: 180, capacity: config.maxT)
    generator.append(prompts + prompts)
    for (i, prompt) in prompts.enumerated() {
        for sequence in [i, i + prompts.count] {
            #expect(relativeError(Array(generator.logits(of: sequence)), uncached(model, prompt)) < 1e-5)
        }
    }
}

@Suite(.serialized) struct GenerateThreads {
    @Test func `any number of threads draws the same`() {
        let before = threadCount
        defer { threadCount = before }
        let model = noisyModel(GPT2Configuration(maxT: 64, V: 300, L: 2, NH: 3, C: 48))
        func texts() -> [[Int32]] {
            [1, 3, 10].flatMap { samples(model, prompt: [5, 6, 7, 8, 9, 10, 11, 12, 13], count: $0, limit: 40) }
        }
        threadCount = 1
        let expected = texts()
        for threads in 2...5 {
            threadCount = threads
            #expect(texts() == expected, "\(threads) threads")
        }
    }
}
