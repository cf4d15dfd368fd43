// What a person sees while a program works. Results go to standard output, progress to standard error: on a terminal
// it is one line that redraws, elsewhere plain lines, so that a log file stays readable.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A phase with a known amount of work: rate and time left.
package struct Progress {
    private let phase: String
    private let unit: String
    private let total: Double
    private let start = now()
    private var shown = now()
    private let redraws = isatty(STDERR_FILENO) == 1

    /// - Parameters:
    ///   - total: the work in `unit`s, such as megabytes.
    package init(_ phase: String, total: Double, unit: String) {
        self.phase = phase
        self.total = total
        self.unit = unit
    }

    /// Shows how far the work is, at most ten times a second on a terminal and every ten seconds elsewhere.
    package mutating func update(_ done: Double) {
        let time = now()
        guard time - shown >= (redraws ? 0.1 : 10) else { return }
        shown = time
        show(done, ending: redraws ? "" : "\n")
    }

    /// - Parameter done: if it is not the total.
    package func finish(_ done: Double? = nil) {
        let seconds = max(now() - start, 1e-9)
        let done = done ?? total
        let text = String(
            format: "%@: %.0f %@ in %.1f s, %.1f %@/s", phase, done, unit, seconds, done / seconds, unit)
        writeToStandardError((redraws ? "\r\u{1B}[K" : "") + text + "\n")
    }

    private func show(_ done: Double, ending: String) {
        let seconds = max(now() - start, 1e-9)
        let left = done > 0 ? seconds * (total - done) / done : .infinity
        let text = String(
            format: "%@: %3.0f%%  %.1f %@/s  %@ left", phase, 100 * done / max(total, 1e-9), done / seconds, unit,
            durationText(left))
        writeToStandardError((redraws ? "\r\u{1B}[K" : "") + text + ending)
    }
}
