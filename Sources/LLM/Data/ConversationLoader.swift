// Batches of conversations. A conversation is a sequence of its own: it never sees another, and there is no padding
// between them. What a batch has B of is rows: one conversation each or, packed, as many as fit into T tokens.

/// The batches of conversations that are in memory.
package final class ConversationLoader: TrainingData {
    package let B: Int
    /// Tokens of a row at most.
    package let T: Int
    private let conversations: [ConversationTokens]
    /// Indices of conversations.
    private let rows: [[Int]]
    private let answerEnd: Int32?
    package private(set) var position: DataLoader.Position

    /// - Parameters:
    ///   - conversations: of 2 to T + 1 ids each: the last is a target only.
    ///   - packs: whether a row has as many as fit.
    ///   - answerEnd: the token that ends an answer, if it is one.
    ///   - shuffleSeed: nil reads them as they lie.
    package init(
        _ conversations: [ConversationTokens], B: Int, T: Int, packs: Bool, answerEnd: Int32?, shuffleSeed: UInt32?
    ) {
        precondition(!conversations.isEmpty && conversations.allSatisfy { (2...T + 1).contains($0.ids.count) })
        (self.conversations, self.B, self.T, self.answerEnd) = (conversations, B, T, answerEnd)
        rows =
            packs
            ? ConversationLoader.packed(conversations.map { $0.ids.count - 1 }, into: T)
            : conversations.indices.map { [$0] }
        position = DataLoader.Position(shard: 0, sample: 0, shuffle: nil)
        if let shuffleSeed {
            position.shuffle = .init(shards: [0], samples: [], random: MersenneTwister(seed: shuffleSeed))
        }
        startEpoch()
    }

    /// Rows of at most T, each sequence in the fullest row that has room for it, the longest first (best fit decreasing;
    /// Johnson, 1974).
    package static func packed(_ lengths: [Int], into T: Int) -> [[Int]] {
        var rows: [[Int]] = []
        /// By how much room is left: rows.
        var open = [[Int]](repeating: [], count: T + 1)
        for i in lengths.indices.sorted(by: { (-lengths[$0], $0) < (-lengths[$1], $1) }) {
            let length = lengths[i]
            if let room = (length...T).first(where: { !open[$0].isEmpty }) {
                let row = open[room].removeLast()
                rows[row].append(i)
                open[room - length].append(row)
            } else {
                open[T - length].append(rows.count)
                rows.append([i])
            }
        }
        return rows
    }

    package var summary: String {
        let tokens = conversations.reduce(0) { $0 + $1.ids.count }
        let answers = conversations.reduce(0) { $0 + $1.isAnswer.count { $0 } }
        return
            "\(grouped(conversations.count)) conversations, \(grouped(tokens)) tokens, of which \(grouped(answers)) count; "
            + "\(batchesPerEpoch) batches of \(B)" + (rows.count < conversations.count ? " rows" : "")
    }

    package var tokensPerBatch: Int? { nil }

    /// Tokens of a batch at most.
    package var mostRows: Int {
        let lengths = rows.map { $0.reduce(0) { $0 + conversations[$1].ids.count - 1 } }
        return lengths.sorted(by: >).prefix(B).reduce(0, +)
    }

    /// The last one may be smaller.
    package var batchesPerEpoch: Int { (rows.count + B - 1) / B }

    package func startEpoch() {
        position.sample = 0
        guard var shuffle = position.shuffle else { return }
        shuffle.samples = shuffle.random.permutation(rows.count)
        position.shuffle = shuffle
    }

    package func skipBatch() {
        if position.sample >= batchesPerEpoch { startEpoch() }
        position.sample += 1
    }

    /// The next B rows.
    package func nextBatch() -> Batch {
        skipBatch()
        let first = (position.sample - 1) * B
        var (lengths, inputs, targets): ([Int], [Int32], [Int32]) = ([], [], [])
        for i in first..<min(first + B, rows.count) {
            for number in rows[position.shuffle.map { Int($0.samples[i]) } ?? i] {
                let conversation = conversations[number]
                lengths.append(conversation.ids.count - 1)
                inputs += conversation.ids.dropLast()
                targets += zip(conversation.ids, conversation.isAnswer).dropFirst().map { $1 ? $0 : -1 }
            }
        }
        return Batch(lengths: lengths, inputs: inputs, targets: targets)
    }

    package func rewind(to place: DataLoader.Position) { position = place }

    package func resume(at place: DataLoader.Position) throws {
        let order = place.shuffle?.samples.sorted()
        guard (order == nil) == (position.shuffle == nil),
            order ?? [] == (order.map { _ in (0..<Int32(rows.count)).map { $0 } } ?? []),
            (0...batchesPerEpoch).contains(place.sample), place.shard == 0
        else {
            throw UserError(
                "the checkpoint was made on other conversations, or with another batch size",
                hint: "resume with the data and the options of the first start, or start over by -y 0")
        }
        position = place
    }

    package func check() -> UInt64 {
        var checksum = Checksum()
        for conversation in conversations {
            withUnsafeBytes(of: Int64(conversation.ids.count).littleEndian) { checksum.update($0) }
            conversation.ids.withUnsafeBytes { checksum.update($0) }
            conversation.isAnswer.withUnsafeBytes { checksum.update($0) }
        }
        return checksum.value
    }

    package func question(number: Int) -> (tokens: [Int32], end: Int32?) {
        let conversation = conversations[number % conversations.count]
        let first = conversation.isAnswer.firstIndex(of: true) ?? 0
        return (Array(conversation.ids[..<first]), answerEnd)
    }
}
