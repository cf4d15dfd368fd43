// The lottery corpus: every answer worked out a second time, another way, from the text that is written.

import LLM
import Testing

private let prizes = ["5등": 5_000, "4등": 50_000, "3등": 1_500_000, "2등": 30_000_000, "1등": 2_000_000_000]

/// All numbers in a line, in order; "2,000" counts as 2 and 0.
private func numbers(_ line: Substring) -> [Int] { line.split { !$0.isNumber }.compactMap { Int($0) } }

/// The answer from the question's text alone, without the machine: parsed, counted with sets, rated with doubles.
private func naiveAnswer(_ question: String) -> String {
    let lines = question.split(separator: "\n")
    let winning = Set(numbers(lines[lines.count - 2]))
    let bonus = numbers(lines[lines.count - 1])[0]
    let tickets = lines[1..<(lines.count - 2)].map { Array(numbers($0).dropFirst()) }

    func withCommas(_ number: Int) -> String {
        number < 1000 ? "\(number)" : withCommas(number / 1000) + "," + String("\(1000 + number % 1000)".dropFirst())
    }
    var answer = "\(tickets.count)개를 구매했습니다.\n"
    var won: [String] = []
    for (index, ticket) in tickets.enumerated() {
        let hits = winning.intersection(ticket).sorted()
        var rank = "낙첨"
        if hits.count == 6 { rank = "1등" }
        if hits.count == 5 { rank = ticket.contains(bonus) ? "2등" : "3등" }
        if hits.count == 4 { rank = "4등" }
        if hits.count == 3 { rank = "5등" }
        won.append(rank)
        var shown = hits.map { "\($0)" }.joined(separator: ", ")
        if hits.isEmpty { shown = "없음" }
        answer += "\(index + 1)번: \(shown) → \(hits.count)개 일치\(rank == "2등" ? ", 보너스 \(bonus)" : ""), \(rank)\n"
    }
    answer += "당첨 통계\n"
    func count(_ rank: String) -> Int { won.filter { $0 == rank }.count }
    answer += "3개 일치 (5,000원) - \(count("5등"))개\n"
    answer += "4개 일치 (50,000원) - \(count("4등"))개\n"
    answer += "5개 일치 (1,500,000원) - \(count("3등"))개\n"
    answer += "5개 일치, 보너스 볼 일치 (30,000,000원) - \(count("2등"))개\n"
    answer += "6개 일치 (2,000,000,000원) - \(count("1등"))개\n"
    let total = won.reduce(0) { $0 + (prizes[$1] ?? 0) }
    answer += "총 당첨금은 \(withCommas(total))원입니다.\n"
    let tenths = Int((Double(total) / Double(1000 * tickets.count) * 1000).rounded())
    return answer + "총 수익률은 \(withCommas(tenths / 10)).\(tenths % 10)%입니다.\n"
}

private func corpus(
    _ train: Int, _ validation: Int, seed: UInt64, maxTickets: Int = 5
) -> (train: [LottoQuestion], validation: [LottoQuestion]) {
    var machine = LottoMachine(seed: seed, maxTickets: maxTickets)
    var questions: [LottoMachine.Side: [LottoQuestion]] = [.train: [], .validation: []]
    machine.fill(train: train, validation: validation) { side, question in questions[side, default: []].append(question)
    }
    return (questions[.train, default: []], questions[.validation, default: []])
}

@Test func `the exercise's own example returns 62.5 percent`() {
    let question = LottoQuestion(
        tickets: [
            [8, 21, 23, 41, 42, 43], [3, 5, 11, 16, 32, 38], [7, 11, 16, 35, 36, 44], [1, 8, 11, 31, 41, 42],
            [13, 14, 16, 38, 42, 45], [7, 11, 30, 40, 42, 43], [2, 13, 22, 32, 38, 45], [1, 3, 5, 14, 22, 45],
        ],
        winning: [1, 2, 3, 4, 5, 6], bonus: 7)
    #expect(question.text.hasPrefix("구입 금액: 8,000원\n1번: 8, 21, 23, 41, 42, 43\n2번: 3, 5, 11"))
    #expect(question.text.hasSuffix("8번: 1, 3, 5, 14, 22, 45\n당첨 번호: 1, 2, 3, 4, 5, 6\n보너스 번호: 7\n"))
    #expect(
        question.answer == """
            8개를 구매했습니다.
            1번: 없음 → 0개 일치, 낙첨
            2번: 3, 5 → 2개 일치, 낙첨
            3번: 없음 → 0개 일치, 낙첨
            4번: 1 → 1개 일치, 낙첨
            5번: 없음 → 0개 일치, 낙첨
            6번: 없음 → 0개 일치, 낙첨
            7번: 2 → 1개 일치, 낙첨
            8번: 1, 3, 5 → 3개 일치, 5등
            당첨 통계
            3개 일치 (5,000원) - 1개
            4개 일치 (50,000원) - 0개
            5개 일치 (1,500,000원) - 0개
            5개 일치, 보너스 볼 일치 (30,000,000원) - 0개
            6개 일치 (2,000,000,000원) - 0개
            총 당첨금은 5,000원입니다.
            총 수익률은 62.5%입니다.

            """)
}

@Test func `the bonus number counts only beside five hits`() {
    let tickets = [
        [1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 8], [1, 2, 3, 4, 7, 8], [7, 8, 9, 10, 11, 12], [1, 2, 3, 4, 5, 6],
    ]
    let answer = LottoQuestion(tickets: tickets, winning: [1, 2, 3, 4, 5, 6], bonus: 7).answer
    #expect(answer.contains("1번: 1, 2, 3, 4, 5 → 5개 일치, 보너스 7, 2등\n"))
    #expect(answer.contains("2번: 1, 2, 3, 4, 5 → 5개 일치, 3등\n"))
    #expect(answer.contains("3번: 1, 2, 3, 4 → 4개 일치, 4등\n"))
    #expect(answer.contains("4번: 없음 → 0개 일치, 낙첨\n"))
    #expect(answer.contains("5번: 1, 2, 3, 4, 5, 6 → 6개 일치, 1등\n"))
    #expect(answer.contains("총 당첨금은 2,031,550,000원입니다.\n총 수익률은 40,631,000.0%입니다.\n"))
}

@Test func `ranks have the exercise's prizes`() {
    for rank in LottoRank.allCases { #expect(prizes[rank.name] == rank.prize) }
    #expect(LottoRank(hits: 2, bonus: true) == nil && LottoRank(hits: 6, bonus: false) == .first)
}

@Test func `the rate of return rounds halves up`() {
    let cases = [
        (0, 1_000, "0.0"), (5_000, 8_000, "62.5"), (5_000, 3_000, "166.7"), (5_000, 7_000, "71.4"), (1, 2_000, "0.1"),
        (1, 2_001, "0.0"), (3, 2_000, "0.2"), (50_000, 1_000, "5,000.0"), (2_000_000_000, 1_000, "200,000,000.0"),
    ]
    for (winnings, paid, rate) in cases {
        #expect(LottoQuestion.rateOfReturn(winnings: winnings, paid: paid) == rate)
    }
}

@Test func `thousands are grouped`() {
    #expect(
        [0, 7, 999, 1_000, 123_456, 1_234_567, -1_000].map(grouped) == [
            "0", "7", "999", "1,000", "123,456", "1,234,567", "-1,000",
        ])
}

@Test func `every answer of a corpus is right`() {
    let (train, validation) = corpus(1500, 100, seed: 7)
    for question in train + validation {
        #expect(question.answer == naiveAnswer(question.text))
        #expect(question.document == question.text + question.answer)
        #expect(!question.document.contains("\n\n") && question.document.hasSuffix("\n"))
    }
}

@Test func `a corpus holds draws only, and every outcome often`() {
    let questions = corpus(1500, 100, seed: 8).train
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
    let (train, validation) = corpus(2000, 300, seed: 9, maxTickets: 1)
    #expect(train.count == 2000 && validation.count == 300)
    #expect(Set(train.map(\.text)).count == 2000 && Set(validation.map(\.text)).count == 300)
    #expect(Set(train.map(\.text)).isDisjoint(with: validation.map(\.text)))
    // By construction, so corpora of different seeds don't meet either.
    #expect(train.allSatisfy { LottoMachine.side(of: $0) == .train })
    #expect(validation.allSatisfy { LottoMachine.side(of: $0) == .validation })
}

@Test func `the same seed gives the same corpus`() {
    #expect(corpus(50, 5, seed: 42) == corpus(50, 5, seed: 42))
    #expect(corpus(50, 5, seed: 42) != corpus(50, 5, seed: 43))
    // Pinned, so that a change of the draws on another machine or in a later version is noticed.
    #expect(
        corpus(1, 1, seed: 42).train[0].text
            == "구입 금액: 2,000원\n1번: 1, 2, 18, 21, 30, 40\n2번: 1, 3, 14, 16, 36, 43\n당첨 번호: 1, 2, 14, 36, 39, 43\n보너스 번호: 24\n"
    )
}
