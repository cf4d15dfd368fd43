// The only place where threads start.
//
// Every kernel cuts its OUTPUT into tasks, and a task computes its part in an order of its own that does not depend on
// who runs it or beside whom. So the result has the same bits for any number of threads.

import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// How many threads the kernels use: all cores, unless the program sets it before its first kernel.
package nonisolated(unsafe) var threadCount = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

/// Calls `body(i)` for every i in 0..<count, on up to `threadCount` threads, and returns when all are done.
/// Each thread takes the next task when it is free: on a shared machine one core is often slower than its neighbour.
package func parallelFor(_ count: Int, _ body: (Int) -> Void) {
    let workers = min(threadCount, count)
    guard workers > 1 else {
        for i in 0..<count { body(i) }
        return
    }
    withoutActuallyEscaping(body) { body in
        let tasks = Tasks(count: count, body: body)
        DispatchQueue.concurrentPerform(iterations: workers) { _ in tasks.run() }
    }
}

/// What the threads share. Unchecked, because bodies capture raw pointers, which the compiler can't reason about:
/// the kernels themselves see to it that no two tasks write the same place.
private final class Tasks: @unchecked Sendable {
    private let next = Atomic<Int>(0)
    private let count: Int
    private let body: (Int) -> Void

    init(count: Int, body: @escaping (Int) -> Void) {
        self.count = count
        self.body = body
    }

    func run() {
        while true {
            let i = next.wrappingAdd(1, ordering: .relaxed).oldValue
            if i >= count { return }
            body(i)
        }
    }
}
