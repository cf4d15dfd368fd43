// loss.svg: round numbers on its axes, means on its curve, and the points where they belong.

import Foundation
import LLM
import Testing

@Test func `the axes have round numbers that span the losses`() {
    for (low, high, ticks) in [
        (0.0, 1000.0, [0, 500, 1000]), (3.72, 5.1, [3.5, 4, 4.5, 5, 5.5]),
        (0.0001, 0.0009, [0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001]),
        (2, 2.0001, [2, 2.00005, 2.0001]),
    ] {
        let found = LossChart.ticks(low, high)
        #expect(found.count == ticks.count && zip(found, ticks).allSatisfy { abs($0 - $1) < 1e-9 }, "\(found)")
    }
}

@Test func `a long run's curve is made of means`() {
    var chart = LossChart()
    for step in 0..<480 { chart.training.append((step, step == 7 ? .nan : Double(step % 2))) }
    let curve = chart.trainingCurve
    #expect(curve.count == 240)
    #expect(curve[0].step == 0.5 && curve[0].loss == 0.5)
    // The step without a number is left out, and its span begins with the next.
    #expect(curve[3].step == 7 && curve[3].loss == 0)
    #expect(LossChart().svg == nil)
}

@Test func `the picture has the losses at their places`() throws {
    var chart = LossChart()
    chart.training = [(0, 5), (1, 4), (2, 3)]
    chart.validation = [(0, 5), (3, 2.5)]
    let svg = try #require(chart.svg)
    // Levels from 2 to 5 in (34, 276) from the top, steps from 0 to 3 in (58, 452).
    #expect(svg.contains("M58.0,34.0 L189.3,114.7 L320.7,195.3\" stroke=\"#3f6fa8\""))
    #expect(svg.contains("M58.0,34.0 L452.0,235.7\" stroke=\"#c2410c\""))
    #expect(svg.contains("best 2.5000 at step 3"))
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
}

@Test func `a run's picture is drawn from its log, and a resumed one's is the same`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/main.log"
        func log(_ steps: Range<Int>, _ log: RunLog) {
            for step in steps {
                _ = log.validation(step: step, loss: 5 / Double(step + 1), accuracy: 0.1)
                _ = log.training(step: step, loss: 4.000049 / Double(step + 1), learningRate: 1e-3, norm: 1)
            }
            log.draw()
        }
        log(0..<9, try RunLog(path: path, resumingAt: nil))
        let whole = try bytes(folder + "/loss.svg")
        #expect(String(decoding: whole, as: UTF8.self).contains("at step 8"))
        log(6..<9, try RunLog(path: path, resumingAt: 6))
        #expect(try bytes(folder + "/loss.svg") == whole)
        _ = try RunLog(path: path, resumingAt: nil)
        #expect(!fileExists(folder + "/loss.svg"))
    }
}

@Test func `steps are said as often as asked, else seldom`() {
    func said(every: Int?) -> [String] {
        final class Lines { var all: [String] = [] }
        let lines = Lines()
        var steps = StepLines(every: every) { lines.all.append($0) }
        for step in 1...10 { steps.show("\(step)", step: step, isLast: step == 10) }
        steps.close()
        return lines.all
    }
    #expect(said(every: 4) == ["4", "8", "10"])
    #expect(said(every: 1).count == 10)
    // The tests' output is no terminal.
    #expect(said(every: nil) == ["1", "10"])
}

@Test func `a step's line loses whole fields where the terminal is narrow`() {
    let line = "step   35/500 | loss 4.100000 | 66 s left | norm 0.9000 | lr 6.85e-03"
    #expect(StepLines.fitted(line, columns: 100) == line)
    #expect(StepLines.fitted(line, columns: line.count + 1) == line)
    #expect(StepLines.fitted(line, columns: line.count) == "step   35/500 | loss 4.100000 | 66 s left | norm 0.9000")
    #expect(StepLines.fitted(line, columns: 45) == "step   35/500 | loss 4.100000 | 66 s left")
    #expect(StepLines.fitted(line, columns: 10) == "step   35")
}
