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
