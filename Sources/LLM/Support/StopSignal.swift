// Ctrl-C, SIGTERM and a closed terminal as a request to stop at a good moment.

import Foundation
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The request to stop (Ctrl-C, SIGTERM, or SIGHUP), so that the program can end at a good moment. A second signal ends it at
/// once.
package final class StopSignal: Sendable {
    private let requested = Atomic<Bool>(false)
    nonisolated(unsafe) private var sources: [any DispatchSourceSignal] = []

    /// - Parameter patience: seconds within which a further signal is the same wish: timeout(1), for one, signals the
    ///   process and then its whole group.
    package init(patience: Double = 1) {
        let queue = DispatchQueue(label: "StopSignal")  // one handler at a time
        // Both signals count together, so both handlers share it.
        nonisolated(unsafe) var first: Double?
        signal(SIGPIPE, SIG_IGN)  // nobody reads the output any more: no reason to stop
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // nohup(1) has the loss of the terminal ignored; that stays so.
            let before = unsafeBitCast(signal(number, SIG_IGN), to: Int.self)
            if number == SIGHUP, before == unsafeBitCast(SIG_IGN, to: Int.self) { continue }
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [self] in
                guard let asked = first else {
                    first = now()
                    requested.store(true, ordering: .relaxed)
                    // A terminal has written ^C into a line that may be a step's.
                    return note((isatty(STDERR_FILENO) == 1 ? "\n" : "") + "stopping; once more to stop at once")
                }
                if now() - asked >= patience { exit(128 + number) }
            }
            source.resume()
            sources.append(source)
        }
    }

    package var isRequested: Bool { requested.load(ordering: .relaxed) }
}
