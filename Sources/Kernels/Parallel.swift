// The only place where threads start.

import Dispatch
import Foundation

/// How many threads `parallelFor` may use. Set once, before the first call.
package nonisolated(unsafe) var threadCount = ProcessInfo.processInfo.activeProcessorCount

/// Calls `body` with 0, 1, … `count` - 1, at the same time where there are threads for it, and returns when all are
/// done. What a result is must not depend on which thread computes it.
package func parallelFor(_ count: Int, _ body: (Int) -> Void) {
    if threadCount <= 1 || count <= 1 {
        for index in 0..<count { body(index) }
        return
    }
    withoutActuallyEscaping(body) { body in
        nonisolated(unsafe) let body = body
        DispatchQueue.concurrentPerform(iterations: count) { body($0) }
    }
}
