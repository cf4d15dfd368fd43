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

    /// Fifth … first prize in words. Each is one token, whereas 5등 would be two.
    package var name: String { ["오등", "사등", "삼등", "이등", "일등"][rawValue] }
}
