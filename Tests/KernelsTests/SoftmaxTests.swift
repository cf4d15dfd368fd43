// The softmax of one row of logits.

import Foundation
import Kernels
import Naive
import Testing

// MARK: - the kernel

@Test(arguments: [1, 3, 15, 16, 17, 33, 100])
func `softmaxForward`(count: Int) {
    var logits = noise(count, seed: UInt64(count), scale: 30)
    if count > 4 { (logits[1], logits[count - 1]) = (-.infinity, -.infinity) }
    let inp = Fenced(logits)
    let out = Fenced(unwritten: count)
    softmaxForward(out: out.pointer, inp: inp.pointer, count: count)
    expectClose(out.values, naiveSoftmax(doubles(logits)))
    for (value, logit) in zip(out.values, logits) where logit == -.infinity { #expect(value == 0) }
    expectIntact(outputs: [out], inputs: [inp])
}
