/// A score: the number of right answers, as a whole and by criterion.
package struct LottoScore: Sendable {
    /// A criterion that an answer meets or not.
    package enum Criterion: String, CaseIterable, Sendable {
        case form, tickets, hits, ranks, bonus, counts, winnings, rate

        package var explanation: String {
            switch self {
            case .form: "every line is present and well formed"
            case .tickets: "the number of tickets bought"
            case .hits: "every number of every ticket with its mark"
            case .ranks: "the rank of every ticket"
            case .bonus: "which tickets take the second prize, by the bonus number"
            case .counts: "how many of each prize"
            case .winnings: "the prize money"
            case .rate: "the rate of return"
            }
        }
    }

    /// The number of questions, by number of tickets.
    package private(set) var asked: [Int: Int] = [:]
    /// The number of exact answers, by number of tickets.
    package private(set) var exact: [Int: Int] = [:]
    /// The number of answers that meet each criterion.
    package private(set) var right: [Criterion: Int] = [:]
    package private(set) var failures: [LottoFailure] = []

    private let rule: LottoRule

    /// - Parameter rule: by which answers are right.
    package init(under rule: LottoRule = .exercise) { self.rule = rule }

    package var questions: Int { asked.values.reduce(0, +) }
    package var exactCount: Int { exact.values.reduce(0, +) }
    /// The share of exact answers.
    package var accuracy: Double { Double(exactCount) / Double(max(1, questions)) }

    /// Adds an answer to the score. It is exact if it equals the program's answer, except for white space at the end.
    package mutating func add(_ question: LottoQuestion, answer: String, slots: Int) {
        let wanted = question.answer(slots: slots, under: rule)
        let count = question.tickets.count
        asked[count, default: 0] += 1
        if answer.trimmingSuffix(while: \.isWhitespace) == wanted.trimmingSuffix(while: \.isWhitespace) {
            exact[count, default: 0] += 1
        } else {
            failures.append(LottoFailure(question: question, answer: answer))
        }
        let (read, truth) = (LottoReading(answer, slots: slots), LottoReading(wanted, slots: slots))
        for criterion in Criterion.allCases where LottoScore.agree(criterion, read, truth) {
            right[criterion, default: 0] += 1
        }
    }

    private static func agree(_ criterion: Criterion, _ a: LottoReading, _ b: LottoReading) -> Bool {
        switch criterion {
        case .form: a.hasForm
        case .tickets: a.bought == b.bought && a.slots.map { $0 == .empty } == b.slots.map { $0 == .empty }
        case .hits: a.slots.map(hits) == b.slots.map(hits)
        case .ranks: !a.slots.contains(nil) && a.slots.map { $0?.rank } == b.slots.map { $0?.rank }
        case .bonus:
            !a.slots.contains(nil)
                && a.slots.map { $0?.rank == .second } == b.slots.map { $0?.rank == .second }
        case .counts: a.counts == b.counts
        case .winnings: a.winnings == b.winnings
        case .rate: a.rate == b.rate
        }
    }

    /// A slot without its rank; nil if it could not be parsed.
    private static func hits(_ slot: LottoReading.Slot?) -> LottoReading.Slot? {
        guard case .ticket(let numbers, let marks, _) = slot else { return slot }
        return .ticket(numbers: numbers, marks: marks, rank: nil)
    }
}

/// A question and the wrong answer that a model gave.
package struct LottoFailure: Sendable {
    package let question: LottoQuestion
    package let answer: String
}

extension String {
    fileprivate func trimmingSuffix(while isDropped: (Character) -> Bool) -> Substring {
        var rest = self[...]
        while let last = rest.last, isDropped(last) { rest.removeLast() }
        return rest
    }
}
