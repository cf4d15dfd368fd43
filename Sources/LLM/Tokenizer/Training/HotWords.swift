/// A small table with the counts of recent words. A few thousand words make up most of a text; this table fits into a
/// near cache of the processor, and the table of all words does not.
final class HotWords {
    struct Entry {
        var key = WordKey.none
        var count: Int64 = 0
    }
    private static let bits = 13
    private static let batch = 32
    private let entries = UnsafeMutablePointer<Entry>.allocate(capacity: 1 << HotWords.bits)
    private var replaced: [Entry] = []

    init() { entries.initialize(repeating: Entry(), count: 1 << HotWords.bits) }

    deinit { entries.deallocate() }

    /// Counts a word. If another word was in its entry, that one moves to the replaced words.
    /// - Returns: whether there are enough replaced words to take them.
    @inline(__always)
    func count(_ key: WordKey) -> Bool {
        let entry = entries + Int(truncatingIfNeeded: key.hash >> UInt64(64 &- HotWords.bits))
        if entry.pointee.key.isSame(as: key) {
            entry.pointee.count &+= 1
            return false
        }
        if !entry.pointee.key.isNone { replaced.append(entry.pointee) }
        entry.pointee = Entry(key: key, count: 1)
        return replaced.count >= HotWords.batch
    }

    /// The replaced words, which are removed.
    func takeReplaced() -> [Entry] {
        defer { replaced.removeAll(keepingCapacity: true) }
        return replaced
    }

    /// The words in the table.
    func takeAll() -> [Entry] { (0..<1 << HotWords.bits).map { entries[$0] }.filter { !$0.key.isNone } }
}
