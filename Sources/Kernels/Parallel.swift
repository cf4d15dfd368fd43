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
        if awake.isLedByThisThread {
            awake.share(tasks)
        } else {
            DispatchQueue.concurrentPerform(iterations: workers) { _ in tasks.run() }
        }
    }
}

/// Calls `body`, a sequence of many short `parallelFor`s, with the threads awake from its beginning to its end.
///
/// Waking a thread takes some ten microseconds. That is nothing beside a training step's products, but a token of GPT-2
/// 124M is 61 products of 50 to 4000 microseconds, and the threads slept for 11% of the time. Here they spin instead
/// and look for the next tasks. No computation changes.
package func withThreadsAwake(_ body: () -> Void) {
    guard threadCount > 1, awake.isFree else { return body() }
    withoutActuallyEscaping(body) { body in
        let work = Body(call: body)
        DispatchQueue.concurrentPerform(iterations: threadCount) { _ in
            // Whoever comes first does the work; the others, if there are threads for them, help.
            if work.isTaken.exchange(true, ordering: .relaxed) {
                awake.help(until: work)
            } else {
                let leads = awake.lead()
                work.call()
                if leads { awake.leave() }
                work.isDone.store(true, ordering: .releasing)
            }
        }
    }
}

/// What a sequence of regions is, for those who help with it.
private final class Body: @unchecked Sendable {
    let isTaken = Atomic<Bool>(false)
    let isDone = Atomic<Bool>(false)
    let call: () -> Void
    init(call: @escaping () -> Void) { self.call = call }
}

private let awake = AwakeThreads()

/// The tasks of the region that a leader has just begun, and who is at them. There is one leader at a time; a second
/// caller works without one.
private final class AwakeThreads: @unchecked Sendable {
    private let leader = Atomic<UInt>(0)
    private let region = Atomic<Int>(0)
    private let isOpen = Atomic<Bool>(false)
    private let helpers = Atomic<Int>(0)
    /// Written by the leader while the region is closed and nobody is in it.
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
        tasks.run()
        // Either a helper sees that the region is closed, or it is counted here and waited for.
        isOpen.store(false, ordering: .sequentiallyConsistent)
        var patience = Patience()
        while helpers.load(ordering: .sequentiallyConsistent) > 0 { patience.wait() }
        self.tasks = nil
    }

    func help(until work: Body) {
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
            if isOpen.load(ordering: .sequentiallyConsistent) { tasks?.run() }
            helpers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            patience = Patience()
        }
    }
}

/// Waiting without sleeping: a while by looking again and again, then in turns with whoever else wants the core.
private struct Patience {
    private var looks = 0

    mutating func wait() {
        looks += 1
        if looks > 5000 { sched_yield() }
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
