// What a person sees while a program works, and how a program is stopped.

import Foundation
import LLM
import Testing

@Test func `numbers and durations for people`() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
        #expect(grouped(number) == text)
    }
    let durations: [(Double, String)] = [
        (0.4, "0 s"), (89.4, "89 s"), (90, "1 min 30 s"), (5399, "89 min 59 s"), (5400, "1 h 30 min"), (.infinity, "?"),
    ]
    for (seconds, text) in durations { #expect(durationText(seconds) == text) }
}

/// A log as a killed run leaves it: three steps written, the last checkpoint after the first two.
@Test func `a resumed log drops what is written again`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/main.log"
        let first = try RunLog(path: path, resumingAt: nil)
        try first.validation(step: 0, loss: 5.25, accuracy: 0.125)
        for step in 0..<3 { try first.training(step: step, loss: 5, learningRate: 1e-3, norm: 1) }
        let again = try RunLog(path: path, resumingAt: 2)
        try again.training(step: 2, loss: 4, learningRate: 1e-3, norm: 2)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(
            text == """
                s:0 tel:5.2500
                s:0 eval:0.1250
                s:0 trl:5.0000 lr:0.001000 norm:1.00
                s:1 trl:5.0000 lr:0.001000 norm:1.00
                s:2 trl:4.0000 lr:0.001000 norm:2.00

                """)
    }
}

/// timeout(1) sends its signal to the process and to its group, so it may arrive twice; a second one so soon must not
/// end the program before its checkpoint. If it does, the tests end here.
@Test func `two signals at once ask to stop once`() async throws {
    let stop = StopSignal(patience: 600)
    #expect(!stop.isRequested)
    // Dispatch begins to listen some time after it is told to.
    for _ in 0..<6000 where !stop.isRequested {
        kill(getpid(), SIGINT)
        try await Task.sleep(for: .milliseconds(10))
    }
    #expect(stop.isRequested)
    for number in [SIGINT, SIGTERM] {
        kill(getpid(), number)
        try await Task.sleep(for: .milliseconds(50))
    }
}
