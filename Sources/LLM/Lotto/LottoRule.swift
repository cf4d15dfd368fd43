/// The rule of a lottery: what a ticket costs, and what it wins. All sums are in won, in whole thousands, because answers
/// have prize money in thousands.
package struct LottoRule: Hashable, Sendable {
    /// The price of a ticket.
    package let price: Int
    /// The prizes, by `LottoRank.rawValue`: the fifth is first.
    package let prizes: [Int]

    /// The programming exercise's.
    package static let exercise = LottoRule(
        unchecked: 1_000, prizes: [5_000, 50_000, 1_500_000, 30_000_000, 2_000_000_000])

    private init(unchecked price: Int, prizes: [Int]) { (self.price, self.prizes) = (price, prizes) }

    /// - Parameters:
    ///   - prizes: by `LottoRank.rawValue`.
    ///   - slots: the most tickets in a question.
    /// - Throws: if an answer has no room for a sum.
    package init(price: Int, prizes: [Int], slots: Int) throws {
        precondition(prizes.count == LottoRank.allCases.count && (1...LottoQuestion.maxSlots).contains(slots))
        func refuse(_ what: String, _ hint: String) -> UserError { UserError(what, hint: hint, exitCode: 2) }
        for (what, sum) in [("a price", price)] + prizes.map({ ("a prize", $0) }) {
            guard sum > 0, sum.isMultiple(of: 1_000) else {
                throw refuse("\(what) of \(grouped(sum)) won", "sums are in whole thousands, from 1000 on")
            }
        }
        // The largest answers have the largest prize only.
        let largest = prizes.max() ?? 0
        let most = LottoRule.largest(digits: LottoQuestion.winningsDigits) * 1_000 / slots
        guard largest <= most else {
            throw refuse(
                "\(slots) prizes of \(grouped(largest)) won do not fit into \(LottoQuestion.winningsDigits) digits",
                "the answer counts thousands: take a prize of \(grouped(most / 1_000 * 1_000)) at most")
        }
        guard
            LottoQuestion.rateOfReturn(winnings: largest, paid: price) / 10
                <= LottoRule.largest(digits: LottoQuestion.rateDigits)
        else {
            throw refuse(
                "a prize of \(grouped(largest)) won for \(grouped(price)) is a rate of return of more than "
                    + "\(LottoQuestion.rateDigits) digits",
                "take smaller prizes, or a higher price")
        }
        self.init(unchecked: price, prizes: prizes)
    }

    package func prize(of rank: LottoRank) -> Int { prizes[rank.rawValue] }

    private static func largest(digits: Int) -> Int { (0..<digits).reduce(0) { number, _ in 10 * number + 9 } }
}
