// The questions that are drawn.

import Foundation
import LLM
import Testing

@Test func `a corpus holds draws only, and every outcome often`() {
    let questions = lottoCorpus(1500, 100, seed: 8).train
    var outcomes: [String: Int] = [:]
    for question in questions {
        #expect((1...5).contains(question.tickets.count) && !question.winning.contains(question.bonus))
        for draw in question.tickets + [question.winning] {
            #expect(draw.count == 6 && draw == Set(draw).sorted() && draw[0] >= 1 && draw[5] <= 45)
        }
        for ticket in question.tickets {
            let hits = Set(ticket).intersection(question.winning).count
            outcomes["\(hits)\(hits == 5 && ticket.contains(question.bonus) ? "+" : "")", default: 0] += 1
        }
    }
    let total = outcomes.values.reduce(0, +)
    for outcome in ["0", "1", "2", "3", "4", "5", "5+", "6"] {
        #expect(outcomes[outcome, default: 0] > total / 12, "\(outcome) hits")
    }
}

@Test func `training and validation never meet`() {
    let (train, validation) = lottoCorpus(2000, 300, seed: 9, maxTickets: 1)
    #expect(train.count == 2000 && validation.count == 300)
    #expect(Set(train).count == 2000 && Set(validation).count == 300)
    #expect(Set(train).isDisjoint(with: validation))
    // By construction, so corpora of different seeds don't meet either.
    #expect(train.allSatisfy { LottoMachine.side(of: $0) == .train })
    #expect(validation.allSatisfy { LottoMachine.side(of: $0) == .validation })
}

@Test func `the same seed gives the same corpus`() {
    #expect(lottoCorpus(50, 5, seed: 42) == lottoCorpus(50, 5, seed: 42))
    #expect(lottoCorpus(50, 5, seed: 42) != lottoCorpus(50, 5, seed: 43))
    // Pinned, so that a change of the draws on another machine or in a later version is noticed.
    #expect(
        lottoCorpus(1, 1, seed: 42).train[0].text(slots: 3)
            == "당첨 1 2 14 36 39 43 보너스 24\nA 1 2 18 21 30 40\nB 1 3 14 16 36 43\nC _ _ _ _ _ _\n결과\n"
    )
}
