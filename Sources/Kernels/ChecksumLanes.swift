// The inner loop of a checksum (LLM/Support/Checksum.swift), in the widest registers there are: it has to keep up with
// the memory that a model of gigabytes is read into.

/// The number of 32-bit lanes of a checksum. A block is one word for each.
package let checksumLanes = 64

/// Takes whole blocks of bytes into the lanes of a checksum: word i of a block goes into lane i.
///
///     lane = rotl(lane ^ word, 13) · P mod 2³²
///
/// Each of the three operations can be undone, because P is odd. So, whatever the word, two lanes that differ before a
/// step differ after it; and whatever the lane, two words that differ leave two lanes that differ.
/// - Parameters:
///   - lanes: (checksumLanes)
///   - bytes: blocks × 4 · checksumLanes of them, little-endian, aligned or not.
package func mixChecksumLanes(_ lanes: UnsafeMutablePointer<UInt32>, _ bytes: UnsafeRawPointer, blocks: Int) {
    typealias Words = SIMD16<UInt32>
    @inline(__always) func mixed(_ lane: Words, _ source: UnsafeRawPointer) -> Words {
        var word = source.loadUnaligned(as: Words.self)
        #if _endian(big)
            for i in word.indices { word[i] = word[i].byteSwapped }
        #endif
        let sum = lane ^ word
        return ((sum &<< 13) | (sum &>> 19)) &* Words(repeating: 0x9e37_79b1)
    }
    let state = UnsafeMutableRawPointer(lanes)
    // Four chains, because a step has to wait for the one before it.
    var a = state.loadUnaligned(as: Words.self)
    var b = state.loadUnaligned(fromByteOffset: 64, as: Words.self)
    var c = state.loadUnaligned(fromByteOffset: 128, as: Words.self)
    var d = state.loadUnaligned(fromByteOffset: 192, as: Words.self)
    var source = bytes
    for _ in 0..<blocks {
        a = mixed(a, source)
        b = mixed(b, source + 64)
        c = mixed(c, source + 128)
        d = mixed(d, source + 192)
        source += 256
    }
    state.storeBytes(of: a, as: Words.self)
    state.storeBytes(of: b, toByteOffset: 64, as: Words.self)
    state.storeBytes(of: c, toByteOffset: 128, as: Words.self)
    state.storeBytes(of: d, toByteOffset: 192, as: Words.self)
}
