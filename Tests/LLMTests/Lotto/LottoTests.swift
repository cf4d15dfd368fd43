// The lottery corpus: every answer worked out a second time, another way, from the text that is written.

import LLM
import Testing

private let prizes = ["오등": 5_000, "사등": 50_000, "삼등": 1_500_000, "이등": 30_000_000, "일등": 2_000_000_000]

/// All numbers in a line, in order.
private func numbers(_ line: Substring) -> [Int] { line.split { !$0.isNumber }.compactMap { Int($0) } }

/// The answer from the question's text alone, without the machine: parsed, counted with sets, rated with doubles.
private func naiveAnswer(_ question: String) -> String {
    let lines = question.split(separator: "\n")
    let winning = Set(numbers(lines[0]).prefix(6))
    let bonus = numbers(lines[0])[6]
    func inBoxes(_ number: Int, _ count: Int) -> String {
        let digits = "\(number)"
        return (Array(repeating: "_", count: count - digits.count) + digits.map { "\($0)" }).joined(separator: " ")
    }
    var answer = ""
    var won: [String] = []
    for line in lines[1..<(lines.count - 1)] {
        let ticket = numbers(line)
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
    let tenths = Int((Double(total) / Double(1000 * won.count) * 1000).rounded())
    return answer + "수익률 \(inBoxes(tenths / 10, 9)) . \(tenths % 10) %\n"
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

@Test func `ranks have the exercise's prizes`() {
    for rank in LottoRank.allCases { #expect(prizes[rank.name] == rank.prize) }
    #expect(LottoRank(hits: 2, bonus: true) == nil && LottoRank(hits: 6, bonus: false) == .first)
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

@Test func `thousands are grouped`() {
    #expect(
        [0, 7, 999, 1_000, 123_456, 1_234_567, -1_000].map(grouped) == [
            "0", "7", "999", "1,000", "123,456", "1,234,567", "-1,000",
        ])
}

@Test(arguments: [1, 5, 10])
func `every answer of a corpus is right`(slots: Int) {
    let (train, validation) = corpus(1000, 100, seed: 7, maxTickets: slots)
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
    let questions = corpus(300, 30, seed: 3, maxTickets: slots)
    let all = questions.train + questions.validation
    #expect(Set(all.map { shape($0.text(slots: slots)) }).count == 1)
    #expect(Set(all.map { tokens($0.document(slots: slots)) }) == [50 + 23 * slots])
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
    #expect(Set(train).count == 2000 && Set(validation).count == 300)
    #expect(Set(train).isDisjoint(with: validation))
    // By construction, so corpora of different seeds don't meet either.
    #expect(train.allSatisfy { LottoMachine.side(of: $0) == .train })
    #expect(validation.allSatisfy { LottoMachine.side(of: $0) == .validation })
}

@Test func `the same seed gives the same corpus`() {
    #expect(corpus(50, 5, seed: 42) == corpus(50, 5, seed: 42))
    #expect(corpus(50, 5, seed: 42) != corpus(50, 5, seed: 43))
    // Pinned, so that a change of the draws on another machine or in a later version is noticed.
    #expect(
        corpus(1, 1, seed: 42).train[0].text(slots: 3)
            == "당첨 1 2 14 36 39 43 보너스 24\nA 1 2 18 21 30 40\nB 1 3 14 16 36 43\nC _ _ _ _ _ _\n결과\n"
    )
}

// MARK: - reading answers

/// Two tickets in three slots: a third prize, and nothing.
private let example = LottoQuestion(
    tickets: [[1, 2, 3, 4, 5, 8], [7, 8, 9, 10, 11, 12]], winning: [1, 2, 3, 4, 5, 6], bonus: 7)

@Test func `an answer is read as it was written`() {
    let reading = LottoReading(example.answer(slots: 3), slots: 3)
    let (o, x, b) = (LottoReading.Mark.hit, LottoReading.Mark.miss, LottoReading.Mark.bonus)
    #expect(
        reading.slots == [
            .ticket(numbers: [1, 2, 3, 4, 5, 8], marks: [o, o, o, o, o, x], rank: .third),
            .ticket(numbers: [7, 8, 9, 10, 11, 12], marks: [b, x, x, x, x, x], rank: nil), .empty,
        ])
    #expect(reading.bought == 2 && reading.counts == [0, 0, 1, 0, 0])
    #expect(reading.winnings == 1_500 && reading.rate == 750_000 && reading.hasForm)
    for question in corpus(300, 20, seed: 5, maxTickets: 10).train {
        let reading = LottoReading(question.answer(slots: 10), slots: 10)
        #expect(reading.hasForm && reading.bought == question.tickets.count)
        #expect(
            reading.rate == LottoQuestion.rateOfReturn(winnings: 1_000 * (reading.winnings ?? -1), paid: question.paid))
    }
}

@Test func `a damaged answer loses the damaged part, and its form`() {
    let whole = example.answer(slots: 3)
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

// MARK: - scoring

@Test func `a score counts what is right`() {
    let (two, one) = (example, LottoQuestion(tickets: [[1, 2, 3, 4, 5, 7]], winning: [1, 2, 3, 4, 5, 6], bonus: 7))
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
