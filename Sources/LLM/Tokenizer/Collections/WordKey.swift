/// A word of up to 31 bytes as four numbers, so that comparing and hashing need no loop over bytes. The highest byte of
/// the last number is the length. All zero means no word. The key of a longer word is not valid.
struct WordKey {
    private var words: SIMD4<UInt64>

    /// The length of the longest word with a valid key, in bytes.
    static let longestWord = 31

    static let none = WordKey(words: SIMD4())

    private init(words: SIMD4<UInt64>) { self.words = words }

    /// The key of `length` bytes from `start`. `start + 32` must not be past the end of the text.
    @inline(__always)
    init(_ text: UnsafeRawBufferPointer, _ start: Int, _ length: Int) {
        let length = min(length, WordKey.longestWord)
        words = text.loadUnaligned(fromByteOffset: start, as: SIMD4<UInt64>.self) & WordKey.masks[length]
        words[3] |= UInt64(truncatingIfNeeded: length) &<< 56
    }

    /// The key of a word anywhere.
    @inline(__always)
    init(_ word: UnsafeBufferPointer<UInt8>) {
        let length = min(word.count, WordKey.longestWord)
        words = SIMD4()
        withUnsafeMutableBytes(of: &words) {
            $0.copyMemory(from: UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: word[..<length])))
        }
        words[3] |= UInt64(truncatingIfNeeded: length) &<< 56
    }

    /// For each length, the bits of a word's bytes.
    private nonisolated(unsafe) static let masks: UnsafePointer<SIMD4<UInt64>> = {
        let masks = UnsafeMutablePointer<SIMD4<UInt64>>.allocate(capacity: longestWord + 1)
        for length in 0...longestWord {
            var mask = SIMD4<UInt64>()
            for i in 0..<length { mask[i / 8] |= 0xFF << UInt64(8 * (i % 8)) }
            (masks + length).initialize(to: mask)
        }
        return UnsafePointer(masks)
    }()

    @inline(__always)
    func isSame(as other: WordKey) -> Bool {
        let difference = words ^ other.words
        return (difference[0] | difference[1]) | (difference[2] | difference[3]) == 0
    }

    @inline(__always)
    var isNone: Bool { words[3] == 0 }

    /// The hash of the word; its upper bits depend on all bytes.
    @inline(__always)
    var hash: UInt64 {
        var hash = (words[0] ^ (words[1] &* 0x9e37_79b9_7f4a_7c15)) &* 0xff51_afd7_ed55_8ccd
        hash ^= (words[2] ^ (words[3] &* 0xc4ce_b9fe_1a85_ec53)) &* 0x9e37_79b9_7f4a_7c15
        hash ^= hash >> 32
        return hash &* 0x9e37_79b9_7f4a_7c15
    }

    /// Calls `body` with the word.
    @inline(__always)
    func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        let length = Int(words[3] >> 56)
        return withUnsafeBytes(of: words) {
            body(UnsafeBufferPointer(rebasing: $0.bindMemory(to: UInt8.self)[..<length]))
        }
    }
}
