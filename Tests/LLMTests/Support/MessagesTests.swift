// Numbers and durations as a person reads them.

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
    let amounts: [(Double, String)] = [
        (0, "0"), (72, "72"), (0.00214, "0.0021"), (56.74, "56.7"), (132_079.4, "132,079"), (2e16, "2e+16"),
    ]
    for (amount, text) in amounts { #expect(amountText(amount) == text) }
}
