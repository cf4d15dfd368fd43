// Text to ids with a memory of the words it has met: one per thread.
//
// Most words of a text were met before: looking them up is what encoding mostly is. So the words are found by a scanner
// made by hand, the table has entries that touch one line of memory each, and a hit allocates nothing.

import Kernels

/// What cuts and merges: the part of a tokenizer after normalising.
package enum TokenModel: Sendable {
    case bytePair(BytePairModel)
    case wordPiece(WordPieceModel)

    /// Appends the ids of `word`, which is not empty.
    func encode(
        _ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32], _ scratch: inout BytePairModel.Scratch
    ) {
        switch self {
        case .bytePair(let model): model.encode(word, to: &ids, &scratch)
        case .wordPiece(let model): model.encode(word, to: &ids)
        }
    }
}

package struct TextEncoder {
    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let isPlainGPT2: Bool
    /// Looked for in the text, then in the normalised text.
    private let finders: (AddedTokenFinder, AddedTokenFinder)
    private var words: WordEncoder

    /// - Parameter recognizesSpecialTokens: else a special token written in a text is text like any other.
    init(_ tokenizer: Tokenizer, _ model: TokenModel, recognizesSpecialTokens: Bool) {
        normalizer = tokenizer.normalizer
        preTokenizer = tokenizer.preTokenizer
        words = WordEncoder(model)
        let added = tokenizer.addedTokens.filter { recognizesSpecialTokens || !$0.isSpecial }
        let normalizer = normalizer
        finders = (
            AddedTokenFinder(added.filter { !$0.isNormalized }.map { ($0, $0.content) }),
            AddedTokenFinder(added.filter(\.isNormalized).map { ($0, normalizer?($0.content) ?? $0.content) })
        )
        isPlainGPT2 =
            normalizer == nil && (preTokenizer?.isGPT2 ?? false) && finders.0.isEmpty && finders.1.isEmpty
    }

    /// Appends the ids of `text`.
    /// - Parameter isStart: whether a document begins here.
    package mutating func encode(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool = true, to output: inout [Int32]
    ) {
        if isPlainGPT2 {
            words.encodeGPT2(text, to: &output)
            return
        }
        guard !finders.0.isEmpty else {
            encodeUnmarked(text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.0
        finder.forEachPiece(in: text) { range, token in
            if let token { output.append(token.id) }
            guard let range else { return }
            encodeUnmarked(
                UnsafeBufferPointer(rebasing: text[range]), isStart: isStart && range.lowerBound == 0, to: &output)
        }
    }

    /// What is left between the tokens that are looked for in the text as it is.
    private mutating func encodeUnmarked(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        if let normalizer {
            normalizer(Array(text)).withUnsafeBufferPointer { encodeNormalized($0, isStart: isStart, to: &output) }
        } else {
            encodeNormalized(text, isStart: isStart, to: &output)
        }
    }

    private mutating func encodeNormalized(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        guard !finders.1.isEmpty else {
            encodeWords(of: text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.1
        finder.forEachPiece(in: text) { range, token in
            if let token { output.append(token.id) }
            guard let range else { return }
            encodeWords(
                of: UnsafeBufferPointer(rebasing: text[range]), isStart: isStart && range.lowerBound == 0, to: &output)
        }
    }

    private mutating func encodeWords(
        of text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        guard let preTokenizer else {
            if !text.isEmpty { words.encode(text, to: &output) }
            return
        }
        preTokenizer.forEachWord(in: text, isStart: isStart) { words.encode($0, to: &output) }
    }
}

/// The ids of words, with the memory.
struct WordEncoder {
    private let model: TokenModel
    private var scratch = BytePairModel.Scratch()
    private let memory = WordMemory()
    private let batch = WordBatch()
    private var ids: [Int32] = []

    init(_ model: TokenModel) { self.model = model }

    /// Appends the ids of the words of `text`.
    ///
    /// A word's entry lies anywhere in a table larger than the nearest caches. Looked up one by one, each word would wait
    /// for memory, and for the one before it: finding the end of a word is a branch that the processor guesses wrong. So
    /// a few words are found first, and their entries asked for; then they are read.
    mutating func encodeGPT2(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let scanner = GPT2Words()
        let (memory, batch) = (memory, batch)
        let (words, gathered) = (batch.words, batch.ids)
        // Of a new word. Taken out and put back, for `self` changes while it is filled.
        var ids: [Int32] = []
        swap(&ids, &self.ids)
        defer { swap(&ids, &self.ids) }
        var start = 0
        while start < text.count {
            var count = 0
            while count < WordBatch.size, start < text.count {
                let end = scanner.wordEnd(in: text, from: start)
                let key =
                    start &+ 32 <= text.count
                    ? WordKey(UnsafeRawBufferPointer(text), start, end &- start)
                    : WordKey(UnsafeBufferPointer(rebasing: text[start..<end]))
                let place = memory.place(of: key)
                memory.prefetch(place)
                words[count] = WordBatch.Word(key: key, place: place, start: start, end: end)
                count &+= 1
                start = end
            }
            // The ids gather here: appending to an array word by word costs as much as finding them.
            var idCount = 0
            for i in 0..<count {
                let word = words[i]
                if word.end &- word.start <= WordKey.longestWord {
                    if let entry = memory.find(word.key, at: word.place) {
                        idCount &+= memory.copy(entry, to: gathered + idCount)
                        continue
                    }
                }
                ids.removeAll(keepingCapacity: true)
                encodeNew(UnsafeBufferPointer(rebasing: text[word.start..<word.end]), word.key, word.place, &ids)
                if ids.count <= WordBatch.roomPerWord {
                    for id in ids {
                        gathered[idCount] = id
                        idCount &+= 1
                    }
                } else {
                    output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
                    output.append(contentsOf: ids)
                    idCount = 0
                }
            }
            output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
        }
    }

    /// Appends the ids of one word, which is not empty.
    mutating func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let key = WordKey(word)
        let place = memory.place(of: key)
        if word.count <= WordKey.longestWord, let entry = memory.find(key, at: place) {
            let count = memory.copy(entry, to: batch.ids)
            output.append(contentsOf: UnsafeBufferPointer(start: batch.ids, count: count))
        } else {
            encodeNew(word, key, place, &output)
        }
    }

    /// Appends the ids of a word that is not remembered, and remembers it. Longer ones are seldom met twice.
    private mutating func encodeNew(
        _ word: UnsafeBufferPointer<UInt8>, _ key: WordKey, _ place: Int, _ output: inout [Int32]
    ) {
        let first = output.count
        model.encode(word, to: &output, &scratch)
        if word.count <= WordKey.longestWord { memory.insert(key, at: place, output[first...]) }
    }
}

/// Room for a few words and their ids.
private final class WordBatch {
    struct Word {
        var key: WordKey
        var place: Int
        var start: Int
        var end: Int
    }

    static let size = 32
    static let roomPerWord = 32
    let words = UnsafeMutablePointer<Word>.allocate(capacity: WordBatch.size)
    let ids = UnsafeMutablePointer<Int32>.allocate(capacity: WordBatch.roomPerWord * WordBatch.size)

    deinit {
        words.deallocate()
        ids.deallocate()
    }
}

/// Some of the last words met, with their ids, in entries of a cache line: a hit touches one line of memory, or two, makes
/// four comparisons and allocates nothing. A word may lie in one of two places, which its hash names. A new one takes the
/// first, and what was there moves to the second: a word that comes often is never away for long. So memory is bounded.
///
/// An entry is the key, all zero if it is empty, and then as much room for ids. The ids take two bytes each, or four if
/// the number has the mark `isWide`; the number takes the last two bytes. It belongs to one thread.
private final class WordMemory {
    static let mostIDs = 16

    private static let entryBytes = 64

    /// 2^pairBits pairs of entries.
    private static let pairBits = 17
    /// As floats, because that is what large buffers are asked for in: 16 MB.
    private static let size = (2 * entryBytes / 4) << pairBits
    private let entries = UnsafeMutableRawPointer(allocateFloats(size))

    deinit { freeFloats(entries.assumingMemoryBound(to: Float.self), count: WordMemory.size) }

    /// Where the two entries are in which the word may be.
    @inline(__always)
    func place(of key: WordKey) -> Int {
        Int(truncatingIfNeeded: key.hash >> UInt64(64 &- WordMemory.pairBits)) &* (2 &* WordMemory.entryBytes)
    }

    /// Asks for what `find` is going to look at.
    @inline(__always)
    func prefetch(_ place: Int) {
        Kernels.prefetch(entries + place, write: 0, caches: 3, kind: 1)
        Kernels.prefetch(entries + place + WordMemory.entryBytes, write: 0, caches: 3, kind: 1)
    }

    @inline(__always)
    func find(_ key: WordKey, at place: Int) -> UnsafeMutableRawPointer? {
        let first = entries + place
        if holds(first, key) { return first }
        let second = first + WordMemory.entryBytes
        return holds(second, key) ? second : nil
    }

    @inline(__always)
    private func holds(_ entry: UnsafeMutableRawPointer, _ key: WordKey) -> Bool {
        entry.load(as: WordKey.self).isSame(as: key)
    }

    /// Writes the ids of an entry and returns their number. There must be room for `mostIDs`.
    @inline(__always)
    func copy(_ entry: UnsafeMutableRawPointer, to output: UnsafeMutablePointer<Int32>) -> Int {
        let count = entry.load(fromByteOffset: WordMemory.entryBytes &- 2, as: UInt16.self)
        let output = UnsafeMutableRawPointer(output)
        if count & WordMemory.isWide == 0 {
            for half in 0..<2 {
                let eight = entry.load(fromByteOffset: 32 &+ 16 &* half, as: SIMD8<UInt16>.self)
                output.storeBytes(
                    of: SIMD8<Int32>(truncatingIfNeeded: eight), toByteOffset: 32 &* half, as: SIMD8<Int32>.self)
            }
        } else {
            output.copyMemory(from: entry + 32, byteCount: 32)
        }
        return Int(count & ~WordMemory.isWide)
    }

    private static let isWide: UInt16 = 0x8000

    /// Remembers a word that is not there, unless it has too many ids.
    func insert(_ key: WordKey, at place: Int, _ ids: ArraySlice<Int32>) {
        let isWide = ids.contains { $0 > Int32(UInt16.max) }
        guard ids.count < (isWide ? 8 : 16) else { return }
        let entry = entries + place
        (entry + WordMemory.entryBytes).copyMemory(from: entry, byteCount: WordMemory.entryBytes)
        entry.storeBytes(of: key, as: WordKey.self)
        for (i, id) in zip(0..., ids) {
            if isWide {
                entry.storeBytes(of: id, toByteOffset: 32 + 4 * i, as: Int32.self)
            } else {
                entry.storeBytes(of: UInt16(id), toByteOffset: 32 + 2 * i, as: UInt16.self)
            }
        }
        entry.storeBytes(
            of: UInt16(ids.count) | (isWide ? WordMemory.isWide : 0), toByteOffset: WordMemory.entryBytes - 2,
            as: UInt16.self)
    }
}
