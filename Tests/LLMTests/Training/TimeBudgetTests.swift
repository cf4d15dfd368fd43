// What suits a text and a time.

import Foundation
import LLM
import Testing

private let minute = 60 * 236e9

@Test func `more time wants a larger model, of whole heads`() {
    var before = (layers: 0, channels: 0)
    for minutes in [0.05, 0.3, 1, 5, 30, 200, 5000] {
        let budget = TimeBudget(tokens: 1_000_000, V: 4096, operations: minutes * minute)
        #expect(budget.layers >= before.layers && budget.channels >= before.channels, "\(minutes)")
        #expect(budget.channels % budget.heads == 0 && budget.channels / budget.heads == 32)
        before = (budget.layers, budget.channels)
    }
    #expect(before.layers > 10 && before.channels > 400)
}

@Test func `a text that is read often wants dropout`() {
    let rates = [30_000_000, 1_000_000, 400_000, 100_000, 10_000].map {
        TimeBudget(tokens: $0, V: 4096, operations: 5 * minute).dropout
    }
    #expect(rates == rates.sorted() && rates[0] == 0 && rates[4] >= 0.3)
}

/// Rows that begin anywhere take a row more than a batch has; so few tokens are many batches.
@Test(arguments: [40, 100, 999, 4000, 20_000, 100_000])
func `a short text fills some batches`(tokens: Int) {
    let budget = TimeBudget(tokens: tokens, V: 300, operations: minute)
    #expect((budget.B + 1) * budget.T <= max(tokens / 8, 16), "\(budget.B) · \(budget.T)")
    #expect(tokens < 20_000 || budget.B * budget.T == 1024)
}

@Test func `the steps fill the time, but a short text is not read for ever`() throws {
    func steps(_ seconds: Double, batches: Int) throws -> Int {
        let options = TimeBudget.options(seconds: seconds, secondsPerStep: 0.1, batches: batches)
        let numbers = try ["steps", "warmup", "val-every"].map { name in
            let text = try #require(options[name])
            return try #require(Int(text))
        }
        #expect(numbers[1] <= numbers[0] && numbers[2] == max(1, numbers[0] / 10))
        return numbers[0]
    }
    // 20 batches in each of ten validations, at a third of a step each.
    let many = try steps(300, batches: 1000)
    #expect(abs(many - (3000 - 67)) <= 1)
    let (short, none) = (try steps(300, batches: 10), try steps(0.01, batches: 10))
    #expect(short == 1000 && none == 1)
}
