// The ranks.

import Foundation
import LLM
import Testing

@Test func `ranks go by hits and the bonus number`() {
    #expect(LottoRank(hits: 2, bonus: true) == nil && LottoRank(hits: 6, bonus: false) == .first)
}
