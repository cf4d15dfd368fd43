// The lottery machine: a synthetic corpus whose every answer is known to be right.
//
// A question is the winning numbers, the bonus number and some tickets of six numbers, written like a lottery slip: games
// A, B, C …, the unused ones empty. The answer marks every number, names each ticket's rank, counts the ranks, and gives
// the prize money and the rate of return. The task is the well-known Korean programming exercise, with its prizes.
//
//     당첨 3 12 17 25 33 41 보너스 7         winning numbers, bonus number
//     A 3 5 12 25 30 41
//     B _ _ _ _ _ _
//     결과                                   result: what comes after it is the answer
//     A 3○ 5× 12○ 25○ 30× 41○ 사등           ○ hit, △ bonus number, × miss; fourth prize
//     B _ _ _ _ _ _ _ _ _ _ _ _ _
//     구입 1 일등 0 이등 0 삼등 0 사등 1 오등 0    tickets bought; how many of each prize
//     당첨금 _ _ _ _ _ _ 5 0 천원             prize money in thousands of won, one digit to a box
//     수익률 _ _ _ _ _ 5 0 0 0 . 0 %          rate of return
//
// The form is what makes a small model able to do it (dev/LOG.md has the figures). Every number, mark and digit is one
// token, and every document has the same number of them, so a thing is always found at the same place, and each token
// of the answer follows by one simple step from a few that stand before it: copy the number from its place; look whether
// it is among the winning ones; count the marks of a line; count the ranks; a digit of the prize money from two of the
// counts, for 5·오등 + 50·사등 + 1500·삼등 + 30000·이등 + 2000000·일등 hardly carries; a digit of the rate by long
// division. One machine writes the question and works out the answer, so what a model is trained on and what it is
// scored by cannot drift apart.

/// What a ticket wins.
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

    /// Fifth … first prize, in words: one token each, where 5등 is two.
    package var name: String { ["오등", "사등", "삼등", "이등", "일등"][rawValue] }
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

    /// What stands between a question and its answer, on a line of its own.
    package static let mark = "결과"
    /// What a ticket that wins nothing is called.
    static let noPrize = "낙첨"
    /// Digits before the decimal point: ten tickets of the first prize are 20,000,000 thousand won, and any number of
    /// them is 200,000,000 percent.
    static let winningsDigits = 8
    static let rateDigits = 9
    package static let maxSlots = 10

    /// The question's lines and the mark, each with its line feed.
    /// - Parameter slots: games on the slip, used or empty.
    package func text(slots: Int) -> String {
        precondition((tickets.count...LottoQuestion.maxSlots).contains(slots))
        var lines = "당첨\(spaced(winning)) 보너스 \(bonus)\n"
        for slot in 0..<slots {
            lines += slotName(slot) + (slot < tickets.count ? spaced(tickets[slot]) : emptyBoxes(6)) + "\n"
        }
        return lines + LottoQuestion.mark + "\n"
    }

    /// The answer's lines, each with its line feed.
    package func answer(slots: Int) -> String {
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
            winnings += rank?.prize ?? 0
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
        let rate = LottoQuestion.rateOfReturn(winnings: winnings, paid: paid)
        return lines + "수익률\(boxes(rate / 10, LottoQuestion.rateDigits)) . \(rate % 10) %\n"
    }

    /// Question and answer; no blank line inside, so that blank lines can separate documents.
    package func document(slots: Int) -> String { text(slots: slots) + answer(slots: slots) }

    /// Winnings / paid in tenths of a percent, halves rounded up: 62.5 % is 625, 166.666… % is 1667 and 0.05 % is 1.
    package static func rateOfReturn(winnings: Int, paid: Int) -> Int { (2 * 1_000 * winnings + paid) / (2 * paid) }
}

// MARK: - reading an answer

/// What an answer says, part by part; a part that cannot be read is nil. Nothing here knows the lottery's rules.
package struct LottoReading: Equatable, Sendable {
    package enum Mark: Character, Sendable {
        case hit = "○"
        case bonus = "△"
        case miss = "×"
    }

    package enum Slot: Equatable, Sendable {
        case empty
        /// Six numbers with their marks; rank nil is no prize.
        case ticket(numbers: [Int], marks: [Mark], rank: LottoRank?)

        package var rank: LottoRank? {
            if case .ticket(_, _, let rank) = self { rank } else { nil }
        }
    }

    package let slots: [Slot?]
    /// Tickets bought.
    package let bought: Int?
    /// How many of each prize, by `LottoRank.rawValue`.
    package let counts: [Int]?
    /// In thousands of won.
    package let winnings: Int?
    /// In tenths of a percent.
    package let rate: Int?
    /// Whether every line is there, in order, and nothing else.
    package let hasForm: Bool

    /// Six numbers, six marks and the rank.
    static let ticketTokens = 13

    /// Reads whatever a model wrote: a line is known by its first word, and read only if all of it has its form.
    package init(_ text: String, slots slotCount: Int) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
            $0.split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
        }
        // The line feed after the last line, and the blank line that separates documents.
        while lines.last == [""] { lines.removeLast() }
        let names = (0..<slotCount).map(slotName) + ["구입", "당첨금", "수익률"]
        // The first line of a name counts.
        let rest = names.map { name in lines.first { $0.first == name }?.dropFirst() ?? [] }
        slots = rest.prefix(slotCount).map { LottoReading.slot(Array($0)) }
        let summary = LottoReading.summary(Array(rest[slotCount]))
        (bought, counts) = (summary?.bought, summary?.counts)
        winnings =
            rest[slotCount + 1].last == "천원"
            ? LottoReading.number(rest[slotCount + 1].dropLast(), digits: LottoQuestion.winningsDigits) : nil
        let rateWords = Array(rest[slotCount + 2])
        if rateWords.count == LottoQuestion.rateDigits + 3,
            let tenths = LottoReading.digit(rateWords[rateWords.count - 2]),
            rateWords[rateWords.count - 3] == ".", rateWords[rateWords.count - 1] == "%",
            let whole = LottoReading.number(rateWords.dropLast(3), digits: LottoQuestion.rateDigits)
        {
            rate = 10 * whole + tenths
        } else {
            rate = nil
        }
        hasForm =
            lines.map { $0.first ?? "" } == names && slots.allSatisfy { $0 != nil } && summary != nil && winnings != nil
            && rate != nil
    }

    private static func slot(_ words: [String]) -> Slot? {
        if words == [String](repeating: "_", count: ticketTokens) { return .empty }
        guard words.count == 7 else { return nil }
        var numbers: [Int] = []
        var marks: [Mark] = []
        for word in words.dropLast() {
            guard let last = word.last, let mark = Mark(rawValue: last), let number = natural(word.dropLast()),
                (1...45).contains(number)
            else { return nil }
            numbers.append(number)
            marks.append(mark)
        }
        let rank = LottoRank.allCases.first { $0.name == words[6] }
        guard rank != nil || words[6] == LottoQuestion.noPrize else { return nil }
        return .ticket(numbers: numbers, marks: marks, rank: rank)
    }

    private static func summary(_ words: [String]) -> (bought: Int, counts: [Int])? {
        let ranks = LottoRank.allCases
        guard words.count == 1 + 2 * ranks.count, let bought = natural(words[0][...]) else { return nil }
        var counts = [Int](repeating: 0, count: ranks.count)
        for (index, rank) in ranks.reversed().enumerated() {
            guard words[1 + 2 * index] == rank.name, let count = natural(words[2 + 2 * index][...]) else { return nil }
            counts[rank.rawValue] = count
        }
        return (bought, counts)
    }

    /// A number of one digit to a box, the boxes before it empty.
    private static func number(_ words: ArraySlice<String>, digits: Int) -> Int? {
        let used = words.drop { $0 == "_" }
        guard words.count == digits, !used.isEmpty, used.count == 1 || used.first != "0" else { return nil }
        var number = 0
        for word in used {
            guard let digit = digit(word) else { return nil }
            number = 10 * number + digit
        }
        return number
    }

    private static func digit(_ word: String) -> Int? { word.utf8.count == 1 ? natural(word[...]) : nil }

    /// Two ASCII digits at most, no sign, no zero in front.
    private static func natural(_ word: Substring) -> Int? {
        guard (1...2).contains(word.utf8.count), word.utf8.allSatisfy({ (48...57).contains($0) }),
            word == "0" || word.first != "0"
        else { return nil }
        return Int(word)
    }
}

private func slotName(_ slot: Int) -> String { String(UnicodeScalar(UInt8(ascii: "A") + UInt8(slot))) }

private func spaced(_ numbers: [Int]) -> String { numbers.map { " \($0)" }.joined() }

private func emptyBoxes(_ count: Int) -> String { String(repeating: " _", count: count) }

private func boxes(_ number: Int, _ count: Int) -> String {
    let digits = String(number)
    precondition(digits.utf8.count <= count, "\(number) has more than \(count) digits")
    return emptyBoxes(count - digits.utf8.count) + digits.map { " \($0)" }.joined()
}

// MARK: - scoring answers

/// A question and the wrong answer that a model gave.
package struct LottoFailure: Sendable {
    package let question: LottoQuestion
    package let answer: String
}

/// How many answers are right, as a whole and part by part.
package struct LottoScore: Sendable {
    package enum Part: String, CaseIterable, Sendable {
        case form, tickets, hits, ranks, bonus, counts, winnings, rate

        package var explanation: String {
            switch self {
            case .form: "every line is there and can be read"
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

    /// By number of tickets: questions asked, and those answered exactly.
    package private(set) var asked: [Int: Int] = [:]
    package private(set) var exact: [Int: Int] = [:]
    package private(set) var right: [Part: Int] = [:]
    package private(set) var failures: [LottoFailure] = []

    package init() {}

    package var questions: Int { asked.values.reduce(0, +) }
    package var exactCount: Int { exact.values.reduce(0, +) }
    /// The share of answers that are the program's, character by character.
    package var accuracy: Double { Double(exactCount) / Double(max(1, questions)) }

    /// Compares an answer with the program's. White space at its end counts for nothing.
    package mutating func add(_ question: LottoQuestion, answer: String, slots: Int) {
        let wanted = question.answer(slots: slots)
        let count = question.tickets.count
        asked[count, default: 0] += 1
        if answer.trimmingSuffix(while: \.isWhitespace) == wanted.trimmingSuffix(while: \.isWhitespace) {
            exact[count, default: 0] += 1
        } else {
            failures.append(LottoFailure(question: question, answer: answer))
        }
        let (read, truth) = (LottoReading(answer, slots: slots), LottoReading(wanted, slots: slots))
        for part in Part.allCases where LottoScore.agree(part, read, truth) { right[part, default: 0] += 1 }
    }

    private static func agree(_ part: Part, _ a: LottoReading, _ b: LottoReading) -> Bool {
        switch part {
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

    /// A slot without its rank; nil if it could not be read.
    private static func hits(_ slot: LottoReading.Slot?) -> LottoReading.Slot? {
        guard case .ticket(let numbers, let marks, _) = slot else { return slot }
        return .ticket(numbers: numbers, marks: marks, rank: nil)
    }
}

extension String {
    fileprivate func trimmingSuffix(while isDropped: (Character) -> Bool) -> Substring {
        var rest = self[...]
        while let last = rest.last, isDropped(last) { rest.removeLast() }
        return rest
    }
}

// MARK: - drawing questions

/// Draws questions. The same seed draws the same questions on any machine.
package struct LottoMachine {
    package enum Side: Sendable { case train, validation }

    private var random: Xorshift
    private let maxTickets: Int

    package init(seed: UInt64, maxTickets: Int) {
        precondition((1...LottoQuestion.maxSlots).contains(maxTickets))
        random = Xorshift(seed: seed)
        self.maxTickets = maxTickets
    }

    /// A question of 1…maxTickets tickets. Honest draws hit three numbers once in 45 tickets and six once in eight
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
