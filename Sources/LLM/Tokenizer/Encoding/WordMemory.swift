import Kernels

/// Some of the last words met, with their ids, in entries of a cache line: a hit touches one line of memory, or two, makes
/// four comparisons and allocates nothing. A word may lie in one of two places, which its hash names. A new one takes the
/// first, and what was there moves to the second: a word that comes often is never away for long. So memory is bounded.
///
/// An entry is the key, all zero if it is empty, and then as much room for ids. The ids take two bytes each, or four if
/// the number has the mark `isWide`; the number takes the last two bytes. It belongs to one thread.
final class WordMemory {
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
