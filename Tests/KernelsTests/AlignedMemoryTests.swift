// Temporary memory: blocks are aligned, and no two overlap, whether they are new or reused.

import Kernels
import Testing

/// With a scale of 20 most blocks have large pages.
@Test(arguments: [1, 20]) func `blocks in use do not overlap`(scale: Int) {
    // Holes of 1000 floats between blocks in use, then requests for
    // slightly and much larger blocks, equal ones, and smaller ones.
    var inUse: [(floats: UnsafeMutablePointer<Float>, count: Int)] = []
    let first = (0..<64).map { _ in allocateAligned(1000 * scale) }
    for (i, floats) in first.enumerated() {
        if i % 2 == 0 { freeAligned(floats) } else { inUse.append((floats, 1000 * scale)) }
    }
    for count in [1001, 1900, 1000, 999, 500, 499, 1, 2000] {
        for _ in 0..<8 { inUse.append((allocateAligned(count * scale), count * scale)) }
    }
    for (i, block) in inUse.enumerated() { block.floats.update(repeating: Float(i), count: block.count) }
    for (i, block) in inUse.enumerated() {
        #expect(Int(bitPattern: block.floats) % 64 == 0)
        let isIntact = UnsafeBufferPointer(start: block.floats, count: block.count).allSatisfy { $0 == Float(i) }
        #expect(isIntact, "block \(i) of \(block.count) floats")
    }
    for block in inUse { freeAligned(block.floats) }
}

/// More blocks than are kept for reuse (256), from several threads.
@Test func `threads share no blocks`() {
    let tasks = 200
    let wrong = Fenced([Float](repeating: 0, count: tasks))
    nonisolated(unsafe) let counts = wrong.pointer
    parallelFor(tasks) { task in
        let blocks = (1...10).map { (floats: allocateAligned($0 * 37), count: $0 * 37) }
        for (i, block) in blocks.enumerated() {
            block.floats.update(repeating: Float(10 * task + i), count: block.count)
        }
        for (i, block) in blocks.enumerated() {
            for j in 0..<block.count where block.floats[j] != Float(10 * task + i) { counts[task] += 1 }
            freeAligned(block.floats)
        }
    }
    #expect(wrong.values.allSatisfy { $0 == 0 })
    expectIntact(outputs: [wrong], inputs: [])
}
