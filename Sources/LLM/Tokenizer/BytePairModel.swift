// Byte-pair encoding of words (on characters: Sennrich, Haddow and Birch, 2016; on bytes: Radford et al., 2019).
//
// TextbookBytePairs.swift is the specification. This model gives the same ids faster. A word that was encoded before is
// looked up (WordEncoder). In a short word, the rank of each adjacent pair is kept beside it; a long word uses a queue
// of pairs, O(n log n) at worst. With byte symbols, many characters can start as a single symbol (WholeCharacters).
//
// A symbol is a byte (as in GPT-2, where any text can be spelt) or a character. Characters may be spelt differently
// inside a word (`##b`) or at its end (`b</w>`). Characters that the vocabulary lacks become bytes (`<0xEA>`), unknown
// tokens, or nothing. All of this follows Hugging Face's library.

/// A byte-pair encoding model: the merges and the ids of the initial symbols.
package struct BytePairModel: Sendable {
    /// How a word is split into its initial symbols if they are characters.
    package struct Characters: Sendable {
        package var unknown: Int32?
        package var fusesUnknown = false
        package var fallsBackToBytes = false
        package var prefix: [UInt8] = []
        package var suffix: [UInt8] = []

        package init() {}
    }

    /// The merges in the order in which they were learnt; the index is the rank.
    package let merges: [Merge]
    /// The id of each byte, -1 if it has none; nil if the symbols are characters.
    package let byteIDs: [Int32]?
    /// Whether a word that is itself a token becomes that token, regardless of the merges.
    package let ignoresMerges: Bool
    /// Whether a word must be looked up for that: some token does not come about by merges.
    private var looksUpWords: Bool
    package let characters: Characters
    let vocabulary: Vocabulary
    /// rank << 32 | result, by `pairKey`.
    private let rankOfPair: PairTable
    /// One bit per hash of a pair. Most pairs looked up are not merges, and this table is in a near cache: 32 KB, or 128 KB
    /// for 200,000 merges.
    private let filter: [UInt64]
    private let filterShift: UInt64
    /// rank << 32 | result for pairs of bytes, indexed by left << 8 | right: every word starts out as bytes.
    private let firstRanks: [Int64]
    /// The characters that can start as one symbol, if the vocabulary has all bytes.
    private let whole: WholeCharacters?
    /// The ids of single characters, by place in the word (bit 0: not first, bit 1: last) << 32 | scalar.
    private let characterIDs: PairTable
    /// The ids of `<0x00>` … `<0xFF>`, -1 for those that do not exist.
    private let fallbackIDs: [Int32]

    /// - Parameters:
    ///   - vocabulary: maps the bytes of tokens to ids if the symbols are bytes, else their spellings.
    package init(
        _ vocabulary: Vocabulary, merges: [Merge], byteIDs: [Int32]?, characters: Characters = Characters(),
        ignoresMerges: Bool = false
    ) {
        precondition(byteIDs == nil || byteIDs?.count == 256)
        self.vocabulary = vocabulary
        self.merges = merges
        self.byteIDs = byteIDs
        self.characters = characters
        self.ignoresMerges = ignoresMerges
        looksUpWords = ignoresMerges
        var table = PairTable()
        for (rank, merge) in merges.enumerated() {
            table.set(pairKey(merge.left, merge.right), Int64(rank) << 32 | Int64(merge.result))
        }
        rankOfPair = table
        // About a sixth of its bits are set, or fewer.
        let bits = max(18, 64 - (4 * merges.count).leadingZeroBitCount)
        filterShift = UInt64(64 - bits)
        var filter = [UInt64](repeating: 0, count: 1 << (bits - 6))
        for merge in merges {
            let bit = BytePairModel.filterBit(merge.left, merge.right, filterShift)
            filter[bit >> 6] |= 1 << UInt64(bit & 63)
        }
        self.filter = filter
        var first: [Int64] = []
        if let byteIDs {
            first = [Int64](repeating: BytePairModel.noMerge, count: 1 << 16)
            for left in 0..<256 where byteIDs[left] >= 0 {
                for right in 0..<256 where byteIDs[right] >= 0 {
                    if let value = table[pairKey(byteIDs[left], byteIDs[right])] { first[left << 8 | right] = value }
                }
            }
        }
        firstRanks = first
        whole = byteIDs.flatMap { ids in
            ids.allSatisfy { $0 >= 0 } ? WholeCharacters(byteIDs: ids, merges: merges, ranks: table) : nil
        }
        var ids = PairTable()
        var fallback = [Int32](repeating: -1, count: 256)
        for index in 0..<(byteIDs == nil ? vocabulary.count : 0) {
            let (spelling, id) = vocabulary.spelling(at: index)
            if let byte = Decoder.byte(of: Array(spelling)) { fallback[Int(byte)] = id }
            for place in 0..<UInt64(4) {
                var rest = spelling
                if place & 1 != 0 {
                    guard rest.starts(with: characters.prefix) else { continue }
                    rest = rest.dropFirst(characters.prefix.count)
                }
                if place & 2 != 0 {
                    guard rest.suffix(characters.suffix.count) == characters.suffix[...] else { continue }
                    rest = rest.dropLast(characters.suffix.count)
                }
                guard let first = rest.first, rest.count <= 4 else { continue }
                let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
                guard length == rest.count else { continue }
                let character = Array(rest).withUnsafeBufferPointer { scalar(at: 0, in: $0) }
                ids.set(place << 32 | UInt64(character.value), Int64(id))
            }
        }
        characterIDs = ids
        fallbackIDs = fallback
        if ignoresMerges, byteIDs != nil { looksUpWords = !makesEveryToken() }
    }

    /// Whether merging the bytes of each token leads to it. So it is with what byte-pair encoding has learnt; and looking
    /// up every new word would cost a third of the time.
    private func makesEveryToken() -> Bool {
        var buffers = MergeBuffers()
        var ids: [Int32] = []
        return (0..<vocabulary.count).allSatisfy { index in
            let token = vocabulary.spelling(at: index)
            ids.removeAll(keepingCapacity: true)
            token.spelling.withUnsafeBufferPointer { merge($0, to: &ids, &buffers) }
            return ids == [token.id]
        }
    }

    /// rank << 32 | result of the pair's merge, so that a smaller value was learnt earlier; `noMerge` if there is
    /// none.
    @inline(__always)
    private func rank(_ left: Int32, _ right: Int32) -> Int64 {
        let bit = BytePairModel.filterBit(left, right, filterShift)
        guard filter[bit >> 6] & 1 &<< UInt64(bit & 63) != 0 else { return BytePairModel.noMerge }
        return rankOfPair[pairKey(left, right)] ?? BytePairModel.noMerge
    }

    @inline(__always)
    private static func filterBit(_ left: Int32, _ right: Int32, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: (pairKey(left, right) &* 0xff51_afd7_ed55_8ccd) &>> shift)
    }

    private static let noMerge = Int64.max

    /// The most symbols for which searching all ranks is faster than a queue.
    private static let longestSearched = 96

    /// Buffers that `encode` reuses from word to word.
    struct MergeBuffers {
        fileprivate var ranks: [Int64] = []
        fileprivate var ids: [Int32] = []
    }

    /// Appends the ids of `word`, which is not empty.
    func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32], _ buffers: inout MergeBuffers) {
        if looksUpWords, let id = vocabulary.id(of: word) {
            output.append(id)
            return
        }
        merge(word, to: &output, &buffers)
    }

    private func merge(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32], _ buffers: inout MergeBuffers) {
        buffers.ids.removeAll(keepingCapacity: true)
        if let byteIDs, let whole, word.count <= BytePairModel.longestSearched {
            mergeBytes(word, byteIDs, whole, to: &output)
            return
        }
        if let byteIDs {
            appendBytes(of: word, byteIDs, to: &buffers.ids)
        } else {
            appendCharacters(of: word, to: &buffers.ids)
        }
        if buffers.ids.count <= BytePairModel.longestSearched {
            mergeBySearch(&buffers)
        } else {
            mergeByQueue(&buffers)
        }
        output.append(contentsOf: buffers.ids)
    }

    /// Appends the id of each byte. A byte that the vocabulary lacks becomes the unknown token, or nothing if there is
    /// none.
    private func appendBytes(of word: UnsafeBufferPointer<UInt8>, _ byteIDs: [Int32], to ids: inout [Int32]) {
        var wasUnknown = false
        for byte in word {
            let id = byteIDs[Int(byte)]
            if id >= 0 {
                ids.append(id)
            } else if let unknown = characters.unknown, !(wasUnknown && characters.fusesUnknown) {
                ids.append(unknown)
            }
            wasUnknown = id < 0
        }
    }

    private func appendCharacters(of word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32]) {
        // An unknown token is held back until the next character, because adjacent ones may be fused.
        var isPending = false
        var position = 0
        while position < word.count {
            let next = scalar(at: position, in: word)
            let end = position + next.length
            let place: UInt64 = (position > 0 ? 1 : 0) | (end == word.count ? 2 : 0)
            position = end
            if let id = characterIDs[place << 32 | UInt64(next.value)] {
                if isPending, let unknown = characters.unknown { ids.append(unknown) }
                isPending = false
                ids.append(Int32(id))
            } else if !characters.fallsBackToBytes || !appendBytes(next.value, place, to: &ids) {
                if isPending, !characters.fusesUnknown, let unknown = characters.unknown { ids.append(unknown) }
                isPending = true
            }
        }
        if isPending, let unknown = characters.unknown { ids.append(unknown) }
    }

    /// Appends the fallback ids of a character's bytes. Returns false, and appends nothing, if one is missing. (A
    /// pending unknown token stays pending.)
    private func appendBytes(_ scalar: UInt32, _ place: UInt64, to ids: inout [Int32]) -> Bool {
        var bytes = place & 1 != 0 ? characters.prefix : []
        appendUTF8(scalar, to: &bytes)
        if place & 2 != 0 { bytes += characters.suffix }
        guard bytes.allSatisfy({ fallbackIDs[Int($0)] >= 0 }) else { return false }
        for byte in bytes { ids.append(fallbackIDs[Int(byte)]) }
        return true
    }

    /// Appends the ids of a short word of bytes. Its buffers are on the stack.
    private func mergeBytes(
        _ word: UnsafeBufferPointer<UInt8>, _ byteIDs: [Int32], _ whole: WholeCharacters, to output: inout [Int32]
    ) {
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: BytePairModel.longestSearched) { ids in
            withUnsafeTemporaryAllocation(of: Int64.self, capacity: BytePairModel.longestSearched) { ranks in
                var count = 0
                // The last symbol if it is a single byte, or -1.
                var lastByte = -1
                var position = 0
                func append(_ id: Int32, byte: Int) {
                    if count > 0 {
                        ranks[count &- 1] =
                            byte >= 0 && lastByte >= 0 ? firstRanks[lastByte << 8 | byte] : rank(ids[count &- 1], id)
                    }
                    ids[count] = id
                    count &+= 1
                    lastByte = byte
                }
                let first = whole.tokenWithSpace(in: word)
                if first >= 0 {
                    append(first, byte: -1)
                    position = 4
                }
                while position < word.count {
                    let byte = Int(word[position])
                    let token = byte >= 0xE0 ? whole.token(at: position, in: word) : -1
                    append(token >= 0 ? token : byteIDs[byte], byte: token >= 0 ? -1 : byte)
                    position &+= token >= 0 ? 3 : 1
                }
                count = mergeBySearch(ids, ranks, count: count)
                output.append(contentsOf: UnsafeMutableBufferPointer(rebasing: ids[..<count]))
            }
        }
    }

    private func mergeBySearch(_ buffers: inout MergeBuffers) {
        guard buffers.ids.count > 1 else { return }
        buffers.ranks.removeAll(keepingCapacity: true)
        for i in 0..<buffers.ids.count - 1 { buffers.ranks.append(rank(buffers.ids[i], buffers.ids[i + 1])) }
        let count = buffers.ids.withUnsafeMutableBufferPointer { ids in
            buffers.ranks.withUnsafeMutableBufferPointer { mergeBySearch(ids, $0, count: ids.count) }
        }
        buffers.ids.removeLast(buffers.ids.count - count)
    }

    /// The textbook loop with stored ranks: `ranks[i]` belongs to `ids[i]` and `ids[i + 1]`, and a merge changes two.
    /// - Returns: the number of ids left.
    @inline(__always)
    private func mergeBySearch(
        _ ids: UnsafeMutableBufferPointer<Int32>, _ ranks: UnsafeMutableBufferPointer<Int64>, count: Int
    ) -> Int {
        var count = count
        while count > 1 {
            var best = BytePairModel.noMerge
            var at = 0
            for i in 0..<count &- 1 where ranks[i] < best {
                best = ranks[i]
                at = i
            }
            if best == BytePairModel.noMerge { break }
            ids[at] = Int32(truncatingIfNeeded: best)
            count &-= 1
            var i = at &+ 1
            while i < count {
                ids[i] = ids[i &+ 1]
                ranks[i &- 1] = ranks[i]
                i &+= 1
            }
            if at > 0 { ranks[at &- 1] = rank(ids[at &- 1], ids[at]) }
            if at &+ 1 < count { ranks[at] = rank(ids[at], ids[at &+ 1]) }
        }
        return count
    }

    private struct QueuedPair: Comparable {
        let rank: Int64
        let position: Int

        static func < (a: QueuedPair, b: QueuedPair) -> Bool {
            a.rank >> 32 != b.rank >> 32 ? a.rank < b.rank : a.position < b.position
        }
    }

    /// The same with a linked list of the symbols and a queue of the pairs. An entry is stale if the pair at its
    /// position no longer has its rank; stale entries are skipped.
    private func mergeByQueue(_ buffers: inout MergeBuffers) {
        let count = buffers.ids.count
        var next = (1...count).map { $0 }
        var previous = (-1..<count - 1).map { $0 }
        var queue = Heap<QueuedPair>()
        buffers.ids.withUnsafeMutableBufferPointer { ids in
            func currentRank(at position: Int) -> Int64 {
                guard ids[position] >= 0, next[position] < count else { return BytePairModel.noMerge }
                return rank(ids[position], ids[next[position]])
            }
            func push(_ position: Int) {
                let rank = currentRank(at: position)
                if rank != BytePairModel.noMerge { queue.push(QueuedPair(rank: rank, position: position)) }
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
        }
        buffers.ids.removeAll { $0 < 0 }
    }
}
