// Generating: a GPT-2 that goes on from what it has read, token by token.
//
// To predict a token, all tokens before it are needed, but of each only the keys and values that the attention asks for.
// They do not change when the text grows, so they are kept: the KV cache. A step then computes one row, the new token's,
// and reads every parameter once. Several sequences at once read them once for all of them, from a copy of the matrices
// that lies better for that.
//
//     tokens (N) → embed → L × [ keys and values into the cache; attention to the cache; mlp ] → logits of the last ones
//
// The prompt goes through the same walk with all its tokens at once, and from then on all samples share what the cache
// holds of it. The walk is `forward` in GPT2.swift without what training needs; the two agree to 1e-5 (a test).

import Foundation
import Kernels

/// Sequences that a model continues together: their tokens, and the keys and values the model made of them.
package final class BatchDecoder {
    package let model: GPT2
    /// How many sequences there are.
    package let count: Int
    /// Tokens that a sequence has room for.
    package let capacity: Int
    /// What each sequence holds: the tokens that the next one is predicted from.
    package private(set) var tokens: [[Int32]]
    /// Drawn, but not yet through the model: nobody has asked for what comes after them.
    private var unread: [[Int32]]

    /// (L, count + 1, NH, capacity, HSp), HSp the head size rounded up to whole vectors. The last place is for a prompt
    /// that all sequences share; sequence i reads the first `shared[i]` tokens there.
    private let keys: UnsafeMutablePointer<Float>
    private let values: UnsafeMutablePointer<Float>
    private var shared: [Int]
    /// From one sequence's keys to the next's.
    private let stride: Int

    /// The model's matrices as `matmulBlocks` wants them, each where `model.parameters` has it, for several sequences;
    /// what else is there was never written, and so takes no memory. One sequence takes the parameters as they are.
    private let blocks: UnsafeMutablePointer<Float>?
    private let blocksCount: Int

    /// (count,V), in the order in which the last pass met the sequences.
    private let logitRows: UnsafeMutablePointer<Float>
    private var rowOfLogits: [Int]

    /// The activations of a pass over `rows` rows, in one buffer.
    private var activations = allocateFloats(0)
    private var rows = 0
    private var floatsPerRow: Int { 6 * model.config.C + model.config.NH + 2 }

    /// Prompts go through the layers at most so many rows at a time, which is enough for the matrix products to run at
    /// full speed.
    private static let mostRows = 2048
    /// From so many rows on training's matrix product is no slower than that with blocks (measured with GPT-2 124M).
    private static let manyRows = 128
    /// From so many tokens on a prompt takes the attention kernel of training, which looks at no cache.
    private static let longPrompt = 8

    /// - Parameters:
    ///   - model: must not change as long as the decoder is used.
    ///   - sequences: how many.
    ///   - capacity: the tokens each may hold, at most as many as the model has positions for.
    package init(_ model: GPT2, sequences: Int, capacity: Int) {
        precondition(sequences > 0 && capacity > 0)
        self.model = model
        count = sequences
        self.capacity = min(capacity, model.config.maxT)
        tokens = [[Int32]](repeating: [], count: sequences)
        unread = tokens
        shared = [Int](repeating: 0, count: sequences)
        rowOfLogits = [Int](repeating: 0, count: sequences)
        stride = self.capacity * cacheRowWidth(C: model.config.C, NH: model.config.NH)
        keys = allocateFloats(model.config.L * (sequences + 1) * stride)
        values = allocateFloats(model.config.L * (sequences + 1) * stride)
        logitRows = allocateFloats(sequences * model.config.V)
        blocksCount = model.table.count + vectorWidth
        blocks = sequences == 1 ? nil : allocateFloats(blocksCount)
        packMatrices()
    }

    private func packMatrices() {
        guard let blocks else { return }
        let (C, p, table) = (model.config.C, model.parameters, model.table)
        func pack(_ weight: UnsafePointer<Float>, C: Int, OC: Int) {
            packBlocks(blocks + (weight - UnsafePointer(p)), weight: weight, C: C, OC: OC)
        }
        for l in 0..<model.config.L {
            pack(p.at(table.qkvw, l), C: C, OC: 3 * C)
            pack(p.at(table.attprojw, l), C: C, OC: C)
            pack(p.at(table.fcw, l), C: C, OC: 4 * C)
            pack(p.at(table.fcprojw, l), C: 4 * C, OC: C)
        }
        pack(p + table.wte, C: C, OC: model.config.V)
    }

    deinit {
        freeFloats(keys, count: model.config.L * (count + 1) * stride)
        freeFloats(values, count: model.config.L * (count + 1) * stride)
        freeFloats(logitRows, count: count * model.config.V)
        freeFloats(activations, count: rows * floatsPerRow)
        if let blocks { freeFloats(blocks, count: blocksCount) }
    }

    /// What a decoder takes beside its model, in bytes; a Double, because nobody has checked the sizes yet.
    package static func bytes(_ config: GPT2Configuration, sequences: Int, capacity: Int) -> Double {
        let tokens = Double(sequences + 1) * Double(min(capacity, config.maxT))
        let rows = min(Double(sequences) * Double(min(capacity, config.maxT)), Double(mostRows + config.maxT))
        let cache = 2 * Double(config.L) * tokens * Double(cacheRowWidth(C: config.C, NH: config.NH))
        let blocks = sequences == 1 ? 0 : GPT2.bytes(config, B: 0, T: 0, trains: false)
        return blocks
            + 4 * (cache + rows * Double(6 * config.C + config.NH + 2) + Double(sequences) * Double(config.V))
    }

    /// The logits (V) of the token after each sequence's last one.
    package func logits(of sequence: Int) -> UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: logitRows + rowOfLogits[sequence] * model.config.V, count: model.config.V)
    }

    // MARK: what goes in

    /// Begins all sequences anew with one prompt. It is computed once, and kept once.
    package func start(with prompt: [Int32]) {
        precondition(!prompt.isEmpty && prompt.count <= capacity)
        for i in 0..<count { (tokens[i], unread[i], shared[i], rowOfLogits[i]) = (prompt, [], prompt.count, 0) }
        withThreadsAwake { forward([Part(place: count, position: 0, tokens: prompt)], logitsAt: 0) }
    }

    /// Begins one sequence anew; its next tokens will be its first.
    package func clear(_ sequence: Int) { (tokens[sequence], unread[sequence], shared[sequence]) = ([], [], 0) }

    /// Adds tokens to the sequences, one list for each, and computes their logits. A sequence whose list is empty is left
    /// alone, and its logits are gone.
    ///
    /// A sequence that has no room for its new tokens loses its oldest ones: at most half of the capacity stays, so that
    /// it does not happen at every step. What stays has new positions, so all of it is computed anew.
    package func append(_ new: [[Int32]]) {
        precondition(new.count == count)
        var parts: [Part] = []
        for (i, list) in new.enumerated() where !list.isEmpty {
            let added = unread[i] + list
            unread[i] = []
            if tokens[i].count + added.count > capacity {
                let kept = (tokens[i] + added).suffix(max(min(added.count, capacity), capacity / 2))
                clear(i)
                parts.append(Part(place: i, position: 0, tokens: Array(kept)))
            } else {
                parts.append(Part(place: i, position: tokens[i].count, tokens: added))
            }
            tokens[i] += parts[parts.count - 1].tokens
        }
        // Whole prompts first: the walk below has two ways for the attention.
        parts = parts.filter(\.isPrompt) + parts.filter { !$0.isPrompt }
        var done = 0
        while done < parts.count {
            var end = done
            var rows = 0
            while end < parts.count, end == done || rows + parts[end].tokens.count <= BatchDecoder.mostRows {
                rowOfLogits[parts[end].place] = end
                rows += parts[end].tokens.count
                end += 1
            }
            withThreadsAwake { forward(Array(parts[done..<end]), logitsAt: done) }
            done = end
        }
    }

    // MARK: the walk

    /// Tokens that go through the model in one pass, and where they belong.
    private struct Part {
        /// The sequence, or `count` for the shared prompt.
        let place: Int
        let position: Int
        let tokens: [Int32]
        var isPrompt: Bool { position == 0 && tokens.count >= BatchDecoder.longPrompt }
    }

    /// Takes the parts, the prompts among them first, through the model. Their logits go to rows `firstRow` and after.
    private func forward(_ parts: [Part], logitsAt firstRow: Int) {
        let (config, table, p) = (model.config, model.table, model.parameters)
        let (C, NH, T) = (config.C, config.NH, capacity)
        var N = parts.reduce(0) { $0 + $1.tokens.count }
        reserve(rows: N)
        let residual = activations  // (N,C)
        let ln = residual + N * C  // (N,C): what the layer norm gives, then what the attention gives
        let wide = ln + N * C  // (N,3C) or (N,4C): qkv, then the MLP's inside
        let mean = wide + N * 4 * C  // (N)
        let rstd = mean + N  // (N)
        let lse = rstd + N  // (N,NH)

        var row = 0
        for part in parts {
            for (t, token) in part.tokens.enumerated() {
                let word = p + table.wte + Int(token) * C
                let place = p + table.wpe + (part.position + t) * C
                for c in 0..<C { residual[row * C + c] = word[c] + place[c] }
                row += 1
            }
        }

        for l in 0..<config.L {
            layerNormForward(
                out: ln, mean: mean, rstd: rstd, inp: residual, weight: p.at(table.ln1w, l), bias: p.at(table.ln1b, l),
                N: N, C: C)
            let qkv = wide  // (N,3C)
            linear(qkv, ln, p.at(table.qkvw, l), p.at(table.qkvb, l), N: N, C: C, OC: 3 * C)
            row = 0
            for part in parts {
                let cached = memory(layer: l, of: part.place)
                storeKeysAndValues(
                    keys: cached.keys, values: cached.values, qkv: qkv + row * 3 * C, count: part.tokens.count,
                    position: part.position, T: T, C: C, NH: NH)
                row += part.tokens.count
            }

            // The rows from here on whose queries look into the cache; those before are prompts.
            var firstCached = 0
            var lookups: [(CachedSequence, position: Int)] = []
            if l == config.L - 1 {
                // Only the last token of each part has a successor to predict. Of all others the keys and values were
                // the last thing that anybody will ask for.
                row = 0
                for (i, part) in parts.enumerated() {
                    row += part.tokens.count
                    (residual + i * C).update(from: residual + (row - 1) * C, count: C)
                    (qkv + i * 3 * C).update(from: qkv + (row - 1) * 3 * C, count: 3 * C)
                    lookups.append((memory(layer: l, of: part.place), part.position + part.tokens.count - 1))
                }
                N = parts.count
            } else {
                for part in parts {
                    if part.isPrompt {
                        attentionForward(
                            out: ln + firstCached * C, lse: lse, qkv: qkv + firstCached * 3 * C, B: 1,
                            T: part.tokens.count, C: C, NH: NH)
                        firstCached += part.tokens.count
                    } else {
                        let cached = memory(layer: l, of: part.place)
                        for t in 0..<part.tokens.count { lookups.append((cached, part.position + t)) }
                    }
                }
            }
            attentionToCache(
                out: ln + firstCached * C, qkv: qkv + firstCached * 3 * C, sequences: lookups.map(\.0),
                positions: lookups.map(\.position), rows: lookups.count, T: T, C: C, NH: NH)
            linear(
                residual, ln, p.at(table.attprojw, l), p.at(table.attprojb, l), residual: residual, N: N, C: C, OC: C)

            layerNormForward(
                out: ln, mean: mean, rstd: rstd, inp: residual, weight: p.at(table.ln2w, l), bias: p.at(table.ln2b, l),
                N: N, C: C)
            let fch = wide  // (N,4C)
            linear(fch, ln, p.at(table.fcw, l), p.at(table.fcb, l), N: N, C: C, OC: 4 * C)
            geluForward(out: fch, inp: fch, count: N * 4 * C)
            linear(
                residual, fch, p.at(table.fcprojw, l), p.at(table.fcprojb, l), residual: residual, N: N, C: 4 * C,
                OC: C)
        }
        layerNormForward(
            out: ln, mean: mean, rstd: rstd, inp: residual, weight: p + table.lnfw, bias: p + table.lnfb, N: N, C: C)
        linear(logitRows + firstRow * config.V, ln, p + table.wte, nil, N: N, C: C, OC: config.V)
    }

    /// out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias + residual. Of one sequence there is one row, or a prompt: a short one
    /// takes no kernel of its own, for it comes once.
    private func linear(
        _ out: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ weight: UnsafePointer<Float>,
        _ bias: UnsafePointer<Float>?, residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int
    ) {
        if let blocks, N < BatchDecoder.manyRows {
            let weight = blocks + (weight - UnsafePointer(model.parameters))
            matmulBlocks(out: out, inp: inp, blocks: weight, bias: bias, residual: residual, N: N, C: C, OC: OC)
        } else if N == 1 {
            matmulRow(out: out, inp: inp, weight: weight, bias: bias, residual: residual, C: C, OC: OC)
        } else {
            matmulForward(out: out, inp: inp, weight: weight, bias: bias, residual: residual, N: N, C: C, OC: OC)
        }
    }

    /// Where a layer's keys and values of a sequence lie, or of the shared prompt.
    private func memory(layer l: Int, of place: Int) -> CachedSequence {
        let own = (l * (count + 1) + place) * stride
        let common = (l * (count + 1) + count) * stride
        return CachedSequence(
            keys: keys + own, values: values + own, sharedKeys: keys + common, sharedValues: values + common,
            shared: place < count ? shared[place] : 0)
    }

    private func reserve(rows needed: Int) {
        guard needed > rows else { return }
        freeFloats(activations, count: rows * floatsPerRow)
        rows = needed
        activations = allocateFloats(rows * floatsPerRow)
    }
}

// MARK: - what comes out

extension BatchDecoder {
    /// Draws up to `limit` ≥ 1 tokens for each sequence, one for all of them at a time.
    /// - Parameters:
    ///   - randoms: a generator for each sequence, so that what one draws does not depend on how many there are. (Its
    ///     logits do in their last bits: one sequence and several are added up in different orders.)
    ///   - endOfText: ends its sequence.
    ///   - body: is given the sequence and its new token; false ends the sequence.
    package func generate(
        limit: Int, sampler: Sampler, randoms: inout [Xorshift], endOfText: Int32?,
        _ body: (_ sequence: Int, _ token: Int32) throws -> Bool
    ) rethrows {
        var going = Array(0..<count)
        for step in 1...limit {
            var new = [[Int32]](repeating: [], count: count)
            for i in going {
                let token = sampler.next(logits(of: i), context: tokens[i], random: &randoms[i])
                let goesOn = try body(i, token) && token != endOfText && step < limit
                if goesOn { new[i] = [token] } else { unread[i] = [token] }
            }
            going.removeAll { new[$0].isEmpty }
            if going.isEmpty { return }
            append(new)
        }
    }
}

extension GPT2 {
    /// The likeliest continuation of each prompt, token by token, up to `limit` tokens or to `stop`, which is not part of
    /// it. The prompts may be of any lengths; `batch` of them are on the way at a time, and where one ends the next
    /// takes its place.
    /// - Parameter finished: is given the index of every prompt that is done, and its continuation.
    package func continueGreedily(
        _ prompts: [[Int32]], limit: Int, stop: Int32?, batch: Int = 64,
        finished: (_ prompt: Int, _ continuation: [Int32]) throws -> Void
    ) rethrows {
        let longest = prompts.map(\.count).max() ?? 0
        guard longest > 0, limit > 0 else { return }
        let decoder = BatchDecoder(self, sequences: min(batch, prompts.count), capacity: longest + limit)
        var waiting = prompts.indices.reversed() as [Int]
        // What each of the decoder's sequences works at.
        var current = [Int?](repeating: nil, count: decoder.count)
        var continuations = [[Int32]](repeating: [], count: decoder.count)
        while true {
            var new = [[Int32]](repeating: [], count: decoder.count)
            for i in 0..<decoder.count {
                if let prompt = current[i] {
                    let token = Int32(argmax(decoder.logits(of: i)))
                    if token != stop { continuations[i].append(token) }
                    if token != stop, continuations[i].count < limit {
                        new[i] = [token]
                        continue
                    }
                    try finished(prompt, continuations[i])
                }
                current[i] = waiting.popLast()
                if let prompt = current[i] {
                    decoder.clear(i)
                    continuations[i] = []
                    new[i] = prompts[prompt]
                }
            }
            if current.allSatisfy({ $0 == nil }) { return }
            decoder.append(new)
        }
    }
}
