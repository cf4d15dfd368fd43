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
