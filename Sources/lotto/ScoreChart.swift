// The picture of how the score grew: `lotto score --chart`.

import Foundation
import LLM

/// A chart of the score of several checkpoints: the share of exact answers and of each criterion over the steps.
enum ScoreChart {
    /// The chart as SVG.
    /// - Parameter points: at least one checkpoint, in the order of the steps.
    static func svg(_ points: [(step: Int, score: LottoScore)]) -> String {
        let (width, height, left, top, right, bottom) = (480.0, 320.0, 52.0, 34.0, 104.0, 44.0)
        let lastStep = Double(points.map(\.step).max() ?? 1)
        func x(_ step: Double) -> Double { left + (width - left - right) * step / max(lastStep, 1) }
        func y(_ share: Double) -> Double { top + (height - top - bottom) * (1 - share) }
        func place(_ x: Double, _ y: Double) -> String { String(format: "%.1f,%.1f", x, y) }
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(width)) \(Int(height))\" "
                + "font-family=\"sans-serif\" font-size=\"14\" fill=\"none\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        ]
        func text(_ x: Double, _ y: Double, _ anchor: String, _ color: String, _ words: String) {
            lines.append(
                String(
                    format: "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%@\" fill=\"%@\">%@</text>", x, y, anchor, color,
                    words))
        }
        for share in [0, 0.25, 0.5, 0.75, 1] {
            lines.append("<path d=\"M\(place(left, y(share))) L\(place(width - right, y(share)))\" stroke=\"#ddd\"/>")
            text(left - 6, y(share) + 5, "end", "#555", "\(Int(100 * share))%")
        }
        // At most six labels, the last step among them.
        for index in stride(from: points.count - 1, through: 0, by: -((points.count + 5) / 6)) {
            let step = points[index].step
            text(x(Double(step)), height - bottom + 20, "middle", "#555", "\(step)")
        }
        text((left + width - right) / 2, height - 6, "middle", "#555", "training steps")
        text(left, 20, "start", "#555", "answers to unseen questions that are right")
        let curves: [(name: String, color: String, criterion: LottoScore.Criterion?)] = [
            ("exact", "#111", nil), ("hits", "#0072b2", .hits), ("ranks", "#009e73", .ranks),
            ("counts", "#cc79a7", .counts), ("winnings", "#e69f00", .winnings), ("rate", "#d55e00", .rate),
        ]
        func share(_ criterion: LottoScore.Criterion?, _ score: LottoScore) -> Double {
            guard let criterion else { return score.accuracy }
            return Double(score.right[criterion] ?? 0) / Double(max(1, score.questions))
        }
        for (index, curve) in curves.enumerated().reversed() {
            let path = points.map { place(x(Double($0.step)), y(share(curve.criterion, $0.score))) }.joined(
                separator: " L")
            let stroke = "stroke=\"\(curve.color)\" stroke-width=\"\(index == 0 ? 3 : 1.5)\""
            lines.append("<path d=\"M\(path)\" \(stroke)/>")
            let legend = top + 12 + 20 * Double(index)
            lines.append("<path d=\"M\(place(width - right + 12, legend - 4)) h16\" \(stroke)/>")
            text(width - right + 34, legend, "start", "#111", curve.name)
        }
        return lines.joined(separator: "\n") + "\n</svg>\n"
    }
}
