// Two hash tables for the tokenizer's inner loops: byte strings numbered in order of arrival, and numbers for pairs of
// ids. Both are open addressing with linear probing, at most half or three quarters full. Swift's Dictionary would do the same: it was
// measured four times slower here, for its keyed hash, and a Swift String is equal to another by canonical equivalence
// (the Korean syllable and its jamo are one key), which a tokenizer must tell apart.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Byte strings, each kept once, numbered 0, 1, 2 … in the order of their first appearance.
package struct ByteStringTable: Sendable {
    /// The upper half of the hash and the string's number plus one; 0 is an empty slot.
    private var slots = [UInt64](repeating: 0, count: 1 << 10)
    /// String i lies in `bytes` from `starts[i]` up to `starts[i + 1]`.
    private var starts = [0]
    private var bytes: [UInt8] = []

    package init() {}

    package var count: Int { starts.count - 1 }
    package var byteCount: Int { bytes.count }

    package subscript(index: Int) -> ArraySlice<UInt8> { bytes[starts[index]..<starts[index + 1]] }

    package func index(of word: UnsafeBufferPointer<UInt8>) -> Int? {
        let slot = slot(of: word, hash: hashOf(word))
        return slots[slot] == 0 ? nil : Int(slots[slot] & 0xffff_ffff) - 1
    }

    package func index(of word: [UInt8]) -> Int? { word.withUnsafeBufferPointer { index(of: $0) } }

    /// The number of `word`, a new one if it was not there.
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

    /// The slot that holds `word`, or the empty one where it would go.
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

@inline(__always)
func equalBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count, let first = a.baseAddress, let second = b.baseAddress else {
        return a.isEmpty && b.isEmpty
    }
    return memcmp(first, second, a.count) == 0
}

/// Eight bytes at a time: multiply, fold the upper half down. The strings are no secret and no one gains by collisions.
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

/// A pair of token ids as one key.
@inline(__always)
package func pairKey(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
}

/// A number for each pair of ids.
package struct PairTable: Sendable {
    private static let empty = UInt64.max
    private var slots = [(key: UInt64, value: Int64)](repeating: (empty, 0), count: 1 << 10)
    package private(set) var count = 0

    package init() {}

    @inline(__always)
    package subscript(key: UInt64) -> Int64? {
        let slot = slot(of: key)
        return slots[slot].key == key ? slots[slot].value : nil
    }

    package mutating func set(_ key: UInt64, _ value: Int64) {
        slots[claim(key)].value = value
    }

    /// Adds to the number of `key`, 0 if it had none, and returns the sum.
    @discardableResult
    package mutating func add(_ key: UInt64, _ change: Int64) -> Int64 {
        let slot = claim(key)
        slots[slot].value += change
        return slots[slot].value
    }

    /// Adds to the number of `key`, if it has one.
    package mutating func addIfKnown(_ key: UInt64, _ change: Int64) {
        let slot = slot(of: key)
        if slots[slot].key == key { slots[slot].value += change }
    }

    /// Reads what is going to be looked at first. Many touched at once come from memory together, where lookups one
    /// after the other each wait.
    @inline(__always)
    package func touch(_ key: UInt64) -> UInt64 {
        slots[Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 24) & (slots.count - 1)].key
    }

    @inline(__always)
    private func slot(of key: UInt64) -> Int {
        let mask = slots.count - 1
        // Fibonacci hashing: the upper bits of the product depend on all bits of the key.
        var slot = Int(truncatingIfNeeded: (key &* 0x9e37_79b9_7f4a_7c15) >> 24) & mask
        while slots[slot].key != key && slots[slot].key != PairTable.empty { slot = (slot + 1) & mask }
        return slot
    }

    private mutating func claim(_ key: UInt64) -> Int {
        var slot = slot(of: key)
        if slots[slot].key == key { return slot }
        if 4 * (count + 1) > 3 * slots.count {
            let old = slots
            slots = [(key: UInt64, value: Int64)](repeating: (PairTable.empty, 0), count: 2 * old.count)
            for entry in old where entry.key != PairTable.empty { slots[self.slot(of: entry.key)] = entry }
            slot = self.slot(of: key)
        }
        slots[slot].key = key
        count += 1
        return slot
    }
}

/// A binary heap: `pop` gives the element that precedes all others.
package struct Heap<Element: Comparable> {
    private var elements: [Element] = []

    package init() {}

    package var isEmpty: Bool { elements.isEmpty }

    package mutating func push(_ element: Element) {
        elements.append(element)
        var child = elements.count - 1
        while child > 0, elements[child] < elements[(child - 1) / 2] {
            elements.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    package mutating func pop() -> Element? {
        guard let first = elements.first, let last = elements.popLast() else { return nil }
        guard !elements.isEmpty else { return first }
        elements[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < elements.count else { return first }
            if child + 1 < elements.count, elements[child + 1] < elements[child] { child += 1 }
            guard elements[child] < elements[parent] else { return first }
            elements.swapAt(child, parent)
            parent = child
        }
    }
}
