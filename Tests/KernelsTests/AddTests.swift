// Sums and moves of vectors.

import Kernels
import Naive
import Testing

@Test(arguments: [1, 3, 16, 17, 100]) func `accumulate and move`(count: Int) {
    let (a, b) = (noise(count, seed: 1), noise(count, seed: 2))
    let (out, inp) = (Fenced(a), Fenced(b))
    accumulate(out: out.pointer, inp: inp.pointer, count: count)
    #expect(out.values == zip(a, b).map { $0 + $1 })
    expectIntact(outputs: [out], inputs: [inp])
    move(out: inp.pointer, inp: out.pointer, count: count)
    #expect(inp.values == zip(a, b).map { $0 + $1 } && out.values.allSatisfy { $0 == 0 })
    expectIntact(outputs: [out, inp], inputs: [])
}
