/// The rank of a winning ticket.
package enum LottoRank: Int, CaseIterable, Sendable {
    case fifth, fourth, third, second, first

    /// The rank of a ticket; nil if it wins nothing. The bonus number counts only together with five hits.
    package init?(hits: Int, bonus: Bool) {
        switch hits {
        case 3: self = .fifth
        case 4: self = .fourth
        case 5: self = bonus ? .second : .third
        case 6: self = .first
        default: return nil
        }
    }

    /// The prize in won.
    package var prize: Int {
        switch self {
        case .fifth: 5_000
        case .fourth: 50_000
        case .third: 1_500_000
        case .second: 30_000_000
        case .first: 2_000_000_000
        }
    }

    /// Fifth … first prize in words. Each is one token, whereas 5등 would be two.
    package var name: String { ["오등", "사등", "삼등", "이등", "일등"][rawValue] }
}
