// The checksum of a file: what it is, and what it notices.

import Foundation
import LLM
import Testing

private func checksum(_ bytes: [UInt8]) -> UInt64 {
    var checksum = Checksum()
    bytes.withUnsafeBytes { checksum.update($0) }
    return checksum.value
}

private func randomBytes(_ count: Int, seed: UInt64 = 7) -> [UInt8] {
    var random = Xorshift(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() >> 24) }
}

/// The definition, word by word.
private func naiveChecksum(_ bytes: [UInt8]) -> UInt64 {
    var lanes = (1...64).map { UInt32($0) &* 0x85eb_ca6b }
    let padded = bytes + [UInt8](repeating: 0, count: (256 - bytes.count % 256) % 256)
    for w in 0..<padded.count / 4 {
        let sum = lanes[w % 64] ^ integer(padded, at: 4 * w, as: UInt32.self)
        lanes[w % 64] = (sum << 13 | sum >> 19) &* 0x9e37_79b1
    }
    var h = UInt64(bytes.count)
    for lane in lanes {
        h = ((h ^ UInt64(lane)) &* 0x9e37_79b9_7f4a_7c15) & (1 << 63 - 1)
        h ^= h >> 31
    }
    return h | 1 << 63
}

/// Files hold these numbers: they must never be others.
@Test func `the checksum is what it always was`() {
    let counting = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    for (bytes, expected) in [
        ([], 0xd0c0_418c_6822_dd59), ([0], 0xdde8_46c9_0f66_8ad0), (Array("abc".utf8), 0xd29b_77ec_d071_e75f),
        (counting, 0xeef2_338e_e23f_533c), ([UInt8](repeating: 0, count: 4096), 0x9170_8b46_30bc_b1cb),
    ] as [([UInt8], UInt64)] {
        #expect(checksum(bytes) == expected, "\(String(checksum(bytes), radix: 16))")
    }
    for count in [0, 1, 3, 4, 5, 255, 256, 257, 511, 512, 513, 5000] {
        let bytes = randomBytes(count)
        #expect(checksum(bytes) == naiveChecksum(bytes), "\(count) bytes")
    }
}

@Test func `a checksum does not depend on where the bytes are cut`() {
    let bytes = randomBytes(1500)
    let expected = checksum(bytes)
    bytes.withUnsafeBytes { all in
        for cut in 0...bytes.count {
            var checksum = Checksum()
            checksum.update(UnsafeRawBufferPointer(rebasing: all[..<cut]))
            checksum.update(UnsafeRawBufferPointer(rebasing: all[cut...]))
            #expect(checksum.value == expected, "cut at \(cut)")
        }
        for size in [1, 3, 64, 255, 256, 257, 700] {
            var checksum = Checksum()
            for start in stride(from: 0, to: bytes.count, by: size) {
                checksum.update(UnsafeRawBufferPointer(rebasing: all[start..<min(start + size, bytes.count)]))
                _ = checksum.value  // asked for on the way, it changes nothing
            }
            #expect(checksum.value == expected, "pieces of \(size)")
        }
    }
}

@Test(arguments: [[UInt8](repeating: 0, count: 700), randomBytes(700)])
func `every flipped bit and every changed word changes a checksum`(bytes: [UInt8]) {
    let good = checksum(bytes)
    var bad = bytes
    for bit in 0..<8 * bytes.count {
        bad[bit / 8] ^= 1 << (bit % 8)
        #expect(checksum(bad) != good, "bit \(bit)")
        bad[bit / 8] ^= 1 << (bit % 8)
    }
    var random = Xorshift(seed: 11)
    for start in stride(from: 0, to: bytes.count, by: 4) {
        bad[start..<start + 4] = ArraySlice((0..<4).map { bytes[start + $0] ^ UInt8(1 + random.below(255)) })
        #expect(checksum(bad) != good, "word at \(start)")
        bad[start..<start + 4] = bytes[start..<start + 4]
    }
}

@Test func `zeroed ranges, pieces in another order and other lengths change a checksum`() {
    let bytes = randomBytes(8192)
    let good = checksum(bytes)
    var seen: Set = [good]
    func expectNew(_ changed: [UInt8], _ what: String) { #expect(seen.insert(checksum(changed)).inserted, "\(what)") }
    for size in [16, 64, 256, 512, 4096] {
        for start in stride(from: 0, to: bytes.count, by: size) {
            var zeroed = bytes
            for i in start..<start + size { zeroed[i] = 0 }
            expectNew(zeroed, "\(size) zeros at \(start)")
            guard start > 0 else { continue }
            var swapped = bytes
            swapped.replaceSubrange(0..<size, with: bytes[start..<start + size])
            swapped.replaceSubrange(start..<start + size, with: bytes[..<size])
            if size < 4096 || start == 4096 { expectNew(swapped, "\(size) bytes at 0 and at \(start) swapped") }
        }
    }
    for i in 1..<600 {
        expectNew(Array(bytes.dropLast(i)), "\(i) bytes missing at the end")
        expectNew(Array(bytes.dropFirst(i)), "\(i) bytes missing at the beginning")
        expectNew(bytes + [UInt8](repeating: 0, count: i), "\(i) zeros more")
    }
    let zeros = (0..<1000).map { checksum([UInt8](repeating: 0, count: $0)) }
    #expect(Set(zeros).count == zeros.count && !zeros.contains(0))
}

/// What is put in place later does not count, even where it lies among bytes that are still in the buffer.
@Test func `a file being written knows the checksum of what was written`() throws {
    try withTemporaryDirectory { directory in
        for sizes in [[3, 5], [1024, 1 << 20, 7], [1 << 20, 100], [3 << 20], [700_000, 700_000, 700_000]] {
            let pieces = sizes.enumerated().map { randomBytes($1, seed: UInt64($0 + 1)) }
            let path = directory + "/file"
            var sums: [UInt64] = []
            try writeDurably(path) { file in
                for piece in pieces {
                    try file.write(piece)
                    sums.append(file.checksum)
                }
                try [UInt8](repeating: 0xff, count: 2).withUnsafeBytes { try file.overwrite($0, at: 1) }
                sums.append(file.checksum)
            }
            var written: [UInt8] = []
            for (piece, sum) in zip(pieces, sums) {
                written += piece
                #expect(sum == checksum(written), "\(sizes)")
            }
            #expect(sums.last == checksum(written), "\(sizes)")
            #expect(try bytes(path) == [written[0], 0xff, 0xff] + written[3...])
        }
    }
}

@Test func `a file that is read gives its checksum`() throws {
    try withTemporaryDirectory { directory in
        for size in [0, 1, 300, 1 << 18, (1 << 18) + 1, 1_000_000] {
            let contents = randomBytes(size + 5)
            try write(contents, to: directory + "/file")
            let file = try InputFile(directory + "/file", hint: "write it first")
            var sum = Checksum()
            var read = [UInt8](repeating: 0, count: size)
            try read.withUnsafeMutableBytes { try file.read(into: $0, at: 5, updating: &sum) }
            #expect(read == Array(contents[5...]) && sum.value == checksum(read), "\(size) bytes")
        }
    }
}
