// Temporary memory for kernels, aligned to cache lines.
//
// Freed blocks are kept for reuse. malloc would return blocks of this size to the system each time, and the next ones
// would be fresh pages that must be cleared first: 3% of a matrix product's time, and 4% of attention's.

import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

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
    let bytes = (header + count) * MemoryLayout<Float>.stride
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, 64, bytes) == 0, let line = memory else { exitRefusedMemory(bytes) }
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
    if let oldest { free(UnsafeMutableRawPointer(oldest.floats - header)) }
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

/// Ends the program because the system refused memory. A kernel does not throw: there is nothing that could go on.
package func exitRefusedMemory(_ bytes: Int) -> Never {
    fflush(nil)
    let text =
        "error: the system refused \(memoryText(Double(bytes))) of memory\nhint: take a smaller batch or model, "
        + "close other programs, or raise the limit of a process: ulimit -v\n"
    _ = Array(text.utf8).withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    _exit(1)
}

/// A size for a person: `35.2 MB`, `1.2 GB`.
package func memoryText(_ bytes: Double) -> String {
    let (unit, name) = bytes < 1e9 ? (1e6, "MB") : (1e9, "GB")
    return "\((bytes / unit * 10).rounded() / 10) \(name)"
}
