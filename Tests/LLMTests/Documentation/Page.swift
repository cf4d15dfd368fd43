// What the tests of pages share: a page whose numbers are ticked off, and numbers as pages write them.

import Foundation
import Testing

let project = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

func text(_ path: String) throws -> String {
    try String(contentsOf: project.appendingPathComponent(path), encoding: .utf8)
}

/// A page, and what of it no test has looked at yet.
struct Page {
    private(set) var unchecked: String

    /// - Parameter measured: how the lines of a table begin whose numbers nothing can compute.
    init(_ path: String, measured: [String]) throws {
        let lines = try text(path).split(separator: "\n").filter { line in !measured.contains { line.hasPrefix($0) } }
        unchecked = lines.flatMap { $0.split(separator: " ") }.joined(separator: " ")
    }

    /// A check that the page says this, line breaks apart. It is then done with.
    mutating func expect(_ sentence: String, sourceLocation: SourceLocation = #_sourceLocation) {
        guard let range = unchecked.range(of: sentence) else {
            Issue.record("the page does not say: \(sentence)", sourceLocation: sourceLocation)
            return
        }
        unchecked.replaceSubrange(range, with: "")
    }

    /// Numbers with a point, a comma or an exponent that are left.
    func numbers(but known: Set<String>) -> [String] {
        unchecked.matches(of: /[0-9]*\.[0-9]+|[0-9]+(,[0-9]{3})+|[0-9]+e-[0-9]+/).map { String($0.0) }
            .filter { !known.contains($0) }
    }
}

/// 0.2212, or .2212 for a number between −1 and 1 without its zero.
func decimal(_ x: Double, _ digits: Int, zero: Bool = true) -> String {
    let magnitude = String(format: "%.\(digits)f", abs(x))
    return (x < 0 ? "−" : "") + (zero ? magnitude : String(magnitude.drop { $0 == "0" }))
}

/// Four decimals and no zero in front.
func short(_ x: Double) -> String { decimal(x, 4, zero: false) }

/// 38,597,376
func grouped(_ number: Int) -> String {
    var digits = String(number)
    var groups: [String] = []
    while digits.count > 3 {
        groups.insert(String(digits.suffix(3)), at: 0)
        digits.removeLast(3)
    }
    return ([digits] + groups).joined(separator: ",")
}
