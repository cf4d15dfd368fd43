// Generating: a model continues what it has read, token by token.
//
//     tokens (N) → the model's walk, with a cache → logits of each sequence's last token → Sampler → the next token
//
// The prompt goes through the walk with all its tokens at once, then one token of each sequence at a time. Such a step
// reads every parameter; several sequences at once read them once for all of them.

import Kernels

/// Sequences that a model continues together: their tokens, and what it takes to predict the next one of each.
package final class Generator {
    package let model: any CausalModel
    /// How many sequences there are.
    package let count: Int
    /// Tokens that a sequence has room for.
    package var capacity: Int { cache.capacity }
    /// What each sequence holds: the tokens that the next one is predicted from.
    package private(set) var tokens: [[Int32]]
    /// Tokens that were drawn but have not been through the model, because nothing after them was asked for yet.
    private var unread: [[Int32]]

    /// Tokens that may be drawn: those below it. A model's vocabulary may be larger than its tokenizer's.
    private let vocabulary: Int
    private let cache: KVCache
    /// (count,V), in the order in which the last pass met the sequences.
    private let logitRows: UnsafeMutablePointer<Float>
    private var rowOfLogits: [Int]

    /// Prompts go through the layers at most so many rows at a time, which is enough for the matrix products to run at
    /// full speed.
    package static let mostRows = 2048
    private let mostRows: Int

    /// - Parameters:
    ///   - model: must not change as long as the generator is used.
    ///   - sequences: how many.
    ///   - capacity: the tokens each may hold, at most as many as the model has positions for.
    ///   - vocabulary: the tokens that may be drawn are those below it; nil allows all of the model's.
    ///   - weights: the format that the linear layers' weights are read in.
    ///   - mostRows: tokens that go through the layers at a time.
    package init(
        _ model: any CausalModel, sequences: Int, capacity: Int, vocabulary: Int? = nil,
        weights: WeightFormat = .float32, mostRows: Int = Generator.mostRows
    ) {
        self.model = model
        self.vocabulary = min(vocabulary ?? model.V, model.V)
        self.mostRows = mostRows
        count = sequences
        cache = model.makeCache(sequences: sequences, capacity: capacity)
        if let packed = model.parameters.packed {
            precondition(packed.format == weights)
            cache.packed = packed
        } else if sequences > 1 || weights != .float32 {
            cache.packed = PackedWeights(model.parameters, weights)
        }
        tokens = [[Int32]](repeating: [], count: sequences)
        unread = tokens
        rowOfLogits = [Int](repeating: 0, count: sequences)
        logitRows = allocateFloats(sequences * model.V)
    }

    deinit { freeFloats(logitRows, count: count * model.V) }

    /// The logits (vocabulary) of the token after each sequence's last one.
    package func logits(of sequence: Int) -> UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: logitRows + rowOfLogits[sequence] * model.V, count: vocabulary)
    }

    /// The same, to choose a token by.
    /// - Throws: if one is NaN or infinite, for then there is no likeliest token.
    fileprivate func usableLogits(of sequence: Int) throws -> UnsafeBufferPointer<Float> {
        let logits = logits(of: sequence)
        guard logits.allSatisfy({ $0.isFinite }) else {
            throw UserError(
                "the model's logits are NaN or infinite: its parameters are numbers, but too large to compute with",
                hint: "its training diverged: take an earlier checkpoint, and a smaller learning rate")
        }
        return logits
    }

    // MARK: - what goes in

    /// Begins all sequences with one prompt, in place of what they held. It is computed once, and kept once.
    package func start(with prompt: [Int32]) {
        precondition(!prompt.isEmpty && prompt.count <= capacity)
        for i in 0..<count { (tokens[i], unread[i], rowOfLogits[i]) = (prompt, [], 0) }
        cache.sharePrompt(prompt.count)
        forward(
            [KVCache.Segment(sequence: cache.sharedPlace, position: 0, count: prompt.count)], inputs: prompt,
            logitsAt: 0)
    }

    /// Empties one sequence; its next tokens will be its first.
    package func clear(_ sequence: Int) {
        (tokens[sequence], unread[sequence]) = ([], [])
        cache.clear(sequence)
    }

    /// Makes a prompt the tokens of the only sequence. What the sequence begins with and has in common with it is kept;
    /// only the rest is computed.
    package func `continue`(with prompt: [Int32]) {
        precondition(count == 1 && !prompt.isEmpty && prompt.count <= capacity)
        // The last token goes through the model in any case: the next one is predicted from it.
        let kept = min(zip(tokens[0], prompt).prefix { $0 == $1 }.count, prompt.count - 1)
        (tokens[0], unread[0]) = (Array(prompt[..<kept]), [])
        cache.keep(kept, of: 0)
        append([Array(prompt[kept...])])
    }

    /// Adds tokens to the sequences, one list for each, and computes their logits. A sequence whose list is empty keeps
    /// its tokens and loses its logits.
    ///
    /// A sequence that has no room for its new tokens loses its oldest ones: at most half of the capacity stays, so
    /// that it does not happen at every step. What stays has new positions, so all of it is computed again.
    package func append(_ new: [[Int32]]) {
        precondition(new.count == count)
        var segments: [KVCache.Segment] = []
        for (i, list) in new.enumerated() where !list.isEmpty {
            let added = unread[i] + list
            unread[i] = []
            if tokens[i].count + added.count > capacity {
                let kept = (tokens[i] + added).suffix(max(min(added.count, capacity), capacity / 2))
                clear(i)
                tokens[i] = Array(kept)
                segments.append(KVCache.Segment(sequence: i, position: 0, count: kept.count))
            } else {
                segments.append(KVCache.Segment(sequence: i, position: tokens[i].count, count: added.count))
                tokens[i] += added
            }
        }
        segments = segments.filter(\.isPrompt) + segments.filter { !$0.isPrompt }
        var done = 0
        while done < segments.count {
            var end = done
            var inputs: [Int32] = []
            while end < segments.count, end == done || inputs.count + segments[end].count <= mostRows {
                let segment = segments[end]
                rowOfLogits[segment.sequence] = end
                inputs += tokens[segment.sequence][segment.position..<segment.position + segment.count]
                end += 1
            }
            forward(Array(segments[done..<end]), inputs: inputs, logitsAt: done)
            done = end
        }
    }

    /// Takes segments and their tokens through the model. Their logits go to rows `firstRow` and after.
    private func forward(_ segments: [KVCache.Segment], inputs: [Int32], logitsAt firstRow: Int) {
        cache.begin(segments)
        withThreadsAwake {
            model.forward(inputs: inputs, .cache(cache))
            model.logits(into: logitRows + firstRow * model.V, .cache(cache))
        }
    }
}

// MARK: - what comes out

extension Generator {
    /// Draws up to `limit` ≥ 1 tokens for each sequence, one for all of them at a time.
    /// - Parameters:
    ///   - randoms: random numbers for each sequence, so that what one draws does not depend on how many there are.
    ///     (Its logits do in their last bits: one sequence and several are added up in different orders.)
    ///   - endOfText: ends its sequence.
    ///   - body: is given the sequence and its new token; false ends the sequence.
    /// - Throws: if a logit is NaN or infinite, and what `body` throws.
    package func generate(
        limit: Int, sampler: Sampler, randoms: inout [Xorshift], endOfText: Int32?,
        _ body: (_ sequence: Int, _ token: Int32) throws -> Bool
    ) throws {
        var going = Array(0..<count)
        for step in 1...limit {
            var new = [[Int32]](repeating: [], count: count)
            for i in going {
                let token = sampler.next(try usableLogits(of: i), context: tokens[i], random: &randoms[i])
                let goesOn = try body(i, token) && token != endOfText && step < limit
                if goesOn { new[i] = [token] } else { unread[i] = [token] }
            }
            going.removeAll { new[$0].isEmpty }
            if going.isEmpty { return }
            append(new)
        }
    }
}

extension CausalModel {
    /// The likeliest continuation of each prompt, token by token, up to `limit` tokens or to `stop`, which is not part
    /// of it. The prompts may be of any lengths; `batch` of them are processed at a time, and where one ends the next
    /// takes its place.
    /// - Parameter finished: is given the index of every prompt that is done, and its continuation.
    /// - Throws: if a logit is NaN or infinite, and what `finished` throws.
    package func continueGreedily(
        _ prompts: [[Int32]], limit: Int, stop: Int32?, vocabulary: Int? = nil, batch: Int = 64,
        weights: WeightFormat = .float32,
        finished: (_ prompt: Int, _ continuation: [Int32]) throws -> Void
    ) throws {
        let longest = prompts.map(\.count).max() ?? 0
        guard longest > 0, limit > 0 else { return }
        let generator = Generator(
            self, sequences: min(batch, prompts.count), capacity: longest + limit, vocabulary: vocabulary,
            weights: weights)
        var waiting = prompts.indices.reversed() as [Int]
        // The prompt that each of the generator's sequences works on.
        var current = [Int?](repeating: nil, count: generator.count)
        var continuations = [[Int32]](repeating: [], count: generator.count)
        while true {
            var new = [[Int32]](repeating: [], count: generator.count)
            for i in 0..<generator.count {
                if let prompt = current[i] {
                    let token = Int32(argmax(try generator.usableLogits(of: i)))
                    if token != stop { continuations[i].append(token) }
                    if token != stop, continuations[i].count < limit {
                        new[i] = [token]
                        continue
                    }
                    try finished(prompt, continuations[i])
                }
                current[i] = waiting.popLast()
                if let prompt = current[i] {
                    generator.clear(i)
                    continuations[i] = []
                    new[i] = prompts[prompt]
                }
            }
            if current.allSatisfy({ $0 == nil }) { return }
            generator.append(new)
        }
    }
}
