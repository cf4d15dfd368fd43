// The lottery machine: a synthetic corpus in which every answer is known to be right.
//
// A question consists of the winning numbers, the bonus number and some tickets of six numbers, in the form of a
// lottery slip: games A, B, C …, the unused ones empty. The answer marks every number, names the rank of each ticket,
// counts the ranks, and gives the prize money and the rate of return. The task is a well-known Korean programming
// exercise, with its prizes.
//
//     당첨 3 12 17 25 33 41 보너스 7         winning numbers, bonus number
//     A 3 5 12 25 30 41
//     B _ _ _ _ _ _
//     결과                                   result: what follows is the answer
//     A 3○ 5× 12○ 25○ 30× 41○ 사등           ○ hit, △ bonus number, × miss; fourth prize
//     B _ _ _ _ _ _ _ _ _ _ _ _ _
//     구입 1 일등 0 이등 0 삼등 0 사등 1 오등 0    tickets bought; how many of each prize
//     당첨금 _ _ _ _ _ _ 5 0 천원             prize money in thousands of won, one digit per box
//     수익률 _ _ _ _ _ 5 0 0 0 . 0 %          rate of return
//
// This form is what enables a small model to learn the task (dev/LOG.md has the figures). Every number, mark and digit
// is one token, and every document has the same number of tokens, so each item is always at the same position. Each
// token of the answer follows in one simple step from a few earlier ones: copy a number from its position; check
// whether it is among the winning ones; count the marks of a line; count the ranks; compute a digit of the prize money
// from two of the counts, because 5·오등 + 50·사등 + 1500·삼등 + 30000·이등 + 2000000·일등 rarely carries; compute a digit of the
// rate by long division. The same code writes questions and answers for training and for scoring, so the two cannot
// diverge.

/// A question of the lottery machine; it can write itself and its answer.
package struct LottoQuestion: Hashable, Sendable {
    /// One to `maxSlots` tickets: six different numbers of 1…45 each, ascending.
    package let tickets: [[Int]]
    /// Six different numbers of 1…45, ascending.
    package let winning: [Int]
    /// A number of 1…45 that is not a winning number.
    package let bonus: Int

    package init(tickets: [[Int]], winning: [Int], bonus: Int) {
        func isDraw(_ numbers: [Int]) -> Bool {
            numbers.count == 6 && numbers.allSatisfy { (1...45).contains($0) }
                && zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 }
        }
        precondition(!tickets.isEmpty && tickets.allSatisfy(isDraw) && isDraw(winning), "not a lottery draw")
        precondition((1...45).contains(bonus) && !winning.contains(bonus), "not a bonus number")
        self.tickets = tickets
        self.winning = winning
        self.bonus = bonus
    }

    /// The line between a question and its answer.
    package static let mark = "결과"
    /// The rank's name for a ticket that wins nothing.
    static let noPrize = "낙첨"
    /// The number of boxes for the prize money: ten first prizes are 20,000,000 thousand won.
    static let winningsDigits = 8
    /// The number of boxes for the rate of return before the decimal point: only first prizes are 200,000,000 percent.
    static let rateDigits = 9
    /// The most games on a slip.
    package static let maxSlots = 10

    /// The lines of the question and the mark, each with its line feed.
    /// - Parameter slots: the number of games on the slip, used or empty.
    package func text(slots: Int) -> String {
        precondition((tickets.count...LottoQuestion.maxSlots).contains(slots))
        var lines = "당첨\(spaced(winning)) 보너스 \(bonus)\n"
        for slot in 0..<slots {
            lines += slotName(slot) + (slot < tickets.count ? spaced(tickets[slot]) : emptyBoxes(6)) + "\n"
        }
        return lines + LottoQuestion.mark + "\n"
    }

    /// The lines of the answer, each with its line feed.
    package func answer(slots: Int, under rule: LottoRule = .exercise) -> String {
        precondition((tickets.count...LottoQuestion.maxSlots).contains(slots))
        var lines = ""
        var counts = [Int](repeating: 0, count: LottoRank.allCases.count)
        var winnings = 0
        for slot in 0..<slots {
            guard slot < tickets.count else {
                lines += slotName(slot) + emptyBoxes(LottoReading.ticketTokens) + "\n"
                continue
            }
            let ticket = tickets[slot]
            let rank = LottoRank(hits: ticket.count(where: winning.contains), bonus: ticket.contains(bonus))
            if let rank { counts[rank.rawValue] += 1 }
            winnings += rank.map(rule.prize) ?? 0
            lines += slotName(slot)
            for number in ticket {
                let mark: LottoReading.Mark = winning.contains(number) ? .hit : number == bonus ? .bonus : .miss
                lines += " \(number)\(mark.rawValue)"
            }
            lines += " \(rank?.name ?? LottoQuestion.noPrize)\n"
        }
        lines += "구입 \(tickets.count)"
        for rank in LottoRank.allCases.reversed() { lines += " \(rank.name) \(counts[rank.rawValue])" }
        lines += "\n당첨금\(boxes(winnings / 1_000, LottoQuestion.winningsDigits)) 천원\n"
        let rate = LottoQuestion.rateOfReturn(winnings: winnings, paid: tickets.count * rule.price)
        return lines + "수익률\(boxes(rate / 10, LottoQuestion.rateDigits)) . \(rate % 10) %\n"
    }

    /// The question and its answer. There is no blank line inside, so that blank lines can separate documents.
    package func document(slots: Int, under rule: LottoRule = .exercise) -> String {
        text(slots: slots) + answer(slots: slots, under: rule)
    }

    /// The question and its answer as finetune reads them, a line of JSON. The mark ends the question.
    package func conversation(slots: Int, under rule: LottoRule = .exercise) -> [UInt8] {
        func quoted(_ lines: String) -> [UInt8] { JSON.quoted(Array(lines.utf8.dropLast())) }
        return Array("{\"prompt\": ".utf8) + quoted(text(slots: slots)) + Array(", \"completion\": ".utf8)
            + quoted(answer(slots: slots, under: rule)) + Array("}\n".utf8)
    }

    /// The template by which a conversation has the tokens of its document in a corpus: with the blank line after it,
    /// between two ends of text. White space at a message's ends does not count, so it stands in the template.
    package static let template: JSON = ["user": "{eos}{content}\n", "assistant": "{content}\n\n{eos}"]

    /// `winnings / paid` in tenths of a percent, halves rounded up: 62.5 % is 625, 166.666… % is 1667, 0.05 % is 1.
    package static func rateOfReturn(winnings: Int, paid: Int) -> Int { (2 * 1_000 * winnings + paid) / (2 * paid) }
}

func slotName(_ slot: Int) -> String { String(UnicodeScalar(UInt8(ascii: "A") + UInt8(slot))) }

private func spaced(_ numbers: [Int]) -> String { numbers.map { " \($0)" }.joined() }

private func emptyBoxes(_ count: Int) -> String { String(repeating: " _", count: count) }

private func boxes(_ number: Int, _ count: Int) -> String {
    let digits = String(number)
    precondition(digits.utf8.count <= count, "\(number) has more than \(count) digits")
    return emptyBoxes(count - digits.utf8.count) + digits.map { " \($0)" }.joined()
}
