// Temporary memory for kernels, aligned to cache lines.
//
// Freed blocks are kept for reuse. malloc would return blocks of this size to the system each time, and the next ones
// would be fresh pages that must be cleared first: 3% of a matrix product's time, and 4% of attention's.

import Synchronization

/// A block of `count` uninitialized floats that begins a cache line, so that no vector spans two lines. It must be
/// freed with `freeAligned`.
package func allocateAligned(_ count: Int) -> UnsafeMutablePointer<Float> {
    let kept = freeBlocks.withLock { blocks -> Block? in
        var best: Int?
        for (i, block) in blocks.enumerated() where block.count >= count && block.count <= 2 * count {
            if best.map({ block.count < blocks[$0].count }) ?? true { best = i }
        }
        return best.map { blocks.remove(at: $0) }
    }
    if let kept { return kept.floats }
    let line = UnsafeMutableRawPointer.allocate(byteCount: (header + count) * MemoryLayout<Float>.stride, alignment: 64)
    line.storeBytes(of: count, as: Int.self)
    return line.bindMemory(to: Float.self, capacity: header + count) + header
}

/// The counterpart of `allocateAligned`: keeps the block for reuse, and releases the oldest one if there are too many.
package func freeAligned(_ floats: UnsafeMutablePointer<Float>) {
    let count = UnsafeRawPointer(floats - header).load(as: Int.self)
    let oldest = freeBlocks.withLock { blocks -> Block? in
        blocks.append(Block(floats: floats, count: count))
        return blocks.count > maxFreeBlocks ? blocks.removeFirst() : nil
    }
    if let oldest { UnsafeMutableRawPointer(oldest.floats - header).deallocate() }
}

/// A freed block. Whoever removes it from the list owns it, so it may move between threads.
private struct Block: @unchecked Sendable {
    let floats: UnsafeMutablePointer<Float>
    let count: Int
}

private let freeBlocks = Mutex<[Block]>([])
/// The number of freed blocks to keep. Attention uses eleven at a time on each thread.
private let maxFreeBlocks = 256
/// The floats before a block, one cache line, which hold its size.
private let header = 16
