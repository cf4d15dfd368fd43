// The hash tables here use open addressing with linear probing and are at most half or three quarters full. Swift's
// Dictionary was four times slower in measurements, because of its keyed hash. A Dictionary of Strings would also be
// wrong: Strings are equal by canonical equivalence (a Korean syllable equals its jamo), which a tokenizer must not do.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A set of byte strings, numbered 0, 1, 2 … in the order of their first insertion.
package struct ByteStringTable: Sendable {
    /// The upper half of the hash | the string's number plus one; 0 for an empty slot.
    private var slots = [UInt64](repeating: 0, count: 1 << 10)
    /// String i is `bytes[starts[i]..<starts[i + 1]]`.
    private var starts = [0]
    private var bytes: [UInt8] = []

    package init() {}

    package var count: Int { starts.count - 1 }
    package var byteCount: Int { bytes.count }

    package subscript(index: Int) -> ArraySlice<UInt8> { bytes[starts[index]..<starts[index + 1]] }

    /// The number of `word`; nil if it is not in the table.
    package func index(of word: UnsafeBufferPointer<UInt8>) -> Int? {
        let slot = slot(of: word, hash: hashOf(word))
        return slots[slot] == 0 ? nil : Int(slots[slot] & 0xffff_ffff) - 1
    }

    package func index(of word: [UInt8]) -> Int? { word.withUnsafeBufferPointer { index(of: $0) } }

    /// Inserts `word` if it is not in the table, and returns its number.
    package mutating func insert(_ word: UnsafeBufferPointer<UInt8>) -> Int {
        let hash = hashOf(word)
        var slot = slot(of: word, hash: hash)
        if slots[slot] != 0 { return Int(slots[slot] & 0xffff_ffff) - 1 }
        if 2 * (count + 1) > slots.count {
            grow()
            slot = self.slot(of: word, hash: hash)
        }
        bytes.append(contentsOf: word)
        starts.append(bytes.count)
        slots[slot] = hash & ~0xffff_ffff | UInt64(UInt32(count))
        return count - 1
    }

    @discardableResult
    package mutating func insert(_ word: [UInt8]) -> Int { word.withUnsafeBufferPointer { insert($0) } }

    package mutating func removeAll() { self = ByteStringTable() }

    /// The slot of `word`, or the empty slot where it would go.
    @inline(__always)
    private func slot(of word: UnsafeBufferPointer<UInt8>, hash: UInt64) -> Int {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash >> 32) & mask
        while slots[slot] != 0 {
            if (slots[slot] ^ hash) >> 32 == 0, equals(Int(slots[slot] & 0xffff_ffff) - 1, word) { break }
            slot = (slot + 1) & mask
        }
        return slot
    }

    @inline(__always)
    private func equals(_ index: Int, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = starts[index]
        guard starts[index + 1] - start == word.count, let base = word.baseAddress else { return word.isEmpty }
        return bytes.withUnsafeBytes { all in
            all.baseAddress.map { memcmp($0 + start, base, word.count) == 0 } ?? false
        }
    }

    private mutating func grow() {
        let old = slots
        slots = [UInt64](repeating: 0, count: 2 * old.count)
        let mask = slots.count - 1
        for entry in old where entry != 0 {
            var slot = Int(truncatingIfNeeded: entry >> 32) & mask
            while slots[slot] != 0 { slot = (slot + 1) & mask }
            slots[slot] = entry
        }
    }
}

/// Whether two buffers hold the same bytes.
@inline(__always)
func equalBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count, let first = a.baseAddress, let second = b.baseAddress else {
        return a.isEmpty && b.isEmpty
    }
    return memcmp(first, second, a.count) == 0
}

/// The hash of a byte string: eight bytes at a time, multiply and fold the upper half down. It does not resist chosen
/// collisions, and need not.
@inline(__always)
func hashOf(_ word: UnsafeBufferPointer<UInt8>) -> UInt64 {
    let factor: UInt64 = 0x9e37_79b9_7f4a_7c15
    let raw = UnsafeRawBufferPointer(word)
    var hash = UInt64(truncatingIfNeeded: raw.count) &* factor
    var position = 0
    while position + 8 <= raw.count {
        hash = (hash ^ raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)) &* factor
        hash ^= hash >> 32
        position += 8
    }
    var tail: UInt64 = 0
    while position < raw.count {
        tail = tail << 8 | UInt64(raw[position])
        position += 1
    }
    hash = (hash ^ tail) &* factor
    hash ^= hash >> 29
    return hash &* factor
}
