// What a person sees while a program works. Results go to standard output, progress to standard error: on a terminal
// it is one line that redraws, elsewhere plain lines, so that a log file stays readable.

import Foundation
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Seconds of a clock that never jumps.
package func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }

/// Progress that nobody can read is no reason to stop: an error here is ignored.
package func writeToStandardError(_ text: String) {
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
}

/// One line on standard error.
package func note(_ text: String) {
    writeToStandardError(text + "\n")
}

/// `73 s`, `4 min 05 s`, `2 h 13 min`.
package func durationText(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds < 1e9 else { return "?" }
    let whole = Int(seconds.rounded())
    if whole < 90 { return "\(whole) s" }
    if whole < 5400 { return "\(whole / 60) min \(String(format: "%02d", whole % 60)) s" }
    return "\(whole / 3600) h \(String(format: "%02d", whole % 3600 / 60)) min"
}

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

/// 1234567 as `1,234,567`.
package func grouped(_ number: Int) -> String {
    var digits = Array(String(number.magnitude))
    for position in stride(from: digits.count - 3, to: 0, by: -3) { digits.insert(",", at: position) }
    return (number < 0 ? "-" : "") + String(digits)
}

/// llm.c's main.log: `s:20 tel:4.1234` for validation, `s:20 eval:0.2345` for its accuracy, and
/// `s:20 trl:4.2345 lr:0.000300 norm:1.23` for a step.
package struct RunLog {
    private let file: FileHandle

    /// - Parameter step: nil starts an empty log. Else the lines of an earlier run up to that step are kept; what it
    ///   wrote after its last checkpoint is going to be written again.
    package init(path: String, resumingAt step: Int?) throws {
        var kept = ""
        if let step, fileExists(path) {
            let input = try InputFile(path, hint: "check the folder's rights")
            let text = String(decoding: try input.read(input.size, of: UInt8.self, at: 0), as: UTF8.self)
            for line in text.split(separator: "\n") where line.hasPrefix("s:") {
                if let at = Int(line.dropFirst(2).prefix { $0.isNumber }), at < step { kept += line + "\n" }
            }
        }
        try writeDurably(path) { try $0.write(kept) }
        guard let file = FileHandle(forWritingAtPath: path) else {
            throw UserError("cannot write \(path)", hint: "choose another --output")
        }
        try file.seekToEnd()
        self.file = file
    }

    package func validation(step: Int, loss: Double, accuracy: Double) throws {
        try write(String(format: "s:%ld tel:%.4f\ns:%ld eval:%.4f\n", step, loss, step, accuracy))
    }

    package func training(step: Int, loss: Double, learningRate: Double, norm: Double) throws {
        try write(String(format: "s:%ld trl:%.4f lr:%.6f norm:%.2f\n", step, loss, learningRate, norm))
    }

    private func write(_ text: String) throws { try file.write(contentsOf: Data(text.utf8)) }
}

/// Whether somebody asked the program to stop (Ctrl-C, or SIGTERM), so that it can end at a good moment. Asked again
/// later, it ends at once.
package final class StopSignal: Sendable {
    private let requested = Atomic<Bool>(false)
    nonisolated(unsafe) private var sources: [any DispatchSourceSignal] = []

    /// - Parameter patience: seconds within which a further signal is the same wish: timeout(1), for one, signals the
    ///   process and then its whole group.
    package init(patience: Double = 1) {
        let queue = DispatchQueue(label: "StopSignal")  // one handler at a time
        // Both signals count together, so both handlers share it.
        nonisolated(unsafe) var first: Double?
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [self] in
                guard let asked = first else {
                    first = now()
                    requested.store(true, ordering: .relaxed)
                    return note("stopping after this step; once more to stop at once")
                }
                if now() - asked >= patience { exit(128 + number) }
            }
            source.resume()
            sources.append(source)
        }
    }

    package var isRequested: Bool { requested.load(ordering: .relaxed) }
}
