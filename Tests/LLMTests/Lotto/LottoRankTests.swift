// The ranks and their prizes.

import Foundation
import LLM
import Testing

@Test func `ranks have the exercise's prizes`() {
    for rank in LottoRank.allCases { #expect(lottoPrizes[rank.name] == rank.prize) }
    #expect(LottoRank(hits: 2, bonus: true) == nil && LottoRank(hits: 6, bonus: false) == .first)
}
