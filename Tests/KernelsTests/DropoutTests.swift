// Dropout, and the random numbers that it is made of.

import Kernels
import Naive
import Testing

// MARK: - the twin

/// The test vectors that come with the paper's own Random123.
@Test(
    arguments: [
        ([0, 0, 0, 0, 0, 0], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        (
            [UInt32](repeating: .max, count: 6), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344, 0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        ),
    ] as [([UInt32], [UInt32])])
func `the naive Philox gives the published numbers`(input: [UInt32], output: [UInt32]) {
    #expect(naivePhilox(counter: Array(input[..<4]), key: Array(input[4...])) == output)
}

// MARK: - the kernels

private let key = DropoutKey(seed: 42, microBatch: 1 << 33 + 5).at(site: 3, layer: 7)

/// What dropout makes of ones, over memory that the kernel must not leave.
private func factors(_ count: Int, rate: Float, key: DropoutKey) -> [Float] {
    let (inp, out) = (Fenced([Float](repeating: 1, count: count)), Fenced(unwritten: count))
    dropoutForward(out: out.pointer, inp: inp.pointer, residual: nil, count: count, rate: rate, key: key)
    expectIntact(outputs: [out], inputs: [inp])
    return out.values
}

/// An element is dropped by every rate above its sixteen bits, so rates find them.
@Test func `the kernel's first block is the published one`() {
    let zero = DropoutKey(seed: 0, microBatch: 0)
    var bits = [UInt32](repeating: 0, count: 8)
    for bit in (0..<16).reversed() {
        for part in 0..<8 {
            let guess = bits[part] | 1 << bit
            if factors(128, rate: Float(guess) / 65536, key: zero)[16 * part] != 0 { bits[part] = guess }
        }
    }
    // `guess` is the largest threshold that keeps the element: its bits themselves.
    let words = (0..<4).map { bits[2 * $0] | bits[2 * $0 + 1] << 16 }
    #expect(words == [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])
}

@Test(arguments: [0, 1, 15, 16, 17, 127, 128, 129, 1000, 1 << 14, 1 << 14 + 1, 40_000], [0.1, 0.5, 0.9] as [Float])
func `dropoutForward and dropoutBackward`(count: Int, rate: Float) {
    let expected = naiveFactors(count, rate: Double(rate), key: key)
    expectClose(factors(count, rate: rate, key: key), expected, tolerance: 1e-7)
    let (inp, residual) = (Fenced(noise(count, seed: 1)), Fenced(noise(count, seed: 2)))
    let out = Fenced(unwritten: count)
    dropoutForward(
        out: out.pointer, inp: inp.pointer, residual: residual.pointer, count: count, rate: rate, key: key)
    let sums = (0..<count).map { Double(residual.values[$0]) + expected[$0] * Double(inp.values[$0]) }
    expectClose(out.values, count > 0 ? sums : [], tolerance: 2e-7)
    // In place of either.
    let (own, added) = (Fenced(inp.values), Fenced(residual.values))
    dropoutForward(
        out: own.pointer, inp: own.pointer, residual: residual.pointer, count: count, rate: rate, key: key)
    dropoutForward(
        out: added.pointer, inp: inp.pointer, residual: added.pointer, count: count, rate: rate, key: key)
    #expect(own.bits == out.bits && added.bits == out.bits)

    let dout = Fenced(noise(count, seed: 3))
    let products = zip(expected, doubles(dout.values)).map { $0 * $1 }
    let (dinp, sum) = (Fenced(unwritten: count), Fenced(inp.values))
    dropoutBackward(
        dinp: dinp.pointer, dout: dout.pointer, count: count, rate: rate, key: key, accumulate: false)
    expectClose(dinp.values, products, tolerance: 2e-7)
    dropoutBackward(dinp: sum.pointer, dout: dout.pointer, count: count, rate: rate, key: key, accumulate: true)
    expectClose(sum.values, zip(products, doubles(inp.values)).map { $0 + $1 }, tolerance: 2e-7)
    expectIntact(outputs: [out, own, added, dinp, sum], inputs: [inp, residual, dout])
    let place = Fenced(dout.values)
    dropoutBackward(
        dinp: place.pointer, dout: place.pointer, count: count, rate: rate, key: key, accumulate: false)
    #expect(place.bits == dinp.bits)
}

@Test func `dropout's backward pass is its forward pass's derivative`() {
    let (count, rate) = (300, Float(0.3))
    let inp = noise(count, seed: 1)
    let dout = Fenced(noise(count, seed: 2))
    let dinp = Fenced(unwritten: count)
    dropoutBackward(
        dinp: dinp.pointer, dout: dout.pointer, count: count, rate: rate, key: key, accumulate: false)
    func loss(_ x: [Float]) -> Double {
        let (inp, out) = (Fenced(x), Fenced(unwritten: count))
        dropoutForward(out: out.pointer, inp: inp.pointer, residual: inp.pointer, count: count, rate: rate, key: key)
        return dot(doubles(out.values), doubles(dout.values))
    }
    for i in stride(from: 0, to: count, by: 7) {
        var (up, down) = (inp, inp)
        up[i] += 0.25
        down[i] -= 0.25
        // The residual's part of the slope is dout itself.
        let slope = (loss(up) - loss(down)) / Double(up[i] - down[i]) - Double(dout.values[i])
        #expect(abs(slope - Double(dinp.values[i])) < 1e-5)
    }
    expectIntact(outputs: [dinp], inputs: [dout])
}

@Test(arguments: [0, 1e-6, 0.001, 0.1, 0.5, 0.9, 0.99999, 1] as [Float])
func `as many are dropped as the rate says, and the mean stays`(rate: Float) {
    let count = 1 << 20
    let all = factors(count, rate: rate, key: key)
    let rounded = min((Double(rate) * 65536).rounded(), 65535) / 65536
    let kept = Double(all.count { $0 != 0 })
    let deviation = (Double(count) * rounded * (1 - rounded)).squareRoot()
    #expect(abs(kept - Double(count) * (1 - rounded)) <= 5 * deviation)
    let scale = Float(1 / (1 - rounded))
    #expect(all.allSatisfy { $0 == 0 || abs($0 / scale - 1) < 1e-6 })
    let mean = all.reduce(0) { $0 + Double($1) } / Double(count)
    #expect(abs(mean - 1) <= 5 * deviation / Double(count) / (1 - rounded) + 1e-6)
}

/// If two masks, or two neighbours of one, are independent, both drop a share of rate².
@Test func `neighbours, micro-batches, seeds, sites and layers are independent`() {
    let (count, rate) = (1 << 18, Float(0.25))
    let one = factors(count, rate: rate, key: key)
    func expectIndependent(_ other: [Float], _ what: String) {
        let both = Double(zip(one, other).count { $0 == 0 && $1 == 0 })
        let (n, p) = (Double(min(one.count, other.count)), 1.0 / 16)
        #expect(abs(both - n * p) < 5 * (n * p * (1 - p)).squareRoot(), "\(what)")
    }
    for distance in [1, 2, 3, 8, 15, 16, 17, 32, 64, 127, 128, 256, 1024] {
        expectIndependent(Array(one.dropFirst(distance)), "distance \(distance)")
    }
    let others: [(String, DropoutKey)] = [
        ("the next layer", key.at(site: 3, layer: 8)), ("another site", key.at(site: 2, layer: 7)),
        ("layer 0", key.at(site: 3, layer: 0)),
        ("the next micro-batch", DropoutKey(seed: 42, microBatch: 1 << 33 + 6).at(site: 3, layer: 7)),
        ("a micro-batch far away", DropoutKey(seed: 42, microBatch: 5).at(site: 3, layer: 7)),
        ("another seed", DropoutKey(seed: 43, microBatch: 1 << 33 + 5).at(site: 3, layer: 7)),
    ]
    for (what, other) in others { expectIndependent(factors(count, rate: rate, key: other), what) }
    #expect(Set(others.map { [$1.seed, $1.place] + [UInt32($1.microBatch >> 32)] }).count > 1)
}
