// Text to ids with a memory of the words it has met: one per thread.
//
// Most words of a text were met before: looking them up is what encoding mostly is. The table has fixed entries of
// half a cache line, a word of up to 15 bytes and up to four ids, so that a hit touches one line and allocates nothing;
// longer words, and words of more ids, point into a list beside it.

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
    private let short = ShortWordTable()
    private var known = ByteStringTable()
    /// The ids of known word i lie in `knownIDs` from `knownStarts[i]` up to `knownStarts[i + 1]`.
    private var knownStarts = [0]
    private var knownIDs: [Int32] = []
    private var ids: [Int32] = []

    /// Words longer than this are seldom met twice.
    private static let longestKnownWord = 64
    /// Bytes of words; when they are full the memory starts anew, so it stays bounded. The ids stay the same.
    private static let knownBytes = 16 << 20

    init(_ model: TokenModel) { self.model = model }

    /// Appends the ids of the words of `text`.
    mutating func encodeGPT2(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let words = GPT2Words()
        let raw = UnsafeRawBufferPointer(text)
        let short = short
        // The ids of hits gather here: appending to an array one by one costs as much as finding them.
        let room = 4096
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: room + 4) { gathered in
            var count = 0
            var start = 0
            while start < text.count {
                let end = words.wordEnd(in: text, from: start)
                let length = end &- start
                if length <= ShortWordTable.longest, start &+ 16 <= text.count {
                    let key = ShortWordTable.key(raw, start, length)
                    if let entry = short.find(key), entry.count >= 0 {
                        UnsafeMutableRawBufferPointer(gathered).storeBytes(
                            of: entry.ids, toByteOffset: 4 &* count, as: SIMD4<Int32>.self)
                        count &+= entry.count
                        start = end
                        if count >= room {
                            output.append(contentsOf: UnsafeBufferPointer(rebasing: gathered[..<count]))
                            count = 0
                        }
                        continue
                    }
                }
                output.append(contentsOf: UnsafeBufferPointer(rebasing: gathered[..<count]))
                count = 0
                encode(UnsafeBufferPointer(rebasing: text[start..<end]), to: &output)
                start = end
            }
            output.append(contentsOf: UnsafeBufferPointer(rebasing: gathered[..<count]))
        }
    }

    /// Appends the ids of one word, which is not empty.
    mutating func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        if word.count <= ShortWordTable.longest {
            let key = ShortWordTable.key(word)
            if let entry = short.find(key) {
                short.append(entry, to: &output)
                return
            }
            ids.removeAll(keepingCapacity: true)
            model.encode(word, to: &ids, &scratch)
            short.insert(key, ids)
            output.append(contentsOf: ids)
            return
        }
        guard word.count <= WordEncoder.longestKnownWord else {
            model.encode(word, to: &output, &scratch)
            return
        }
        if known.byteCount > WordEncoder.knownBytes {
            known.removeAll()
            knownStarts = [0]
            knownIDs.removeAll(keepingCapacity: true)
        }
        let index = known.insert(word)
        if index + 1 == knownStarts.count {
            model.encode(word, to: &knownIDs, &scratch)
            knownStarts.append(knownIDs.count)
        }
        knownIDs.withUnsafeBufferPointer { ids in
            output.append(contentsOf: UnsafeBufferPointer(rebasing: ids[knownStarts[index]..<knownStarts[index + 1]]))
        }
    }
}

/// Words of up to 15 bytes and their ids, in entries of half a cache line: a hit touches one line of memory, compares two
/// numbers and allocates nothing. An open hash table with linear probing, at most half full; when it has grown to its
/// limit it starts anew. It belongs to one thread.
private final class ShortWordTable {
    static let longest = 15

    /// The word's bytes, zeros, and in the last byte the length.
    struct Key: Equatable {
        let low: UInt64
        let high: UInt64
    }

    struct Entry {
        let low: UInt64
        /// 0 in an empty slot.
        let high: UInt64
        /// Up to three ids, then their number. If there are more the number is -1, and the first two are where they begin
        /// in `more`, and how many they are.
        let ids: SIMD4<Int32>

        var count: Int { Int(ids[3]) }
    }

    private var slots: UnsafeMutablePointer<Entry>
    private var mask: Int
    private var used = 0
    private var more: [Int32] = []

    private static let firstSize = 1 << 12
    private static let largestSize = 1 << 21

    init() {
        slots = ShortWordTable.empty(ShortWordTable.firstSize)
        mask = ShortWordTable.firstSize - 1
    }

    deinit { slots.deallocate() }

    private static func empty(_ size: Int) -> UnsafeMutablePointer<Entry> {
        let slots = UnsafeMutablePointer<Entry>.allocate(capacity: size)
        slots.initialize(repeating: Entry(low: 0, high: 0, ids: SIMD4()), count: size)
        return slots
    }

    /// Of the `length` bytes from `start` on, where `start + 16` is still inside the text.
    @inline(__always)
    static func key(_ text: UnsafeRawBufferPointer, _ start: Int, _ length: Int) -> Key {
        let low = UInt64(littleEndian: text.loadUnaligned(fromByteOffset: start, as: UInt64.self))
        let high = UInt64(littleEndian: text.loadUnaligned(fromByteOffset: start &+ 8, as: UInt64.self))
        let bits = UInt64(truncatingIfNeeded: length) &* 8
        // A shift by 64 or more gives 0 here.
        let lowMask: UInt64 = bits >= 64 ? .max : (1 &<< bits) &- 1
        let highMask: UInt64 = bits >= 64 ? (1 &<< (bits &- 64)) &- 1 : 0
        return Key(low: low & lowMask, high: high & highMask | UInt64(truncatingIfNeeded: length) &<< 56)
    }

    static func key(_ word: UnsafeBufferPointer<UInt8>) -> Key {
        var low: UInt64 = 0
        var high = UInt64(word.count) << 56
        for (i, byte) in word.enumerated() {
            if i < 8 { low |= UInt64(byte) << UInt64(8 * i) } else { high |= UInt64(byte) << UInt64(8 * (i - 8)) }
        }
        return Key(low: low, high: high)
    }

    @inline(__always)
    private func slot(of key: Key) -> Int {
        var hash = (key.low ^ (key.high &* 0x9e37_79b9_7f4a_7c15)) &* 0xff51_afd7_ed55_8ccd
        hash ^= hash >> 32
        return Int(truncatingIfNeeded: hash &* 0x9e37_79b9_7f4a_7c15 >> 40) & mask
    }

    @inline(__always)
    func find(_ key: Key) -> Entry? {
        var slot = slot(of: key)
        while true {
            let entry = slots[slot]
            if entry.low == key.low, entry.high == key.high { return entry }
            if entry.high == 0 { return nil }
            slot = (slot &+ 1) & mask
        }
    }

    func append(_ entry: Entry, to output: inout [Int32]) {
        guard entry.count < 0 else {
            for i in 0..<entry.count { output.append(entry.ids[i]) }
            return
        }
        more.withUnsafeBufferPointer { more in
            let first = Int(entry.ids[0])
            output.append(contentsOf: UnsafeBufferPointer(rebasing: more[first..<first + Int(entry.ids[1])]))
        }
    }

    /// - Precondition: `key` is not there.
    func insert(_ key: Key, _ ids: [Int32]) {
        if 2 * (used + 1) > mask + 1 { makeRoom() }
        var value = SIMD4<Int32>()
        if ids.count <= 3 {
            for (i, id) in ids.enumerated() { value[i] = id }
            value[3] = Int32(ids.count)
        } else {
            value = SIMD4(Int32(more.count), Int32(ids.count), 0, -1)
            more += ids
        }
        put(Entry(low: key.low, high: key.high, ids: value))
        used += 1
    }

    private func put(_ entry: Entry) {
        var slot = slot(of: Key(low: entry.low, high: entry.high))
        while slots[slot].high != 0 { slot = (slot + 1) & mask }
        slots[slot] = entry
    }

    private func makeRoom() {
        let old = slots
        let oldSize = mask + 1
        defer { old.deallocate() }
        let isFull = oldSize == ShortWordTable.largestSize
        let size = isFull ? ShortWordTable.firstSize : 2 * oldSize
        slots = ShortWordTable.empty(size)
        mask = size - 1
        if isFull {
            used = 0
            more.removeAll()
        } else {
            for i in 0..<oldSize where old[i].high != 0 { put(old[i]) }
        }
    }
}
