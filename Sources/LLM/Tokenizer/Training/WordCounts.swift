// The counts of the distinct words of a corpus are all that training needs. Memory depends on the number of distinct
// words, not on the length of the text.
//
// Each thread counts the lines it is given. Its counts are hash-partitioned into tables, so that in the end one thread
// per partition can add the tables of all threads, and training can continue with the partitions in parallel.

import Kernels

/// The distinct words of a corpus and their counts.
package struct WordCounts: Sendable {
    package private(set) var tables: [WordTable]
    /// Keeps the compiler from removing the touches.
    private var touched: UInt64 = 0

    /// - Parameter partitions: the number of tables. The table of a word depends only on this number.
    package init(partitions: Int = 1) { tables = (0..<partitions).map { _ in WordTable() } }

    @inline(__always)
    package mutating func add(_ word: UnsafeBufferPointer<UInt8>, count: Int64 = 1) {
        let hash = hashOf(word)
        tables[partition(of: hash)].add(word, hash: hash, count: count)
    }

    /// Adds a word, through `hot` if it is short enough.
    @inline(__always)
    private mutating func add(_ word: UnsafeBufferPointer<UInt8>, through hot: HotWords) {
        guard word.count <= WordKey.longestWord else { return add(word) }
        if hot.count(WordKey(word)) { add(hot.takeReplaced()) }
    }

    /// Adds several words. The memory they need is touched for all of them first, so that they do not wait for each
    /// other.
    private mutating func add(_ words: [HotWords.Entry]) {
        let hashes = words.map { $0.key.withBytes { hashOf($0) } }
        var touched: UInt64 = 0
        for hash in hashes { touched &+= tables[partition(of: hash)].touchSlot(hash) }
        for hash in hashes { touched &+= tables[partition(of: hash)].touchRecord(hash) }
        self.touched = touched
        for (word, hash) in zip(words, hashes) {
            let partition = partition(of: hash)
            word.key.withBytes { tables[partition].add($0, hash: hash, count: word.count) }
        }
    }

    @inline(__always)
    private func partition(of hash: UInt64) -> Int {
        // Slots use the bits from 32 up; partitions use the lowest.
        tables.count == 1 ? 0 : Int(((hash & 0xffff) * UInt64(tables.count)) >> 16)
    }

    /// Adds the words of `text` line by line, each line with its line end. Like Hugging Face's trainer, this does not
    /// join white space at the end of a line with white space at the beginning of the next.
    package mutating func add(
        linesOf text: UnsafeBufferPointer<UInt8>, _ preTokenizer: PreTokenizer, _ normalizer: Normalizer? = nil
    ) {
        let hot = HotWords()
        var start = 0
        while start < text.count {
            let end = newline(in: text, from: start).map { $0 + 1 } ?? text.count
            let line = UnsafeBufferPointer(rebasing: text[start..<end])
            if let normalizer, !normalizer.isCertainlyIdentity(for: line) {
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

    /// The number of distinct words.
    package var count: Int { tables.reduce(0) { $0 + $1.count } }

    /// Calls `body` with every word and its count.
    package func forEach(_ body: (UnsafeBufferPointer<UInt8>, Int64) -> Void) {
        for table in tables { table.forEach(body) }
    }

    /// The sum of the counts of all threads. Empties `partial`, so that no table exists twice.
    static func sum(_ partial: inout [WordCounts]) -> WordCounts {
        guard var all = partial.popLast() else { return WordCounts() }
        let others = partial
        partial = []
        all.tables.withUnsafeMutableBufferPointer { tables in
            nonisolated(unsafe) let tables = tables
            parallelFor(tables.count) { partition in
                for other in others {
                    other.tables[partition].forEach { tables[partition].add($0, hash: hashOf($0), count: $1) }
                }
            }
        }
        return all
    }
}

extension WordCounts {
    /// The words of all lines of `files`, counted on all cores. The counts do not depend on the number of cores.
    /// - Parameters:
    ///   - lossy: whether bytes that are not text become U+FFFD; if not, they are an error.
    ///   - sectionSize: the size in bytes of the section of text that a thread counts at a time.
    ///   - progress: called after each block with the number of bytes read so far.
    /// - Throws: if a file cannot be read, or is not text and `lossy` is false.
    package static func counting(
        linesOf files: [TextFile], _ preTokenizer: PreTokenizer = .byteLevel(addsPrefixSpace: false, words: .gpt2),
        _ normalizer: Normalizer? = nil, lossy: Bool = false, sectionSize: Int = 2 << 20,
        progress: (Int) -> Void = { _ in }
    ) throws -> (words: WordCounts, findings: CorpusFindings) {
        let threads = max(1, threadCount)
        // Each made for itself: copies would share their memory until the first change, on whatever thread that is.
        var partial = (0..<threads).map { _ in WordCounts(partitions: threads) }
        var findings = [CorpusFindings](repeating: CorpusFindings(), count: threads)
        // A line longer than a block may be cut between GPT-2's words; cutting there does not change them.
        let cut: TextCut = preTokenizer.pattern == .gpt2 && normalizer == nil ? .afterLineOrWord : .afterLine
        var read = 0
        try partial.withUnsafeMutableBufferPointer { partial in
            try findings.withUnsafeMutableBufferPointer { findings in
                nonisolated(unsafe) let (partial, findings) = (partial, findings)
                for file in files {
                    try forEachSection(of: file, sectionSize: sectionSize, cut: cut, lossy: lossy) {
                        read += $0
                        progress(read)
                    } _: { i, section in
                        findings[i].bytes += section.bytes.count
                        section.withText(count: &findings[i].replaced) { text in
                            findings[i].characters += characterCount(of: text)
                            if hasDecomposedHangul(text) { findings[i].hasDecomposedHangul = true }
                            partial[i].add(linesOf: text, preTokenizer, normalizer)
                        }
                    }
                }
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
