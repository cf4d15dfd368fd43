// What the kernels' tests share. Every file here begins with its kernel's naive twin: the textbook loop in double
// precision, on plain arrays. Read that first; the kernel is the same thing, fast.
//
// A twin is held against finite differences where it is a backward pass, and the kernel is held against its twin.

import Kernels
import Testing

/// `count` floats between −scale and scale that look random and are the same in every run (xorshift64*).
func noise(_ count: Int, seed: UInt64, scale: Float = 1) -> [Float] {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    return (0..<count).map { _ in
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return (Float((state &* 0x2545_f491_4f6c_dd1d) >> 40) * 0x1p-23 - 1) * scale
    }
}

/// `count` whole numbers below `bound`.
func randomIndices(_ count: Int, below bound: Int, seed: UInt64) -> [Int32] {
    noise(count, seed: seed).map { min(Int32(($0 + 1) / 2 * Float(bound)), Int32(bound) - 1) }
}

/// The numbers that a kernel sees, in the precision of the twins.
func doubles(_ values: [Float]) -> [Double] { values.map { Double($0) } }

/// A NaN that no computation makes: what it touches becomes NaN, and where it is gone something was written.
private let fence = Float(bitPattern: 0x7fc0_dead)

/// Floats between two fences of NaN. A kernel that reads beyond its input and uses what it finds gives NaN; one that
/// writes beyond its output breaks the fence.
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

    /// An output that is to be written in full: what stays unwritten is NaN.
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

/// Nothing was written outside the outputs, and nothing at all into the inputs. To be called at the end of every test
/// that uses `Fenced` memory: it also keeps the memory alive while the kernel has only its pointer.
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

/// ‖ours − expected‖ ≤ tolerance · ‖expected‖; false if anything is NaN. Where all expected values are zero, ours have
/// to be so too, to within `tolerance` itself.
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

/// ∂f/∂xᵢ for every i by central differences: (f(x + ε) − f(x − ε)) / 2ε.
func finiteDifferences(at x: [Double], epsilon: Double = 1e-5, _ f: ([Double]) -> Double) -> [Double] {
    x.indices.map { i in
        var (up, down) = (x, x)
        up[i] += epsilon
        down[i] -= epsilon
        return (f(up) - f(down)) / (2 * epsilon)
    }
}

/// Σ a·b. With a fixed dout, dot(out, dout) is a loss whose gradient by out is dout: the start of a gradient check.
func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

/// Two gradients in double precision.
func expectSameGradient(
    _ ours: [Double], _ expected: [Double], sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(ours.count == expected.count, sourceLocation: sourceLocation)
    for (a, b) in zip(ours, expected) {
        #expect(abs(a - b) <= 1e-7 * max(1, abs(b)), sourceLocation: sourceLocation)
    }
}
