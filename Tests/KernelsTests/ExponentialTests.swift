// The exponential function on vectors, which is internal to the kernels and so tested through the cross entropy.

import Foundation
import Kernels
import Testing

/// The probability of the less likely of two tokens, for logits from −80 to 0. The target is the other token, whose
/// logit is 0, so the gradient is that probability.
@Test func `the exponential is accurate to a few units in the last place`() {
    let count = 4000
    let logits = (0..<count).flatMap { [Float(0), -Float($0) * 0.02 - 0.0003] }
    let memory = Fenced(logits)
    let (losses, correct) = (Fenced(unwritten: count), Fenced(unwritten: count))
    crossEntropy(
        losses: losses.pointer, correct: correct.pointer, logits: memory.pointer,
        targets: [Int32](repeating: 0, count: count), gradientScale: 1, N: count, V: 2, stride: 2)
    let gradients = memory.values
    for n in 0..<count {
        let x = Double(logits[2 * n + 1])
        let expected = exp(x) / (1 + exp(x))
        // The argument itself is rounded to float32: half a unit in the last place of x − log(1 + eˣ).
        #expect(abs(Double(gradients[2 * n + 1]) / expected - 1) <= 3e-7 + 6e-8 * abs(x), "e^\(x)")
    }
    expectIntact(outputs: [losses, correct, memory], inputs: [])
}
