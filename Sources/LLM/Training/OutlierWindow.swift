// When a step is an outlier; as in llm.c.

import Foundation

/// The last values of a series, and how far a new one lies from their mean.
package struct OutlierWindow: Equatable {
    package static let size = 128
    /// Up to `size`, oldest first.
    package var values: [Double] = []

    package init() {}

    /// Takes a value in and gives its distance from the mean in standard deviations; NaN until the window is full.
    /// A value that is not finite counts as infinitely far and stays out: it would poison the window for good.
    package mutating func score(_ value: Double) -> Double {
        guard value.isFinite else { return .infinity }
        values.append(value)
        guard values.count > OutlierWindow.size else { return .nan }
        values.removeFirst()
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        return variance == 0 ? 0 : (value - mean) / variance.squareRoot()
    }
}
