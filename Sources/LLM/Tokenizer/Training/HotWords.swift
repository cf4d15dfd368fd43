/// The counts of some of the last words met: most words of a text are among a few thousand, and these stay in a near
/// cache, where the table of all words does not.
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

    /// Counts a word. If another was in its place, that is put aside.
    /// - Returns: whether it is time to take those.
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

    func takeReplaced() -> [Entry] {
        defer { replaced.removeAll(keepingCapacity: true) }
        return replaced
    }

    func takeAll() -> [Entry] { (0..<1 << HotWords.bits).map { entries[$0] }.filter { !$0.key.isNone } }
}
