// The large buffers, straight from the system, and what there is of memory.

import Foundation
import Kernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Refuses what there is no memory for, before it is taken.
/// - Parameter bytes: all that the program will take.
package func checkMemory(
    _ bytes: Double, hint: String = "take a smaller --batch-size (-b), --sequence-length (-t) or model"
) throws {
    // The ranks on a machine share its memory.
    let shared = Double(ranks.here)
    let there = min(machineMemory / shared, (groupMemory() ?? .infinity) / shared, processMemory)
    guard bytes >= there else { return }
    let whose =
        there == machineMemory / shared
        ? "the machine has" + (ranks.here > 1 ? " for each rank" : "")
        : there == processMemory ? "the limit of a process (ulimit -v) leaves" : "its cgroup allows"
    throw UserError(
        "this takes \(memoryText(bytes)), and \(whose) \(memoryText(there))",
        hint: there == machineMemory / shared ? hint : "\(hint), or raise the limit")
}

private let machineMemory = Double(ProcessInfo.processInfo.physicalMemory)

/// What the limit of this process's addresses left when it was first asked for: what the program takes after that is
/// part of what it asks for.
private let processMemory: Double = {
    #if os(Linux)
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max else {
            return .infinity
        }
        // The first number is all of the process's addresses, in pages.
        let status = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = (status?.prefix { $0 != " " }).flatMap { Double($0) } ?? 0
        return max(0, Double(limit.rlim_cur) - pages * Double(sysconf(Int32(_SC_PAGESIZE))))
    #else
        return .infinity
    #endif
}()

/// The memory that Linux's control groups allow, such as a container's; nil if they set no limit.
/// - Parameters:
///   - root: where the kernel shows them.
///   - membership: the lines of /proc/self/cgroup, `number:controllers:path`.
package func groupMemory(
    root: String = "/sys/fs/cgroup",
    membership: String? = try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)
) -> Double? {
    var least: Double?
    for line in (membership ?? "").split(separator: "\n") {
        let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else { continue }
        // Version 2 has one tree, version 1 one for each controller.
        let isFirst = parts[1].split(separator: ",").contains("memory")
        guard isFirst || parts[1].isEmpty else { continue }
        let (tree, file) = isFirst ? (root + "/memory", "memory.limit_in_bytes") : (root, "memory.max")
        // A group's limit holds for those in it. In a container the first folders of the path may not be there.
        var path = String(parts[2])
        while true {
            if let text = try? String(contentsOfFile: "\(tree)\(path)/\(file)", encoding: .utf8),
                let limit = Double(text.trimmingCharacters(in: .whitespacesAndNewlines))
            {
                least = min(least ?? limit, limit)
            }
            guard path.utf8.count > 1 else { break }
            path = folder(of: path)
        }
    }
    return least
}

/// `count` floats, zero, at the start of a page. A page takes memory when it is first written. If the system refuses,
/// the program ends with an error.
///
/// Linux is asked for pages of 2 MB: the matrix products walk through weights in long strides, and with pages of 4 kB
/// most of their steps would miss the address cache.
package func allocateFloats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let bytes = saturatingProduct(max(count, 1), MemoryLayout<Float>.stride)
    guard let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        memory != MAP_FAILED
    else { exitRefusedMemory(bytes) }
    #if os(Linux)
        madvise(memory, bytes, Int32(MADV_HUGEPAGE))
    #endif
    return memory.bindMemory(to: Float.self, capacity: count)
}

/// - Parameter count: as it was allocated.
package func freeFloats(_ floats: UnsafeMutablePointer<Float>, count: Int) {
    munmap(floats, max(count, 1) * MemoryLayout<Float>.stride)
}

/// Gives back the memory of some floats of `allocateFloats` as far as they are whole pages. They are zeros from here on.
func discardFloats(_ floats: UnsafeMutablePointer<Float>, count: Int) {
    let page = UInt(sysconf(Int32(_SC_PAGESIZE)))
    let start = (UInt(bitPattern: floats) + page - 1) / page * page
    let end = UInt(bitPattern: floats + count) / page * page
    guard start < end, let pages = UnsafeMutableRawPointer(bitPattern: start) else { return }
    // New pages in place of the old ones: they take memory when they are written.
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    if mmap(pages, Int(end - start), PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED {
        exitRefusedMemory(Int(end - start))
    }
}

/// Ends the program with an error if the system refuses so much memory now. An array that it refuses would trap.
func requireMemory(_ bytes: Int) {
    guard bytes > 1 << 20 else { return }
    let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else { exitRefusedMemory(bytes) }
    munmap(memory, bytes)
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
