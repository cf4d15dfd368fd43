// How often each distinct word of a corpus occurs: all that training needs to know of it. Memory follows the number of
// distinct words, not the text.
//
// Each thread counts the lines it is given. Its table is in parts, by the word's hash, so that in the end each part can be
// put together from all threads' tables by one thread, and training can go on with the parts in parallel.

import Kernels

/// Byte strings with a count. A table of 8-byte slots points into one row of records, so that finding a word touches two
/// places in memory: most words of a corpus are rare, and each place is a cache miss.
package struct WordTable: Sendable {
    /// The upper half of the hash and the record's place plus one; 0 is an empty slot.
    private var slots = [UInt64](repeating: 0, count: 1 << 10)
    /// Records, in words of four bytes: the count (lower and upper half), the length, the bytes.
    private var records: [UInt32] = []
    package private(set) var count = 0

    package init() {}

    /// Of all strings.
    package private(set) var byteCount = 0

    package mutating func add(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, count: Int64) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash >> 32) & mask
        while slots[slot] != 0 {
            if (slots[slot] ^ hash) >> 32 == 0 {
                let place = Int(slots[slot] & 0xffff_ffff) - 1
                if equals(place, word) {
                    let sum = (Int64(records[place]) | Int64(records[place + 1]) << 32) + count
                    records[place] = UInt32(truncatingIfNeeded: sum)
                    records[place + 1] = UInt32(truncatingIfNeeded: sum >> 32)
                    return
                }
            }
            slot = (slot + 1) & mask
        }
        slots[slot] = hash & ~0xffff_ffff | UInt64(UInt32(records.count + 1))
        records.append(UInt32(truncatingIfNeeded: count))
        records.append(UInt32(truncatingIfNeeded: count >> 32))
        records.append(UInt32(word.count))
        let start = records.count
        records.append(contentsOf: repeatElement(0, count: (word.count + 3) / 4))
        records.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[(4 * start)...]).copyMemory(from: UnsafeRawBufferPointer(word))
        }
        byteCount += word.count
        self.count += 1
        if 4 * self.count > 3 * slots.count { grow() }
    }

    /// Reads what `add` is going to look at first.
    @inline(__always)
    func touchSlot(_ hash: UInt64) -> UInt64 { slots[Int(truncatingIfNeeded: hash >> 32) & (slots.count - 1)] }

    /// Reads the record there.
    @inline(__always)
    func touchRecord(_ hash: UInt64) -> UInt64 {
        let slot = touchSlot(hash)
        return slot == 0 ? 0 : UInt64(records[Int(slot & 0xffff_ffff) - 1])
    }

    /// Calls `body` with every string and its count, in the order of their first appearance.
    package func forEach(_ body: (UnsafeBufferPointer<UInt8>, Int64) -> Void) {
        records.withUnsafeBytes { raw in
            var place = 0
            while place < records.count {
                let length = Int(records[place + 2])
                let count = Int64(records[place]) | Int64(records[place + 1]) << 32
                let bytes = UnsafeRawBufferPointer(rebasing: raw[4 * place + 12..<4 * place + 12 + length])
                body(bytes.bindMemory(to: UInt8.self), count)
                place += 3 + (length + 3) / 4
            }
        }
    }

    @inline(__always)
    private func equals(_ place: Int, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
        guard Int(records[place + 2]) == word.count else { return false }
        return records.withUnsafeBytes { raw in
            let stored = UnsafeRawBufferPointer(rebasing: raw[4 * place + 12..<4 * place + 12 + word.count])
            return equalBytes(stored, UnsafeRawBufferPointer(word))
        }
    }

    private mutating func grow() {
        var larger = [UInt64](repeating: 0, count: 2 * slots.count)
        let mask = larger.count - 1
        for entry in slots where entry != 0 {
            var slot = Int(truncatingIfNeeded: entry >> 32) & mask
            while larger[slot] != 0 { slot = (slot + 1) & mask }
            larger[slot] = entry
        }
        slots = larger
    }
}

/// The distinct words of a corpus.
package struct WordCounts: Sendable {
    package private(set) var tables: [WordTable]
    /// So that the compiler does not leave out the touching.
    private var touched: UInt64 = 0

    /// - Parameter parts: how many tables; which word goes where depends on nothing else.
    package init(parts: Int = 1) { tables = [WordTable](repeating: WordTable(), count: parts) }

    @inline(__always)
    package mutating func add(_ word: UnsafeBufferPointer<UInt8>, count: Int64 = 1) {
        let hash = hashOf(word)
        tables[part(of: hash)].add(word, hash: hash, count: count)
    }

    /// Adds a word through `hot`, if it is short enough.
    @inline(__always)
    private mutating func add(_ word: UnsafeBufferPointer<UInt8>, through hot: HotWords) {
        guard word.count <= WordKey.longestWord else { return add(word) }
        if hot.count(WordKey(word)) { add(hot.takeReplaced()) }
    }

    /// Adds several words: first what is looked at in the tables is touched for all of them, so that they need not wait
    /// for each other.
    private mutating func add(_ words: [HotWords.Entry]) {
        let hashes = words.map { $0.key.withBytes { hashOf($0) } }
        var touched: UInt64 = 0
        for hash in hashes { touched &+= tables[part(of: hash)].touchSlot(hash) }
        for hash in hashes { touched &+= tables[part(of: hash)].touchRecord(hash) }
        self.touched = touched
        for (word, hash) in zip(words, hashes) {
            let part = part(of: hash)
            word.key.withBytes { tables[part].add($0, hash: hash, count: word.count) }
        }
    }

    @inline(__always)
    private func part(of hash: UInt64) -> Int {
        // The slots take the bits above 32, this takes the lowest.
        tables.count == 1 ? 0 : Int(((hash & 0xffff) * UInt64(tables.count)) >> 16)
    }

    /// Adds the words of `text` line by line, each with its line end, as Hugging Face's trainer does: white space at a
    /// line's end is not the beginning of the next line's.
    package mutating func add(
        linesOf text: UnsafeBufferPointer<UInt8>, _ preTokenizer: PreTokenizer, _ normalizer: Normalizer? = nil
    ) {
        let hot = HotWords()
        var start = 0
        while start < text.count {
            let end = newline(in: text, from: start).map { $0 + 1 } ?? text.count
            let line = UnsafeBufferPointer(rebasing: text[start..<end])
            if let normalizer, !normalizer.isCertainlyNothing(for: line) {
                normalizer(Array(line)).withUnsafeBufferPointer {
                    preTokenizer.forEachWord(in: $0) { add($0, through: hot) }
                }
            } else {
                preTokenizer.forEachWord(in: line) { add($0, through: hot) }
            }
            start = end
        }
        add(hot.takeReplaced())
        add(hot.takeAll())
    }

    /// Distinct words.
    package var count: Int { tables.reduce(0) { $0 + $1.count } }

    /// Calls `body` with every word and its count.
    package func forEach(_ body: (UnsafeBufferPointer<UInt8>, Int64) -> Void) {
        for table in tables { table.forEach(body) }
    }

    /// Puts the tables of all threads together, and empties `partial`: no table is held twice.
    static func sum(_ partial: inout [WordCounts]) -> WordCounts {
        guard var all = partial.popLast() else { return WordCounts() }
        let others = partial
        partial = []
        all.tables.withUnsafeMutableBufferPointer { tables in
            nonisolated(unsafe) let tables = tables
            parallelFor(tables.count) { part in
                for other in others {
                    other.tables[part].forEach { tables[part].add($0, hash: hashOf($0), count: $1) }
                }
            }
        }
        return all
    }
}

/// The counts of some of the last words met: most words of a text are among a few thousand, and these stay in a near
/// cache, where the table of all words does not.
private final class HotWords {
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

/// What a corpus was found to be while it was counted.
package struct CorpusFindings: Sendable {
    /// Bytes that were no UTF-8 and became U+FFFD.
    package var replaced = 0
    package var hasDecomposedHangul = false
    package var longestWord: [UInt8] = []
    /// Of the text as it was read.
    package var bytes = 0
    package var characters = 0
}

extension WordCounts {
    /// The words of all lines of `files`, counted by all cores. The counts do not depend on how many there are.
    /// - Parameters:
    ///   - lossy: whether bytes that are no UTF-8 become U+FFFD; else they are an error.
    ///   - progress: called after each block with the bytes read so far.
    package static func counting(
        linesOf files: [InputFile], _ preTokenizer: PreTokenizer = .byteLevel(addsPrefixSpace: false, splits: true),
        _ normalizer: Normalizer? = nil, lossy: Bool = false, progress: (Int) -> Void = { _ in }
    ) throws -> (words: WordCounts, findings: CorpusFindings) {
        let threads = max(1, threadCount)
        var partial = [WordCounts](repeating: WordCounts(parts: threads), count: threads)
        var findings = [CorpusFindings](repeating: CorpusFindings(), count: threads)
        // A line longer than a block may be cut between GPT-2's words, for which its end is no different.
        let cut: TextCut = preTokenizer.isGPT2 && normalizer == nil ? .afterLineOrWord : .afterLine
        var read = 0
        for file in files {
            try forEachBlock(of: file, blockSize: threads << 21, cut: cut) { block, offset in
                let pieces = cut.pieces(of: block, count: threads)
                var invalid = [Int?](repeating: nil, count: pieces.count)
                partial.withUnsafeMutableBufferPointer { partial in
                    findings.withUnsafeMutableBufferPointer { findings in
                        invalid.withUnsafeMutableBufferPointer { invalid in
                            nonisolated(unsafe) let (partial, findings, invalid) = (partial, findings, invalid)
                            parallelFor(pieces.count) { i in
                                let piece = UnsafeBufferPointer(rebasing: block[pieces[i]])
                                findings[i].bytes += piece.count
                                findings[i].characters += characterCount(of: piece)
                                if hasDecomposedHangul(piece) { findings[i].hasDecomposedHangul = true }
                                guard let position = firstInvalidUTF8(in: piece) else {
                                    partial[i].add(linesOf: piece, preTokenizer, normalizer)
                                    return
                                }
                                guard lossy else {
                                    invalid[i] = position + pieces[i].lowerBound
                                    return
                                }
                                let whole = replacingInvalid(in: piece, count: &findings[i].replaced)
                                whole.withUnsafeBufferPointer {
                                    partial[i].add(linesOf: $0, preTokenizer, normalizer)
                                }
                            }
                        }
                    }
                }
                if let position = invalid.compactMap({ $0 }).first {
                    throw UserError(
                        "\(file.path), \(try lineAndByte(in: file, at: offset + position)): not UTF-8",
                        hint:
                            "--lossy replaces such bytes; or convert the file: iconv -f CP949 -t UTF-8 FILE, or -f UTF-16 if it begins with FF FE"
                    )
                }
                read += block.count
                progress(read)
            }
        }
        let words = sum(&partial)
        var all = CorpusFindings()
        for one in findings {
            all.replaced += one.replaced
            all.hasDecomposedHangul = all.hasDecomposedHangul || one.hasDecomposedHangul
            all.bytes += one.bytes
            all.characters += one.characters
        }
        words.forEach { word, _ in
            if word.count > all.longestWord.count { all.longestWord = Array(word) }
        }
        return (words, all)
    }
}
