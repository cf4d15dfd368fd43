// Which steps are outliers.

import Foundation
import LLM
import Testing

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
