// The lottery corpus. Every answer is worked out a second time, in another way, from the text that is written.

import Foundation
import LLM
import Testing

@Test func `the exercise's own example returns 62.5 percent`() {
    let question = LottoQuestion(
        tickets: [
            [8, 21, 23, 41, 42, 43], [3, 5, 11, 16, 32, 38], [7, 11, 16, 35, 36, 44], [1, 8, 11, 31, 41, 42],
            [13, 14, 16, 38, 42, 45], [7, 11, 30, 40, 42, 43], [2, 13, 22, 32, 38, 45], [1, 3, 5, 14, 22, 45],
        ],
        winning: [1, 2, 3, 4, 5, 6], bonus: 7)
    #expect(
        question.document(slots: 9) == """
            당첨 1 2 3 4 5 6 보너스 7
            A 8 21 23 41 42 43
            B 3 5 11 16 32 38
            C 7 11 16 35 36 44
            D 1 8 11 31 41 42
            E 13 14 16 38 42 45
            F 7 11 30 40 42 43
            G 2 13 22 32 38 45
            H 1 3 5 14 22 45
            I _ _ _ _ _ _
            결과
            A 8× 21× 23× 41× 42× 43× 낙첨
            B 3○ 5○ 11× 16× 32× 38× 낙첨
            C 7△ 11× 16× 35× 36× 44× 낙첨
            D 1○ 8× 11× 31× 41× 42× 낙첨
            E 13× 14× 16× 38× 42× 45× 낙첨
            F 7△ 11× 30× 40× 42× 43× 낙첨
            G 2○ 13× 22× 32× 38× 45× 낙첨
            H 1○ 3○ 5○ 14× 22× 45× 오등
            I _ _ _ _ _ _ _ _ _ _ _ _ _
            구입 8 일등 0 이등 0 삼등 0 사등 0 오등 1
            당첨금 _ _ _ _ _ _ _ 5 천원
            수익률 _ _ _ _ _ _ _ 6 2 . 5 %

            """)
}

@Test func `the bonus number counts only beside five hits`() {
    let tickets = [
        [1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 8], [1, 2, 3, 4, 7, 8], [7, 8, 9, 10, 11, 12], [1, 2, 3, 4, 5, 6],
    ]
    let answer = LottoQuestion(tickets: tickets, winning: [1, 2, 3, 4, 5, 6], bonus: 7).answer(slots: 5)
    #expect(answer.contains("A 1○ 2○ 3○ 4○ 5○ 7△ 이등\n"))
    #expect(answer.contains("B 1○ 2○ 3○ 4○ 5○ 8× 삼등\n"))
    #expect(answer.contains("C 1○ 2○ 3○ 4○ 7△ 8× 사등\n"))
    #expect(answer.contains("D 7△ 8× 9× 10× 11× 12× 낙첨\n"))
    #expect(answer.contains("E 1○ 2○ 3○ 4○ 5○ 6○ 일등\n"))
    #expect(answer.hasSuffix("당첨금 _ 2 0 3 1 5 5 0 천원\n수익률 _ 4 0 6 3 1 0 0 0 . 0 %\n"))
}

@Test func `ten first prizes fill the boxes`() {
    let question = LottoQuestion(
        tickets: [[Int]](repeating: [1, 2, 3, 4, 5, 6], count: 10), winning: [1, 2, 3, 4, 5, 6], bonus: 7)
    #expect(
        question.answer(slots: 10).hasSuffix(
            "J 1○ 2○ 3○ 4○ 5○ 6○ 일등\n구입 10 일등 10 이등 0 삼등 0 사등 0 오등 0\n당첨금 2 0 0 0 0 0 0 0 천원\n"
                + "수익률 2 0 0 0 0 0 0 0 0 . 0 %\n"))
}

@Test func `the rate of return rounds halves up`() {
    let cases = [
        (0, 1_000, 0), (5_000, 8_000, 625), (5_000, 3_000, 1_667), (5_000, 7_000, 714), (1, 2_000, 1), (1, 2_001, 0),
        (3, 2_000, 2), (50_000, 1_000, 50_000), (2_000_000_000, 1_000, 2_000_000_000),
    ]
    for (winnings, paid, rate) in cases {
        #expect(LottoQuestion.rateOfReturn(winnings: winnings, paid: paid) == rate)
    }
}

@Test(arguments: [1, 5, 10])
func `every answer of a corpus is right`(slots: Int) {
    let (train, validation) = lottoCorpus(1000, 100, seed: 7, maxTickets: slots)
    for question in train + validation {
        let text = question.text(slots: slots)
        #expect(question.answer(slots: slots) == naiveAnswer(text))
        #expect(question.document(slots: slots) == text + question.answer(slots: slots))
        #expect(!question.document(slots: slots).contains("\n\n") && text.hasSuffix("\n결과\n"))
    }
}

/// What lets a small model look for a thing always at the same place.
@Test(arguments: [2, 5, 10])
func `every document has the same number of words`(slots: Int) {
    func shape(_ text: String) -> [Int] { text.split(separator: "\n").map { $0.split(separator: " ").count } }
    /// A ticket's number and its mark are one word and two tokens, an empty box is one of either.
    func tokens(_ text: String) -> Int {
        text.split { $0 == " " || $0 == "\n" }.count + text.count { "○△×".contains($0) } + text.count { $0 == "\n" }
    }
    let questions = lottoCorpus(300, 30, seed: 3, maxTickets: slots)
    let all = questions.train + questions.validation
    #expect(Set(all.map { shape($0.text(slots: slots)) }).count == 1)
    #expect(Set(all.map { tokens($0.document(slots: slots)) }) == [50 + 23 * slots])
}
