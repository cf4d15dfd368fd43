// Temporary memory for kernels, aligned to cache lines.
//
// Freed blocks are kept for reuse. malloc would return blocks of this size to the system each time, and the next ones
// would be fresh pages that must be cleared first: 3% of a matrix product's time, and 4% of attention's.
//
// On Linux a larger block has pages of 2 MB to itself. What lies in pages of 4 kB may share few sets of the L2 cache, as
// chance places them. bfloat16's dinp gained three points.

import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A block of `count` uninitialized floats that begins a cache line, so that no vector spans two lines. It must be
/// freed with `freeAligned`.
package func allocateAligned(_ count: Int) -> UnsafeMutablePointer<Float> {
    let needed = (header + count) * MemoryLayout<Float>.stride
    let isLarge = needed >= largeBlock
    let bytes = isLarge ? (needed + largePage - 1) / largePage * largePage : needed
    let kept = freeBlocks.withLock { blocks -> Block? in
        var best: Int?
        for (i, block) in blocks.enumerated() where block.bytes >= bytes && block.bytes <= 2 * bytes {
            if best.map({ block.bytes < blocks[$0].bytes }) ?? true { best = i }
        }
        return best.map { blocks.remove(at: $0) }
    }
    if let kept { return kept.floats }
    var memory: UnsafeMutableRawPointer?
    guard posix_memalign(&memory, isLarge ? largePage : 64, bytes) == 0, let start = memory else {
        exitRefusedMemory(needed)
    }
    #if os(Linux)
        if isLarge { madvise(start, bytes, Int32(MADV_HUGEPAGE)) }
    #endif
    start.storeBytes(of: bytes, as: Int.self)
    return start.bindMemory(to: Float.self, capacity: header + count) + header
}

/// The counterpart of `allocateAligned`: keeps the block for reuse, and releases the oldest one if there are too many.
package func freeAligned(_ floats: UnsafeMutablePointer<Float>) {
    let bytes = UnsafeRawPointer(floats - header).load(as: Int.self)
    let oldest = freeBlocks.withLock { blocks -> Block? in
        blocks.append(Block(floats: floats, bytes: bytes))
        return blocks.count > maxFreeBlocks ? blocks.removeFirst() : nil
    }
    if let oldest { free(UnsafeMutableRawPointer(oldest.floats - header)) }
}

/// A freed block. Whoever removes it from the list owns it, so it may move between threads.
private struct Block: @unchecked Sendable {
    let floats: UnsafeMutablePointer<Float>
    let bytes: Int
}

private let freeBlocks = Mutex<[Block]>([])
/// The number of freed blocks to keep. Attention uses eleven at a time on each thread.
private let maxFreeBlocks = 256
/// The floats before a block, one cache line, which hold its size.
private let header = 16
#if os(Linux)
    /// The bytes of a page of the larger kind, and of the least block that gets one.
    private let (largePage, largeBlock) = (1 << 21, 1 << 16)
#else
    private let (largePage, largeBlock) = (1, Int.max)
#endif

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
