// Text to ids with a memory of the words it has met: one per thread.
//
// Most words of a text were met before: looking them up is what encoding mostly is. So the words are found by a scanner
// made by hand, the table has entries that touch one line of memory each, and a hit allocates nothing.

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
    /// Of words up to 15 bytes, and up to 31.
    private let short = WordMemory(keySize: 2)
    private let long = WordMemory(keySize: 4)
    private let batch = WordBatch()

    init(_ model: TokenModel) { self.model = model }

    /// Appends the ids of the words of `text`.
    ///
    /// A word's entry lies anywhere in a table larger than the caches. Looked up one by one, each word would wait for the
    /// one before it: finding the end of a word is a branch that the processor guesses wrong. So a few words are found
    /// first, then all their entries are touched at once, then they are read.
    mutating func encodeGPT2(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let scanner = GPT2Words()
        let (short, long, batch) = (short, long, batch)
        let (words, gathered) = (batch.words, batch.ids)
        var start = 0
        while start < text.count {
            var count = 0
            while count < WordBatch.size, start < text.count {
                let end = scanner.wordEnd(in: text, from: start)
                let length = end &- start
                let key =
                    start &+ 32 <= text.count
                    ? WordMemory.key(UnsafeRawBufferPointer(text), start, length)
                    : WordMemory.key(UnsafeBufferPointer(rebasing: text[start..<end]))
                words[count] = WordBatch.Word(key: key, hash: WordMemory.hash(key), start: start, length: length)
                count &+= 1
                start = end
            }
            var touched: UInt64 = 0
            for i in 0..<count {
                let hash = words[i].hash
                touched &+= words[i].length <= 15 ? short.touch(hash, keySize: 2) : long.touch(hash, keySize: 4)
            }
            batch.touched = touched
            // The ids gather here: appending to an array word by word costs as much as finding them.
            var idCount = 0
            for i in 0..<count {
                let (key, hash, length) = (words[i].key, words[i].hash, words[i].length)
                if length <= 15 {
                    if let entry = short.find(key, hash, keySize: 2) {
                        idCount &+= short.copy(entry, keySize: 2, to: gathered, at: idCount)
                        continue
                    }
                } else if length <= 31 {
                    if let entry = long.find(key, hash, keySize: 4) {
                        idCount &+= long.copy(entry, keySize: 4, to: gathered, at: idCount)
                        continue
                    }
                }
                output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
                idCount = 0
                let word = UnsafeBufferPointer(rebasing: text[words[i].start..<words[i].start &+ length])
                encodeNew(word, key, hash, to: &output)
            }
            output.append(contentsOf: UnsafeBufferPointer(start: gathered, count: idCount))
        }
    }

    /// Appends the ids of one word, which is not empty.
    mutating func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let key = WordMemory.key(word)
        let hash = WordMemory.hash(key)
        if word.count <= 15, let entry = short.find(key, hash, keySize: 2) {
            let count = short.copy(entry, keySize: 2, to: batch.ids, at: 0)
            output.append(contentsOf: UnsafeBufferPointer(start: batch.ids, count: count))
        } else if word.count > 15, word.count <= 31, let entry = long.find(key, hash, keySize: 4) {
            let count = long.copy(entry, keySize: 4, to: batch.ids, at: 0)
            output.append(contentsOf: UnsafeBufferPointer(start: batch.ids, count: count))
        } else {
            encodeNew(word, key, hash, to: &output)
        }
    }

    /// Appends the ids of a word that is not remembered, and remembers it. Longer ones are seldom met twice.
    private mutating func encodeNew(
        _ word: UnsafeBufferPointer<UInt8>, _ key: WordMemory.Key, _ hash: UInt64, to output: inout [Int32]
    ) {
        let first = output.count
        model.encode(word, to: &output, &scratch)
        if word.count <= 31 { (word.count <= 15 ? short : long).insert(key, hash, output[first...]) }
    }
}

/// Room for a few words and their ids.
private final class WordBatch {
    struct Word {
        var key: WordMemory.Key
        var hash: UInt64
        var start: Int
        var length: Int
    }

    static let size = 32
    let words = UnsafeMutablePointer<Word>.allocate(capacity: WordBatch.size)
    /// A word has at most 32 ids, and copying writes eight at a time.
    let ids = UnsafeMutablePointer<Int32>.allocate(capacity: 32 * WordBatch.size + 8)
    /// So that the compiler does not leave out the touching.
    var touched: UInt64 = 0

    deinit {
        words.deallocate()
        ids.deallocate()
    }
}

/// Words and their ids, in entries of half a cache line or a whole one: a hit touches one line of memory, compares two or
/// four numbers and allocates nothing. An open hash table with linear probing, at most half full; when it has grown to
/// its limit it starts anew, so memory stays bounded. It belongs to one thread.
///
/// An entry is, in units of eight bytes, the key and then as much room for ids. The key has the word's bytes, zeros, and
/// in the last byte the length; an empty slot has length 0. Of the ids' places the last one has their number. If there
/// are too many it has -1, and the first two have where they begin in `more`, and how many they are.
private final class WordMemory {
    typealias Key = SIMD4<UInt64>

    private let keySize: Int
    private var slots: UnsafeMutablePointer<UInt64>
    private var mask: Int
    private var used = 0
    private var more: [Int32] = []

    private static let firstSize = 1 << 12
    private static let largestSize = 1 << 20

    /// - Parameter keySize: 2 or 4 times eight bytes, of which one byte is the length.
    init(keySize: Int) {
        self.keySize = keySize
        slots = WordMemory.empty(WordMemory.firstSize * 2 * keySize)
        mask = WordMemory.firstSize - 1
    }

    deinit { slots.deallocate() }

    private static func empty(_ size: Int) -> UnsafeMutablePointer<UInt64> {
        let slots = UnsafeMutableRawPointer.allocate(byteCount: 8 * size, alignment: 64).bindMemory(
            to: UInt64.self, capacity: size)
        useLargePages(slots, bytes: 8 * size)
        slots.initialize(repeating: 0, count: size)
        return slots
    }

    /// Of `length` bytes from `start` on, where `start + 32` is still inside the text. Not used over 31 bytes.
    @inline(__always)
    static func key(_ text: UnsafeRawBufferPointer, _ start: Int, _ length: Int) -> Key {
        length <= 15 ? shortKey(text, start, length) : longKey(text, start, min(length, 31))
    }

    /// The same for a word anywhere.
    static func key(_ word: UnsafeBufferPointer<UInt8>) -> Key {
        var key = Key()
        let count = min(word.count, 31)
        withUnsafeMutableBytes(of: &key) {
            $0.copyMemory(from: UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: word[..<count])))
        }
        for i in 0..<4 { key[i] = UInt64(littleEndian: key[i]) }
        key[count <= 15 ? 1 : 3] |= UInt64(count) << 56
        return key
    }

    /// Of `length` ≤ 15 bytes from `start` on, where `start + 16` is still inside the text.
    @inline(__always)
    static func shortKey(_ text: UnsafeRawBufferPointer, _ start: Int, _ length: Int) -> Key {
        let bits = UInt64(truncatingIfNeeded: length) &* 8
        // &<< takes the shift modulo 64.
        let low: UInt64 = bits >= 64 ? .max : (1 &<< bits) &- 1
        let high: UInt64 = bits >= 64 ? (1 &<< bits) &- 1 : 0
        return Key(
            load(text, start) & low, load(text, start &+ 8) & high | UInt64(truncatingIfNeeded: length) &<< 56, 0, 0)
    }

    /// Of 16 to 31 bytes from `start` on, where `start + 32` is still inside the text.
    @inline(__always)
    static func longKey(_ text: UnsafeRawBufferPointer, _ start: Int, _ length: Int) -> Key {
        let tail = shortKey(text, start &+ 16, length &- 16)
        return Key(
            load(text, start), load(text, start &+ 8), tail[0],
            tail[1] & 0x00ff_ffff_ffff_ffff | UInt64(truncatingIfNeeded: length) &<< 56)
    }

    @inline(__always)
    private static func load(_ text: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: text.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    @inline(__always)
    static func hash(_ key: Key) -> UInt64 {
        var hash = (key[0] ^ (key[1] &* 0x9e37_79b9_7f4a_7c15)) &* 0xff51_afd7_ed55_8ccd
        hash ^= (key[2] ^ (key[3] &* 0xc4ce_b9fe_1a85_ec53)) &* 0x9e37_79b9_7f4a_7c15
        hash ^= hash >> 32
        return (hash &* 0x9e37_79b9_7f4a_7c15) >> 40
    }

    /// Reads what `find` is going to look at first.
    /// - Parameter keySize: the table's, as a number that the compiler sees.
    @inline(__always)
    func touch(_ hash: UInt64, keySize: Int) -> UInt64 {
        slots[(Int(truncatingIfNeeded: hash) & mask) &* (2 &* keySize)]
    }

    /// - Parameter keySize: the table's, as a number that the compiler sees.
    @inline(__always)
    func find(_ key: Key, _ hash: UInt64, keySize: Int) -> UnsafeMutablePointer<UInt64>? {
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let entry = slots + slot &* (2 &* keySize)
            if entry[0] == key[0], entry[1] == key[1],
                keySize == 2 || (entry[2] == key[2] && entry[3] == key[3])
            {
                return entry
            }
            if entry[keySize &- 1] == 0 { return nil }
            slot = (slot &+ 1) & mask
        }
    }

    /// Writes the ids of an entry and returns their number. More bytes than that may be written, up to 32.
    @inline(__always)
    func copy(
        _ entry: UnsafeMutablePointer<UInt64>, keySize: Int, to output: UnsafeMutablePointer<Int32>, at place: Int
    ) -> Int {
        let output = UnsafeMutableRawPointer(output + place)
        let ids = UnsafeRawPointer(entry + keySize)
        let count = Int(ids.load(fromByteOffset: 8 &* keySize &- 4, as: Int32.self))
        if count >= 0 {
            output.storeBytes(of: ids.load(as: SIMD4<Int32>.self), as: SIMD4<Int32>.self)
            if keySize == 4 {
                output.storeBytes(
                    of: ids.load(fromByteOffset: 16, as: SIMD4<Int32>.self), toByteOffset: 16,
                    as: SIMD4<Int32>.self)
            }
            return count
        }
        let first = Int(ids.load(as: Int32.self))
        let length = Int(ids.load(fromByteOffset: 4, as: Int32.self))
        more.withUnsafeBufferPointer { more in
            for i in 0..<length {
                output.storeBytes(of: more[first &+ i], toByteOffset: 4 &* i, as: Int32.self)
            }
        }
        return length
    }

    /// - Precondition: `key` is not there, and has at most one id for each byte.
    func insert(_ key: Key, _ hash: UInt64, _ ids: ArraySlice<Int32>) {
        guard ids.count <= 32 else { return }
        if 2 * (used + 1) > mask + 1 { makeRoom() }
        let entry = freeSlot(hash)
        for i in 0..<keySize { entry[i] = key[i] }
        let room = UnsafeMutableRawPointer(entry + keySize).bindMemory(to: Int32.self, capacity: 2 * keySize)
        if ids.count < 2 * keySize {
            for (i, id) in zip(0..., ids) { room[i] = id }
            room[2 * keySize - 1] = Int32(ids.count)
        } else {
            room[0] = Int32(more.count)
            room[1] = Int32(ids.count)
            room[2 * keySize - 1] = -1
            more += ids
        }
        used += 1
    }

    private func freeSlot(_ hash: UInt64) -> UnsafeMutablePointer<UInt64> {
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot * 2 * keySize + keySize - 1] != 0 { slot = (slot + 1) & mask }
        return slots + slot * 2 * keySize
    }

    private func makeRoom() {
        let old = slots
        let oldSize = mask + 1
        defer { old.deallocate() }
        let isFull = oldSize == WordMemory.largestSize
        let size = isFull ? WordMemory.firstSize : 4 * oldSize
        slots = WordMemory.empty(size * 2 * keySize)
        mask = size - 1
        if isFull {
            used = 0
            more.removeAll()
            return
        }
        for i in 0..<oldSize {
            let entry = old + i * 2 * keySize
            guard entry[keySize - 1] != 0 else { continue }
            var key = Key()
            for i in 0..<keySize { key[i] = entry[i] }
            freeSlot(WordMemory.hash(key)).update(from: entry, count: 2 * keySize)
        }
    }
}
