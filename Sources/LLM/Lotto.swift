// The lottery machine: a synthetic corpus whose every answer is known to be right.
//
// A question is tickets of six numbers, the winning numbers and the bonus number; the answer counts the hits, names the
// ranks and gives the rate of return. The task is the well-known Korean programming exercise, with its prizes and its
// sentences. One machine writes the question and works out the answer, so what a model is trained on and what it is
// scored by cannot drift apart. The answer shows its work, ticket by ticket, before the totals: a small model can then
// copy one hit at a time and never has to count in its head.

/// What a ticket wins, in the order in which the statistics list it.
package enum LottoRank: Int, CaseIterable, Sendable {
    case fifth, fourth, third, second, first

    /// - Returns: nil if so many hits win nothing. The bonus number counts only beside five hits.
    package init?(hits: Int, bonus: Bool) {
        switch hits {
        case 3: self = .fifth
        case 4: self = .fourth
        case 5: self = bonus ? .second : .third
        case 6: self = .first
        default: return nil
        }
    }

    /// In won.
    package var prize: Int {
        switch self {
        case .fifth: 5_000
        case .fourth: 50_000
        case .third: 1_500_000
        case .second: 30_000_000
        case .first: 2_000_000_000
        }
    }

    /// 5등 … 1등.
    package var name: String { "\(5 - rawValue)등" }

    package var condition: String {
        switch self {
        case .fifth: "3개 일치"
        case .fourth: "4개 일치"
        case .third: "5개 일치"
        case .second: "5개 일치, 보너스 볼 일치"
        case .first: "6개 일치"
        }
    }
}

/// One question, and its answer.
package struct LottoQuestion: Hashable, Sendable {
    /// Six different numbers of 1…45 each, ascending.
    package let tickets: [[Int]]
    /// Six different numbers of 1…45, ascending.
    package let winning: [Int]
    /// A number of 1…45 that is not among the winning ones.
    package let bonus: Int

    package static let ticketPrice = 1_000

    package init(tickets: [[Int]], winning: [Int], bonus: Int) {
        func isDraw(_ numbers: [Int]) -> Bool {
            numbers.count == 6 && numbers.allSatisfy { (1...45).contains($0) }
                && zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }
        }
        precondition(!tickets.isEmpty && tickets.allSatisfy(isDraw) && isDraw(winning), "no lottery draw")
        precondition((1...45).contains(bonus) && !winning.contains(bonus), "no bonus number")
        self.tickets = tickets
        self.winning = winning
        self.bonus = bonus
    }

    package var paid: Int { tickets.count * LottoQuestion.ticketPrice }

    /// The question's lines, each with its line feed.
    package var text: String {
        var lines = "구입 금액: \(grouped(paid))원\n"
        for (index, ticket) in tickets.enumerated() { lines += "\(index + 1)번: \(list(ticket))\n" }
        return lines + "당첨 번호: \(list(winning))\n보너스 번호: \(bonus)\n"
    }

    /// The answer's lines, each with its line feed.
    package var answer: String {
        var lines = "\(tickets.count)개를 구매했습니다.\n"
        var counts = [Int](repeating: 0, count: LottoRank.allCases.count)
        for (index, ticket) in tickets.enumerated() {
            let hits = ticket.filter(winning.contains)
            let rank = LottoRank(hits: hits.count, bonus: ticket.contains(bonus))
            if let rank { counts[rank.rawValue] += 1 }
            let shown = hits.isEmpty ? "없음" : list(hits)
            let bonusShown = rank == .second ? ", 보너스 \(bonus)" : ""
            lines += "\(index + 1)번: \(shown) → \(hits.count)개 일치\(bonusShown), \(rank?.name ?? "낙첨")\n"
        }
        lines += "당첨 통계\n"
        var winnings = 0
        for rank in LottoRank.allCases {
            let count = counts[rank.rawValue]
            winnings += count * rank.prize
            lines += "\(rank.condition) (\(grouped(rank.prize))원) - \(count)개\n"
        }
        lines += "총 당첨금은 \(grouped(winnings))원입니다.\n"
        return lines + "총 수익률은 \(LottoQuestion.rateOfReturn(winnings: winnings, paid: paid))%입니다.\n"
    }

    /// Question and answer; no blank line inside, so that blank lines can separate documents.
    package var document: String { text + answer }

    /// Winnings / paid × 100 with one decimal. In whole numbers of tenths of a percent, halves rounded up: 62.5 is
    /// exact, 166.666… gives 166.7 and 0.05 gives 0.1, on every machine.
    package static func rateOfReturn(winnings: Int, paid: Int) -> String {
        let tenths = (2 * 1_000 * winnings + paid) / (2 * paid)
        return "\(grouped(tenths / 10)).\(tenths % 10)"
    }
}

/// Draws questions. The same seed draws the same questions on any machine.
package struct LottoMachine {
    package enum Side: Sendable { case train, validation }

    private var random: Xorshift
    private let maxTickets: Int

    package init(seed: UInt64, maxTickets: Int) {
        precondition(maxTickets > 0)
        random = Xorshift(seed: seed)
        self.maxTickets = maxTickets
    }

    /// A question of 1…maxTickets tickets. Honest draws hit three numbers once in fifty tickets and six once in eight
    /// million, too rarely to be learnt: here each of the eight outcomes, 0…6 hits and five with the bonus, is wanted
    /// equally often, and the ticket is built to give it.
    package mutating func next() -> LottoQuestion {
        let ticketCount = 1 + random.below(maxTickets)
        let drawn = draw(7, from: Array(1...45))
        let winning = drawn.prefix(6).sorted()
        let bonus = drawn[6]
        let losing = (1...45).filter { !winning.contains($0) }
        let tickets = (0..<ticketCount).map { _ in
            let outcome = random.below(8)
            let hits = outcome == 7 ? 5 : outcome
            let rest =
                switch outcome {
                case 7: [bonus]
                case 5: draw(1, from: losing.filter { $0 != bonus })
                // The bonus may be among these: a model must learn that it counts only beside five hits.
                default: draw(6 - hits, from: losing)
                }
            return (draw(hits, from: winning) + rest).sorted()
        }
        return LottoQuestion(tickets: tickets, winning: winning, bonus: bonus)
    }

    /// Draws until both sides are full, and hands over each question as it comes. None comes twice.
    ///
    /// A hash of the question alone decides its side, so no training question can be a validation question: not in
    /// this corpus, and not between corpora of other seeds and sizes either.
    package mutating func fill(
        train trainCount: Int, validation validationCount: Int, _ body: (Side, LottoQuestion) throws -> Void
    ) rethrows {
        var left: [Side: Int] = [.train: trainCount, .validation: validationCount]
        // Hashes stand for the questions: 8 bytes each, and a collision merely drops a question that could have stayed.
        var seen = Set<UInt64>()
        while left.values.contains(where: { $0 > 0 }) {
            let question = next()
            let side = LottoMachine.side(of: question)
            guard let room = left[side], room > 0 else { continue }
            guard seen.insert(LottoMachine.hash(of: question)).inserted else { continue }
            left[side] = room - 1
            try body(side, question)
        }
    }

    /// One question in sixteen is for validation.
    package static func side(of question: LottoQuestion) -> Side {
        hash(of: question) >> 60 == 0 ? .validation : .train
    }

    /// FNV-1a over the numbers, with a last mixing so that the high bits depend on all of them. Swift's own hashes
    /// differ from run to run.
    static func hash(of question: LottoQuestion) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for number in question.tickets.joined() + question.winning + [question.bonus] {
            hash = (hash ^ UInt64(number)) &* 0x0000_0100_0000_01b3
        }
        hash = (hash ^ (hash >> 32)) &* 0x9e37_79b9_7f4a_7c15
        return hash ^ (hash >> 29)
    }

    /// `count` different ones of `numbers`: the beginning of a Fisher–Yates shuffle.
    private mutating func draw(_ count: Int, from numbers: [Int]) -> [Int] {
        var numbers = numbers
        for i in 0..<count { numbers.swapAt(i, i + random.below(numbers.count - i)) }
        return Array(numbers.prefix(count))
    }
}

private func list(_ numbers: [Int]) -> String { numbers.map(String.init).joined(separator: ", ") }
