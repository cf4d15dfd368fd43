// Parallel loops, the only place where threads start.
//
// Each kernel splits its output into tasks, and a task computes its part in an order that does not depend on which
// thread runs it or what else is running. So the result has the same bits for any number of threads.

import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The number of threads that kernels use. The default is the number of cores. A program may set it
/// before its first kernel.
package nonisolated(unsafe) var threadCount = coreCount

/// The processor's cores, as the system counts them.
package let coreCount = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

/// A parallel loop: calls `body(i)` for each i in 0..<count, on up to `threadCount` threads, and returns when all
/// calls have returned. Each thread begins with a share of its own, one i after another, so that it finds in its cache
/// what it left there in the loop before. One that is done takes over what others have left, because on a shared
/// machine some cores are slower than others.
package func parallelFor(_ count: Int, _ body: (Int) -> Void) {
    let workers = min(threadCount, count)
    guard workers > 1 else {
        for i in 0..<count { body(i) }
        return
    }
    withoutActuallyEscaping(body) { body in
        let tasks = Tasks(count: count, workers: workers, body: body)
        if awake.isLedByThisThread {
            awake.share(tasks)
        } else {
            DispatchQueue.concurrentPerform(iterations: workers) { worker in tasks.run(worker) }
        }
    }
}

/// A parallel loop over the vectors of `count` floats. `body` gets a vector's offset and the number of floats left.
/// - Parameter chunk: the floats in a task, a multiple of the vector width.
@inline(__always)
func forEachVector(_ count: Int, _ chunk: Int, _ body: (_ offset: Int, _ left: Int) -> Void) {
    parallelFor((count + chunk - 1) / chunk) { task in
        for i in stride(from: task * chunk, to: min((task + 1) * chunk, count), by: Vector.scalarCount) {
            body(i, count - i)
        }
    }
}

/// A scope in which threads stay awake between parallel loops, for a `body` that runs many short ones.
///
/// Waking a thread takes about ten microseconds. That is negligible in a training step, but one token of GPT-2 124M
/// takes 61 products of 50 to 4000 microseconds each, and the threads slept for 11% of the time. In this scope they
/// spin until the next loop begins. No computation changes.
package func withThreadsAwake(_ body: () -> Void) {
    guard threadCount > 1, awake.isFree else { return body() }
    withoutActuallyEscaping(body) { body in
        let work = Body(call: body)
        DispatchQueue.concurrentPerform(iterations: threadCount) { _ in
            // The first thread to arrive runs the body, and the others, if there are any, help.
            let worker = work.arrived.wrappingAdd(1, ordering: .relaxed).oldValue
            if worker > 0 {
                awake.help(as: worker, until: work)
            } else {
                let leads = awake.lead()
                work.call()
                if leads { awake.leave() }
                work.isDone.store(true, ordering: .releasing)
            }
        }
    }
}

/// The body of `withThreadsAwake`, shared by its threads.
private final class Body: @unchecked Sendable {
    let arrived = Atomic<Int>(0)
    let isDone = Atomic<Bool>(false)
    let call: () -> Void
    init(call: @escaping () -> Void) { self.call = call }
}

private let awake = AwakeThreads()

/// The threads of the current `withThreadsAwake`: one leader, which runs the body, and helpers, which join each
/// parallel loop (region) that it begins. There is one leader at a time; another caller's loops wake their threads as
/// usual.
private final class AwakeThreads: @unchecked Sendable {
    private let leader = Atomic<UInt>(0)
    private let region = Atomic<Int>(0)
    private let isOpen = Atomic<Bool>(false)
    private let helpers = Atomic<Int>(0)
    /// Written by the leader only, while the region is closed and no helper is in it.
    private var tasks: Tasks?

    #if canImport(Darwin)
        private var thisThread: UInt { UInt(bitPattern: pthread_self()) }
    #else
        private var thisThread: UInt { pthread_self() }
    #endif
    var isFree: Bool { leader.load(ordering: .relaxed) == 0 }
    var isLedByThisThread: Bool { leader.load(ordering: .relaxed) == thisThread }

    func lead() -> Bool {
        leader.compareExchange(expected: 0, desired: thisThread, ordering: .acquiringAndReleasing).exchanged
    }

    func leave() { leader.store(0, ordering: .releasing) }

    func share(_ tasks: Tasks) {
        self.tasks = tasks
        isOpen.store(true, ordering: .sequentiallyConsistent)
        region.wrappingAdd(1, ordering: .releasing)
        tasks.run(0)
        // A helper either sees that the region is closed, or is counted here and waited for.
        isOpen.store(false, ordering: .sequentiallyConsistent)
        var patience = Patience()
        while helpers.load(ordering: .sequentiallyConsistent) > 0 { patience.wait() }
        self.tasks = nil
    }

    func help(as worker: Int, until work: Body) {
        var last = region.load(ordering: .acquiring) - 1
        var patience = Patience()
        while !work.isDone.load(ordering: .acquiring) {
            let current = region.load(ordering: .acquiring)
            guard current != last else {
                patience.wait()
                continue
            }
            last = current
            helpers.wrappingAdd(1, ordering: .sequentiallyConsistent)
            if isOpen.load(ordering: .sequentiallyConsistent) { tasks?.run(worker) }
            helpers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            patience = Patience()
        }
    }
}

/// A spin-wait that yields the core to other threads after a while.
private struct Patience {
    private var looks = 0

    mutating func wait() {
        looks += 1
        if looks > 5000 { sched_yield() }
    }
}

/// The tasks of one parallel loop, shared by its threads. Unchecked, because bodies capture raw pointers, which the
/// compiler cannot check: it is up to each kernel that no two tasks write to the same place.
private final class Tasks: @unchecked Sendable {
    private let count: Int
    private let workers: Int
    private let body: (Int) -> Void
    /// The next task of each worker's share, `line` apart: workers that count do not wait for each other's cache line.
    private let next: UnsafeMutablePointer<Atomic<Int>>
    private let line = 8

    init(count: Int, workers: Int, body: @escaping (Int) -> Void) {
        (self.count, self.workers, self.body) = (count, workers, body)
        next = .allocate(capacity: workers * line)
        for worker in 0..<workers { (next + worker * line).initialize(to: Atomic(worker * count / workers)) }
    }

    deinit { next.deallocate() }

    /// The worker's own share first, and then what is left of the others'.
    func run(_ worker: Int) {
        for i in 0..<workers {
            let share = (worker + i) % workers
            let end = (share + 1) * count / workers
            let next = next + share * line
            while next.pointee.load(ordering: .relaxed) < end {
                let task = next.pointee.wrappingAdd(1, ordering: .relaxed).oldValue
                if task >= end { break }
                body(task)
            }
        }
    }
}
