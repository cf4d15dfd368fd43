// Other prices and prizes.

import Foundation
import LLM
import Testing

private func rule(
    _ price: Int, _ prizes: [Int] = [10_000, 100_000, 2_000_000, 50_000_000, 1_000_000_000], slots: Int = 5
) throws -> LottoRule {
    try LottoRule(price: price, prizes: prizes, slots: slots)
}

@Test(arguments: [2, 10])
func `every answer is right under a changed rule`(slots: Int) throws {
    let rule = try rule(3_000, slots: slots)
    let names = ["오등", "사등", "삼등", "이등", "일등"]
    let prizes = Dictionary(uniqueKeysWithValues: zip(names, rule.prizes))
    var changed = 0
    for question in lottoCorpus(500, 50, seed: 7, maxTickets: slots).train {
        let (text, answer) = (question.text(slots: slots), question.answer(slots: slots, under: rule))
        #expect(answer == naiveAnswer(text, price: 3_000, prizes: prizes))
        #expect(question.document(slots: slots, under: rule) == text + answer)
        changed += answer == question.answer(slots: slots) ? 0 : 1
        var score = LottoScore(under: rule)
        score.add(question, answer: answer, slots: slots)
        #expect(score.exactCount == 1)
        score.add(question, answer: question.answer(slots: slots), slots: slots)
        #expect(score.exactCount == (answer == question.answer(slots: slots) ? 2 : 1))
    }
    // Only questions without prizes have the same answer.
    #expect(changed > 300)
}

@Test func `the exercise's rule is the default`() {
    for rank in LottoRank.allCases { #expect(lottoPrizes[rank.name] == LottoRule.exercise.prize(of: rank)) }
    #expect(LottoRule.exercise.price == 1_000)
    // Pinned: the first document of `lotto generate`.
    let question = lottoCorpus(1, 1, seed: 42).train[0]
    #expect(question.document(slots: 2) == question.document(slots: 2, under: .exercise))
    #expect(
        question.answer(slots: 2)
            == """
            A 1○ 2○ 18× 21× 30× 40× 낙첨
            B 1○ 3× 14○ 16× 36○ 43○ 사등
            구입 2 일등 0 이등 0 삼등 0 사등 1 오등 0
            당첨금 _ _ _ _ _ _ 5 0 천원
            수익률 _ _ _ _ _ 2 5 0 0 . 0 %

            """)
}

@Test func `a rule must fit into the boxes`() throws {
    func refusal(_ price: Int, _ prizes: [Int], slots: Int = 5) throws -> UserError? {
        #expect(throws: UserError.self) { try rule(price, prizes, slots: slots) }
    }
    let few = [1_000, 1_000, 1_000, 1_000]
    for (price, prizes, words) in [
        (1_500, few + [1_000], "a price of 1,500 won"), (0, few + [1_000], "a price of 0 won"),
        (-1_000, few + [1_000], "a price"), (1_000, few + [1_001], "a prize of 1,001 won"),
        (1_000, [0] + few, "a prize of 0 won"), (1_000, few + [Int.max / 1_000 * 1_000], "do not fit into 8 digits"),
    ] {
        #expect(try refusal(price, prizes)?.message.contains(words) == true, "\(price) \(prizes)")
    }
    // Ten times 9,999,999 thousand are 99,999,990 thousand; a tenth more has nine digits.
    let full = try rule(1_000, few + [9_999_999_000], slots: 10)
    let question = LottoQuestion(
        tickets: [[Int]](repeating: [1, 2, 3, 4, 5, 6], count: 10), winning: [1, 2, 3, 4, 5, 6], bonus: 7)
    #expect(question.answer(slots: 10, under: full).contains("당첨금 9 9 9 9 9 9 9 0 천원\n수익률 9 9 9 9 9 9 9 0 0 . 0 %"))
    let refused = try refusal(1_000, few + [10_000_000_000], slots: 10)
    #expect(refused?.hint.contains("9,999,999,000 at most") == true, "\(refused?.hint ?? "")")
    // One ticket: 9,999,999 times its price has nine digits of percent, 10,000,000 times ten.
    _ = try rule(1_000, few + [9_999_999_000], slots: 1)
    _ = try rule(2_000, few + [10_000_000_000], slots: 1)
    #expect(try refusal(1_000, few + [10_000_000_000], slots: 1)?.message.contains("more than 9 digits") == true)
}
