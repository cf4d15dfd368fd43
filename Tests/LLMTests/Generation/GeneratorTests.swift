// Generating with a cache of keys and values.

import Foundation
import Kernels
import LLM
import Testing

private let config = GPT2Configuration(maxT: 40, V: 53, L: 3, NH: 3, C: 24)

private func noisyModel(_ config: GPT2Configuration = config, trains: Bool = false) -> GPT2 {
    let model = GPT2(config, trains: trains)
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
func `greedy decoding in batches is greedy decoding`(batch: Int) throws {
    let model = noisyModel()
    let prompts = (1...13).map { randomTokens($0, below: config.V, seed: UInt64($0)) }
    let limit = 12
    func likeliest(_ text: [Int32]) -> Int32 { Int32(uncached(model, text).withUnsafeBufferPointer { argmax($0) }) }
    let free = prompts.map { prompt in
        (0..<limit).reduce(into: [Int32]()) { text, _ in text.append(likeliest(prompt + text)) }
    }
    // One that ends some of them and others not.
    let stop = try #require(free.joined().first { token in !free.allSatisfy { $0.contains(token) } })
    var found = [[Int32]?](repeating: nil, count: prompts.count)
    try model.continueGreedily(prompts, limit: limit, stop: stop, batch: batch) { i, continuation in
        #expect(found[i] == nil)
        found[i] = continuation
    }
    #expect(found == free.map { Array($0.prefix { $0 != stop }) })
}

// MARK: - another prompt with the same beginning

@Test(arguments: [0, 1, 5, 12, 30])
func `a prompt that goes on from what the cache holds has a fresh generator's logits`(common: Int) throws {
    let model = noisyModel()
    let text = randomTokens(30, below: config.V, seed: 1)
    var sampler = Sampler()
    sampler.isGreedy = true
    for length in [1, 2, 9, 30, 39] where length >= common {
        let prompt = text.prefix(common) + randomTokens(length - common, below: config.V, seed: 2)
        // After a prompt that all sequences share, after one of its own, and after tokens that were drawn.
        for way in 0..<3 {
            let generator = Generator(model, sequences: 1, capacity: config.maxT)
            if way == 0 { generator.start(with: text) } else { generator.continue(with: text) }
            if way == 2 {
                var randoms = [Xorshift(seed: 1)]
                try generator.generate(limit: 4, sampler: sampler, randoms: &randoms, endOfText: nil) { _, _ in true }
            }
            generator.continue(with: Array(prompt))
            #expect(generator.tokens[0] == Array(prompt))
            let fresh = Generator(model, sequences: 1, capacity: config.maxT)
            fresh.start(with: Array(prompt))
            #expect(
                relativeError(Array(generator.logits(of: 0)), Array(fresh.logits(of: 0))) < 1e-5,
                "\(length) tokens, way \(way)")
            // And goes on from there.
            if length < config.maxT { for each in [generator, fresh] { each.append([[7]]) } }
            #expect(relativeError(Array(generator.logits(of: 0)), Array(fresh.logits(of: 0))) < 1e-5)
        }
    }
}

@Test func `only what a prompt has beyond the cache goes through the model`() {
    let model = BigramModel(V: 5)
    let generator = Generator(model, sequences: 1, capacity: 20)
    for prompt in [[0, 1, 2, 3], [0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 0], [0, 1, 3], [2]] as [[Int32]] {
        generator.continue(with: prompt)
    }
    #expect(model.passes == [4, 2, 1, 1, 1])
}

// MARK: - transformers

private struct GenerateCases {
    let greedy: [JSON]
    let sampling: [JSON]

    /// - Parameter name: of the fixture.
    init(_ name: String = "generate_cases.json") throws {
        let path = try fixture(name)
        let json = try JSON(try contents(of: path), name: path)
        guard case .array(let greedy)? = json["greedy"] else {
            throw UserError("the cases are incomplete", hint: "write the fixtures again")
        }
        self.greedy = greedy
        if case .array(let sampling)? = json["sampling"] { self.sampling = sampling } else { sampling = [] }
    }
}

extension JSON {
    fileprivate var numbers: [Double?] {
        guard case .array(let values) = self else { return [] }
        return values.map { if case .number(let number) = $0 { number } else { nil } }
    }
    fileprivate var tokens: [Int32] { numbers.compactMap { $0.map { Int32($0) } } }
}

@Test(arguments: [("gpt2_generate.bin", "generate_cases.json", 14), ("phi/generate", "phi/generate.json", 3)])
func `greedy decoding is transformers', token for token, with and without repetition penalty`(
    name: String, fixtures: String, count: Int
) throws {
    let model = try readModel(try fixture(name))
    let cases = try GenerateCases(fixtures).greedy
    #expect(cases.count >= count)
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
        try generator.generate(
            limit: limit, sampler: sampler, randoms: &randoms, endOfText: endOfText < 0 ? nil : Int32(endOfText)
        ) { _, token in
            found.append(token)
            return true
        }
        #expect(found == expected, "penalty \(sampler.repetitionPenalty), prompt of \(prompt.count)")
        #expect(expected.count == limit || expected.last == Int32(endOfText))
    }
}

/// Several sequences go another way than one: their weights are packed, and prompts and single tokens share a pass.
@Test(arguments: [1, 2, 3])
func `a Phi continues several prompts at a time as transformers does`(batch: Int) throws {
    let model = try readModel(try fixture("phi/generate"))
    let cases = try GenerateCases("phi/generate.json").greedy
    let prompts = try cases.map { try #require($0["prompt"]).tokens }
    var found = [[Int32]](repeating: [], count: prompts.count)
    try model.continueGreedily(prompts, limit: 40, stop: nil, batch: batch) { found[$0] = $1 }
    for (i, json) in cases.enumerated() { #expect(try found[i] == #require(json["tokens"]).tokens, "prompt \(i)") }
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
) throws -> [[Int32]] {
    let generator = Generator(model, sequences: count, capacity: prompt.count + limit)
    generator.start(with: prompt)
    var seeds = Xorshift(seed: 3)
    var randoms = (0..<count).map { _ in Xorshift(seed: seeds.next()) }
    var found = [[Int32]](repeating: [], count: count)
    try generator.generate(limit: limit, sampler: sampler, randoms: &randoms, endOfText: endOfText) { i, token in
        found[i].append(token)
        return !until(token)
    }
    return found
}

/// A model's vocabulary may be padded beyond its tokenizer's.
@Test func `ids past the tokenizer's are never drawn`() throws {
    let model = noisyModel()
    var random = [Xorshift(seed: 1)]
    var sampler = Sampler()
    sampler.repetitionPenalty = 1.5
    for vocabulary in [1, 7, config.V, config.V + 9] {
        // The prompt may hold them.
        let generator = Generator(model, sequences: 1, capacity: 40, vocabulary: vocabulary)
        generator.start(with: [Int32(config.V - 1), 0])
        #expect(generator.logits(of: 0).count == min(vocabulary, config.V))
        try generator.generate(limit: 30, sampler: sampler, randoms: &random, endOfText: nil) { _, token in
            #expect(token >= 0 && token < min(vocabulary, config.V))
            return true
        }
        try model.continueGreedily([[3], [5, 4]], limit: 10, stop: nil, vocabulary: vocabulary) {
            #expect($1.count == 10 && $1.allSatisfy { $0 < min(vocabulary, config.V) })
        }
    }
}

@Test(arguments: [Float.nan, .infinity, -.infinity])
func `logits that are no numbers are an error, not a token`(value: Float) throws {
    func check(_ model: any CausalModel, prompt: [Int32], vocabulary: Int? = nil) {
        for isGreedy in [true, false] {
            var sampler = Sampler()
            sampler.isGreedy = isGreedy
            let generator = Generator(model, sequences: 1, capacity: 9, vocabulary: vocabulary)
            generator.start(with: prompt)
            var random = [Xorshift(seed: 1)]
            let error = userError {
                try generator.generate(limit: 2, sampler: sampler, randoms: &random, endOfText: nil) { _, _ in true }
            }
            #expect(error?.message.contains("NaN or infinite") == true && error?.exitCode == 1)
        }
        let error = userError {
            try model.continueGreedily([[1], prompt], limit: 2, stop: nil, vocabulary: vocabulary) { _, _ in }
        }
        #expect(error?.message.contains("NaN or infinite") == true)
    }
    for places in [[4], [0], Array(0..<7)] {
        let model = BigramModel(V: 7)
        for place in places { model.parameters.values[2 * 7 + place] = value }
        check(model, prompt: [1, 2])
        // What can't be drawn may be anything.
        if places == [4] {
            var count = 0
            try model.continueGreedily([[2]], limit: 1, stop: nil, vocabulary: 4) { _, _ in count += 1 }
            #expect(count == 1)
        }
    }
    // Parameters that are numbers, of a model that diverged.
    let model = noisyModel()
    for i in 0..<model.parameters.table.count { model.parameters.values[i] *= 1e12 }
    check(model, prompt: [1, 2, 3])
}

@Test func `a sample is the same alone and among others`() throws {
    let model = noisyModel()
    let prompt = randomTokens(9, below: config.V, seed: 1)
    let ten = try samples(model, prompt: prompt, count: 10, limit: 20)
    #expect(ten.allSatisfy { $0.count == 20 } && Set(ten).count == 10)
    for count in [1, 3, 7] {
        #expect(try samples(model, prompt: prompt, count: count, limit: 20) == Array(ten[..<count]), "\(count) samples")
    }
}

@Test func `each sample ends where it should`() throws {
    let model = noisyModel()
    let free = try samples(model, prompt: [1], count: 5, limit: 30)
    let end = free[0][4]
    let ended = try samples(model, prompt: [1], count: 5, limit: 30, endOfText: end)
    let stopped = try samples(model, prompt: [1], count: 5, limit: 30, until: { $0 == end })
    for (i, whole) in free.enumerated() {
        let expected = whole.firstIndex(of: end).map { Array(whole[...$0]) } ?? whole
        #expect(ended[i] == expected && stopped[i] == expected)
    }
    #expect(try samples(model, prompt: [1], count: 2, limit: 1).allSatisfy { $0.count == 1 })
}

/// Every sample goes on by itself past the model's positions: its oldest tokens go, all that stays is computed again.
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

@Test func `a conversation keeps its context`() throws {
    let model = noisyModel()
    let generator = Generator(model, sequences: 1, capacity: config.maxT)
    var text: [Int32] = []
    var randoms = [Xorshift(seed: 8)]
    for turn in 0..<4 {
        let line = randomTokens(turn * 2 + 1, below: config.V, seed: UInt64(turn))
        text += line
        generator.append([line])
        #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, text)) < 1e-5)
        try generator.generate(limit: 3, sampler: Sampler(), randoms: &randoms, endOfText: nil) { _, token in
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

/// Passes of few rows: some take a single prompt that is longer, some several sequences, the last one what is left.
/// Prompts and single tokens come mixed, before and after a prompt that all share.
@Test(arguments: [1, 4, 9, 16, 23, 40, 1000], [false, true])
func `tokens that need several passes are each alone`(mostRows: Int, trains: Bool) {
    let model = noisyModel(trains: trains)
    let before = trains ? model.parameters.bits : model.parameters.bits(of: \.values)
    let count = 7
    let generator = Generator(model, sequences: count, capacity: config.maxT, mostRows: mostRows)
    var texts = [[Int32]](repeating: [], count: count)
    func expectAlone(_ asked: [[Int32]], _ what: String) {
        for i in 0..<count where !asked[i].isEmpty {
            #expect(generator.tokens[i] == texts[i])
            let logits = Array(generator.logits(of: i))
            #expect(relativeError(logits, uncached(model, texts[i])) < 1e-5, "\(what), sequence \(i)")
        }
    }
    func append(_ lengths: [Int], _ what: String) {
        let new = lengths.enumerated().map { randomTokens($1, below: config.V, seed: UInt64(7 * $0 + $1)) }
        generator.append(new)
        for i in 0..<count { texts[i] += new[i] }
        expectAlone(new, what)
    }
    append([3, 1, 12, 8, 7, 1, 9], "prompts of their own")
    append([1, 1, 1, 1, 1, 1, 1], "a token each")
    append([0, 9, 1, 0, 16, 1, 8], "some pause")
    let prompt = randomTokens(11, below: config.V, seed: 5)
    generator.start(with: prompt)
    texts = [[Int32]](repeating: prompt, count: count)
    expectAlone(texts, "the shared prompt")
    append([1, 0, 12, 8, 2, 1, 1], "behind the shared prompt")
    append([1, 4, 1, 0, 1, 1, 9], "and more")
    generator.clear(2)
    texts[2] = []
    append([1, 1, 10, 1, 1, 2, 1], "one begins again")
    append([1, 1, 1, 1, 1, 1, 1], "among the others")
    #expect((trains ? model.parameters.bits : model.parameters.bits(of: \.values)) == before)
    #expect(!trains || model.parameters.gradientNorm() == 0)
}

/// Prompts of eight tokens and more come first; the third alone is more than a pass may have.
@Test func `a pass has as many rows as it may, unless a single list is longer`() {
    let model = BigramModel(V: 7)
    model.parameters.initialize(seed: 3)
    let generator = Generator(model, sequences: 5, capacity: 30, mostRows: 10)
    let lists = [4, 3, 12, 9, 3].enumerated().map { randomTokens($1, below: 7, seed: UInt64($0)) }
    generator.append(lists)
    #expect(model.passes == [12, 9, 10])
    for (i, list) in lists.enumerated() { #expect(Array(generator.logits(of: i)) == model.row(list[list.count - 1])) }
    generator.append([[1], [2], [], [3], [4]])
    #expect(model.passes == [12, 9, 10, 4])
}

/// Training keeps its activations of every layer; a walk over a cache between its steps changes nothing of them.
@Test func `a model in training writes, and goes on as if it had not`() throws {
    let (B, T) = (2, 12)
    let inputs = randomTokens(B * T, below: config.V, seed: 1)
    let targets = randomTokens(B * T, below: config.V, seed: 2)
    func trained(writes: Bool) throws -> [UInt32] {
        let model = noisyModel(trains: true)
        for step in 1...3 {
            model.accumulate(inputs, targets, B: B, T: T, scale: 1 / Float(B * T))
            if writes { _ = try samples(model, prompt: Array(inputs[..<9]), count: step, limit: 5) }
            model.parameters.update(
                learningRate: 1e-2, beta1: 0.9, beta2: 0.95, decay: 0.1, gradientScale: 1, step: step)
        }
        return model.parameters.bits
    }
    #expect(try trained(writes: true) == trained(writes: false))
}

/// What was drawn last has not been through the model: it does so with what is appended next.
@Test func `what was drawn last is read with what follows`() throws {
    let model = noisyModel()
    let generator = Generator(model, sequences: 3, capacity: config.maxT)
    generator.start(with: [1, 2, 3])
    var texts = [[Int32]](repeating: [1, 2, 3], count: 3)
    var randoms = (1...3).map { Xorshift(seed: UInt64($0)) }
    // The sequences end after one, two and three tokens.
    try generator.generate(limit: 9, sampler: Sampler(), randoms: &randoms, endOfText: nil) { i, token in
        texts[i].append(token)
        return texts[i].count < 4 + i
    }
    #expect(texts.map(\.count) == [4, 5, 6])
    #expect(generator.tokens == texts.map { Array($0.dropLast()) })
    generator.append([[7], [], [8, 9]])
    texts[0] += [7]
    texts[2] += [8, 9]
    for i in [0, 2] {
        #expect(generator.tokens[i] == texts[i])
        #expect(relativeError(Array(generator.logits(of: i)), uncached(model, texts[i])) < 1e-5)
    }
    generator.append([[], [4], []])
    texts[1] += [4]
    #expect(generator.tokens[1] == texts[1])
    #expect(relativeError(Array(generator.logits(of: 1)), uncached(model, texts[1])) < 1e-5)
    // An emptied sequence forgets it.
    try generator.generate(limit: 1, sampler: Sampler(), randoms: &randoms, endOfText: nil) { _, _ in true }
    generator.clear(1)
    generator.append([[], [5, 6], []])
    #expect(generator.tokens[1] == [5, 6])
    #expect(relativeError(Array(generator.logits(of: 1)), uncached(model, [5, 6])) < 1e-5)
    // So do all of them when they begin again.
    try generator.generate(limit: 1, sampler: Sampler(), randoms: &randoms, endOfText: nil) { _, _ in true }
    generator.start(with: [4, 3])
    generator.append([[2], [], [2]])
    #expect(generator.tokens == [[4, 3, 2], [4, 3], [4, 3, 2]])
    #expect(relativeError(Array(generator.logits(of: 2)), uncached(model, [4, 3, 2])) < 1e-5)
}

/// At most half of the capacity stays, or all of the new tokens if they are more.
@Test(arguments: [(38, 3, 20), (40, 1, 20), (39, 1, 40), (30, 25, 25), (40, 40, 40), (5, 50, 40), (0, 41, 40)])
func `what does not fit pushes out the oldest tokens`(held: Int, added: Int, stays: Int) {
    let model = noisyModel()
    let generator = Generator(model, sequences: 1, capacity: config.maxT)
    let text = randomTokens(held + added, below: config.V, seed: 1)
    generator.append([Array(text[..<held])])
    generator.append([Array(text[held...])])
    #expect(generator.tokens[0] == Array(text.suffix(stays)))
    #expect(relativeError(Array(generator.logits(of: 0)), uncached(model, generator.tokens[0])) < 1e-5)
}

@Suite(.serialized) struct GenerateThreads {
    @Test func `any number of threads draws the same`() throws {
        let before = threadCount
        defer { threadCount = before }
        let model = noisyModel(GPT2Configuration(maxT: 64, V: 300, L: 2, NH: 3, C: 48))
        func texts() throws -> [[Int32]] {
            try [1, 3, 10].flatMap {
                try samples(model, prompt: [5, 6, 7, 8, 9, 10, 11, 12, 13], count: $0, limit: 40)
            }
        }
        threadCount = 1
        let expected = try texts()
        for threads in 2...5 {
            threadCount = threads
            #expect(try texts() == expected, "\(threads) threads")
        }
    }
}
