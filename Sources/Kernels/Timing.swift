// The time that each kernel takes, for profiles of a training step.

import Dispatch

/// The seconds and calls of each kernel by name. Measuring starts when this is set to an empty dictionary; nil (the
/// default) measures nothing. Not synchronized: only one thread may call kernels meanwhile.
package nonisolated(unsafe) var kernelTimes: [String: (seconds: Double, calls: Int)]?

/// The start of a measurement, in nanoseconds; 0 if nothing is measured. The first line of a kernel is
/// `let start = startTiming()`, the second `defer { endTiming(start, "name") }`.
@inline(__always)
func startTiming() -> UInt64 { kernelTimes == nil ? 0 : DispatchTime.now().uptimeNanoseconds }

/// The end of a measurement: adds the time since `start` to the entry of `name` in `kernelTimes`.
@inline(__always)
func endTiming(_ start: UInt64, _ name: StaticString) {
    guard start != 0, kernelTimes != nil else { return }
    let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
    let old = kernelTimes?["\(name)"] ?? (0, 0)
    kernelTimes?["\(name)"] = (old.seconds + seconds, old.calls + 1)
}
