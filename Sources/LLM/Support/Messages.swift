// The small words between a program and a person: notes on standard error, times and numbers as text.

import Foundation

/// The seconds of a clock that never jumps.
package func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }

/// Whether this process writes to standard error. Of several that do the same, one does.
nonisolated(unsafe) var speaks = true

/// Text on standard error. An error is ignored: progress that cannot be shown is not a reason to stop.
package func writeToStandardError(_ text: String) {
    guard speaks else { return }
    try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
}

/// A line on standard error.
package func note(_ text: String) {
    writeToStandardError(text + "\n")
}

/// Text on standard output, at once. If it cannot be written, the program ends.
package func printNow(_ text: String) {
    guard !text.isEmpty else { return }
    print(text, terminator: "")
    guard fflush(nil) == 0 else {
        let error = UserError.outputNotWritten()
        note("error: \(error.message)\nhint: \(error.hint)")
        exit(1)
    }
}

/// A duration for a person: `73 s`, `4 min 05 s`, `2 h 13 min`.
package func durationText(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds < 1e9 else { return "?" }
    let whole = Int(seconds.rounded())
    if whole < 90 { return "\(whole) s" }
    if whole < 5400 { return "\(whole / 60) min \(String(format: "%02d", whole % 60)) s" }
    return "\(whole / 3600) h \(String(format: "%02d", whole % 3600 / 60)) min"
}

/// A number with its digits in groups: 1234567 as `1,234,567`.
package func grouped(_ number: Int) -> String {
    var digits = Array(String(number.magnitude))
    for position in stride(from: digits.count - 3, to: 0, by: -3) { digits.insert(",", at: position) }
    return (number < 0 ? "-" : "") + String(digits)
}

/// An amount with about three digits that count: 1,234, 56.7, 0.0021; a whole number as it is.
package func amountText(_ amount: Double) -> String {
    guard amount.magnitude < 1e15 else { return "\(amount)" }
    if amount == amount.rounded() || amount >= 100 { return grouped(Int(amount.rounded())) }
    return String(format: amount < 1 ? "%.2g" : "%.1f", amount)
}
