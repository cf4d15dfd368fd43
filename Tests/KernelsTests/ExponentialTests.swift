// The exponential function on vectors. It is internal to the kernels, so it is tested through the softmax.

import Foundation
import Kernels
import Testing

/// The smaller of two probabilities, for logits 0 and x from −87 to 0. Below x = −18, where the sum of the exponentials
/// is 1, it is eˣ itself; above, the sum and the division add their own rounding.
@Test func `the exponential is accurate to two units in the last place`() {
    var (worst, worstWithSum) = (0.0, 0.0)
    for i in 0..<60_000 {
        let x = -Float(i) * 0.00145 - 0.0003
        let logits: [Float] = [0, x]
        var probabilities: [Float] = [.nan, .nan]
        softmaxForward(out: &probabilities, inp: logits, count: 2)
        let expected = exp(Double(x)) / (1 + exp(Double(x)))
        let error = abs(Double(probabilities[1]) - expected) / Double(Float(expected).ulp)
        if x < -18 { worst = max(worst, error) } else { worstWithSum = max(worstWithSum, error) }
    }
    #expect(worst <= 2)
    #expect(worstWithSum <= 3)
}
