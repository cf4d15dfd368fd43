// The numbers of xorshift64*, as llm.c draws them.

import LLM
import Testing

@Test(
    arguments: [
        (1, [5_180_492_295_206_395_165, 12_380_297_144_915_551_517, 13_389_498_078_930_870_103]),
        (1337, [4_248_603_512_886_213_755, 3_514_442_526_888_809_492, 5_734_451_162_152_304_724]),
        (42, [6_255_019_084_209_693_600, 14_430_073_426_741_505_498, 14_575_455_857_230_217_846]),
        (0, [973_819_730_272_012_410]),
    ] as [(UInt64, [UInt64])])
func `Xorshift draws xorshift64*`(seed: UInt64, expected: [UInt64]) {
    var random = Xorshift(seed: seed)
    #expect(expected.map { _ in random.next() } == expected)
}

@Test func `Xorshift's uniform is llm.c's random_f32`() {
    var random = Xorshift(seed: 1337)
    let drawn = (0..<3).map { _ in random.uniform() }
    #expect(drawn == [0.23031723499298096, 0.19051826000213623, 0.3108651638031006])
}

@Test func `below stays below and reaches everything`() {
    var random = Xorshift(seed: 3)
    var counts = [Int](repeating: 0, count: 7)
    for _ in 0..<7000 { counts[random.below(7)] += 1 }
    #expect(counts.allSatisfy { (850...1150).contains($0) })
    #expect(random.below(1) == 0)
}
