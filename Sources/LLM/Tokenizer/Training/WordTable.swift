/// A hash table from byte strings to counts. 8-byte slots point into one array of records, so that finding a word
/// touches two places in memory. (Most words of a corpus are rare, so each place is a cache miss.)
package struct WordTable: Sendable {
    /// The upper half of the hash | the record's position plus one; 0 for an empty slot.
    private var slots = [UInt64](repeating: 0, count: 1 << 10)
    /// The records, in units of four bytes: the count (lower and upper half), the length, the bytes.
    private var records: [UInt32] = []
    /// The number of strings.
    package private(set) var count = 0
    /// The number of bytes in all strings.
    package private(set) var byteCount = 0

    package init() {}

    /// Adds to the count of `word`.
    /// - Parameter hash: `hashOf(word)`.
    package mutating func add(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, count: Int64) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash >> 32) & mask
        while slots[slot] != 0 {
            if (slots[slot] ^ hash) >> 32 == 0 {
                let place = Int(slots[slot] & 0xffff_ffff) - 1
                if equals(place, word) {
                    let sum = (Int64(records[place]) | Int64(records[place + 1]) << 32) + count
                    records[place] = UInt32(truncatingIfNeeded: sum)
                    records[place + 1] = UInt32(truncatingIfNeeded: sum >> 32)
                    return
                }
            }
            slot = (slot + 1) & mask
        }
        slots[slot] = hash & ~0xffff_ffff | UInt64(UInt32(records.count + 1))
        records.append(UInt32(truncatingIfNeeded: count))
        records.append(UInt32(truncatingIfNeeded: count >> 32))
        records.append(UInt32(word.count))
        let start = records.count
        records.append(contentsOf: repeatElement(0, count: (word.count + 3) / 4))
        records.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[(4 * start)...]).copyMemory(from: UnsafeRawBufferPointer(word))
        }
        byteCount += word.count
        self.count += 1
        if 4 * self.count > 3 * slots.count { grow() }
    }

    /// Reads the slot that `add` will read first.
    @inline(__always)
    func touchSlot(_ hash: UInt64) -> UInt64 { slots[Int(truncatingIfNeeded: hash >> 32) & (slots.count - 1)] }

    /// Reads the record that the slot points to.
    @inline(__always)
    func touchRecord(_ hash: UInt64) -> UInt64 {
        let slot = touchSlot(hash)
        return slot == 0 ? 0 : UInt64(records[Int(slot & 0xffff_ffff) - 1])
    }

    /// Calls `body` with every string and its count, in the order of insertion.
    package func forEach(_ body: (UnsafeBufferPointer<UInt8>, Int64) -> Void) {
        records.withUnsafeBytes { raw in
            var place = 0
            while place < records.count {
                let length = Int(records[place + 2])
                let count = Int64(records[place]) | Int64(records[place + 1]) << 32
                let bytes = UnsafeRawBufferPointer(rebasing: raw[4 * place + 12..<4 * place + 12 + length])
                body(bytes.bindMemory(to: UInt8.self), count)
                place += 3 + (length + 3) / 4
            }
        }
    }

    @inline(__always)
    private func equals(_ place: Int, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
        guard Int(records[place + 2]) == word.count else { return false }
        return records.withUnsafeBytes { raw in
            let stored = UnsafeRawBufferPointer(rebasing: raw[4 * place + 12..<4 * place + 12 + word.count])
            return equalBytes(stored, UnsafeRawBufferPointer(word))
        }
    }

    private mutating func grow() {
        var larger = [UInt64](repeating: 0, count: 2 * slots.count)
        let mask = larger.count - 1
        for entry in slots where entry != 0 {
            var slot = Int(truncatingIfNeeded: entry >> 32) & mask
            while larger[slot] != 0 { slot = (slot + 1) & mask }
            larger[slot] = entry
        }
        slots = larger
    }
}
