// The picture of a run: loss.svg, drawn again at every validation and checkpoint from what is in main.log.

import Foundation

/// The losses of a run over its steps, to be drawn.
package struct LossChart {
    package typealias Point = (step: Int, loss: Double)

    /// Of each step, and of each validation, in the order of the steps.
    package var training: [Point] = []
    package var validation: [Point] = []

    package init() {}

    /// Points of a curve at most: more would be finer than the picture.
    private static let width = 240

    /// The means of the training losses in spans of equal length.
    package var trainingCurve: [(step: Double, loss: Double)] {
        let points = training.filter { $0.loss.isFinite }
        let span = max(1, (points.count + LossChart.width - 1) / LossChart.width)
        return stride(from: 0, to: points.count, by: span).map { first in
            let part = points[first..<min(first + span, points.count)]
            let steps = part.reduce(0.0) { $0 + Double($1.step) }
            return (steps / Double(part.count), part.reduce(0.0) { $0 + $1.loss } / Double(part.count))
        }
    }

    /// About five round numbers that span a range: multiples of 1, 2 or 5 times a power of ten.
    package static func ticks(_ low: Double, _ high: Double) -> [Double] {
        let rough = max(high - low, 1e-6) / 4
        let power = pow(10, floor(log10(rough)))
        let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
        return (Int(floor(low / step + 1e-9))...Int(ceil(high / step - 1e-9))).map { Double($0) * step }
    }

    /// The chart as SVG; nil without a loss.
    package var svg: String? {
        let curve = trainingCurve
        let measured = validation.filter { $0.loss.isFinite }.map { (step: Double($0.step), loss: $0.loss) }
        let losses = (curve + measured).map(\.loss)
        guard let lowest = losses.min(), let highest = losses.max() else { return nil }
        // At the right half of a step of six digits has room.
        let (width, height, left, top, right, bottom) = (480.0, 320.0, 58.0, 34.0, 28.0, 44.0)
        let lastStep = max(1, (curve + measured).map(\.step).max() ?? 1)
        let levels = LossChart.ticks(lowest, max(highest, lowest + 1e-4))
        let (floor, ceiling) = (levels[0], levels[levels.count - 1])
        func x(_ step: Double) -> Double { left + (width - left - right) * step / lastStep }
        func y(_ loss: Double) -> Double { top + (height - top - bottom) * (ceiling - loss) / (ceiling - floor) }
        func path(_ points: [(step: Double, loss: Double)]) -> String {
            "M" + points.map { String(format: "%.1f,%.1f", x($0.step), y($0.loss)) }.joined(separator: " L")
        }
        func text(_ x: Double, _ y: Double, _ anchor: String, _ color: String, _ words: String) -> String {
            String(
                format: "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%@\" fill=\"%@\">%@</text>", x, y, anchor, color,
                words)
        }
        // White behind it, so that it is legible on a dark page, too.
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"14\" fill=\"none\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        ]
        for level in levels {
            lines.append(
                String(
                    format: "<path d=\"M%.1f,%.1f H%.1f\" stroke=\"#ddd\"/>", left, y(level), width - right))
            lines.append(text(left - 6, y(level) + 5, "end", "#555", String(format: "%.3g", level)))
        }
        for step in LossChart.ticks(0, lastStep) where step <= lastStep && step == step.rounded() {
            lines.append(text(x(step), height - bottom + 20, "middle", "#555", "\(Int(step))"))
        }
        lines.append(text((left + width - right) / 2, height - 6, "middle", "#555", "steps"))
        let (blue, strong) = ("#3f6fa8", "#c2410c")
        if !curve.isEmpty { lines.append("<path d=\"\(path(curve))\" stroke=\"\(blue)\" stroke-width=\"1.5\"/>") }
        lines.append(text(left, 20, "start", blue, "training loss"))
        if let best = measured.min(by: { $0.loss < $1.loss }) {
            lines.append("<path d=\"\(path(measured))\" stroke=\"\(strong)\" stroke-width=\"2.5\"/>")
            lines.append(
                String(
                    format: "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%@\"/>", x(best.step), y(best.loss), strong)
            )
            lines.append(
                text(
                    width - right, 20, "end", strong,
                    String(format: "validation, best %.4f at step %.0f", best.loss, best.step)))
        }
        return lines.joined(separator: "\n") + "\n</svg>\n"
    }
}
