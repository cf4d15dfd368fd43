// Memory that a kernel needs for itself while it runs.
//
// What is freed is kept for the next one: malloc would give pieces of this size back to the system each time and clear
// fresh pages for the next, which costs 3% of a product and 4% of attention.

import Synchronization

/// Floats that begin a cache line, so that no vector lies across two; uninitialized. Ends with `freeAligned`.
func allocateAligned(_ count: Int) -> UnsafeMutablePointer<Float> {
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

func freeAligned(_ floats: UnsafeMutablePointer<Float>) {
    let count = UnsafeRawPointer(floats - header).load(as: Int.self)
    let oldest = freeBlocks.withLock { blocks -> Block? in
        blocks.append(Block(floats: floats, count: count))
        return blocks.count > mostBlocks ? blocks.removeFirst() : nil
    }
    if let oldest { UnsafeMutableRawPointer(oldest.floats - header).deallocate() }
}

/// A freed piece. Only the one who takes it out of the list has it, so it may go from thread to thread.
private struct Block: @unchecked Sendable {
    let floats: UnsafeMutablePointer<Float>
    let count: Int
}

private let freeBlocks = Mutex<[Block]>([])
/// Attention takes eleven at a time on each thread.
private let mostBlocks = 256
/// A cache line in front, in floats, that holds the size.
private let header = 16
