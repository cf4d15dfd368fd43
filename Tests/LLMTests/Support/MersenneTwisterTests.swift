// The numbers of numpy, torch and the C++ standard.

import LLM
import Testing

private func normals(_ count: Int, seed: UInt32, deviation: Float) -> [Float] {
    var values = [Float](repeating: 0, count: count)
    var random = MersenneTwister(seed: seed)
    values.withUnsafeMutableBufferPointer { random.fillNormal($0, deviation: deviation) }
    return values
}

private func expectClose(_ ours: [Float], _ expected: [Float], scale: Float) {
    #expect(ours.count == expected.count)
    for (our, their) in zip(ours, expected) { #expect(abs(our - their) <= 1e-6 * scale) }
}

@Test(
    arguments: [
        // Seed, the first five numbers, then those at 623, 624 (the first after a refill) and 1299.
        (
            137, [4_053_805_790, 2_173_880_614, 380_293_709, 1_237_255_315, 2_986_595_568],
            [2_442_487_029, 999_252_939, 1_201_539_867]
        ),
        (
            42, [1_608_637_542, 3_421_126_067, 4_083_286_876, 787_846_414, 3_143_890_026],
            [1_077_437_785, 108_880_612, 2_059_789_457]
        ),
    ] as [(UInt32, [UInt32], [UInt32])])
func `MersenneTwister draws numpy's numbers`(seed: UInt32, first: [UInt32], later: [UInt32]) {
    var random = MersenneTwister(seed: seed)
    let drawn = (0..<1300).map { _ in random.next() }
    #expect(Array(drawn.prefix(5)) == first)
    #expect([drawn[623], drawn[624], drawn[1299]] == later)
}

@Test func `MersenneTwister draws the number that the C++ standard asks for`() {
    var random = MersenneTwister(seed: 5489)
    for _ in 0..<9999 { _ = random.next() }
    #expect(random.next() == 4_123_659_995)
}

@Test func `uniform is torch's uniform_`() {
    var random = MersenneTwister(seed: 42)
    let drawn = (0..<4).map { _ in random.uniform() }
    #expect(drawn == [0.8822692632675171, 0.9150039553642273, 0.38286375999450684, 0.9593056440353394])
}

@Test func `fewer than 16 normals are torch's`() {
    expectClose(
        normals(5, seed: 42, deviation: 1), [0.33669037, 0.1288094, 0.23446237, 0.23033303, -1.1228564], scale: 2)
}

@Test func `16 normals are torch's`() {
    expectClose(
        normals(16, seed: 42, deviation: 1),
        [
            1.9269153, 1.4872841, 0.9007172, -2.105521, 0.67841846, -1.2345449, -0.043067478, -1.604667, -0.7521353,
            1.648723, -0.39247864, -1.4036071, -0.7278813, -0.5594302, -0.7688389, 0.7624454,
        ], scale: 2)
    expectClose(
        normals(16, seed: 137, deviation: 1),
        [
            1.1220245, -0.66312784, -0.5289731, 1.0454035, -0.05533838, 0.16621369, 0.09195917, 0.6800296, -0.8403636,
            -1.1242744, -1.3860172, 1.284236, 0.16462018, 0.53711, -0.6570116, 0.16786012,
        ], scale: 2)
}

@Test func `35 normals, with an incomplete group, are torch's`() {
    expectClose(
        normals(35, seed: 42, deviation: 0.02),
        [
            0.038538303, 0.029745681, 0.018014343, -0.042110417, 0.013568369, -0.024690896, -0.0008613495, -0.03209334,
            -0.015042705, 0.03297446, -0.007849573, -0.028072141, -0.014557626, -0.011188603, -0.015376777, 0.015248908,
            0.03284634, -0.0031919493, -0.009947951, 0.03434723, 0.006377606, -0.008490379, 0.006114418, -0.01549185,
            0.0006982469, 0.00642206, 0.031472, -0.012022841, -0.025483023, 0.0424557, -0.024693063, -0.009758277,
            -0.028361198, 0.017925365, 0.0009981077,
        ], scale: 0.04)
}

@Test func `the draw after normals continues where torch's does`() {
    var random = MersenneTwister(seed: 42)
    var values = [Float](repeating: 0, count: 16)
    values.withUnsafeMutableBufferPointer { random.fillNormal($0, deviation: 1) }
    var other = MersenneTwister(seed: 42)
    for _ in 0..<16 { _ = other.next() }
    #expect(random.next() == other.next())
}

@Test func `a permutation is one, in llm.c's order of draws`() {
    var random = MersenneTwister(seed: 42)
    #expect(random.permutation(10) == [1, 3, 9, 7, 6, 0, 8, 4, 5, 2])
    #expect(random.permutation(0) == [] && random.permutation(1) == [0])
    let long = random.permutation(1000)
    #expect(long.sorted() == (0..<1000).map { Int32($0) } && long != long.sorted())
}

@Test func `a twister's state is all of it`() {
    var random = MersenneTwister(seed: 1)
    for _ in 0..<700 { _ = random.next() }
    var copy = MersenneTwister(seed: 2)
    copy.state = random.state
    copy.position = random.position
    for _ in 0..<700 { #expect(copy.next() == random.next()) }
}
