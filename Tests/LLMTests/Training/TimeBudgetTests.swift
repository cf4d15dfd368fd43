// What suits a text and a time.

import Foundation
import LLM
import Testing

private let minute = 60 * 236e9

@Test func `more time wants a larger model, of whole heads`() {
    var before = (layers: 0, channels: 0)
    for minutes in [0.05, 0.3, 1, 5, 30, 200, 5000] {
        let budget = TimeBudget(tokens: 1_000_000_000, V: 4096, operations: minutes * minute)
        #expect(budget.layers >= before.layers && budget.channels >= before.channels, "\(minutes)")
        #expect(budget.channels % budget.heads == 0 && budget.channels / budget.heads == 32)
        before = (budget.layers, budget.channels)
    }
    #expect(before.layers > 10 && before.channels > 400)
}

@Test func `a text that is read often wants dropout and decay`() {
    let budgets = [30_000_000, 1_000_000, 400_000, 100_000, 10_000].map {
        TimeBudget(tokens: $0, V: 4096, operations: 5 * minute)
    }
    let (rates, decays) = (budgets.map { $0.dropout }, budgets.map { $0.weightDecay })
    #expect(rates == rates.sorted() && rates[0] == 0 && rates[4] >= 0.3)
    #expect(decays == decays.sorted() && decays[0] == 0.1 && decays[4] == 1)
}

@Test func `a short text is no reason for a large model, nor to be read for ever`() {
    let budgets = [20_000, 86_000, 400_000, 15_000_000].map {
        TimeBudget(tokens: $0, V: 2048, operations: 60 * minute)
    }
    let shapes = budgets.map { "\($0.layers) × \($0.channels)" }
    #expect(shapes[0] == "4 × 128" && shapes[1] == "4 × 128")
    #expect(budgets[2].channels > 128 && budgets[3].channels > budgets[2].channels)
    let epochs = budgets.map { $0.mostEpochs }
    #expect(epochs == epochs.sorted { $0 > $1 } && abs(epochs[1] - 40) < 1 && epochs[3] == 10)
}

/// Rows that begin anywhere take a row more than a batch has; so few tokens are many batches.
@Test(arguments: [40, 100, 999, 4000, 20_000, 100_000])
func `a short text fills some batches`(tokens: Int) {
    let budget = TimeBudget(tokens: tokens, V: 300, operations: minute)
    #expect((budget.B + 1) * budget.T <= max(tokens / 8, 16), "\(budget.B) · \(budget.T)")
    #expect(tokens < 20_000 || budget.B * budget.T == 1024)
}

@Test func `the steps fill the time, but a short text is not read for ever`() {
    func steps(_ seconds: Double, batches: Int) -> Int {
        // Of 86,000 tokens: forty times.
        TimeBudget(tokens: 86_000, V: 2048, operations: minute)
            .steps(seconds: seconds, secondsPerStep: 0.1, batches: batches)
    }
    // 20 batches in each of ten validations, at a third of a step each.
    #expect(abs(steps(300, batches: 1000) - (3000 - 67)) <= 1)
    #expect(steps(300, batches: 10) == 400 && steps(0.01, batches: 10) == 1)
}

@Test(arguments: [(1, "0", "1"), (40, "2", "4"), (3000, "100", "300")])
func `the warm-up and the validations follow from the steps`(steps: Int, warmup: String, every: String) {
    let options = TimeBudget.options(steps: steps)
    #expect(options["steps"] == "\(steps)" && options["warmup"] == warmup)
    #expect(options["val-every"] == every && options["sample-every"] == every)
}
