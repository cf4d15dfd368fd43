// Parsing answers, good and damaged.

import Foundation
import LLM
import Testing

@Test func `an answer is read as it was written`() {
    let reading = LottoReading(twoTickets.answer(slots: 3), slots: 3)
    let (o, x, b) = (LottoReading.Mark.hit, LottoReading.Mark.miss, LottoReading.Mark.bonus)
    #expect(
        reading.slots == [
            .ticket(numbers: [1, 2, 3, 4, 5, 8], marks: [o, o, o, o, o, x], rank: .third),
            .ticket(numbers: [7, 8, 9, 10, 11, 12], marks: [b, x, x, x, x, x], rank: nil), .empty,
        ])
    #expect(reading.bought == 2 && reading.counts == [0, 0, 1, 0, 0])
    #expect(reading.winnings == 1_500 && reading.rate == 750_000 && reading.hasForm)
    for question in lottoCorpus(300, 20, seed: 5, maxTickets: 10).train {
        let reading = LottoReading(question.answer(slots: 10), slots: 10)
        #expect(reading.hasForm && reading.bought == question.tickets.count)
        #expect(
            reading.rate
                == LottoQuestion.rateOfReturn(
                    winnings: 1_000 * (reading.winnings ?? -1), paid: 1_000 * question.tickets.count))
    }
}

@Test func `a damaged answer loses the damaged part, and its form`() {
    let whole = twoTickets.answer(slots: 3)
    let sound = LottoReading(whole, slots: 3)
    /// What can't be read any more.
    func lost(_ from: String, _ to: String) -> [String] {
        let damaged = whole.replacing(from, with: to)
        #expect(damaged != whole)
        let reading = LottoReading(damaged, slots: 3)
        #expect(!reading.hasForm, "\(from) → \(to)")
        var lost: [String] = []
        for slot in 0..<3 {
            if reading.slots[slot] == nil {
                lost.append(["A", "B", "C"][slot])
            } else {
                #expect(reading.slots[slot] == sound.slots[slot])
            }
        }
        if reading.counts == nil { lost.append("counts") } else { #expect(reading.counts == sound.counts) }
        if reading.winnings == nil { lost.append("winnings") } else { #expect(reading.winnings == sound.winnings) }
        if reading.rate == nil { lost.append("rate") } else { #expect(reading.rate == sound.rate) }
        return lost
    }
    #expect(lost("A 1○", "A 1") == ["A"])
    #expect(lost("A 1○", "A 1○ 1○") == ["A"])
    #expect(lost("A 1○", "A 01○") == ["A"])
    #expect(lost("A 1○", "A +1○") == ["A"])
    #expect(lost("A 1○", "A 46○") == ["A"])
    #expect(lost("A 1○", "A ١○") == ["A"])
    #expect(lost("A 1○", "A 99999999999999999999○") == ["A"])
    #expect(lost("A 1○", "A  1○") == ["A"])
    #expect(lost("삼등\n", "칠등\n") == ["A"])
    #expect(lost("삼등\n", "삼등") == ["A", "B"])
    #expect(lost("B 7", "D 7") == ["B"])
    #expect(lost("C _ _", "C _") == ["C"])
    #expect(lost("C _ _", "C _ 0") == ["C"])
    #expect(lost("구입 2", "구입 -2") == ["counts"])
    #expect(lost("이등 0", "이등") == ["counts"])
    #expect(lost("일등 0 이등 0", "이등 0 일등 0") == ["counts"])
    #expect(lost(" 천원", " 원") == ["winnings"])
    #expect(lost("_ 1 5", "0 1 5") == ["winnings"])
    #expect(lost("_ 1 5", "1 5") == ["winnings"])
    #expect(lost("_ 1 5", "_ 15") == ["winnings"])
    #expect(lost("1 5 0 0", "1 _ 0 0") == ["winnings"])
    #expect(lost("1 5 0 0", "_ _ _ _") == ["winnings"])
    #expect(lost(" . 0", " , 0") == ["rate"])
    #expect(lost(" . 0", " . 10") == ["rate"])
    #expect(lost(" . 0 %", " . 0") == ["rate"])
    #expect(lost("수익률", "수익율") == ["rate"])
    // All parts are there, and something besides, or in another order.
    #expect(lost("구입", "그리고\n구입") == [])
    #expect(lost("구입", "\n구입") == [])
    #expect(lost("%\n", "%\nA 9○ 10○ 11○ 12○ 13○ 14○ 일등\n") == [])
}

@Test func `anything can be read`() {
    for text in ["", "\n", " ", "A", "A ", "구입", "당첨금", "당첨금 천원", "수익률 %", "\u{FFFD}○", "A ○ ○ ○ ○ ○ ○ 일등"] {
        let reading = LottoReading(text, slots: 5)
        #expect(reading.slots == [nil, nil, nil, nil, nil] && !reading.hasForm)
        #expect(reading.bought == nil && reading.counts == nil && reading.winnings == nil && reading.rate == nil)
    }
    var random = Xorshift(seed: 1)
    let words: [Substring] =
        "A B _ 1 5 45 ○ △ × 낙첨 일등 구입 당첨금 천원 수익률 . %".split(separator: " ") + ["\n", " "]
    for _ in 0..<2000 {
        let text = (0..<random.below(60)).map { _ in words[random.below(words.count)] }.joined(separator: " ")
        #expect(!LottoReading(text, slots: 3).hasForm)
    }
}
