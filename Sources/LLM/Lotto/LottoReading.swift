/// The parsed text of an answer. What cannot be parsed is nil. The rules of the lottery play no role here.
package struct LottoReading: Equatable, Sendable {
    package enum Mark: Character, Sendable {
        case hit = "○"
        case bonus = "△"
        case miss = "×"
    }

    package enum Slot: Equatable, Sendable {
        case empty
        /// Six numbers with their marks; a nil rank means no prize.
        case ticket(numbers: [Int], marks: [Mark], rank: LottoRank?)

        package var rank: LottoRank? {
            if case .ticket(_, _, let rank) = self { rank } else { nil }
        }
    }

    /// The slots of the slip.
    package let slots: [Slot?]
    /// The number of tickets bought.
    package let bought: Int?
    /// The number of tickets of each rank, by `LottoRank.rawValue`.
    package let counts: [Int]?
    /// The prize money in thousands of won.
    package let winnings: Int?
    /// The rate of return in tenths of a percent.
    package let rate: Int?
    /// Whether every line is present, in order, and nothing else.
    package let hasForm: Bool

    /// The number of tokens in the line of a ticket: six numbers, six marks and the rank.
    static let ticketTokens = 13

    /// Parses whatever a model wrote. A line is identified by its first word and parsed only if all of it is well
    /// formed.
    package init(_ text: String, slots slotCount: Int) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
            $0.split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
        }
        // Drop the line feed after the last line and the blank line that separates documents.
        while lines.last == [""] { lines.removeLast() }
        let names = (0..<slotCount).map(slotName) + ["구입", "당첨금", "수익률"]
        // If a name occurs in several lines, the first one counts.
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

    /// A number with one digit per box, after empty boxes.
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

    /// A number of at most two ASCII digits, without a sign or a leading zero.
    private static func natural(_ word: Substring) -> Int? {
        guard (1...2).contains(word.utf8.count), word.utf8.allSatisfy({ (48...57).contains($0) }),
            word == "0" || word.first != "0"
        else { return nil }
        return Int(word)
    }
}
