// The hyperbolic tangent.

import Foundation
import Kernels
import Naive
import Testing

@Test(arguments: [1, 3, 17, 100]) func `tanhForward`(count: Int) {
    let inp = noise(count, seed: 1, scale: 6)
    let values = Fenced(inp)
    tanhForward(values.pointer, count: count)
    expectClose(values.values, inp.map { tanh(Double($0)) }, tolerance: 2e-7)
    expectIntact(outputs: [values], inputs: [])
}
