// What a person sees while a program works. Results go to standard output, progress to standard error: on a terminal
// it is one line that redraws, elsewhere plain lines, so that a log file stays readable. A run's steps are results, and
// their lines go to standard output in the same way.

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
        // Of less than a hundredth of a second there is no rate worth reading.
        let rate = seconds < 0.01 ? "" : ", \(amountText(done / seconds)) \(unit)/s"
        let time = String(format: seconds < 1 ? "%.2f" : "%.1f", seconds)
        writeToStandardError(
            (redraws ? "\r\u{1B}[K" : "") + "\(phase): \(amountText(done)) \(unit) in \(time) s\(rate)\n")
    }

    private func show(_ done: Double, ending: String) {
        let seconds = max(now() - start, 1e-9)
        let left = done > 0 ? seconds * (total - done) / done : .infinity
        let text = String(
            format: "%@: %3.0f%%  %@ %@/s  %@ left", phase, 100 * done / max(total, 1e-9), amountText(done / seconds),
            unit, durationText(left))
        writeToStandardError((redraws ? "\r\u{1B}[K" : "") + text + ending)
    }
}

/// The lines of a run's steps, on standard output: one every so many steps. Without a number, on a terminal a line that
/// redraws; elsewhere one every five seconds, and the first and the last.
package struct StepLines {
    private let every: Int?
    private let redraws: Bool
    private let print: (String) -> Void
    private var shown = -Double.infinity
    /// Whether the terminal's last line is a step's, which the next one takes the place of.
    private var isOpen = false

    /// - Parameter print: takes whole lines.
    package init(every: Int?, print: @escaping (String) -> Void) {
        (self.every, self.print) = (every, print)
        redraws = every == nil && terminalSize(STDOUT_FILENO) != nil
    }

    /// Shows a step's line, if it is time.
    /// - Parameter step: counted from 1.
    package mutating func show(_ line: String, step: Int, isLast: Bool) {
        let time = now()
        guard every.map({ step % $0 == 0 }) ?? (time - shown >= (redraws ? 0.1 : 5)) || isLast else { return }
        shown = time
        guard redraws else { return print(line) }
        printNow("\r\u{1B}[K" + StepLines.fitted(line, columns: terminalSize(STDOUT_FILENO)?.columns ?? 80))
        isOpen = true
    }

    /// A line without the last of its fields, as many as a terminal has no room for: it would wrap the line, which then
    /// could not be redrawn.
    package static func fitted(_ line: String, columns: Int) -> String {
        var fields = line.components(separatedBy: " | ")
        while fields.count > 1, fields.joined(separator: " | ").count >= columns { fields.removeLast() }
        return String(fields.joined(separator: " | ").prefix(columns - 1))
    }

    /// Leaves the last step's line as it is, for another line to follow.
    package mutating func close() {
        if isOpen { printNow("\n") }
        isOpen = false
    }
}
