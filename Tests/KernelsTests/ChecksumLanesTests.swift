// The lanes of a checksum against the textbook loop. The numbers must be the same at every SIMD width.

import Kernels
import Naive
import Testing

/// Word i of each block goes into lane i: lane = rotl(lane ^ word, 13) · P.
private func naiveMix(_ lanes: [UInt32], _ bytes: [UInt8]) -> [UInt32] {
    var lanes = lanes
    for w in 0..<bytes.count / 4 {
        let word = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[4 * w + $1]) << (8 * $1) }
        let sum = lanes[w % checksumLanes] ^ word
        lanes[w % checksumLanes] = (sum << 13 | sum >> 19) &* 0x9e37_79b1
    }
    return lanes
}

@Test(arguments: [0, 1, 2, 3, 7, 20])
func `lanes of a checksum are those of the textbook loop, wherever the bytes lie`(blocks: Int) {
    let count = 4 * checksumLanes * blocks
    let start = randomIndices(checksumLanes, below: 1 << 20, seed: 3).map { UInt32($0) &* 4093 }
    let bytes = randomIndices(count, below: 256, seed: 5).map { UInt8($0) }
    let expected = naiveMix(start, bytes)
    for offset in [0, 1, 2, 3, 4, 63] {
        let memory = [UInt8](repeating: 0xaa, count: offset) + bytes + [0xaa]
        var lanes = start
        memory.withUnsafeBytes { memory in
            lanes.withUnsafeMutableBufferPointer { lanes in
                guard let lanes = lanes.baseAddress, let base = memory.baseAddress else { return }
                mixChecksumLanes(lanes, base + offset, blocks: blocks)
            }
        }
        #expect(lanes == expected, "offset \(offset)")
    }
}
