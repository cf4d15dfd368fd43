/// The neighbours on one side of the pairs that a merge replaces: the total and the words of each. The table is indexed
/// by id, which is faster than hashing, and the trainer's totals change once per neighbour instead of once per word.
struct NeighbourPairs {
    struct Found {
        let neighbour: Int32
        let total: Int64
        /// The range of its words in the partition's `occurrences`.
        let first: UInt32
        let count: UInt32
    }

    private struct Entry {
        var total: Int64 = 0
        var wordCount: UInt32 = 0
        var lastWord: UInt32 = 0
    }
    private var entries: [Entry]
    private var touched: [Int32] = []
    private var records: [(neighbour: Int32, word: UInt32)] = []
    private(set) var found: [Found] = []

    init(idCount: Int = 0) { entries = [Entry](repeating: Entry(), count: idCount) }

    mutating func reset() {
        touched.removeAll(keepingCapacity: true)
        records.removeAll(keepingCapacity: true)
        found.removeAll(keepingCapacity: true)
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

    /// Appends the words of each neighbour to `occurrences`, in the order in which they were visited, and clears the
    /// table.
    mutating func list(in occurrences: inout SegmentedArray) {
        var end = occurrences.count
        for neighbour in touched {
            let entry = entries[Int(neighbour)]
            found.append(
                Found(neighbour: neighbour, total: entry.total, first: UInt32(end), count: entry.wordCount))
            // From here on `total` is the index of the neighbour's next word.
            entries[Int(neighbour)].total = Int64(end)
            end += Int(entry.wordCount)
        }
        occurrences.grow(to: end)
        for record in records {
            let id = Int(record.neighbour)
            occurrences[Int(entries[id].total)] = record.word
            entries[id].total += 1
        }
        for neighbour in touched { entries[Int(neighbour)] = Entry() }
    }
}
