// Which words of one's own texts are worth a token of their own.
//
// A token that is added is found in the text before words are split, wherever its characters are (AddedToken). Added, a
// word therefore also serves the words that contain it: a Korean noun with each of its particles. And it costs where it
// cuts a word that was one token. So a candidate's worth is not (pieces - 1) x count of that word alone, but the change in
// tokens over all words that contain it.
//
// Only words that stand alone in the texts are candidates, as they are there. Any part of a word as a candidate would save
// some more (an ending such as "느니라"), but leave a list of fragments.
//
// Words are chosen one by one, the one that saves most next to those already chosen (lazily: an estimate is only computed
// again when it is the best). What was chosen is measured by encoding the texts with all of it added.

import Kernels

/// A word that is worth a token of its own.
package struct SuggestedWord: Equatable, Sendable {
    /// The word, with the space in front if the tokenizer's words have it.
    package let content: [UInt8]
    /// How often it is in the texts as a token, added together with the words before it in the list.
    package let count: Int
    /// The number of tokens that it takes without being added.
    package let pieces: Int
    /// The number of tokens that it saves, added after the words before it.
    package let saved: Int
}

/// The words to add to a tokenizer for some texts, the best first, and what they change.
package struct WordSuggestions: Sendable {
    package let words: [SuggestedWord]
    package let distinctWords: Int
    /// The tokens of the texts, and those of them that are unknown, before and after all the words are added.
    package let before: (tokens: Int, unknown: Int)
    package let after: (tokens: Int, unknown: Int)
}

extension Tokenizer {
    /// At most `count` words of `files` to add.
    /// - Parameters:
    ///   - lossy: whether bytes that are not text become U+FFFD; if not, they are an error.
    ///   - progress: called with the number of bytes read so far; the files are read three times.
    /// - Throws: if the tokenizer cannot encode or does not split text into words, or a file cannot be read.
    package func suggestedWords(
        _ count: Int, for files: [TextFile], lossy: Bool = false, progress: (Int) -> Void = { _ in }
    ) throws -> WordSuggestions {
        guard let preTokenizer else {
            throw UserError(
                "the tokenizer does not split text into words, so there is no word to suggest",
                hint: "it has no pre_tokenizer; choose a tokenizer that has one")
        }
        let size = files.reduce(0) { $0 + $1.size }
        let counts = try WordCounts.counting(linesOf: files, preTokenizer, normalizer, lossy: lossy, progress: progress)
        let words = try WordSuggester(self, counts.words).best(count)
        let before = try tokenCount(of: files, lossy: lossy) { progress(size + $0) }
        let after = try adding(words.map(\.content)).tokenCount(of: files, lossy: lossy) { progress(2 * size + $0) }
        return WordSuggestions(words: words, distinctWords: counts.words.count, before: before, after: after)
    }

    /// The number of tokens of `files`, and how many of them are unknown. Special tokens in them are ordinary text.
    func tokenCount(
        of files: [TextFile], lossy: Bool, progress: (Int) -> Void
    ) throws -> (tokens: Int, unknown: Int) {
        var encoders = try (0..<max(1, threadCount)).map { _ in try makeEncoder() }
        var counts = [(tokens: Int, unknown: Int, replaced: Int)](repeating: (0, 0, 0), count: encoders.count)
        var read = 0
        try encoders.withUnsafeMutableBufferPointer { encoders in
            try counts.withUnsafeMutableBufferPointer { counts in
                nonisolated(unsafe) let (encoders, counts) = (encoders, counts)
                for file in files {
                    try forEachSection(of: file, sectionSize: 2 << 20, cut: cut, lossy: lossy) {
                        read += $0
                        progress(read)
                    } _: { i, section in
                        var ids: [Int32] = []
                        section.withText(count: &counts[i].replaced) { text in
                            encoders[i].encode(text, isStart: section.offset == file.start, to: &ids)
                        }
                        counts[i].tokens += ids.count
                        if let unknown { counts[i].unknown += ids.count { $0 == unknown } }
                    }
                }
            }
        }
        return counts.reduce((0, 0)) { ($0.0 + $1.tokens, $0.1 + $1.unknown) }
    }
}

/// The choice of words to add, from the words of a text and their counts.
private struct WordSuggester {
    private let tokenizer: Tokenizer
    /// The words, with their space as it is in a text.
    private let words: ByteStringTable
    private let counts: [Int]
    /// The number of tokens of each word.
    private let costs: [Int]
    /// Whether a word may be suggested.
    private let isCandidate: [Bool]

    /// The most characters of a word whose parts are looked at. Longer ones are rarely words.
    private static let longest = 40

    init(_ tokenizer: Tokenizer, _ text: WordCounts) throws {
        self.tokenizer = tokenizer
        var space: [UInt8] = []
        if case .metaspace(let replacement, _, _)? = tokenizer.preTokenizer { space = replacement }
        var words = ByteStringTable()
        var counts: [Int] = []
        text.forEach { word, count in
            let index =
                space.isEmpty
                ? words.insert(word) : words.insert(replacing(space, by: [UInt8(ascii: " ")], in: Array(word)))
            if index == counts.count { counts.append(0) }
            counts[index] += Int(count)
        }
        self.words = words
        self.counts = counts
        var costs = [Int](repeating: 0, count: counts.count)
        try costs.withUnsafeMutableBufferPointer { costs in
            nonisolated(unsafe) let costs = costs
            try WordSuggester.forEachShare(of: counts.count, tokenizer) { _, share, encoder in
                for index in share { words[index].withUnsafeBufferPointer { costs[index] = encoder.cost(of: $0) } }
            }
        }
        self.costs = costs
        isCandidate = counts.indices.map { costs[$0] > 1 && WordSuggester.isWord(words[$0]) }
    }

    /// Whether `bytes` are a letter and more letters, marks or numbers, maybe with a space in front.
    private static func isWord(_ bytes: ArraySlice<UInt8>) -> Bool {
        let characters = scalars(of: Array(bytes.first == UInt8(ascii: " ") ? bytes.dropFirst() : bytes))
        let classes = CharacterClasses.shared
        guard let first = characters.first, classes(first) == .letter, characters.count > 1 else { return false }
        return characters.allSatisfy {
            classes($0) == .letter || classes($0) == .number || classes.flags($0) & CharacterFlag.mark != 0
        }
    }

    /// Divides the numbers below `count` among the cores, and calls `body` with each share, its number and an encoder.
    private static func forEachShare(
        of count: Int, shares: Int = max(1, threadCount), _ tokenizer: Tokenizer,
        _ body: (Int, Range<Int>, inout SegmentEncoder) -> Void
    ) throws {
        var encoders = try (0..<shares).map { _ in try SegmentEncoder(tokenizer) }
        encoders.withUnsafeMutableBufferPointer { encoders in
            nonisolated(unsafe) let encoders = encoders
            parallelFor(shares) { i in body(i, count * i / shares..<count * (i + 1) / shares, &encoders[i]) }
        }
    }

    /// The offsets between the characters of a word, with its beginning and its end; none if it is too long.
    private func ends(in word: UnsafeBufferPointer<UInt8>) -> [Int] {
        var ends = word.indices.filter { word[$0] & 0xC0 != 0x80 }
        ends.append(word.count)
        return ends.count <= WordSuggester.longest + 1 ? ends : []
    }

    /// Calls `body` with each part of a word of two characters or more.
    private func forEachPart(of word: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        let ends = ends(in: word)
        for first in ends.indices.dropLast(2) {
            for last in first + 2..<ends.count { body(ends[first]..<ends[last]) }
        }
    }

    /// What each word would save if it alone were added: in itself, and in the words that contain it.
    private func gains() throws -> [Int] {
        var gains = (0..<max(1, threadCount)).map { _ in [Int](repeating: 0, count: counts.count) }
        try gains.withUnsafeMutableBufferPointer { gains in
            nonisolated(unsafe) let gains = gains
            try WordSuggester.forEachShare(of: counts.count, shares: gains.count, tokenizer) { i, share, encoder in
                for index in share {
                    words[index].withUnsafeBufferPointer { word in
                        forEachPart(of: word) { range in
                            guard let part = words.index(of: UnsafeBufferPointer(rebasing: word[range])),
                                isCandidate[part]
                            else { return }
                            let rest =
                                encoder.cost(of: UnsafeBufferPointer(rebasing: word[..<range.lowerBound]))
                                + encoder.cost(of: UnsafeBufferPointer(rebasing: word[range.upperBound...]))
                            gains[i][part] += counts[index] * (costs[index] - 1 - rest)
                        }
                    }
                }
            }
        }
        return counts.indices.map { index in gains.reduce(0) { $0 + $1[index] } }
    }

    /// A word that may be chosen, with what it was last known to save.
    private struct Finalist: Comparable {
        let gain: Int
        /// Its place among the finalists.
        let rank: Int

        /// The best first.
        static func < (a: Finalist, b: Finalist) -> Bool { a.gain != b.gain ? a.gain > b.gain : a.rank < b.rank }
    }

    /// The `count` words that save most, each next to those before it.
    func best(_ count: Int) throws -> [SuggestedWord] {
        let gains = try gains()
        let most = 10 * count + 1000
        let least = gains.filter { $0 > 0 }.sorted(by: >).prefix(most).last ?? 1
        let finalists = gains.indices.filter { gains[$0] >= least }.sorted {
            gains[$0] != gains[$1] ? gains[$0] > gains[$1] : words[$0].lexicographicallyPrecedes(words[$1])
        }.prefix(most)
        var table = ByteStringTable()
        for index in finalists { table.insert(Array(words[index])) }

        // The words that contain each finalist.
        var containing = [[Int32]](repeating: [], count: finalists.count)
        for index in counts.indices {
            words[index].withUnsafeBufferPointer { word in
                forEachPart(of: word) { range in
                    guard let rank = table.index(of: UnsafeBufferPointer(rebasing: word[range])) else { return }
                    if containing[rank].last != Int32(index) { containing[rank].append(Int32(index)) }
                }
            }
        }

        var encoder = try SegmentEncoder(tokenizer)
        var costs = costs
        var isChosen = [Bool](repeating: false, count: finalists.count)
        var heap = Heap<Finalist>()
        for (rank, index) in finalists.enumerated() { heap.push(Finalist(gain: gains[index], rank: rank)) }
        var chosen: [SuggestedWord] = []
        while chosen.count < count, let top = heap.pop() {
            isChosen[top.rank] = true
            let changes = containing[top.rank].map { index in
                let index = Int(index)
                let cut = cost(of: words[index], table, isChosen, counting: top.rank, &encoder)
                return (index: index, cost: cut.tokens, uses: cut.uses)
            }
            let gain = changes.reduce(0) { $0 + counts[$1.index] * (costs[$1.index] - $1.cost) }
            if gain < top.gain {
                // Less than was known: it waits for its turn.
                isChosen[top.rank] = false
                if gain > 0 { heap.push(Finalist(gain: gain, rank: top.rank)) }
                continue
            }
            for change in changes { costs[change.index] = change.cost }
            let index = finalists[top.rank]
            chosen.append(
                SuggestedWord(
                    content: Array(words[index]), count: changes.reduce(0) { $0 + counts[$1.index] * $1.uses },
                    pieces: self.costs[index], saved: gain))
        }
        return chosen
    }

    /// The number of tokens of a word, cut as the chosen finalists cut it, of which the longest is found first; and how
    /// often one of them is in it.
    private func cost(
        of word: ArraySlice<UInt8>, _ finalists: ByteStringTable, _ isChosen: [Bool], counting counted: Int,
        _ encoder: inout SegmentEncoder
    ) -> (tokens: Int, uses: Int) {
        word.withUnsafeBufferPointer { word in
            let ends = ends(in: word)
            var (tokens, uses, first, done) = (0, 0, 0, 0)
            while first < ends.count {
                let found = ends.indices[first...].last { last in
                    last > first + 1
                        && finalists.index(of: UnsafeBufferPointer(rebasing: word[ends[first]..<ends[last]]))
                            .map { isChosen[$0] } ?? false
                }
                guard let found else {
                    first += 1
                    continue
                }
                let range = ends[first]..<ends[found]
                if finalists.index(of: UnsafeBufferPointer(rebasing: word[range])) == counted { uses += 1 }
                tokens += encoder.cost(of: UnsafeBufferPointer(rebasing: word[done..<range.lowerBound])) + 1
                (first, done) = (found, range.upperBound)
            }
            return (tokens + encoder.cost(of: UnsafeBufferPointer(rebasing: word[done...])), uses)
        }
    }
}

/// An encoder that counts the tokens of parts of normalized text.
private struct SegmentEncoder {
    private var encoder: TextEncoder
    private let unknown: Int32?
    private var ids: [Int32] = []

    init(_ tokenizer: Tokenizer) throws {
        encoder = try tokenizer.makeEncoder()
        unknown = tokenizer.unknown
    }

    /// The number of tokens of `text`. What is unknown is lost, and counts as many tokens as it has characters.
    mutating func cost(of text: UnsafeBufferPointer<UInt8>) -> Int {
        guard !text.isEmpty else { return 0 }
        ids.removeAll(keepingCapacity: true)
        encoder.encodeNormalized(text, isStart: false, to: &ids)
        guard let unknown, ids.contains(unknown) else { return ids.count }
        return max(ids.count, characterCount(of: text))
    }
}
