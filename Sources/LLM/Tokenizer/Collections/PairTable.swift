/// A hash table from pairs of ids to numbers.
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

    /// Sets the number of `key`.
    package mutating func set(_ key: UInt64, _ value: Int64) {
        slots[claim(key)].value = value
    }

    /// Adds to the number of `key`, which is 0 if the key is new, and returns the sum.
    @discardableResult
    package mutating func add(_ key: UInt64, _ change: Int64) -> Int64 {
        let slot = claim(key)
        slots[slot].value += change
        return slots[slot].value
    }

    /// Adds to the number of `key` if the key is in the table.
    package mutating func addIfKnown(_ key: UInt64, _ change: Int64) {
        let slot = slot(of: key)
        if slots[slot].key == key { slots[slot].value += change }
    }

    /// Reads the slot that a lookup of `key` will read first. Several touches in a row are served by memory at the same
    /// time, whereas lookups in a row wait for each other.
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

    /// The slot of `key`, which is inserted if it is new.
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

/// The key of a pair of token ids in a `PairTable`.
@inline(__always)
package func pairKey(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
}
