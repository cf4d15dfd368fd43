// The learning rate's course.

import Foundation
import LLM
import Testing

private func expectRates(_ schedule: Schedule, _ expected: [(step: Int, rate: Double)]) {
    for (step, rate) in expected {
        #expect(abs(schedule.rate(at: step) - rate) <= 1e-12, "\(schedule.shape) at step \(step)")
    }
}

/// Ten steps of warm-up to 1, then 40 of decay to 0.1.
private func schedule(
    _ shape: Schedule.Shape, warmup: Int = 10, steps: Int = 50, final: Double = 0.1, _ conventions: Conventions = .llmC
) -> Schedule {
    Schedule(
        shape: shape, learningRate: 1, warmupSteps: warmup, steps: steps, finalFraction: final,
        conventions: conventions)
}

@Test func `cosine`() {
    expectRates(
        schedule(.cosine),
        [
            (0, 0.1), (4, 0.5), (9, 1), (10, 1),
            (20, 0.1 + 0.9 * (0.5 + 0.25 * 2.0.squareRoot())),  // a quarter of the way: cos 45°
            (30, 0.55), (40, 0.1 + 0.9 * (0.5 - 0.25 * 2.0.squareRoot())), (50, 0.1), (60, 0.1),
        ])
}

@Test func `linear`() {
    expectRates(
        schedule(.linear), [(0, 0.1), (9, 1), (10, 1), (20, 0.775), (30, 0.55), (49, 0.1225), (50, 0.1), (70, 0.1)])
}

@Test func `constant has no warm-up, as in llm.c`() {
    expectRates(schedule(.constant), [(0, 1), (9, 1), (30, 1), (50, 1), (60, 1)])
}

@Test func `wsd is stable for four fifths and ends with 1 − √`() {
    expectRates(
        schedule(.wsd),
        [
            (0, 0.1), (9, 1), (10, 1), (39, 1), (40, 1), (41, 0.1 + 0.9 * (1 - 0.1.squareRoot())),
            (42, 0.1 + 0.9 * (1 - 0.2.squareRoot())), (50, 0.1), (55, 0.1),
        ])
    // llm.c takes 0.8 · steps in float32 and cuts it off.
    expectRates(schedule(.wsd, steps: 14), [(11, 1), (12, 0.1 + 0.9 * (1 - (1 / 3.0).squareRoot()))])
}

@Test(arguments: Schedule.Shape.allCases)
func `without warm-up the first step has the full rate, and no fraction ends at zero`(shape: Schedule.Shape) {
    let s = schedule(shape, warmup: 0, steps: 40, final: 0)
    #expect(s.rate(at: 0) == 1)
    #expect(abs(s.rate(at: 40) - (shape == .constant ? 1 : 0)) < 1e-12)
    let flat = schedule(shape, warmup: 0, final: 1)
    #expect((0...60).allSatisfy { abs(flat.rate(at: $0) - 1) < 1e-12 })
}

@Test(arguments: Schedule.Shape.allCases)
func `warm-up may take all the steps, or more`(shape: Schedule.Shape) {
    for (warmup, steps) in [(20, 20), (30, 20), (0, 0), (1, 1), (0, 1)] {
        let s = schedule(shape, warmup: warmup, steps: steps)
        for step in 0...60 {
            let rate = s.rate(at: step)
            #expect(rate.isFinite && rate > 0 && rate <= 1)
        }
        if shape != .constant && warmup > 1 { #expect(abs(s.rate(at: warmup / 2 - 1) - 0.5) < 1e-12) }
    }
}

// MARK: - as in transformers

/// The rates that transformers 5.24.0's get_scheduler gives to the steps of a run, of a learning rate of 1; `constant`
/// is its constant_with_warmup.
@Test func `with transformers' conventions the rates are its own`() {
    let cos36 = (1 + 5.0.squareRoot()) / 4
    for (shape, warmup, rates) in [
        (.cosine, 4, [0, 0.25, 0.5, 0.75, 1, 0.933012701892, 0.75, 0.5, 0.25, 0.066987298108]),
        (.cosine, 0, [1, 0.5 + cos36 / 2, 0.654508497187, 0.345491502813, 0.5 - cos36 / 2]), (.cosine, 1, [0, 1, 0.5]),
        (.linear, 4, [0, 0.25, 0.5, 0.75, 1, 5 / 6, 4 / 6, 0.5, 2 / 6, 1 / 6]),
        (.linear, 0, [1, 0.8, 0.6, 0.4, 0.2]), (.linear, 1, [0, 1, 0.5]),
        (.constant, 4, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]), (.constant, 0, [1, 1, 1]),
        (.wsd, 4, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1 - 0.5.squareRoot()]),
    ] as [(Schedule.Shape, Int, [Double])] {
        let schedule = schedule(shape, warmup: warmup, steps: rates.count, final: 0, .transformers)
        expectRates(schedule, rates.enumerated().map { ($0, $1) })
    }
    // What is left at the end is an option here.
    expectRates(schedule(.cosine, warmup: 4, steps: 10, .transformers), [(0, 0), (4, 1), (7, 0.55), (10, 0.1)])
}
