// Byte-pair encoding (Gage, 1994; Sennrich, Haddow and Birch, 2016; on bytes: Radford et al., 2019).
//
// The textbook algorithm.
//
//   Training   Write every word of the corpus as its bytes. Then, until the vocabulary is full:
//              count all neighbouring pairs of symbols; take the most frequent; it becomes a new symbol, a merge;
//              replace it, left to right, in every word.
//   Encoding   Write the word as its bytes. Of all neighbouring pairs that are merges take the one learnt first, the
//              leftmost if it stands there twice; replace it; repeat until no pair is a merge.
//   Decoding   Write down the bytes of every token. All 256 bytes are tokens, so any text survives the round trip.
//
// Done literally, training reads the whole corpus once per merge, and encoding is quadratic in the word. What is done
// here gives the same result:
//
//   Training   Only distinct words are kept, with their counts. Each pair has its total and the list of words it was
//              seen in; a merge visits only those words and changes only the totals of the neighbouring pairs. A
//              priority queue gives the most frequent pair. Invariants:
//              - the totals are exact at all times (but for pairs already merged, which no one asks for again);
//              - a pair's lists, put together, hold every word that contains it, and maybe some that no longer do;
//              - every pair has an entry in the queue with at least its total, so an entry whose count is no longer
//                the pair's total goes back with the right one, and the first that agrees is the largest.
//   Encoding   A word met before is looked up. A short one is merged with the rank of each pair kept beside it, a long
//              one with a queue of pairs: n log n at worst.
//
// Order and ties are those of Hugging Face's BpeTrainer, so the result is the same, id by id: special tokens, the 256
// bytes in the order of their characters (see ByteAlphabet), then the merges; of equally frequent pairs the one with
// the smallest left id, then the smallest right id. Where a merge spells a token that exists, that id is used again.

import Kernels

// MARK: - the model

/// One merge: `left` and `right` in this order become `result`.
package struct Merge: Equatable, Sendable {
    package let left: Int32
    package let right: Int32
    package let result: Int32

    package init(left: Int32, right: Int32, result: Int32) {
        self.left = left
        self.right = right
        self.result = result
    }
}

/// What training gives and encoding needs.
package struct BytePairModel: Sendable {
    /// The bytes of each token; the index is its id.
    package let tokens: [[UInt8]]
    /// In the order in which they were learnt, which is their rank.
    package let merges: [Merge]
    /// The id of each byte, or -1 if a vocabulary made elsewhere has none.
    package let byteIDs: [Int32]
    /// Rank << 32 | result.
    fileprivate let rankOfPair: PairTable

    package init(tokens: [[UInt8]], merges: [Merge], byteIDs: [Int32]) {
        precondition(byteIDs.count == 256)
        self.tokens = tokens
        self.merges = merges
        self.byteIDs = byteIDs
        var ranks = PairTable()
        for (rank, merge) in merges.enumerated() {
            ranks.set(pairKey(merge.left, merge.right), Int64(rank) << 32 | Int64(merge.result))
        }
        rankOfPair = ranks
    }
}

// MARK: - training: counting

/// How often each distinct word occurs. Memory follows the distinct words, not the text.
package struct WordCounts: Sendable {
    package private(set) var words = ByteStringTable()
    package private(set) var counts: [Int64] = []

    package init() {}

    package mutating func add(_ word: UnsafeBufferPointer<UInt8>, count: Int64 = 1) {
        let index = words.insert(word)
        if index == counts.count { counts.append(0) }
        counts[index] += count
    }

    /// Adds the words of `text` line by line, each with its line end, as Hugging Face's trainer does: white space at a
    /// line's end is not the beginning of the next line's.
    package mutating func add(linesOf text: UnsafeBufferPointer<UInt8>, _ preTokenizer: PreTokenizer) {
        var start = 0
        while start < text.count {
            let newline = text[start...].firstIndex(of: UInt8(ascii: "\n"))
            let end = newline.map { $0 + 1 } ?? text.count
            preTokenizer.forEachWord(in: UnsafeBufferPointer(rebasing: text[start..<end])) { add($0) }
            start = end
        }
    }

    package mutating func add(_ other: WordCounts) {
        for index in 0..<other.words.count {
            other.words[index].withUnsafeBufferPointer { add($0, count: other.counts[index]) }
        }
    }
}

extension WordCounts {
    /// The words of all lines of `files`, counted by all cores. The counts do not depend on how many there are.
    /// - Parameter progress: called after each block with the bytes read so far.
    package static func counting(linesOf files: [InputFile], progress: (Int) -> Void = { _ in }) throws -> WordCounts {
        let preTokenizer = PreTokenizer()
        var partial = [WordCounts](repeating: WordCounts(), count: max(1, threadCount))
        var read = 0
        for file in files {
            try forEachBlock(of: file, blockSize: partial.count << 22, cut: .afterLine) { block, offset in
                let pieces = TextCut.afterLine.pieces(of: block, count: partial.count)
                var invalid = [Int?](repeating: nil, count: pieces.count)
                partial.withUnsafeMutableBufferPointer { partial in
                    invalid.withUnsafeMutableBufferPointer { invalid in
                        nonisolated(unsafe) let (partial, invalid) = (partial, invalid)
                        parallelFor(pieces.count) { i in
                            let piece = UnsafeBufferPointer(rebasing: block[pieces[i]])
                            invalid[i] = firstInvalidUTF8(in: piece).map { $0 + pieces[i].lowerBound }
                            if invalid[i] == nil { partial[i].add(linesOf: piece, preTokenizer) }
                        }
                    }
                }
                if let position = invalid.compactMap({ $0 }).first {
                    throw UserError(
                        "\(file.path), \(try lineAndByte(in: file, at: offset + position)): not UTF-8",
                        hint:
                            "convert the file first: iconv -f CP949 -t UTF-8 FILE, or -f UTF-16 if it begins with FF FE"
                    )
                }
                read += block.count
                progress(read)
            }
        }
        var all = partial.removeFirst()
        for other in partial { all.add(other) }
        return all
    }

    /// Of all words as often as they occur: the length of the text.
    package var textBytes: Int {
        counts.indices.reduce(0) { $0 + Int(counts[$1]) * words[$1].count }
    }
}

// MARK: - training: merging

/// The state of a training run: the words as symbols, and what is known of their pairs.
package struct BytePairTrainer {
    /// Words of at least two symbols, one after the other; a word shrinks in place.
    private var symbols: [Int32] = []
    private var starts: [Int] = []
    private var lengths: [Int32] = []
    private var counts: [Int64] = []
    /// Words of one byte, which nothing happens to.
    private var singles: Int64 = 0

    private var totals = PairTable()
    private var queue = Heap<Candidate>()
    /// The lists of words, one after the other; a candidate knows where its own begins.
    private var occurrences: [UInt32] = []

    private var tokens: ByteStringTable
    private let specialTokens: [[UInt8]]
    private let byteIDs: [Int32]

    /// A pair that might be merged next, with the words in which one step saw it arise.
    private struct Candidate: Comparable {
        var total: Int64
        let key: UInt64
        let firstOccurrence: Int
        let occurrenceCount: Int

        static func < (a: Candidate, b: Candidate) -> Bool {
            if a.total != b.total { return a.total > b.total }
            if a.key != b.key { return a.key < b.key }
            return a.firstOccurrence < b.firstOccurrence
        }
    }

    /// - Parameter specialTokens: all different; their ids are 0, 1, 2 …
    package init(_ words: WordCounts, specialTokens: [[UInt8]]) {
        self.specialTokens = specialTokens
        tokens = ByteStringTable()
        for token in specialTokens {
            // In Hugging Face's table tokens are spelt in the byte alphabet, so a merge can spell a special token only
            // if that is printable ASCII. Any other is kept apart by a byte that no UTF-8 text has.
            tokens.insert(token.allSatisfy { (33...126).contains($0) } ? token : [0xFF] + token)
        }
        var byteIDs = [Int32](repeating: -1, count: 256)
        for byte in ByteAlphabet.bytesInOrder { byteIDs[Int(byte)] = Int32(tokens.insert([byte])) }
        self.byteIDs = byteIDs
        addWords(words)
        countPairs()
    }

    private mutating func addWords(_ words: WordCounts) {
        symbols.reserveCapacity(words.words.byteCount)
        for index in 0..<words.words.count {
            let word = words.words[index]
            guard word.count > 1 else {
                singles += words.counts[index]
                continue
            }
            starts.append(symbols.count)
            lengths.append(Int32(word.count))
            counts.append(words.counts[index])
            for byte in word { symbols.append(byteIDs[Int(byte)]) }
        }
    }

    /// The pairs of bytes: at most 65,536, so they are counted in a plain table.
    private mutating func countPairs() {
        // The bytes' ids follow one another, after the special tokens'.
        let base = byteIDs.min() ?? 0
        let side = 256
        var total = [Int64](repeating: 0, count: side * side)
        var size = [Int](repeating: 0, count: side * side)
        for word in 0..<starts.count {
            for i in starts[word]..<starts[word] + Int(lengths[word]) - 1 {
                let pair = Int(symbols[i] - base) * side + Int(symbols[i + 1] - base)
                total[pair] += counts[word]
                size[pair] += 1
            }
        }
        var end = [Int](repeating: 0, count: side * side)
        var sum = 0
        for pair in 0..<side * side {
            end[pair] = sum
            sum += size[pair]
        }
        occurrences = [UInt32](repeating: 0, count: sum)
        for word in 0..<starts.count {
            for i in starts[word]..<starts[word] + Int(lengths[word]) - 1 {
                let pair = Int(symbols[i] - base) * side + Int(symbols[i + 1] - base)
                occurrences[end[pair]] = UInt32(word)
                end[pair] += 1
            }
        }
        for pair in 0..<side * side where size[pair] > 0 {
            let key = pairKey(base + Int32(pair / side), base + Int32(pair % side))
            totals.set(key, total[pair])
            queue.push(
                Candidate(
                    total: total[pair], key: key, firstOccurrence: end[pair] - size[pair],
                    occurrenceCount: size[pair]))
        }
    }

    /// The tokens of the whole text: after training a word stands as the symbols that encoding would give.
    package var tokenCount: Int {
        Int(singles) + starts.indices.reduce(0) { $0 + Int(counts[$1]) * Int(lengths[$1]) }
    }

    /// Merges until the vocabulary has `vocabularySize` tokens or no pair occurs `minimumFrequency` times (nor once).
    /// - Parameter progress: called after each merge with the size of the vocabulary.
    package mutating func train(
        vocabularySize: Int, minimumFrequency: Int, progress: (Int) -> Void = { _ in }
    ) -> BytePairModel {
        var merges: [Merge] = []
        var rankOfPair: [UInt64: Int] = [:]
        var before = NeighbourPairs(idCount: max(vocabularySize, tokens.count))
        var after = before
        while tokens.count < vocabularySize, var top = queue.pop() {
            let total = totals[top.key] ?? 0
            if top.total != total {
                top.total = total
                queue.push(top)
                continue
            }
            if total < max(1, minimumFrequency) { break }
            let left = Int32(top.key >> 32)
            let right = Int32(truncatingIfNeeded: top.key)
            let result = Int32(tokens.insert(Array(tokens[Int(left)] + tokens[Int(right)])))
            // A pair can come twice if one of its tokens was spelt in two ways; then its last rank counts.
            rankOfPair[top.key] = merges.count
            merges.append(Merge(left: left, right: right, result: result))
            replace(top, left: left, right: right, with: result, &before, &after)
            progress(tokens.count)
        }
        let lasting = merges.enumerated().filter { rankOfPair[pairKey($1.left, $1.right)] == $0 }.map(\.element)
        return BytePairModel(
            tokens: specialTokens + (specialTokens.count..<tokens.count).map { Array(tokens[$0]) }, merges: lasting,
            byteIDs: byteIDs)
    }

    /// Replaces the pair in every word it was seen in, and brings the totals up to date: from `p left right n` to
    /// `p result n` the pairs (p, left) and (right, n) are lost, (p, result) and (result, n) are new.
    private mutating func replace(
        _ candidate: Candidate, left: Int32, right: Int32, with result: Int32,
        _ before: inout NeighbourPairs, _ after: inout NeighbourPairs
    ) {
        // The pair `right left` between two replaced pairs, `left right left right`, becomes `result result`.
        var doubled = NeighbourPairs.Entry()
        var doubledWords: [UInt32] = []
        symbols.withUnsafeMutableBufferPointer { symbols in
            for i in candidate.firstOccurrence..<candidate.firstOccurrence + candidate.occurrenceCount {
                let word = occurrences[i]
                let start = starts[Int(word)]
                let end = start + Int(lengths[Int(word)])
                let count = counts[Int(word)]
                var read = start
                var write = start
                var justReplaced = false
                while read < end {
                    guard read + 1 < end, symbols[read] == left, symbols[read + 1] == right else {
                        symbols[write] = symbols[read]
                        read += 1
                        write += 1
                        justReplaced = false
                        continue
                    }
                    if justReplaced {
                        doubled.total += count
                        if doubledWords.last != word { doubledWords.append(word) }
                    } else if write > start {
                        before.add(symbols[write - 1], word, count)
                    }
                    read += 2
                    let anotherFollows = read + 1 < end && symbols[read] == left && symbols[read + 1] == right
                    if read < end, !anotherFollows { after.add(symbols[read], word, count) }
                    symbols[write] = result
                    write += 1
                    justReplaced = true
                }
                lengths[Int(word)] = Int32(write - start)
            }
        }
        before.drain { neighbour, total, words in
            totals.add(pairKey(neighbour, left), -total)
            addCandidate(pairKey(neighbour, result), total, words)
        }
        after.drain { neighbour, total, words in
            totals.add(pairKey(right, neighbour), -total)
            addCandidate(pairKey(result, neighbour), total, words)
        }
        if doubled.total > 0 {
            totals.add(pairKey(right, left), -doubled.total)
            doubledWords.withUnsafeBufferPointer { addCandidate(pairKey(result, result), doubled.total, $0) }
        }
    }

    private mutating func addCandidate(_ key: UInt64, _ change: Int64, _ words: UnsafeBufferPointer<UInt32>) {
        let total = totals.add(key, change)
        guard total > 0 else { return }
        queue.push(
            Candidate(
                total: total, key: key, firstOccurrence: occurrences.count, occurrenceCount: words.count))
        occurrences.append(contentsOf: words)
    }
}

/// Gathers, during one merge, what stands on one side of the replaced pairs: per neighbour its total and its words.
/// A table by id instead of a hash table, and totals changed once per neighbour instead of once per word.
private struct NeighbourPairs {
    struct Entry {
        var total: Int64 = 0
        var wordCount = 0
        var lastWord = UInt32.max
    }
    private var entries: [Entry]
    private var touched: [Int32] = []
    private var records: [(neighbour: Int32, word: UInt32)] = []
    private var sorted: [UInt32] = []
    private var cursors: [Int]

    init(idCount: Int) {
        entries = [Entry](repeating: Entry(), count: idCount)
        cursors = [Int](repeating: 0, count: idCount)
    }

    @inline(__always)
    mutating func add(_ neighbour: Int32, _ word: UInt32, _ count: Int64) {
        let id = Int(neighbour)
        if entries[id].wordCount == 0 { touched.append(neighbour) }
        entries[id].total += count
        if entries[id].lastWord == word, entries[id].wordCount > 0 { return }
        entries[id].lastWord = word
        entries[id].wordCount += 1
        records.append((neighbour, word))
    }

    /// Calls `body` with each neighbour, its total and its words, and forgets them.
    mutating func drain(_ body: (Int32, Int64, UnsafeBufferPointer<UInt32>) -> Void) {
        var sum = 0
        for neighbour in touched {
            cursors[Int(neighbour)] = sum
            sum += entries[Int(neighbour)].wordCount
        }
        if sorted.count < sum { sorted = [UInt32](repeating: 0, count: max(sum, 2 * sorted.count)) }
        for record in records {
            sorted[cursors[Int(record.neighbour)]] = record.word
            cursors[Int(record.neighbour)] += 1
        }
        for neighbour in touched {
            let entry = entries[Int(neighbour)]
            let end = cursors[Int(neighbour)]
            sorted.withUnsafeBufferPointer {
                body(neighbour, entry.total, UnsafeBufferPointer(rebasing: $0[end - entry.wordCount..<end]))
            }
            entries[Int(neighbour)] = Entry()
        }
        touched.removeAll(keepingCapacity: true)
        records.removeAll(keepingCapacity: true)
    }
}

// MARK: - encoding

/// Turns words into ids and remembers those it has met. One per thread.
package struct BytePairEncoder {
    private let model: BytePairModel
    private let preTokenizer = PreTokenizer()
    private var known = ByteStringTable()
    /// The ids of known word i lie in `knownIDs` from `knownStarts[i]` up to `knownStarts[i + 1]`.
    private var knownStarts = [0]
    private var knownIDs: [Int32] = []
    private var ids: [Int32] = []
    private var ranks: [Int64] = []

    /// Words longer than this are seldom met twice.
    private static let longestKnownWord = 64
    /// Bytes of words; when they are full the encoder starts anew, so memory stays bounded. The ids stay the same.
    private static let knownBytes = 16 << 20
    /// Up to here a search through all ranks is faster than a queue.
    private static let longestSearched = 96

    package init(_ model: BytePairModel) { self.model = model }

    /// Appends the ids of `text`, which is cut into words first.
    package mutating func encode(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        var start = 0
        while start < text.count {
            let end = preTokenizer.wordEnd(in: text, from: start)
            encode(word: UnsafeBufferPointer(rebasing: text[start..<end]), to: &output)
            start = end
        }
    }

    /// Appends the ids of one word.
    package mutating func encode(word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        guard word.count <= BytePairEncoder.longestKnownWord else {
            merge(word)
            output.append(contentsOf: ids)
            return
        }
        if known.byteCount > BytePairEncoder.knownBytes {
            known.removeAll()
            knownStarts = [0]
            knownIDs.removeAll(keepingCapacity: true)
        }
        let index = known.insert(word)
        if index + 1 == knownStarts.count {
            merge(word)
            knownIDs.append(contentsOf: ids)
            knownStarts.append(knownIDs.count)
        }
        for i in knownStarts[index]..<knownStarts[index + 1] { output.append(knownIDs[i]) }
    }

    /// Leaves the ids of `word` in `ids`. A byte the vocabulary lacks is dropped, as Hugging Face's library does.
    private mutating func merge(_ word: UnsafeBufferPointer<UInt8>) {
        ids.removeAll(keepingCapacity: true)
        for byte in word where model.byteIDs[Int(byte)] >= 0 { ids.append(model.byteIDs[Int(byte)]) }
        if ids.count <= BytePairEncoder.longestSearched { mergeBySearch() } else { mergeByQueue() }
    }

    private static let noMerge = Int64.max

    /// Rank << 32 | result of the pair, so that the smallest is the merge that was learnt first.
    @inline(__always)
    private func rank(_ left: Int32, _ right: Int32) -> Int64 {
        model.rankOfPair[pairKey(left, right)] ?? BytePairEncoder.noMerge
    }

    /// The textbook loop, but for the ranks: `ranks[i]` is that of `ids[i]` and `ids[i + 1]`, and a merge changes two.
    private mutating func mergeBySearch() {
        guard ids.count > 1 else { return }
        ranks.removeAll(keepingCapacity: true)
        for i in 0..<ids.count - 1 { ranks.append(rank(ids[i], ids[i + 1])) }
        while true {
            var best = BytePairEncoder.noMerge
            var at = 0
            for i in 0..<ranks.count where ranks[i] < best {
                best = ranks[i]
                at = i
            }
            if best == BytePairEncoder.noMerge { return }
            ids[at] = Int32(truncatingIfNeeded: best)
            ids.remove(at: at + 1)
            ranks.remove(at: at)
            if at > 0 { ranks[at - 1] = rank(ids[at - 1], ids[at]) }
            if at < ranks.count { ranks[at] = rank(ids[at], ids[at + 1]) }
        }
    }

    private struct QueuedPair: Comparable {
        let rank: Int64
        let position: Int

        static func < (a: QueuedPair, b: QueuedPair) -> Bool {
            a.rank != b.rank ? a.rank < b.rank : a.position < b.position
        }
    }

    /// The same with a linked list of the symbols and a queue of the pairs. An entry is out of date when the pair at
    /// its position no longer has its rank; it is then passed over.
    private mutating func mergeByQueue() {
        let count = ids.count
        var next = (1...count).map { $0 }
        var previous = (-1..<count - 1).map { $0 }
        var queue = Heap<QueuedPair>()

        func currentRank(at position: Int) -> Int64 {
            guard ids[position] >= 0, next[position] < count else { return BytePairEncoder.noMerge }
            return rank(ids[position], ids[next[position]])
        }
        func push(_ position: Int) {
            let rank = currentRank(at: position)
            if rank != BytePairEncoder.noMerge { queue.push(QueuedPair(rank: rank, position: position)) }
        }
        for position in 0..<count { push(position) }
        while let top = queue.pop() {
            guard currentRank(at: top.position) == top.rank else { continue }
            let gone = next[top.position]
            ids[top.position] = Int32(truncatingIfNeeded: top.rank)
            ids[gone] = -1
            next[top.position] = next[gone]
            if next[gone] < count { previous[next[gone]] = top.position }
            if previous[top.position] >= 0 { push(previous[top.position]) }
            push(top.position)
        }
        ids.removeAll { $0 < 0 }
    }
}

// MARK: - bytes as characters

/// The characters that stand for bytes in vocabularies of GPT-2's kind: a printable byte for itself, the others as
/// U+0100 and up, so that a vocabulary is readable text without white space.
package enum ByteAlphabet {
    /// The code point of each byte, 33 … 323.
    package static let scalars: [UInt32] = {
        var others: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) { return byte }
            others += 1
            return others - 1
        }
    }()

    /// The byte of each code point, or nil.
    private static let bytes: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar)] = UInt8(byte) }
        return bytes
    }()

    /// All bytes in the order of their characters, which is the order of their ids.
    package static let bytesInOrder: [UInt8] = bytes.compactMap { $0 }

    /// The characters, as UTF-8, that stand for `bytes`.
    package static func characters<Bytes: Sequence<UInt8>>(for bytes: Bytes) -> [UInt8] {
        var characters: [UInt8] = []
        for byte in bytes {
            let scalar = scalars[Int(byte)]
            if scalar < 0x80 {
                characters.append(UInt8(scalar))
            } else {
                characters.append(UInt8(0xC0 | scalar >> 6))
                characters.append(UInt8(0x80 | scalar & 0x3F))
            }
        }
        return characters
    }

    /// The bytes that `characters` (UTF-8) stand for, or nil if one of them stands for none.
    package static func bytes(for characters: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        for scalar in String(decoding: characters, as: UTF8.self).unicodeScalars {
            guard scalar.value < bytes.count, let byte = bytes[Int(scalar.value)] else { return nil }
            result.append(byte)
        }
        return result
    }
}
