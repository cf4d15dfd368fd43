// Shared by the lottery's tests.

import Foundation
import LLM
import Testing

/// The prizes of the exercise.
let lottoPrizes = ["오등": 5_000, "사등": 50_000, "삼등": 1_500_000, "이등": 30_000_000, "일등": 2_000_000_000]

/// All numbers in a line, in order.
func numbersInLine(_ line: Substring) -> [Int] { line.split { !$0.isNumber }.compactMap { Int($0) } }

/// The answer from the question's text alone, without the machine: parsed, counted with sets, rated with doubles.
func naiveAnswer(_ question: String, price: Int = 1_000, prizes: [String: Int] = lottoPrizes) -> String {
    let lines = question.split(separator: "\n")
    let winning = Set(numbersInLine(lines[0]).prefix(6))
    let bonus = numbersInLine(lines[0])[6]
    func inBoxes(_ number: Int, _ count: Int) -> String {
        let digits = "\(number)"
        return (Array(repeating: "_", count: count - digits.count) + digits.map { "\($0)" }).joined(separator: " ")
    }
    var answer = ""
    var won: [String] = []
    for line in lines[1..<(lines.count - 1)] {
        let ticket = numbersInLine(line)
        if ticket.isEmpty {
            answer += "\(line.first ?? "?")" + String(repeating: " _", count: 13) + "\n"
            continue
        }
        let hits = winning.intersection(ticket)
        var rank = "낙첨"
        if hits.count == 6 { rank = "일등" }
        if hits.count == 5 { rank = ticket.contains(bonus) ? "이등" : "삼등" }
        if hits.count == 4 { rank = "사등" }
        if hits.count == 3 { rank = "오등" }
        won.append(rank)
        let shown = ticket.map { "\($0)" + (hits.contains($0) ? "○" : $0 == bonus ? "△" : "×") }
        answer += "\(line.first ?? "?") \(shown.joined(separator: " ")) \(rank)\n"
    }
    func count(_ rank: String) -> Int { won.filter { $0 == rank }.count }
    let counts = ["일등", "이등", "삼등", "사등", "오등"].map { "\($0) \(count($0))" }.joined(separator: " ")
    let total = won.reduce(0) { $0 + (prizes[$1] ?? 0) }
    answer += "구입 \(won.count) \(counts)\n당첨금 \(inBoxes(total / 1000, 8)) 천원\n"
    let tenths = Int((Double(total) / Double(price * won.count) * 1000).rounded())
    return answer + "수익률 \(inBoxes(tenths / 10, 9)) . \(tenths % 10) %\n"
}

/// Questions for training and validation.
func lottoCorpus(
    _ train: Int, _ validation: Int, seed: UInt64, maxTickets: Int = 5
) -> (train: [LottoQuestion], validation: [LottoQuestion]) {
    var machine = LottoMachine(seed: seed, maxTickets: maxTickets)
    var questions: [LottoMachine.Side: [LottoQuestion]] = [.train: [], .validation: []]
    machine.fill(train: train, validation: validation) { side, question in questions[side, default: []].append(question)
    }
    return (questions[.train, default: []], questions[.validation, default: []])
}

/// Two tickets in three slots: a third prize, and nothing.
let twoTickets = LottoQuestion(
    tickets: [[1, 2, 3, 4, 5, 8], [7, 8, 9, 10, 11, 12]], winning: [1, 2, 3, 4, 5, 6], bonus: 7)
