// What makes encoding fast: most words of a text have been met before.

import Kernels

/// A cache of recent words and their ids, of bounded size. It belongs to one thread.
///
/// It is two-way associative: the hash of a word selects a pair of entries. A new word takes the first entry, and the
/// previous content of the first moves to the second, so a frequent word soon returns. An entry is one cache line, so a
/// hit touches one or two lines and allocates nothing.
///
/// Layout of an entry: 32 bytes of key (all zero if empty), 30 bytes of ids, 2 bytes for the number of ids. Ids take
/// two bytes each, or three if the number has the flag `isWide`.
final class WordCache {
    /// The most ids that `copy` writes.
    static let mostIDs = 16

    private static let entryBytes = 64

    /// log2 of the number of pairs of entries.
    private static let pairBits = 17
    /// The size in floats, the unit of `allocateFloats`: 16 MB.
    private static let size = (2 * entryBytes / 4) << pairBits
    private let entries = UnsafeMutableRawPointer(allocateFloats(size))

    deinit { freeFloats(entries.assumingMemoryBound(to: Float.self), count: WordCache.size) }

    /// The offset of the pair of entries that may hold the word.
    @inline(__always)
    func place(of key: WordKey) -> Int {
        Int(truncatingIfNeeded: key.hash >> UInt64(64 &- WordCache.pairBits)) &* (2 &* WordCache.entryBytes)
    }

    /// Prefetches what `find` will read.
    @inline(__always)
    func prefetch(_ place: Int) {
        Kernels.prefetch(entries + place, write: 0, caches: 3, kind: 1)
        Kernels.prefetch(entries + place + WordCache.entryBytes, write: 0, caches: 3, kind: 1)
    }

    /// The entry of the word; nil if it is not cached.
    @inline(__always)
    func find(_ key: WordKey, at place: Int) -> UnsafeMutableRawPointer? {
        let first = entries + place
        if holds(first, key) { return first }
        let second = first + WordCache.entryBytes
        return holds(second, key) ? second : nil
    }

    @inline(__always)
    private func holds(_ entry: UnsafeMutableRawPointer, _ key: WordKey) -> Bool {
        entry.load(as: WordKey.self).isSame(as: key)
    }

    /// Writes the ids of an entry and returns their number. `output` must have room for `mostIDs`.
    @inline(__always)
    func copy(_ entry: UnsafeMutableRawPointer, to output: UnsafeMutablePointer<Int32>) -> Int {
        let count = entry.load(fromByteOffset: WordCache.entryBytes &- 2, as: UInt16.self)
        let output = UnsafeMutableRawPointer(output)
        if count & WordCache.isWide == 0 {
            for half in 0..<2 {
                let eight = entry.load(fromByteOffset: 32 &+ 16 &* half, as: SIMD8<UInt16>.self)
                output.storeBytes(
                    of: SIMD8<Int32>(truncatingIfNeeded: eight), toByteOffset: 32 &* half, as: SIMD8<Int32>.self)
            }
        } else {
            for i in 0..<WordCache.mostWideIDs {
                let id = entry.loadUnaligned(fromByteOffset: 32 &+ 3 &* i, as: UInt32.self) & 0xFF_FFFF
                output.storeBytes(of: id, toByteOffset: 4 &* i, as: UInt32.self)
            }
        }
        return Int(count & ~WordCache.isWide)
    }

    private static let isWide: UInt16 = 0x8000
    private static let mostWideIDs = 10

    /// Caches a word that is not in the cache, unless it has too many ids.
    func insert(_ key: WordKey, at place: Int, _ ids: ArraySlice<Int32>) {
        let largest = ids.max() ?? 0
        let isWide = largest > Int32(UInt16.max)
        guard ids.count <= (isWide ? WordCache.mostWideIDs : 15), largest < 1 << 24 else { return }
        let entry = entries + place
        (entry + WordCache.entryBytes).copyMemory(from: entry, byteCount: WordCache.entryBytes)
        entry.storeBytes(of: key, as: WordKey.self)
        for (i, id) in zip(0..., ids) {
            if isWide {
                // The fourth byte is the next one's, or the number's.
                entry.storeBytes(of: id, toByteOffset: 32 + 3 * i, as: Int32.self)
            } else {
                entry.storeBytes(of: UInt16(id), toByteOffset: 32 + 2 * i, as: UInt16.self)
            }
        }
        entry.storeBytes(
            of: UInt16(ids.count) | (isWide ? WordCache.isWide : 0), toByteOffset: WordCache.entryBytes - 2,
            as: UInt16.self)
    }
}
