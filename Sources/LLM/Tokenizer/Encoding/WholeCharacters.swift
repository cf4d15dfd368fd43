// A Korean word of bytes needs two merges for each syllable before any merge that tells something about the word. Most
// syllables always become one token first; those can start as that token, which is three times as fast.
//
// When is the result the same? Merges are applied in the order of their ranks. Consider the merges that turn a
// character alone into one token. At each step, compare the rank of the character's own next merge with the ranks of
// all merges that its leftmost or rightmost symbol has with symbols outside. If the own merge always has the lower
// rank, no neighbour can take a symbol of the character before it is complete. If, in addition, every merge of the
// complete token with a symbol outside has a higher rank than all of the character's own merges, then having the token
// early does not let anything happen early. Merges elsewhere are unaffected. (The tests check this against the
// textbook, with vocabularies in which most characters fail the conditions.)
//
// Any symbol outside, whatever it was merged from, ends or begins with the byte next to the character. So the
// conditions are stored by that byte. In Korean reviews nine of ten syllables satisfy them. GPT-2's words begin with a
// space, which merges early with first bytes; by the same argument a space and a character may be one token, with
// nothing to the left.

/// The characters that can start as one token, of those with three bytes in UTF-8: Hangul, Han, Kana.
struct WholeCharacters: Sendable {
    struct Entry: Sendable {
        /// The token that the character becomes; -1 if it must be merged from bytes.
        var id: Int32 = -1
        /// Which bytes may follow: one bit per lead byte E0 … EF, then one for all other bytes.
        var next: UInt32 = 0
        /// Which bytes may precede: one bit per continuation byte 80 … BF.
        var previous: UInt64 = 0
    }
    /// The entries of characters, by code point.
    private let inside: [Entry]
    /// The entries of a space and a character at the beginning of a word, by code point.
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

    /// The token of the space that `word` begins with and the character after it, or -1.
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

    /// The code point of the three bytes at `position`; nil if they do not have the form of such a character. (Overlong
    /// forms and surrogates pass this check, but there are no entries for them.)
    @inline(__always)
    private static func scalar(at position: Int, in word: UnsafeBufferPointer<UInt8>) -> Int? {
        guard position &+ 3 <= word.count, word[position] & 0xF0 == 0xE0, word[position &+ 1] & 0xC0 == 0x80,
            word[position &+ 2] & 0xC0 == 0x80
        else { return nil }
        return Int(word[position] & 0x0F) << 12 | Int(word[position &+ 1] & 0x3F) << 6
            | Int(word[position &+ 2] & 0x3F)
    }

    /// - Parameters:
    ///   - byteIDs: the ids of all bytes.
    ///   - ranks: rank << 32 | result of each merge.
    init(byteIDs: [Int32], merges: [Merge], ranks: PairTable) {
        let space = byteIDs[Int(UInt8(ascii: " "))]
        let idCount = 1 + Int(max(byteIDs.max() ?? 0, merges.map { max($0.left, $0.right, $0.result) }.max() ?? 0))
        // The first and the last byte of each token.
        var ends = [(first: UInt8, last: UInt8)?](repeating: nil, count: idCount)
        for byte in UInt8.min...UInt8.max { ends[Int(byteIDs[Int(byte)])] = (byte, byte) }
        // One pass is enough if every merge comes after those that make its symbols.
        while true {
            var isComplete = true
            for merge in merges where ends[Int(merge.result)] == nil {
                guard let left = ends[Int(merge.left)], let right = ends[Int(merge.right)] else { continue }
                ends[Int(merge.result)] = (left.first, right.last)
                isComplete = false
            }
            if isComplete { break }
        }
        // Linked lists of the merges with a token on the left, and of those with it on the right.
        var (asLeft, asRight) = ([Int](repeating: -1, count: idCount), [Int](repeating: -1, count: idCount))
        var (nextAsLeft, nextAsRight) = ([Int](), [Int]())
        for (index, merge) in merges.enumerated() {
            nextAsLeft.append(asLeft[Int(merge.left)])
            nextAsRight.append(asRight[Int(merge.right)])
            asLeft[Int(merge.left)] = index
            asRight[Int(merge.right)] = index
        }

        /// The token that `symbols` become, and the bytes that may be next to it.
        func entry(_ symbols: [Int32]) -> Entry {
            var symbols = symbols
            var entry = Entry(id: -1, next: 0x1FFFF, previous: .max)
            var highest: Int64 = -1
            /// Excludes the neighbours that would merge at `rank` or before.
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
            // Most characters are not tokens: without a first merge there is no second one.
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
