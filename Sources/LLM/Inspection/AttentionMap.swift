// Where each token looks: the attention's probabilities of one layer, and their picture. The passes keep no
// probabilities, but what they follow from: queries and keys, and lse of each row and head (dev/doc/gpt2.md).

import Foundation

/// The attention of one layer to one sequence.
package struct AttentionMap {
    /// Of each head, (T,T): for the token that asks, how much of the mean comes from each token up to it. A row has the
    /// tokens up to its own, and its sum is 1.
    package let probabilities: [[[Double]]]

    /// - Parameters:
    ///   - qkv: (T,3C), as the layer's attention read it.
    ///   - lse: (NH,T), log Σ exp of the scores of a row.
    package init(qkv: UnsafeBufferPointer<Float>, lse: UnsafeBufferPointer<Float>, T: Int, C: Int, NH: Int) {
        let HS = C / NH
        let scale = 1 / Double(HS).squareRoot()
        probabilities = (0..<NH).map { h in
            (0..<T).map { t in
                (0...t).map { k in
                    let query = t * 3 * C + h * HS
                    let key = k * 3 * C + C + h * HS
                    var score = 0.0
                    for i in 0..<HS { score += Double(qkv[query + i]) * Double(qkv[key + i]) }
                    return exp(score * scale - Double(lse[h * T + t]))
                }
            }
        }
    }

    /// Less than this is not drawn: nobody would see it, and a file would be several times as large.
    package static let least = 0.005
    /// Given by one of the chosen rows, this much brings a column into their picture.
    package static let leastOfRows = 0.1

    /// The heads' maps as SVG: a row for each token that asks, a column for each that it looks at, the darker (on a dark
    /// page the brighter) the more. A cell tells its number where the pointer rests.
    /// - Parameters:
    ///   - tokens: what is written for each.
    ///   - rows: those to draw, with the columns that matter to one of them; nil for all rows and columns.
    package func svg(_ title: String, tokens: [String], rows: Range<Int>? = nil) -> String {
        let shownRows = Array(rows ?? tokens.indices)
        let shownColumns = tokens.indices.filter { k in
            rows == nil
                || probabilities.contains { head in
                    shownRows.contains { t in k <= t && head[t][k] >= AttentionMap.leastOfRows }
                }
        }
        let cell = 15
        func label(_ i: Int) -> String { "\(i) \(xmlText(shortened(tokens[i])))" }
        func width(_ i: Int) -> Int { 8 * (String(i).count + 1 + terminalColumns(of: shortened(tokens[i]))) }
        let left = (shownRows.map(width).max() ?? 0) + 8
        let top = (shownColumns.map(width).max() ?? 0) + 30
        let (mapWidth, mapHeight) = (left + cell * shownColumns.count + 12, top + cell * shownRows.count + 18)
        // Side by side as long as they fit a phone, else one below the other.
        let across = max(1, min(probabilities.count, 600 / mapWidth))
        let down = (probabilities.count + across - 1) / across
        let (width, height) = (max(across * mapWidth, 8 * title.count), down * mapHeight + 26)

        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(width)\" height=\"\(height)\" "
                + "viewBox=\"0 0 \(width) \(height)\" font-family=\"sans-serif\" font-size=\"13\">",
            "<title>\(xmlText(title))</title>", AttentionMap.style,
            "<rect class=\"page\" width=\"100%\" height=\"100%\"/>", "<text x=\"8\" y=\"18\">\(xmlText(title))</text>",
        ]
        for (h, head) in probabilities.enumerated() {
            lines.append(
                "<g transform=\"translate(\(left + h % across * mapWidth),\(26 + top + h / across * mapHeight))\">")
            lines.append("<text x=\"0\" y=\"\(14 - top)\">head \(h)</text>")
            let (right, bottom) = (cell * shownColumns.count, cell * shownRows.count)
            let grid =
                (0...shownRows.count).map { "M0,\(cell * $0)H\(right)" }
                + (0...shownColumns.count).map { "M\(cell * $0),0V\(bottom)" }
            lines.append("<path class=\"grid\" d=\"\(grid.joined())\"/>")
            for (x, k) in shownColumns.enumerated() {
                lines.append("<text transform=\"translate(\(cell * x + 12),-5) rotate(-90)\">\(label(k))</text>")
            }
            for (y, t) in shownRows.enumerated() {
                lines.append("<text x=\"-6\" y=\"\(cell * y + 12)\" text-anchor=\"end\">\(label(t))</text>")
                for (x, k) in shownColumns.enumerated() where k <= t && head[t][k] >= AttentionMap.least {
                    lines.append(
                        "<rect class=\"p\" x=\"\(cell * x)\" y=\"\(cell * y)\" width=\"\(cell)\" height=\"\(cell)\" "
                            + String(format: "fill-opacity=\"%.2f\"><title>", head[t][k])
                            + "\(t) \(xmlText(tokens[t])) → \(k) \(xmlText(tokens[k])): "
                            + String(format: "%.3f</title></rect>", head[t][k]))
                }
            }
            lines.append("</g>")
        }
        return lines.joined(separator: "\n") + "\n</svg>\n"
    }

    private static let style = """
        <style>
          .page { fill: #fff }
          .p { fill: #0a2a66 }
          .grid { stroke: #ddd; fill: none }
          text { fill: #222 }
          @media (prefers-color-scheme: dark) {
            .page { fill: #16181c }
            .p { fill: #9cc4ff }
            .grid { stroke: #3a3f47 }
            text { fill: #eee }
          }
        </style>
        """
}

/// The beginning of a token that is too long to stand beside a map.
private func shortened(_ token: String) -> String { token.count > 14 ? token.prefix(13) + "…" : token }

/// Text as XML has it. What XML has no room for becomes U+FFFD.
private func xmlText(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\u{0}"..<"\u{20}", "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}
