// Where the time of a step goes: every kernel notes how long it took, if somebody asks.

import Dispatch

/// Seconds and calls by the kernel's name, summed since it was set to an empty dictionary; nil (the default) measures
/// nothing. For one thread that calls kernels, as the kernels themselves are.
package nonisolated(unsafe) var kernelTimes: [String: (seconds: Double, calls: Int)]?

/// To be the first line of a kernel: `let start = startTiming()`, then `defer { endTiming(start, "name") }`.
@inline(__always)
func startTiming() -> UInt64 { kernelTimes == nil ? 0 : DispatchTime.now().uptimeNanoseconds }

@inline(__always)
func endTiming(_ start: UInt64, _ name: StaticString) {
    guard start != 0, kernelTimes != nil else { return }
    let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
    let old = kernelTimes?["\(name)"] ?? (0, 0)
    kernelTimes?["\(name)"] = (old.seconds + seconds, old.calls + 1)
}
