// Training of byte-pair encoding. The textbook algorithm is in TextbookBytePairs.swift; this one gives the same merges
// in the same order.
//
// Only the distinct words are kept, with their counts. Each pair has its total and lists of the words it was seen in. A
// merge visits only those words and changes only the totals of the adjacent pairs. A priority queue yields the most
// frequent pair. Invariants:
//   - Totals are always exact (except for pairs that were merged already, which are never asked for again).
//   - A pair's lists together contain every word that contains the pair, and maybe words that no longer do.
//   - Every pair has an entry with at least its total. An entry whose count is not the pair's total any more goes back
//     with the right count, so the first entry that agrees is the largest.
//   - Pairs with a total below `rare` have no lists and no entry. Usually they are never needed. If they are, all pairs
//     are listed again from the words as they are then, with a lower `rare`. They would take most of the memory.
//   - Entries with a count of at least `floor` are in the queue; the others wait in a plain array. Most pairs are rare
//     and never needed. The floor is lowered only when the queue has no entry above it.
//
// The cost is memory latency: words lie anywhere in memory, and each visit is a cache miss. So a word is one run of
// numbers, its length and count followed by its symbols, and lists are in the order of memory. The words are
// hash-partitioned; a merge that visits many words processes the partitions in parallel. What they find are sums of
// whole numbers, so the result does not depend on the number of partitions.
//
// The order and the ties are those of Hugging Face's BpeTrainer, so the result is identical, id by id: special tokens,
// the alphabet in the order of code points, the characters inside words (`##b`), then the merges. Ties between equally
// frequent pairs go to the smallest left id, then the smallest right id. A merge that spells an existing token uses its
// id. The characters inside words are in the order of code points here; Hugging Face's library takes theirs from a hash
// table with a random seed, so its runs differ from each other. `insideOrder` imposes the order of one of them.

import Kernels

/// A trainer of byte-pair encoding: the words as symbols, the totals of their pairs, and the queue of pairs.
package struct BytePairTrainer {
    private var partitions: [TrainerPartition] = []
    private var totals = PairTable()
    private var queue = Heap<Candidate>()
    private var waiting: [Candidate] = []
    private var floor = Int64.max
    private var rare: Int64 = 1
    /// The range of the list of words, per candidate and partition.
    private var lists: [(first: UInt32, count: UInt32)] = []

    /// The spelling of each token, by id.
    private var spellings = ByteStringTable()
    /// The number of initial symbols in each token, by id.
    private var symbolCounts: [Int32] = []
    private let specialCount: Int
    private let prefix: [UInt8]
    private let isByteLevel: Bool
    private let longestToken: Int
    private let vocabularySize: Int
    /// The number of tokens before the first merge.
    private let firstCount: Int

    /// A pair that might be merged next.
    private struct Candidate: Comparable {
        var total: Int64
        let key: UInt64
        /// Its index in `lists`, divided by the number of partitions; or `everywhere`.
        let list: UInt32

        /// Any word may contain the pair: there is no list.
        static let everywhere = UInt32.max

        static func < (a: Candidate, b: Candidate) -> Bool {
            if a.total != b.total { return a.total > b.total }
            if a.key != b.key { return a.key < b.key }
            return a.list < b.list
        }
    }

    /// - Parameters:
    ///   - specialTokens: all different; their ids are 0, 1, 2 …
    ///   - vocabularySize: the number of tokens to reach, if there are enough pairs.
    ///   - longestToken: a pair is merged only if the result has fewer characters (with `Alphabet.bytes`, bytes) than
    ///     this. Pairs of initial symbols are always merged.
    ///   - rare: pairs that occur less often are not listed until they are needed; nil for an estimate.
    package init(
        _ words: consuming WordCounts, alphabet: Alphabet = .bytes, specialTokens: [[UInt8]], vocabularySize: Int,
        longestToken: Int = .max, rare: Int64? = nil
    ) {
        self.longestToken = longestToken
        self.vocabularySize = vocabularySize
        for token in specialTokens {
            spellings.insert(token)
            symbolCounts.append(1)
        }
        specialCount = spellings.count
        let symbols: SymbolTable
        switch alphabet {
        case .bytes:
            isByteLevel = true
            prefix = []
            var table = SymbolTable(isByteLevel: true)
            for byte in ByteAlphabet.bytesInOrder {
                table.ids[Int(byte)] = Int32(spellings.insert(ByteAlphabet.characters(for: [byte])))
            }
            symbols = table
        case .characters(let prefix, let limit, let insideOrder):
            isByteLevel = false
            self.prefix = prefix
            symbols = SymbolTable(
                copy words, &spellings, prefix: prefix, limit: limit, insideOrder: insideOrder)
        }
        while symbolCounts.count < spellings.count { symbolCounts.append(1) }
        firstCount = spellings.count
        partitions = BytePairTrainer.partitions(consume words, symbols)
        returnFreedMemory()
        listPairs(rare: rare)
    }

    /// Turns the words into symbols, each table into a partition.
    private static func partitions(_ words: consuming WordCounts, _ symbols: SymbolTable) -> [TrainerPartition] {
        let tables = words.tables
        var made = [TrainerPartition?](repeating: nil, count: tables.count)
        made.withUnsafeMutableBufferPointer { made in
            nonisolated(unsafe) let made = made
            parallelFor(made.count) { made[$0] = TrainerPartition(tables[$0], symbols) }
        }
        return made.compactMap { $0 }
    }

    /// Counts the pairs of each partition, and lists the words of the pairs that are not rare.
    /// - Parameter rare: the initial `rare`; nil for an estimate.
    private mutating func listPairs(rare first: Int64? = nil) {
        let (partitions, idCount, isFirst) = (partitions, spellings.count, totals.count == 0)
        parallelFor(partitions.count) { partitions[$0].countPairs(idCount: idCount) }
        if isFirst {
            for partition in partitions { for pair in partition.pairs { totals.add(pair.key, pair.total) } }
            rare = first ?? firstRare()
        }
        (queue, waiting, lists, floor) = (Heap(), [], [], .max)
        let (known, rare) = (totals, rare)
        parallelFor(partitions.count) { partitions[$0].listPairs { (known[$0] ?? 0) >= rare } }
        var places = PairTable()
        var candidates: [Candidate] = []
        for (index, partition) in partitions.enumerated() {
            for pair in partition.pairs where pair.isListed {
                guard isFirst || isAllowed(Int32(pair.key >> 32), Int32(truncatingIfNeeded: pair.key)) else { continue }
                let place: Int
                if let known = places[pair.key] {
                    place = Int(known)
                } else {
                    place = candidates.count
                    places.set(pair.key, Int64(place))
                    candidates.append(
                        Candidate(total: totals[pair.key] ?? 0, key: pair.key, list: UInt32(place)))
                    for _ in partitions { lists.append((0, 0)) }
                }
                lists[place * partitions.count + index] = (pair.first, pair.count)
            }
            partition.pairs = []
        }
        floor = max(1, (candidates.map(\.total).max() ?? 1) / 8)
        for candidate in candidates { push(candidate) }
        returnFreedMemory()
    }

    /// A total that the last merge is unlikely to go below: a quarter of the total of the pair that would be merged
    /// last if merges made no new pairs. With few symbols, nearly all of whose pairs occur: a small share of the
    /// highest total.
    private func firstRare() -> Int64 {
        let merges = vocabularySize - firstCount
        guard merges > 0 else { return 1 }
        // The pairs by total: sorting them all would take longer. Totals of at least `most` count as that.
        let most = 1 << 20
        var pairsOfTotal = [Int](repeating: 0, count: most + 1)
        var highest: Int64 = 1
        for partition in partitions {
            for pair in partition.pairs {
                let total = totals[pair.key] ?? 0
                highest = max(highest, total)
                pairsOfTotal[min(Int(total), most)] += 1
            }
        }
        var (last, left) = (most, merges)
        while last > 0, left >= pairsOfTotal[last] {
            left -= pairsOfTotal[last]
            last -= 1
        }
        return max(1, Int64(last) / 4, highest / Int64(4 * merges))
    }

    /// Whether the result of a merge is short enough. Pairs of initial symbols always are.
    private func isAllowed(_ left: Int32, _ right: Int32) -> Bool {
        (Int(left) < firstCount && Int(right) < firstCount)
            || Int(symbolCounts[Int(left)]) + Int(symbolCounts[Int(right)]) < longestToken
    }

    private mutating func push(_ candidate: Candidate) {
        if candidate.total >= floor { queue.push(candidate) } else { waiting.append(candidate) }
    }

    /// The candidate with the highest total at the time it was pushed.
    private mutating func pop() -> Candidate? {
        while true {
            if let top = queue.pop() {
                if top.total >= floor { return top }
                // Its total is below the floor, so a waiting candidate may have a higher one.
                waiting.append(top)
            }
            if !queue.isEmpty { continue }
            guard floor > 1 || !waiting.isEmpty, let best = waiting.map(\.total).max() else { return nil }
            floor = max(1, best - best / 4)
            if best < floor { return nil }
            waiting.removeAll { candidate in
                guard candidate.total >= floor else { return false }
                queue.push(candidate)
                return true
            }
        }
    }

    /// The number of tokens in the text. After training, the symbols of a word are what encoding would give.
    package var tokenCount: Int { partitions.reduce(0) { $0 + $1.tokenCount } }

    /// The number of occurrences of each token in the text, by id.
    package func tokenCounts() -> [Int] {
        let (partitions, tokens) = (partitions, spellings.count)
        var parts = [[Int]](repeating: [], count: partitions.count)
        parts.withUnsafeMutableBufferPointer { parts in
            nonisolated(unsafe) let parts = parts
            parallelFor(parts.count) { parts[$0] = partitions[$0].tokenCounts(tokens) }
        }
        return parts.reduce([Int](repeating: 0, count: tokens)) { sum, part in zip(sum, part).map(+) }
    }

    /// Merges until the vocabulary is full or no pair occurs at least `minimumFrequency` times and at least once.
    /// - Parameter progress: called after each merge with the size of the vocabulary.
    package mutating func train(
        minimumFrequency: Int = 0, progress: (Int) -> Void = { _ in }
    ) -> LearntBytePairs {
        var learnt = LearntBytePairs(spellings: [], merges: [])
        // A merge takes about 20 microseconds; waking a thread for it would take as long.
        withThreadsAwake { learnt = merge(minimumFrequency: minimumFrequency, progress: progress) }
        return learnt
    }

    private mutating func merge(minimumFrequency: Int, progress: (Int) -> Void) -> LearntBytePairs {
        var merges: [Merge] = []
        var rankOfPair: [UInt64: Int] = [:]
        let idCount = max(vocabularySize, spellings.count)
        for partition in partitions { partition.prepare(idCount: idCount) }
        var combined = CombinedNeighbours(idCount: idCount)
        while spellings.count < vocabularySize {
            guard var top = pop(), top.total >= rare else {
                // A pair that is not listed may be more frequent.
                if rare <= max(1, minimumFrequency) { break }
                rare = max(1, rare / 8)
                listPairs()
                continue
            }
            let total = totals[top.key] ?? 0
            if top.total != total {
                top.total = total
                if total >= rare { push(top) }
                continue
            }
            if total < minimumFrequency { break }
            let left = Int32(top.key >> 32)
            let right = Int32(truncatingIfNeeded: top.key)
            let result = Int32(spellings.insert(spelling(left, right)))
            let symbolCount = symbolCounts[Int(left)] + symbolCounts[Int(right)]
            if Int(result) == symbolCounts.count { symbolCounts.append(symbolCount) }
            // A special token is in no word until a merge spells it.
            if Int(result) < specialCount { symbolCounts[Int(result)] = symbolCount }
            // A pair can be merged twice if one of its tokens was spelt in two ways; its last rank counts.
            rankOfPair[top.key] = merges.count
            merges.append(Merge(left: left, right: right, result: result))
            replace(top, left: left, right: right, with: result, &combined)
            progress(spellings.count)
        }
        let lasting = merges.enumerated().filter { rankOfPair[pairKey($1.left, $1.right)] == $0 }.map(\.element)
        return LearntBytePairs(spellings: (0..<spellings.count).map { Array(spellings[$0]) }, merges: lasting)
    }

    /// The spelling of a merge. No slice of `spellings` outlives it: with one, each insertion would copy them all.
    private func spelling(_ left: Int32, _ right: Int32) -> [UInt8] {
        let inside = spellings[Int(right)]
        let tail = !prefix.isEmpty && inside.starts(with: prefix) ? inside.dropFirst(prefix.count) : inside
        return Array(spellings[Int(left)] + tail)
    }

    /// With fewer words to visit than this, one thread is faster than several.
    private static let fewWords = 100

    /// Replaces the pair in every word it was seen in, and updates the totals: when `p left right n` becomes
    /// `p result n`, the pairs (p, left) and (right, n) are lost, and (p, result) and (result, n) are new.
    private mutating func replace(
        _ candidate: Candidate, left: Int32, right: Int32, with result: Int32, _ combined: inout CombinedNeighbours
    ) {
        let partitions = partitions
        let first = Int(candidate.list) * partitions.count
        let isEverywhere = candidate.list == Candidate.everywhere
        let own = (0..<partitions.count).map { isEverywhere ? partitions[$0].everywhere() : lists[first + $0] }
        let visits = own.reduce(0) { $0 + Int($1.count) }
        if visits < BytePairTrainer.fewWords {
            for (index, partition) in partitions.enumerated() { partition.replace(own[index], left, right, result) }
        } else {
            parallelFor(partitions.count) { partitions[$0].replace(own[$0], left, right, result) }
        }
        // The neighbours are in the order in which they were first seen. The result does not depend on it: totals are
        // sums, and the queue orders by total and ids.
        combined.forEach(
            partitions.map(\.before.found),
            touch: { totals.touch(pairKey($0, left)) &+ totals.touch(pairKey($0, result)) }
        ) { neighbour, total, wordLists in
            totals.addIfKnown(pairKey(neighbour, left), -total)
            addCandidate(pairKey(neighbour, result), neighbour, result, total, wordLists)
        }
        combined.forEach(
            partitions.map(\.after.found),
            touch: { totals.touch(pairKey(right, $0)) &+ totals.touch(pairKey(result, $0)) }
        ) { neighbour, total, wordLists in
            totals.addIfKnown(pairKey(right, neighbour), -total)
            addCandidate(pairKey(result, neighbour), result, neighbour, total, wordLists)
        }
        // In `left right left right`, the pair `right left` between two replaced pairs became `result result`.
        let doubled = partitions.reduce(0) { $0 + $1.doubledTotal }
        if doubled > 0 {
            totals.addIfKnown(pairKey(right, left), -doubled)
            addCandidate(pairKey(result, result), result, result, doubled, partitions.map(\.doubledList)[...])
        }
    }

    private mutating func addCandidate(
        _ key: UInt64, _ left: Int32, _ right: Int32, _ change: Int64,
        _ wordLists: ArraySlice<(first: UInt32, count: UInt32)>
    ) {
        guard Int(symbolCounts[Int(left)]) + Int(symbolCounts[Int(right)]) < longestToken else { return }
        let total = totals.add(key, change)
        guard total >= rare else { return }
        if total > change, total - change < rare {
            // A token was spelt in a second way, and the earlier occurrences of the pair are not listed.
            push(Candidate(total: total, key: key, list: Candidate.everywhere))
            return
        }
        let list = UInt32(lists.count / partitions.count)
        lists.append(contentsOf: wordLists)
        push(Candidate(total: total, key: key, list: list))
    }
}

/// The sums of the neighbours that the partitions found.
private struct CombinedNeighbours {
    /// The index in `all` plus one, by id; 0 for none.
    private var places: [Int32]
    private var all: [(neighbour: Int32, total: Int64)] = []
    private var wordLists: [(first: UInt32, count: UInt32)] = []
    private var touched: UInt64 = 0

    init(idCount: Int) { places = [Int32](repeating: 0, count: idCount) }

    /// Calls `body` with each neighbour, its total, and the list of its words for each partition.
    /// - Parameter touch: reads the memory that `body` will read; called for some neighbours in advance.
    mutating func forEach(
        _ found: [[NeighbourPairs.Found]], touch: (Int32) -> UInt64,
        _ body: (Int32, Int64, ArraySlice<(first: UInt32, count: UInt32)>) -> Void
    ) {
        all.removeAll(keepingCapacity: true)
        wordLists.removeAll(keepingCapacity: true)
        for (partition, list) in found.enumerated() {
            for entry in list {
                var place = Int(places[Int(entry.neighbour)]) - 1
                if place < 0 {
                    place = all.count
                    places[Int(entry.neighbour)] = Int32(place + 1)
                    all.append((entry.neighbour, 0))
                    for _ in found { wordLists.append((0, 0)) }
                }
                all[place].total += entry.total
                wordLists[place * found.count + partition] = (entry.first, entry.count)
            }
        }
        for (place, entry) in all.enumerated() {
            if place % TrainerPartition.ahead == 0 {
                for next in all[place..<min(all.count, place + TrainerPartition.ahead)] {
                    touched &+= touch(next.neighbour)
                }
            }
            places[Int(entry.neighbour)] = 0
            body(entry.neighbour, entry.total, wordLists[place * found.count..<(place + 1) * found.count])
        }
    }
}
