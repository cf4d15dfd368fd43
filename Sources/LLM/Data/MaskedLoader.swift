// Masked-language modelling (Devlin et al., 2018): some tokens of a text are hidden, and the model says what they were.
// The masks are drawn anew for every batch of every epoch; they depend on the loader's place alone, so a resumed run
// draws the same.

/// What hides tokens of a text, and how many.
package struct Masking {
    /// The special tokens [CLS], [SEP] and [MASK], and all of them, which are never hidden.
    package let first, last, mask: Int32
    private let isSpecial: [Bool]
    /// Whether a token continues a word; nil hides tokens one by one.
    private let continues: [Bool]?
    /// The share of tokens, or of words, that are predicted.
    package let share: Float

    /// - Parameters:
    ///   - hidesWords: whether all pieces of a word are hidden together.
    ///   - share: of the tokens, or of the words.
    package init(_ tokenizer: Tokenizer, hidesWords: Bool = false, share: Float = 0.15) throws {
        func id(_ role: String, _ name: String) throws -> Int32 {
            guard let id = tokenizer.id(ofRole: role) else {
                throw UserError(
                    "the tokenizer has no \(name), and masked-language modelling needs it",
                    hint: "take a BERT's tokenizer, or train one with --special [PAD] [UNK] [CLS] [SEP] [MASK]")
            }
            return Int32(id)
        }
        first = try id("cls_token", "[CLS]")
        last = try id("sep_token", "[SEP]")
        mask = try id("mask_token", "[MASK]")
        self.share = share
        let special = Set(tokenizer.addedTokens.filter(\.isSpecial).map(\.id))
        isSpecial = (0..<Int32(tokenizer.vocabularySize)).map { special.contains($0) }
        guard hidesWords else {
            continues = nil
            return
        }
        guard let prefix = tokenizer.continuationPrefix else {
            throw UserError(
                "the tokenizer does not mark the pieces inside a word, so words are not known",
                hint: "leave out --whole-words, or take a vocabulary with ##", exitCode: 2)
        }
        continues = tokenizer.spellings.map { $0.starts(with: prefix) }
    }

    /// Tokens in the vocabulary.
    private var V: Int { isSpecial.count }

    /// Hides tokens of `inputs`, and gives back the targets: the token that was there, or −1 where nothing is asked. Of
    /// the tokens asked for, 80% are hidden, 10% are another token (any, special ones too), and 10% stay.
    /// - Parameter random: three draws for each token that is asked for, one for each other (or for each word).
    package func hide(_ inputs: inout [Int32], _ random: inout Xorshift) -> [Int32] {
        var targets = [Int32](repeating: -1, count: inputs.count)
        var (isAsked, isInWord) = (false, false)
        for (n, token) in inputs.enumerated() {
            // A token past the tokenizer's, of a padded vocabulary, is like any other.
            if Int(token) < V, isSpecial[Int(token)] {
                isInWord = false
                continue
            }
            // Behind a special token there is the rest of a word, if the text was cut inside it: that is like a word.
            let continuesWord = isInWord && continues.map { Int(token) < V && $0[Int(token)] } ?? false
            if !continuesWord { isAsked = random.uniform() < share }
            isInWord = true
            if isAsked { replace(n, &inputs, &targets, &random) }
        }
        // A short text may have none, and would teach nothing.
        if !targets.contains(where: { $0 >= 0 }) {
            let ordinary = inputs.indices.filter { Int(inputs[$0]) >= V || !isSpecial[Int(inputs[$0])] }
            if !ordinary.isEmpty { replace(ordinary[random.below(ordinary.count)], &inputs, &targets, &random) }
        }
        return targets
    }

    private func replace(_ n: Int, _ inputs: inout [Int32], _ targets: inout [Int32], _ random: inout Xorshift) {
        targets[n] = inputs[n]
        if random.uniform() < 0.8 {
            inputs[n] = mask
        } else if random.uniform() < 0.5 {
            inputs[n] = Int32(random.below(V))
        }
    }
}

/// The batches of token shards with some tokens hidden: [CLS], a row of the shards, [SEP]. Rows that were padded with
/// [SEP] lose their padding.
package final class MaskedLoader: TrainingData {
    private let rows: DataLoader
    private let masking: Masking
    private let seed: UInt32

    /// - Parameters:
    ///   - rows: its rows are two tokens shorter than the sequences.
    ///   - seed: of the masks.
    package init(_ rows: DataLoader, _ masking: Masking, seed: UInt32) {
        (self.rows, self.masking, self.seed) = (rows, masking, seed)
    }

    package var summary: String {
        rows.summary + String(format: ", %.0f%% of them asked for", 100 * Double(masking.share))
    }
    package var batchesPerEpoch: Int { rows.batchesPerEpoch }
    package var tokensPerBatch: Int? { nil }
    package var position: DataLoader.Position { rows.position }
    package func startEpoch() { rows.startEpoch() }
    package func rewind(to place: DataLoader.Position) { rows.rewind(to: place) }
    package func resume(at place: DataLoader.Position) throws { try rows.resume(at: place) }
    package func check() throws -> UInt64 { try rows.check() }
    package func question(number: Int) -> (tokens: [Int32], end: Int32?) { ([], nil) }

    package func skipBatch() { rows.skipBatch() }

    package func nextBatch() throws -> Batch {
        let whole = try rows.nextBatch()
        // Of an epoch's generator only its place is used: it moves on with every shard of every epoch.
        let place = rows.position
        var epoch = place.shuffle?.random ?? MersenneTwister(seed: seed)
        var random = Xorshift(
            seed: UInt64(epoch.next()) << 32 ^ UInt64(seed) ^ UInt64(place.shard) << 40 ^ UInt64(place.sample) << 1)
        _ = random.next()
        var (lengths, inputs, targets): ([Int], [Int32], [Int32]) = ([], [], [])
        for row in stride(from: 0, to: whole.inputs.count, by: rows.T) {
            var text = whole.inputs[row..<row + rows.T].drop { $0 == masking.last }
            while text.last == masking.last { text.removeLast() }
            // A row of padding alone.
            guard !text.isEmpty else { continue }
            var sequence = [masking.first] + text + [masking.last]
            targets += masking.hide(&sequence, &random)
            inputs += sequence
            lengths.append(sequence.count)
        }
        // A pass has at least one text, if only an empty one.
        if lengths.isEmpty { (lengths, inputs, targets) = ([2], [masking.first, masking.last], [-1, -1]) }
        return Batch(lengths: lengths, inputs: inputs, targets: targets)
    }
}
