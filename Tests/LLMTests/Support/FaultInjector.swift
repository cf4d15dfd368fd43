// A disk that fails, for tests: at a chosen call to the system, or from there on.

import Foundation
import LLM
import Synchronization

/// The calls that a piece of code makes to write files, counted, with a fault at one of them.
final class FaultInjector: Sendable {
    private let calls = Mutex(0)
    private let place: Int
    private let fault: FileCalls.Fault
    private let lasts: Bool

    /// - Parameters:
    ///   - place: of the call that fails, counted from 0; −1 lets all pass.
    ///   - lasts: whether every later call fails, too: nothing more reaches the disk, as after a kill.
    init(_ fault: FileCalls.Fault = .short(1), at place: Int = -1, lasts: Bool = false) {
        (self.fault, self.place, self.lasts) = (fault, place, lasts)
    }

    /// Calls so far.
    var count: Int { calls.withLock { $0 } }

    /// Runs `body` on this disk.
    func callAsFunction<Result>(_ body: () throws -> Result) rethrows -> Result {
        let disk = FileCalls.FaultyDisk { [self] _, _ in
            calls.withLock { count in
                defer { count += 1 }
                return place >= 0 && (count == place || lasts && count > place) ? fault : nil
            }
        }
        return try FileCalls.$disk.withValue(disk, operation: body)
    }
}
