// A checksum at the speed of memory, so that a file can always be checked when it is read.
//
// The bytes are dealt, as little-endian words, to 64 lanes of 32 bits (Kernels/ChecksumLanes.swift); at the end the
// length and the lanes are folded into 63 bits, one after another. It finds what disks, copies and crashes do to a
// file, not what a person does with intent.
//
// What lies within one word, such as a flipped bit, is always noticed. It changes that word's lane, and no other; the
// lane then stays changed, since every later step maps different lanes to different lanes. In the fold, h = mix(h ^
// lane): up to that lane h is as it was, there it changes, and it stays changed, since mix can be undone. A longer
// damage, such as a zeroed page, blocks in another order or a piece that is missing, goes unnoticed only if all that it
// changed cancels out, one time in 2⁶³.

import Kernels

/// A checksum of bytes that come in pieces. It depends on the bytes alone, not on how they were cut.
package struct Checksum {
    private static let blockBytes = 4 * checksumLanes
    private var lanes = InlineArray<64, UInt32> { UInt32($0 + 1) &* 0x85eb_ca6b }
    private var length = 0
    /// The beginning of a block that is not yet whole, and zeros.
    private var block = InlineArray<256, UInt8>(repeating: 0)

    package init() {}

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        let held = length % Checksum.blockBytes
        length += bytes.count
        if held > 0 {
            done = min(bytes.count, Checksum.blockBytes - held)
            hold(base, done, at: held)
            guard held + done == Checksum.blockBytes else { return }
            mixBlock()
        }
        let blocks = (bytes.count - done) / Checksum.blockBytes
        withUnsafeMutableBytes(of: &lanes) { lanes in
            guard let lanes = lanes.bindMemory(to: UInt32.self).baseAddress else { return }
            mixChecksumLanes(lanes, base + done, blocks: blocks)
        }
        done += blocks * Checksum.blockBytes
        hold(base + done, bytes.count - done, at: 0)
    }

    /// Never 0, which in a file's header means that there is none.
    package var value: UInt64 {
        var whole = self
        if length % Checksum.blockBytes > 0 { whole.mixBlock() }
        let low63 = UInt64.max >> 1
        var h = UInt64(length)
        for i in 0..<checksumLanes {
            h = ((h ^ UInt64(whole.lanes[i])) &* 0x9e37_79b9_7f4a_7c15) & low63
            h ^= h >> 31
        }
        return h | 1 << 63
    }

    private mutating func hold(_ bytes: UnsafeRawPointer, _ count: Int, at offset: Int) {
        withUnsafeMutableBytes(of: &block) { block in
            guard let base = block.baseAddress else { return }
            (base + offset).copyMemory(from: bytes, byteCount: count)
        }
    }

    private mutating func mixBlock() {
        withUnsafeMutableBytes(of: &lanes) { lanes in
            withUnsafeBytes(of: block) { block in
                guard let lanes = lanes.bindMemory(to: UInt32.self).baseAddress, let block = block.baseAddress else {
                    return
                }
                mixChecksumLanes(lanes, block, blocks: 1)
            }
        }
        block = InlineArray(repeating: 0)
    }
}
