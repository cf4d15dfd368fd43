// Scoring answers.

import Foundation
import LLM
import Testing

@Test func `a score counts what is right`() {
    let (two, one) = (twoTickets, LottoQuestion(tickets: [[1, 2, 3, 4, 5, 7]], winning: [1, 2, 3, 4, 5, 6], bonus: 7))
    var score = LottoScore()
    score.add(two, answer: two.answer(slots: 3), slots: 3)
    score.add(two, answer: two.answer(slots: 3) + "\n", slots: 3)
    // A wrong mark in the second ticket.
    score.add(two, answer: two.answer(slots: 3).replacing("12×", with: "12○"), slots: 3)
    // Third prize for second.
    score.add(one, answer: one.answer(slots: 3).replacing("△ 이등", with: "△ 삼등"), slots: 3)
    score.add(one, answer: "", slots: 3)
    #expect(score.questions == 5 && score.exactCount == 2 && score.accuracy == 0.4)
    #expect(score.asked == [2: 3, 1: 2] && score.exact == [2: 2])
    #expect(score.failures.count == 3 && score.failures[2].answer == "" && score.failures[1].question == one)
    #expect(
        score.right == [.form: 4, .tickets: 4, .hits: 3, .ranks: 3, .bonus: 3, .counts: 4, .winnings: 4, .rate: 4])
}

@Test func `a line that cannot be read has neither hits nor a rank`() {
    // Without prizes, so that a missing rank would look like the right one.
    let question = LottoQuestion(tickets: [[7, 8, 9, 10, 11, 12]], winning: [1, 2, 3, 4, 5, 6], bonus: 13)
    var score = LottoScore()
    score.add(question, answer: question.answer(slots: 2).replacing("A 7×", with: "A 7"), slots: 2)
    #expect(score.right == [.tickets: 1, .counts: 1, .winnings: 1, .rate: 1])
}
