// The large buffers, straight from the system.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Refuses what the machine has no memory for, before it is taken.
package func checkMemory(
    _ bytes: Double, hint: String = "take a smaller --batch-size (-b), --sequence-length (-t) or model"
) throws {
    let there = Double(ProcessInfo.processInfo.physicalMemory)
    guard bytes < there else {
        throw UserError(
            String(format: "this takes %.1f GB, and the machine has %.1f GB", bytes * 1e-9, there * 1e-9),
            hint: hint)
    }
}

/// `count` floats, zero, at the start of a page. A page takes memory when it is first written.
///
/// Linux is asked for pages of 2 MB: the matrix products walk through weights in long strides, and with pages of 4 kB
/// most of their steps would miss the address cache.
package func allocateFloats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let bytes = max(count, 1) * MemoryLayout<Float>.stride
    guard let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        memory != MAP_FAILED
    else { fatalError("out of memory: the system refused \(bytes) bytes; try a smaller batch") }
    #if os(Linux)
        madvise(memory, bytes, Int32(MADV_HUGEPAGE))
    #endif
    return memory.bindMemory(to: Float.self, capacity: count)
}

/// - Parameter count: as it was allocated.
package func freeFloats(_ floats: UnsafeMutablePointer<Float>, count: Int) {
    munmap(floats, max(count, 1) * MemoryLayout<Float>.stride)
}

/// Gives the system what was freed: the allocator keeps it, and after a phase of other needs it is of no use.
func returnFreedMemory() {
    #if os(Linux)
        // glibc's; other systems give memory back on their own. Swift's module of glibc leaves it out.
        guard let trim = dlsym(nil, "malloc_trim") else { return }
        _ = unsafeBitCast(trim, to: (@convention(c) (Int) -> Int32).self)(0)
    #endif
}

/// Asks for large pages behind memory that is visited at random: where words lie anywhere in 70 MB, finding the page is
/// half of what a visit costs. The system may decline.
func useLargePages(_ start: UnsafeMutableRawPointer, bytes: Int) {
    #if os(Linux)
        let page = 1 << 21
        let first = (Int(bitPattern: start) + page - 1) / page * page
        let end = (Int(bitPattern: start) + bytes) / page * page
        if first < end { madvise(UnsafeMutableRawPointer(bitPattern: first), end - first, 14) }  // MADV_HUGEPAGE
    #endif
}
