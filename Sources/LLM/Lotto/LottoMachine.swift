/// A generator of lottery questions. The same seed gives the same questions on any machine.
package struct LottoMachine {
    /// The split that a question belongs to.
    package enum Side: Sendable { case train, validation }

    private var random: Xorshift
    private let maxTickets: Int

    package init(seed: UInt64, maxTickets: Int) {
        precondition((1...LottoQuestion.maxSlots).contains(maxTickets))
        random = Xorshift(seed: seed)
        self.maxTickets = maxTickets
    }

    /// A question of 1…maxTickets tickets. With honest draws, three hits occur once in 45 tickets and six hits once in
    /// eight million, too rarely to be learnt. So each of the eight outcomes, 0…6 hits and five with the bonus, is
    /// chosen equally often, and the ticket is drawn to match it.
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
                // These may include the bonus: a model must learn that it counts only together with five hits.
                default: draw(6 - hits, from: losing)
                }
            return (draw(hits, from: winning) + rest).sorted()
        }
        return LottoQuestion(tickets: tickets, winning: winning, bonus: bonus)
    }

    /// Draws questions until both sides are full, and calls `body` with each. No question occurs twice.
    ///
    /// A hash of the question alone decides its side. So no training question can be a validation question, not even
    /// across corpora of different seeds and sizes.
    package mutating func fill(
        train trainCount: Int, validation validationCount: Int, _ body: (Side, LottoQuestion) throws -> Void
    ) rethrows {
        var left: [Side: Int] = [.train: trainCount, .validation: validationCount]
        // Hashes stand for the questions, at 8 bytes each. A collision only drops a question that could have stayed.
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

    /// The side of a question: one in sixteen is for validation.
    package static func side(of question: LottoQuestion) -> Side {
        hash(of: question) >> 60 == 0 ? .validation : .train
    }

    /// The hash of a question: FNV-1a of its numbers, finally mixed so that the high bits depend on all of them.
    /// (Swift's own hashes differ from run to run.)
    static func hash(of question: LottoQuestion) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for number in question.tickets.joined() + question.winning + [question.bonus] {
            hash = (hash ^ UInt64(number)) &* 0x0000_0100_0000_01b3
        }
        hash = (hash ^ (hash >> 32)) &* 0x9e37_79b9_7f4a_7c15
        return hash ^ (hash >> 29)
    }

    /// `count` different numbers of `numbers`: the first steps of a Fisher–Yates shuffle.
    private mutating func draw(_ count: Int, from numbers: [Int]) -> [Int] {
        var numbers = numbers
        for i in 0..<count { numbers.swapAt(i, i + random.below(numbers.count - i)) }
        return Array(numbers.prefix(count))
    }
}
