// Merging a Korean word from its bytes takes two merges for each syllable before anything is learnt about the word.
// Most syllables always become one token first; those may begin as that token. It is three times faster.
//
// When is that the same? Merges are made by rank. Let a character's own merges, done alone, end in one token, and let
// each of them have a lower rank than any merge that the symbol at its left or right end, at that time, has with what
// stands outside. Then no neighbour can take a part of it before it is whole: its own next merge always comes first. And
// let every merge of the whole token with what stands outside have a higher rank than all of its own, so that having it
// early lets nothing happen early. What is merged elsewhere is untouched either way. (The tests hold this against the
// textbook, with vocabularies in which most characters fail the conditions.)
//
// What stands outside, whatever has been merged there, ends or begins with the byte beside the character. So the
// conditions are kept by that byte: of ten syllables in Korean reviews nine fulfil them. GPT-2's words begin with a
// space, which merges with first bytes early; but a space and the character may be one token by the same reasoning,
// where nothing stands on the left.

/// Tokens by code point, for characters of three bytes in UTF-8: Hangul, Han, Kana.
struct WholeCharacters: Sendable {
    struct Entry: Sendable {
        /// The token that the character becomes, or -1.
        var id: Int32 = -1
        /// By the byte after it: a bit for each first byte of three (E0 … EF), then one for all others.
        var next: UInt32 = 0
        /// By the byte before it: a bit for each last byte (80 … BF).
        var previous: UInt64 = 0
    }
    /// By code point.
    private let inside: [Entry]
    /// With a space before it, at the beginning of a word.
    private let first: [Entry]

    /// The token of the character at `position` of `word`, or -1 if its bytes must be merged.
    @inline(__always)
    func token(at position: Int, in word: UnsafeBufferPointer<UInt8>) -> Int32 {
        guard let scalar = WholeCharacters.scalar(at: position, in: word) else { return -1 }
        let entry = inside[scalar]
        guard entry.id >= 0, allows(entry, position &+ 3, word) else { return -1 }
        if position == 0 { return entry.id }
        let previous = word[position &- 1]
        return previous & 0xC0 == 0x80 && entry.previous & 1 &<< UInt64(previous & 0x3F) != 0 ? entry.id : -1
    }

    /// The token of the space that begins `word` and the character behind it, or -1.
    @inline(__always)
    func tokenWithSpace(in word: UnsafeBufferPointer<UInt8>) -> Int32 {
        guard word[0] == UInt8(ascii: " "), let scalar = WholeCharacters.scalar(at: 1, in: word) else { return -1 }
        let entry = first[scalar]
        return entry.id >= 0 && allows(entry, 4, word) ? entry.id : -1
    }

    @inline(__always)
    private func allows(_ entry: Entry, _ end: Int, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
        end == word.count || entry.next & 1 &<< WholeCharacters.bit(ofNext: word[end]) != 0
    }

    @inline(__always)
    private static func bit(ofNext byte: UInt8) -> UInt32 { byte & 0xF0 == 0xE0 ? UInt32(byte & 0x0F) : 16 }

    /// What the three bytes at `position` spell if they have the form of such a character. (Those that are malformed all
    /// the same, overlong ones and surrogates, spell numbers that no token is kept for.)
    @inline(__always)
    private static func scalar(at position: Int, in word: UnsafeBufferPointer<UInt8>) -> Int? {
        guard position &+ 3 <= word.count, word[position] & 0xF0 == 0xE0, word[position &+ 1] & 0xC0 == 0x80,
            word[position &+ 2] & 0xC0 == 0x80
        else { return nil }
        return Int(word[position] & 0x0F) << 12 | Int(word[position &+ 1] & 0x3F) << 6
            | Int(word[position &+ 2] & 0x3F)
    }

    /// - Parameters:
    ///   - byteIDs: of all bytes.
    ///   - ranks: rank << 32 | result of each merge.
    init(byteIDs: [Int32], merges: [Merge], ranks: PairTable) {
        let space = byteIDs[Int(UInt8(ascii: " "))]
        let idCount = 1 + Int(max(byteIDs.max() ?? 0, merges.map { max($0.left, $0.right, $0.result) }.max() ?? 0))
        // The first and the last byte of each token.
        var ends = [(first: UInt8, last: UInt8)?](repeating: nil, count: idCount)
        for byte in UInt8.min...UInt8.max { ends[Int(byteIDs[Int(byte)])] = (byte, byte) }
        // More than once only for merges that are not in the order of their making.
        while true {
            var isComplete = true
            for merge in merges where ends[Int(merge.result)] == nil {
                guard let left = ends[Int(merge.left)], let right = ends[Int(merge.right)] else { continue }
                ends[Int(merge.result)] = (left.first, right.last)
                isComplete = false
            }
            if isComplete { break }
        }
        // The merges in which a token is on the left, and those in which it is on the right, linked.
        var (asLeft, asRight) = ([Int](repeating: -1, count: idCount), [Int](repeating: -1, count: idCount))
        var (nextAsLeft, nextAsRight) = ([Int](), [Int]())
        for (index, merge) in merges.enumerated() {
            nextAsLeft.append(asLeft[Int(merge.left)])
            nextAsRight.append(asRight[Int(merge.right)])
            asLeft[Int(merge.left)] = index
            asRight[Int(merge.right)] = index
        }

        /// The one token of `symbols` and where it may stand.
        func entry(_ symbols: [Int32]) -> Entry {
            var symbols = symbols
            var entry = Entry(id: -1, next: 0x1FFFF, previous: .max)
            var highest: Int64 = -1
            /// Leaves out the neighbours that would merge before a rank.
            func close(before rank: Int64) {
                func happens(_ merge: Merge) -> Bool {
                    (ranks[pairKey(merge.left, merge.right)] ?? .max) >> 32 <= rank
                }
                var index = asLeft[Int(symbols[symbols.count - 1])]
                while index >= 0 {
                    if happens(merges[index]), let byte = ends[Int(merges[index].right)]?.first {
                        entry.next &= ~(1 << WholeCharacters.bit(ofNext: byte))
                    }
                    index = nextAsLeft[index]
                }
                index = asRight[Int(symbols[0])]
                while index >= 0 {
                    if happens(merges[index]), let byte = ends[Int(merges[index].left)]?.last, byte & 0xC0 == 0x80 {
                        entry.previous &= ~(1 << UInt64(byte & 0x3F))
                    }
                    index = nextAsRight[index]
                }
            }
            while symbols.count > 1 {
                var best = (value: Int64.max, at: 0)
                for i in 0..<symbols.count - 1 {
                    if let value = ranks[pairKey(symbols[i], symbols[i + 1])], value < best.value { best = (value, i) }
                }
                guard best.value != .max else { return Entry() }
                close(before: best.value >> 32)
                highest = max(highest, best.value >> 32)
                symbols.replaceSubrange(
                    best.at...best.at + 1, with: CollectionOfOne(Int32(truncatingIfNeeded: best.value)))
            }
            close(before: highest)
            entry.id = symbols[0]
            return entry
        }
        var inside = [Entry](repeating: Entry(), count: 1 << 16)
        var first = inside
        var bytes: [UInt8] = []
        for scalar in UInt32(0x800)...0xFFFF where !(0xD800...0xDFFF).contains(scalar) {
            bytes.removeAll(keepingCapacity: true)
            appendUTF8(scalar, to: &bytes)
            let symbols = bytes.map { byteIDs[Int($0)] }
            // Most are no tokens: without a first merge there is no second one.
            guard
                ranks[pairKey(space, symbols[0])] != nil || ranks[pairKey(symbols[0], symbols[1])] != nil
                    || ranks[pairKey(symbols[1], symbols[2])] != nil
            else { continue }
            inside[Int(scalar)] = entry(symbols)
            first[Int(scalar)] = entry([space] + symbols)
        }
        self.inside = inside
        self.first = first
    }
}
