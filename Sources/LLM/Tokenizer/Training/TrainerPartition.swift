/// A partition of the words in training. Its methods are the work of one thread: count the pairs, list the words of
/// each pair, replace a pair by its merge. BytePairTrainer.swift explains the algorithm.
///
/// All of it is arranged for memory latency: a word is one run of numbers, lists are in the order of memory, and what
/// is visited at random is touched several visits ahead.
final class TrainerPartition: @unchecked Sendable {
    /// The words of at least two symbols. Each is: the number of symbols, the lower and the upper half of the count,
    /// the symbols. A word shrinks in place; `gap` fills the rest.
    private let cells: UnsafeMutablePointer<Int32>
    private let cellCount: Int
    /// The counts of words of one symbol, by symbol. Training does not change these words.
    private var singles: [Int32: Int] = [:]
    /// The lists of all pairs, one after the other. A word is represented by its position in `cells`.
    private var occurrences = SegmentedArray()
    /// A counted pair: its total and, if it is listed, the range of its words in `occurrences`.
    struct Pair {
        let key: UInt64
        var total: Int64 = 0
        var first: UInt32 = 0
        var count: UInt32 = 0
        /// The word in which it was last seen.
        var last: Int = -1
        var isListed = false
    }
    var pairs: [Pair] = []
    private var numbers = PairNumbers(idCount: 0)
    var before = NeighbourPairs()
    var after = NeighbourPairs()
    private(set) var doubledTotal: Int64 = 0
    private(set) var doubledList: (first: UInt32, count: UInt32) = (0, 0)

    private static let header = 3
    private static let gap: Int32 = -1

    init(_ words: WordTable, _ table: SymbolTable) {
        let capacity = words.byteCount + TrainerPartition.header * words.count
        // Positions in `cells` take 32 bits. The system allocates memory only where it is written.
        precondition(capacity < Int(UInt32.max), "more distinct words than fit")
        let cells = UnsafeMutablePointer<Int32>.allocate(capacity: max(1, capacity))
        useLargePages(cells, bytes: 4 * capacity)
        var end = 0
        var singles: [Int32: Int] = [:]
        words.forEach { word, count in
            var write = end + TrainerPartition.header
            if table.isByteLevel {
                for byte in word {
                    cells[write] = table.ids[Int(byte)]
                    write += 1
                }
            } else {
                var position = 0
                while position < word.count {
                    let next = scalar(at: position, in: word)
                    let id = position > 0 ? table.insideIDs[Int(next.value)] : table.ids[Int(next.value)]
                    position += next.length
                    guard id >= 0 else { continue }
                    cells[write] = id
                    write += 1
                }
            }
            let length = write - end - TrainerPartition.header
            if length > 1 {
                cells[end] = Int32(length)
                cells[end + 1] = Int32(truncatingIfNeeded: count)
                cells[end + 2] = Int32(truncatingIfNeeded: count >> 32)
                end = write
            } else if length == 1 {
                singles[cells[end + TrainerPartition.header], default: 0] += Int(count)
            }
        }
        self.cells = cells
        self.singles = singles
        cellCount = end
    }

    deinit { cells.deallocate() }

    /// Calls `body` with the position of each word.
    @inline(__always)
    private func forEachWord(_ body: (Int) -> Void) {
        var place = 0
        while place < cellCount {
            body(place)
            place += TrainerPartition.header + Int(cells[place])
            while place < cellCount, cells[place] == TrainerPartition.gap { place += 1 }
        }
    }

    @inline(__always)
    private func count(ofWordAt place: Int) -> Int64 {
        Int64(UInt32(bitPattern: cells[place + 1])) | Int64(cells[place + 2]) << 32
    }

    /// Counts the pairs of all words into `pairs`.
    func countPairs(idCount: Int) {
        var numbers = PairNumbers(idCount: idCount)
        var pairs: [Pair] = []
        let cells = cells
        forEachWord { place in
            let count = count(ofWordAt: place)
            let symbols = place + TrainerPartition.header
            for i in symbols..<symbols + Int(cells[place]) - 1 {
                let number = numbers.number(of: cells[i], cells[i + 1])
                if number == pairs.count { pairs.append(Pair(key: pairKey(cells[i], cells[i + 1]))) }
                pairs[number].total += count
                if pairs[number].last != place { pairs[number].count += 1 }
                pairs[number].last = place
            }
        }
        (self.pairs, self.numbers) = (pairs, numbers)
    }

    /// Lists the words of the counted pairs for which `isListed` is true.
    func listPairs(_ isListed: (UInt64) -> Bool) {
        var (pairs, numbers) = ([Pair](), PairNumbers(idCount: 0))
        swap(&pairs, &self.pairs)
        swap(&numbers, &self.numbers)
        var sum = 0
        for i in pairs.indices where isListed(pairs[i].key) {
            pairs[i].isListed = true
            pairs[i].first = UInt32(sum)
            sum += Int(pairs[i].count)
        }
        var occurrences = SegmentedArray()
        occurrences.grow(to: sum)
        let cells = cells
        forEachWord { place in
            let symbols = place + TrainerPartition.header
            for i in symbols..<symbols + Int(cells[place]) - 1 {
                let number = numbers.number(of: cells[i], cells[i + 1])
                // `~place` differs from all marks that counting left. `first` is the next free index of the list.
                guard pairs[number].isListed, pairs[number].last != ~place else { continue }
                pairs[number].last = ~place
                occurrences[Int(pairs[number].first)] = UInt32(place)
                pairs[number].first += 1
            }
        }
        for i in pairs.indices where pairs[i].isListed { pairs[i].first -= pairs[i].count }
        self.occurrences = occurrences
        self.pairs = pairs
    }

    /// A new list of all words.
    func everywhere() -> (first: UInt32, count: UInt32) {
        let first = occurrences.count
        forEachWord { occurrences.append(UInt32($0)) }
        return (UInt32(first), UInt32(occurrences.count - first))
    }

    /// The number of words that are touched in advance. Visited one by one, each word is a cache miss of about a
    /// hundred nanoseconds, because the processor cannot look past the branches of the word before. Touching the next
    /// words all at once is four times as fast.
    static let ahead = 32
    private var touched: Int32 = 0

    /// Touches the words at `indices` of `occurrences`.
    private func fetch(_ indices: Range<Int>, _ occurrences: SegmentedArray) {
        let cells = cells
        var sum: Int32 = 0
        for index in indices {
            let place = Int(occurrences[index])
            // A word of medium length extends into the next cache line.
            sum &+= cells[place] &+ cells[min(place + 15, cellCount - 1)]
        }
        touched = sum
    }

    /// Allocates the tables of neighbours.
    func prepare(idCount: Int) {
        before = NeighbourPairs(idCount: idCount)
        after = NeighbourPairs(idCount: idCount)
    }

    /// Replaces the pair in the words of `list`. Its neighbours are then in `before` and `after`; places where two
    /// replaced pairs are adjacent are in `doubledTotal` and `doubledList`.
    func replace(_ list: (first: UInt32, count: UInt32), _ left: Int32, _ right: Int32, _ result: Int32) {
        // Taken out and put back: Swift checks exclusive access to a class's properties at each use.
        var (before, after) = (NeighbourPairs(), NeighbourPairs())
        swap(&before, &self.before)
        swap(&after, &self.after)
        var doubledTotal: Int64 = 0
        var doubledWords: [UInt32] = []
        let occurrences = self.occurrences
        let cells = cells
        before.reset()
        after.reset()
        let first = Int(list.first)
        let last = first + Int(list.count)
        for index in first..<last {
            if (index - first) % TrainerPartition.ahead == 0 {
                fetch(index..<min(last, index + TrainerPartition.ahead), occurrences)
            }
            let place = Int(occurrences[index])
            let word = UInt32(place)
            let start = place + TrainerPartition.header
            let end = start + Int(cells[place])
            var read = start
            // Nothing moves before the first pair.
            while read + 1 < end, cells[read] != left || cells[read + 1] != right { read += 1 }
            if read + 1 >= end { continue }
            let count = count(ofWordAt: place)
            var write = read
            var justReplaced = false
            while read < end {
                guard read + 1 < end, cells[read] == left, cells[read + 1] == right else {
                    cells[write] = cells[read]
                    read += 1
                    write += 1
                    justReplaced = false
                    continue
                }
                if justReplaced {
                    doubledTotal += count
                    if doubledWords.last != word { doubledWords.append(word) }
                } else if write > start {
                    before.add(cells[write - 1], word, count)
                }
                read += 2
                let anotherFollows = read + 1 < end && cells[read] == left && cells[read + 1] == right
                if read < end, !anotherFollows { after.add(cells[read], word, count) }
                cells[write] = result
                write += 1
                justReplaced = true
            }
            cells[place] = Int32(write - start)
            while write < end {
                cells[write] = TrainerPartition.gap
                write += 1
            }
        }
        before.list(in: &self.occurrences)
        after.list(in: &self.occurrences)
        swap(&before, &self.before)
        swap(&after, &self.after)
        self.doubledTotal = doubledTotal
        doubledList = (UInt32(self.occurrences.count), UInt32(doubledWords.count))
        for word in doubledWords { self.occurrences.append(word) }
    }

    var tokenCount: Int {
        var sum = singles.values.reduce(0, +)
        forEachWord { sum += Int(cells[$0]) * Int(count(ofWordAt: $0)) }
        return sum
    }

    /// The number of occurrences of each of `tokens` tokens, by id.
    func tokenCounts(_ tokens: Int) -> [Int] {
        var counts = [Int](repeating: 0, count: tokens)
        for (symbol, count) in singles { counts[Int(symbol)] += count }
        forEachWord { place in
            let count = Int(count(ofWordAt: place))
            for i in 0..<Int(cells[place]) { counts[Int(cells[place + TrainerPartition.header + i])] += count }
        }
        return counts
    }
}

/// A numbering of pairs in the order of their appearance. With few symbols it is a plain two-dimensional table.
private struct PairNumbers {
    private let idCount: Int
    private var dense: [Int32]
    private var table = PairTable()
    private var count = 0

    init(idCount: Int) {
        self.idCount = idCount
        dense = [Int32](repeating: -1, count: idCount <= 1024 ? idCount * idCount : 0)
    }

    @inline(__always)
    mutating func number(of left: Int32, _ right: Int32) -> Int {
        if !dense.isEmpty {
            let place = Int(left) * idCount + Int(right)
            if dense[place] < 0 {
                dense[place] = Int32(count)
                count += 1
            }
            return Int(dense[place])
        }
        if let known = table[pairKey(left, right)] { return Int(known) }
        table.set(pairKey(left, right), Int64(count))
        count += 1
        return count - 1
    }
}
