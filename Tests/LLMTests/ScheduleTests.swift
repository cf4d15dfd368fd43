// The learning rate's course, and outliers.

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
    _ shape: Schedule.Shape, warmup: Int = 10, steps: Int = 50, final: Double = 0.1
) -> Schedule {
    Schedule(shape: shape, learningRate: 1, warmupSteps: warmup, steps: steps, finalFraction: final)
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

// MARK: - outliers

@Test func `a window says nothing until it is full`() {
    var window = OutlierWindow()
    for i in 0..<OutlierWindow.size { #expect(window.score(Double(i % 7)).isNaN) }
    #expect(!window.score(3).isNaN)
    #expect(window.values.count == OutlierWindow.size)
}

@Test func `the score is the distance in standard deviations`() {
    var window = OutlierWindow()
    var values = (0..<OutlierWindow.size).map { sin(Double($0)) }
    for value in values { _ = window.score(value) }
    for next in [0.5, 4, -3, 0] {
        values = Array(values.dropFirst()) + [next]
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(values.count)
        #expect(abs(window.score(next) - (next - mean) / variance.squareRoot()) < 1e-9)
    }
}

@Test func `what is not finite is infinitely far and does not stay`() {
    var window = OutlierWindow()
    for i in 0...OutlierWindow.size { _ = window.score(Double(i % 5)) }
    let before = window
    for bad in [Double.nan, .infinity, -.infinity] { #expect(window.score(bad) == .infinity) }
    #expect(window == before)
    #expect(window.score(2).isFinite)
    var empty = OutlierWindow()
    #expect(empty.score(.nan) == .infinity && empty.values.isEmpty)
}

@Test func `equal values are no outliers`() {
    var window = OutlierWindow()
    for _ in 0...OutlierWindow.size { _ = window.score(2) }
    #expect(window.score(2) == 0)
}
