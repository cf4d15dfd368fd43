// Helpers for the tests of the kernels. Each kernel is compared with its naive twin, the textbook loop in double precision
// in Tests/Naive. Read that first; the kernel computes the same, only faster. The twins' backward passes are checked
// against finite differences in Tests/GradientTests.

import Kernels
import Testing

/// A NaN that no computation produces. A result that depends on it is NaN, and where it is gone, something was written.
private let fence = Float(bitPattern: 0x7fc0_dead)

/// An array between two fences of NaN. If a kernel reads beyond its input and uses that value, its result is NaN; if it
/// writes beyond its output, the fence is broken.
final class Fenced {
    private static let fenceLength = 80
    let pointer: UnsafeMutablePointer<Float>
    private let memory: UnsafeMutableBufferPointer<Float>
    private let original: [Float]

    init(_ values: [Float]) {
        original = values
        memory = .allocate(capacity: values.count + 2 * Fenced.fenceLength)
        memory.initialize(repeating: fence)
        guard let base = memory.baseAddress else { fatalError("no memory for \(memory.count) floats") }
        pointer = base + Fenced.fenceLength
        for (i, value) in values.enumerated() { pointer[i] = value }
    }

    /// An output that the kernel must write in full. What it does not write stays NaN.
    convenience init(unwritten count: Int) { self.init([Float](repeating: fence, count: count)) }

    deinit { memory.deallocate() }

    var values: [Float] { Array(UnsafeBufferPointer(start: pointer, count: original.count)) }
    var bits: [UInt32] { values.map { $0.bitPattern } }

    var isFenceWhole: Bool {
        let ends = [memory[..<Fenced.fenceLength], memory[(Fenced.fenceLength + original.count)...]]
        return ends.allSatisfy { $0.allSatisfy { $0.bitPattern == fence.bitPattern } }
    }

    var isUnchanged: Bool { zip(original, values).allSatisfy { $0.bitPattern == $1.bitPattern } }
}

/// A check that nothing was written outside the outputs, nor to the inputs. Every test with `Fenced` memory ends with
/// it, which also keeps the memory alive while the kernel has only its pointer.
func expectIntact(
    outputs: [Fenced], inputs: [Fenced], sourceLocation: SourceLocation = #_sourceLocation
) {
    for (i, output) in outputs.enumerated() {
        #expect(output.isFenceWhole, "output \(i) was written outside its bounds", sourceLocation: sourceLocation)
    }
    for (i, input) in inputs.enumerated() {
        #expect(
            input.isFenceWhole && input.isUnchanged, "input \(i) was written to", sourceLocation: sourceLocation)
    }
}

/// A check that ‖ours − expected‖ ≤ tolerance · ‖expected‖, which fails if anything is NaN. If all expected values are
/// zero, `tolerance` is the limit of ‖ours‖ itself.
func expectClose(
    _ ours: [Float], _ expected: [Double], tolerance: Double = 2e-6, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(ours.count == expected.count, sourceLocation: sourceLocation)
    var (difference, norm) = (0.0, 0.0)
    for (a, b) in zip(ours, expected) {
        difference += (Double(a) - b) * (Double(a) - b)
        norm += b * b
    }
    let error = norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
    #expect(error <= tolerance, "relative error \(error) \(what)", sourceLocation: sourceLocation)
}

/// A check that two arrays are equal, which reports the first difference. (`#expect(ours == expected)` would look for
/// the shortest list of changes, which takes minutes for long arrays that differ.)
func expectEqual<T: Equatable>(
    _ ours: [T], _ expected: [T], _ what: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(ours.count == expected.count, sourceLocation: sourceLocation)
    let difference = zip(ours, expected).enumerated().first { $0.element.0 != $0.element.1 }
    let message = difference.map { "element \($0.offset) is \($0.element.0), not \($0.element.1) \(what)" } ?? ""
    #expect(difference == nil, "\(message)", sourceLocation: sourceLocation)
}
