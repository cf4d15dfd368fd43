// Batches out of token shards. In llm.c's order a sample is B·T tokens in a row (and one more, the last target); the
// shards and each shard's samples are shuffled for every epoch by one Mersenne Twister. So the rows of a batch are always
// the same neighbours, cut at the same tokens; in 27 epochs of a 300 kB text that cost 7% of the bits a byte. When rows
// are shuffled, a sample is one row, and every epoch cuts the shard at other tokens. Only the current batch is in memory,
// so the data may be larger than it.

import Foundation

/// The batches of token shards, epoch after epoch.
package final class DataLoader: TrainingData {
    package let B: Int
    package let T: Int
    /// Tokens in all shards together.
    package let tokenCount: Int
    package var tokensPerBatch: Int? { B * T }
    package var summary: String { "\(grouped(tokenCount)) tokens, \(batchesPerEpoch) batches of \(B) · \(T)" }

    /// The loader's place in the data: all that a resumed run needs.
    package struct Position: Equatable {
        /// Index into the epoch's order of shards, and of the next sample in the shard's order of samples.
        package var shard: Int
        package var sample: Int
        package var shuffle: Shuffle?
    }

    /// The order of an epoch, and the generator that makes the next one.
    package struct Shuffle: Equatable {
        package var shards: [Int32]
        package var samples: [Int32]
        package var random: MersenneTwister
    }

    package private(set) var position: Position
    private let shards: [TokenShard]
    private let vocabularySize: Int
    private let counted: Targets
    private let shufflesRows: Bool
    /// The samples of a batch.
    private var samplesPerBatch: Int { shufflesRows ? B : 1 }

    /// The targets that count.
    package enum Targets: Equatable {
        case all
        /// All but padding, which is end-of-text after end-of-text. The first one after a text counts: from it the model
        /// learns to end. (transformers' DataCollatorForLanguageModeling, told to pad with end-of-text, leaves out every
        /// one, and its model never learns to.)
        case text(endOfText: Int32)
        /// From the end of `mark`, which is not empty, up to the next end-of-text, which counts too. What stands before
        /// the first mark of a row does not.
        case answers(mark: [Int32], endOfText: Int32)

        /// Sets the targets that don't count to −1, in rows of T.
        func hideOthers(inputs: [Int32], targets: inout [Int32], T: Int) {
            switch self {
            case .all: break
            case .text(let endOfText):
                for i in inputs.indices where inputs[i] == endOfText && targets[i] == endOfText { targets[i] = -1 }
            case .answers(let mark, let endOfText):
                for row in stride(from: 0, to: inputs.count, by: T) {
                    var isAnswer = false
                    for i in row..<row + T {
                        if inputs[i] == endOfText { isAnswer = false }
                        if inputs[row...i].suffix(mark.count) == mark[...] { isAnswer = true }
                        if !isAnswer { targets[i] = -1 }
                    }
                }
            }
        }
    }

    /// - Parameters:
    ///   - pattern: a shell pattern such as `data/train_*.bin`.
    ///   - shuffleSeed: nil reads the samples as they lie. llm.c's seed is 42.
    ///   - shufflesRows: whether a sample is a row, and each epoch begins at another token.
    ///   - shrinks: where no shard holds B·T tokens, take fewer sequences at a time, or one shorter one: validation
    ///     data may be small.
    ///   - counted: the targets that count.
    /// - Throws: if there is no shard, a damaged one, or none with a whole sample.
    package init(
        pattern: String, B: Int, T: Int, vocabularySize: Int, shuffleSeed: UInt32?, shufflesRows: Bool = false,
        shrinks: Bool = false, counted: Targets = .all
    ) throws {
        self.counted = counted
        precondition(!(shufflesRows && shrinks), "validation data is not shuffled")
        self.shufflesRows = shufflesRows && shuffleSeed != nil
        let all = try DataLoader.shards(matching: pattern).map { try TokenShard($0) }
        let longest = all.map(\.count).max() ?? 0
        // The last target is one token more; rows that begin at any of T tokens need a row more.
        let (batchSize, overflow) = (B + (self.shufflesRows ? 1 : 0)).multipliedReportingOverflow(by: T)
        let needed = self.shufflesRows ? batchSize : batchSize &+ 1
        let isShort = longest < needed || overflow
        if isShort {
            guard shrinks, longest >= 2 else {
                throw UserError(
                    "\(pattern): the longest shard has \(longest) tokens, and a batch of \(B) sequences of \(T) needs "
                        + (overflow ? "more than there can be" : "\(needed)"),
                    hint:
                        "take more text, or a smaller --batch-size (-b) or --sequence-length (-t); with make: BATCH=4 T=64"
                )
            }
            self.B = max(1, (longest - 1) / T)
            self.T = min(T, longest - 1)
        } else {
            self.B = B
            self.T = T
        }
        // A shard too short for one batch (the rest of a corpus, say) is passed over.
        let least = isShort ? self.B * self.T + 1 : needed
        shards = all.filter { $0.count >= least }
        tokenCount = shards.reduce(0) { $0 + $1.count }
        self.vocabularySize = vocabularySize
        position = Position(shard: 0, sample: 0, shuffle: nil)
        if let shuffleSeed {
            position.shuffle = Shuffle(
                shards: (0..<Int32(shards.count)).map { $0 }, samples: [], random: MersenneTwister(seed: shuffleSeed))
        }
        startEpoch()
    }

    /// The paths of shards, with what an interrupted program left undone in their folder.
    /// - Throws: if there is none.
    package static func shards(matching pattern: String) throws -> [String] {
        try finishInterruptedWrites(in: folder(of: pattern))
        let files = paths(matching: pattern)
        guard files.isEmpty else { return files }
        let inside = paths(matching: "\(pattern)/train_*.bin")
        throw UserError(
            "no token shards match \(pattern)",
            hint: inside.isEmpty
                ? "make some: ./tokenize --tokenizer DIR --input FILE --output \(folder(of: pattern)), or: make run, or "
                    + "for train_phi: make tutorial TEXT=FILE" : "name the shards in it: '\(pattern)/train_*.bin'")
    }

    /// Reads all shards, at the speed of memory or of the disk.
    /// - Returns: a checksum of all tokens, shard by shard, to tell whether a resumed run sees the same data.
    /// - Throws: if a token is not in the vocabulary: hours later it would end the run.
    package func check() throws -> UInt64 {
        var checksum = Checksum()
        let bytes = shards.reduce(0) { $0 + $1.bytes }
        var progress = bytes > 1 << 30 ? Progress("check data", total: Double(bytes) / 1e6, unit: "MB") : nil
        var done = 0
        for shard in shards {
            withUnsafeBytes(of: Int64(shard.count).littleEndian) { checksum.update($0) }
            try shard.forEachBlock { block, largest in
                guard largest < vocabularySize else { throw outOfVocabulary(largest, shard) }
                checksum.update(block)
                done += block.count
                progress?.update(Double(done) / 1e6)
            }
        }
        progress?.finish()
        return checksum.value
    }

    private func outOfVocabulary(_ token: Int, _ shard: TokenShard) -> UserError {
        UserError(
            "\(shard.path): token \(token) is not in the model's vocabulary of \(vocabularySize)",
            hint: "tokenize the text with the model's tokenizer, or start a model with --vocab-size of this one")
    }

    /// Refuses shards that say they were made with another tokenizer. It may have grown since.
    package func check(madeWith tokenizer: Tokenizer) throws {
        for shard in shards {
            guard let known = shard.fingerprint, known != tokenizer.fingerprint(ofFirst: known.count) else { continue }
            throw UserError(
                "\(shard.path) was made with another tokenizer of \(grouped(known.count)) tokens",
                hint: "make the shards again with tokenize, or name their tokenizer with --tokenizer DIR")
        }
    }

    /// Whether any target of an epoch counts. Afterwards the loader stands where it stood.
    package func hasTarget() throws -> Bool {
        let start = position
        defer { position = start }
        for _ in 0..<batchesPerEpoch where try nextBatch().counted > 0 { return true }
        return false
    }

    /// Whole batches in all shards.
    package var batchesPerEpoch: Int { shards.indices.reduce(0) { $0 + samples(in: $1) / samplesPerBatch } }

    /// Begins a new epoch, in a new order if the loader shuffles.
    package func startEpoch() {
        position.shard = 0
        if var shuffle = position.shuffle {
            shuffle.random.shuffle(&shuffle.shards)  // the last epoch's order, shuffled again
            position.shuffle = shuffle
        }
        startShard()
    }

    /// Puts the loader where another stood.
    package func resume(at place: Position) throws {
        func misfit() -> UserError {
            UserError(
                "the checkpoint was made on other data, or with another batch size",
                hint:
                    "resume with the shards, --batch-size, --sequence-length and --shuffle of the first start, or start over "
                    + "by -y 0"
            )
        }
        if let shuffle = place.shuffle {
            guard shuffle.shards.sorted() == (0..<Int32(shards.count)).map({ $0 }), shards.indices.contains(place.shard)
            else { throw misfit() }
            let count = samples(in: Int(shuffle.shards[place.shard]))
            guard shuffle.samples.sorted() == (0..<Int32(count)).map({ $0 }), (0...count).contains(place.sample) else {
                throw misfit()
            }
        } else {
            guard shards.indices.contains(place.shard), (0...samples(in: place.shard)).contains(place.sample) else {
                throw misfit()
            }
        }
        guard (place.shuffle == nil) == (position.shuffle == nil) else { throw misfit() }
        position = place
    }

    /// Goes back to a place where this loader was.
    package func rewind(to place: Position) { position = place }

    package func skipBatch() {
        goToNext()
        position.sample += samplesPerBatch
    }

    /// Goes on to the next shard or epoch, if this one has no batch left.
    private func goToNext() {
        if position.sample + samplesPerBatch > samples(in: currentShard) {
            if position.shard + 1 < shards.count {
                position.shard += 1
                startShard()
            } else {
                startEpoch()
            }
        }
    }

    /// The next sample. A target is the token after its input.
    @discardableResult package func nextBatch() throws -> Batch {
        goToNext()
        let shard = shards[currentShard]
        let sampleSize = B * T / samplesPerBatch
        var (inputs, targets): ([Int32], [Int32]) = ([], [])
        for place in position.sample..<position.sample + samplesPerBatch {
            let sample = position.shuffle.map { Int($0.samples[place]) } ?? place
            let tokens = try shard.read(sampleSize + 1, at: firstToken + sample * sampleSize)
            if let wrong = tokens.first(where: { $0 < 0 || Int($0) >= vocabularySize }) {
                throw outOfVocabulary(Int(wrong), shard)
            }
            inputs += tokens.dropLast()
            targets += tokens.dropFirst()
        }
        counted.hideOthers(inputs: inputs, targets: &targets, T: T)
        position.sample += samplesPerBatch
        return Batch(B: B, T: T, inputs: inputs, targets: targets)
    }

    /// A row's tokens up to its first answer, of the epoch's first batch; empty if it has none.
    package func question(number: Int) throws -> (tokens: [Int32], end: Int32?) {
        startEpoch()
        let batch = try nextBatch()
        let row = number % B * T..<(number % B + 1) * T
        guard let first = batch.targets[row].firstIndex(where: { $0 >= 0 }) else { return ([], nil) }
        return (Array(batch.inputs[row.lowerBound...first]), nil)
    }

    private var currentShard: Int { position.shuffle.map { Int($0.shards[position.shard]) } ?? position.shard }

    /// Where rows begin that are shuffled, 0..<T: it follows from their order, so a checkpoint has it.
    private var firstToken: Int {
        guard shufflesRows, let samples = position.shuffle?.samples, let first = samples.first else { return 0 }
        return Int(first) * T / samples.count
    }

    private func samples(in shard: Int) -> Int {
        shufflesRows ? (shards[shard].count - T) / T : (shards[shard].count - 1) / (B * T)
    }

    private func startShard() {
        position.sample = 0
        guard var shuffle = position.shuffle else { return }
        shuffle.samples = shuffle.random.permutation(samples(in: Int(shuffle.shards[position.shard])))
        position.shuffle = shuffle
    }
}
