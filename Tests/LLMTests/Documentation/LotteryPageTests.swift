// lottery.md says what is so: every number that was not measured is computed here, and what its picture shows is in the
// picture.

import Foundation
import LLM
import Testing

/// n over k.
private func binomial(_ n: Int, _ k: Int) -> Double {
    var result = 1.0
    for i in 0..<k { result *= Double(n - i) / Double(i + 1) }
    return result.rounded()
}

/// The tickets that fit each of the eight equally likely outcomes: 0…6 hits, and five with the bonus number.
private let fitting: [Double] = {
    let upToFour = (0...4).map { (hits: Int) -> Double in binomial(6, hits) * binomial(39, 6 - hits) }
    return upToFour + [6 * 38, 1, 6]
}()

/// The entropy of a question in nats.
private func entropy(maxTickets: Int) -> (tickets: Double, numbers: Double, games: Double, whole: Double) {
    let mean = Double(1 + maxTickets) / 2
    let tickets = log(Double(maxTickets))
    let numbers = log(binomial(45, 6)) + log(39)
    let logs = fitting.map { log($0) }.reduce(0, +)
    let games = mean * (log(8) + logs / 8)
    return (tickets, numbers, games, tickets + numbers + games)
}

/// −log of a question's probability.
private func surprise(_ question: LottoQuestion, maxTickets: Int) -> Double {
    let games = question.tickets.reduce(0.0) { sum, ticket in
        let hits = ticket.count(where: question.winning.contains)
        let outcome = hits == 5 && ticket.contains(question.bonus) ? 7 : hits
        return sum + log(8) + log(fitting[outcome])
    }
    return log(Double(maxTickets)) + log(binomial(45, 6)) + log(39) + games
}

@Test func `the entropy of questions is that of those that are drawn`() {
    // All outcomes but the bonus number's are all tickets.
    let honest = fitting[..<7].reduce(0, +) + fitting[7]
    #expect(honest == binomial(45, 6))
    for maxTickets in [1, 5] {
        var machine = LottoMachine(seed: 3, maxTickets: maxTickets)
        let count = 20_000
        var sum = 0.0
        for _ in 0..<count { sum += surprise(machine.next(), maxTickets: maxTickets) }
        let difference = sum / Double(count) - entropy(maxTickets: maxTickets).whole
        // The standard deviation of a question is below 20.
        #expect(abs(difference) < 0.5, "\(maxTickets): \(difference)")
    }
}

/// The tokens of a question and its answer of the form that a corpus has: <|endoftext|>, each number, mark, word and line
/// feed, and the blank line.
private func tokenCount(maxTickets: Int) -> (all: Int, answer: Int) {
    var machine = LottoMachine(seed: 1, maxTickets: maxTickets)
    let question = machine.next()
    func tokens(_ text: String) -> Int {
        // A mark stands beside its number, and is a token of its own.
        text.count { "○△×\n".contains($0) }
            + text.split { $0 == " " || $0 == "\n" }.count
    }
    let answer = tokens(question.answer(slots: maxTickets))
    // <|endoftext|> before the question; after the answer a blank line.
    return (1 + tokens(question.text(slots: maxTickets)) + answer + 1, answer)
}

@Test func `every number of lottery md is computed`() throws {
    var page = try Page(
        "dev/doc/lottery.md", measured: ["| 500 |", "| 1,000 |", "| 2,000 |", "| 3,000 |", "| 4,000 |"])
    let words = Recipe("lotto").trainArguments()
    func number(_ option: String) -> Int { words.firstIndex(of: option).flatMap { Int(words[$0 + 1]) } ?? 0 }
    let tokens = tokenCount(maxTickets: 5)
    let (steps, rows) = (number("-x"), number("-b"))
    #expect(number("-t") == tokens.all && number("-u") == 100)
    let config = GPT2Configuration(
        maxT: tokens.all, V: 369, L: number("--layers"), NH: number("--heads"), C: number("--channels"))
    page.expect("trains a model of \(grouped(config.table.count)) parameters")
    page.expect("It sees \(grouped(steps * rows)) questions with their answers")
    page.expect("and \(grouped(steps * rows)) of them are read")
    page.expect("`make run`, \(grouped(steps)) steps of \(rows) questions")
    page.expect("question with its answer is \(tokens.all) tokens")

    let tickets = binomial(45, 6)
    #expect(decimal(tickets / fitting[3], 0) == "45")
    page.expect("three hits occur once in 45 tickets, six once in \(grouped(Int(tickets))).")
    page.expect("C(39,6) = \(grouped(Int(fitting[0]))) tickets without a hit")

    let H = entropy(maxTickets: 5)
    page.expect("how many tickets \(decimal(H.tickets, 2))")
    page.expect("bonus number \(decimal(H.numbers, 2))")
    page.expect("three tickets in the mean \(decimal(H.games, 2))")
    page.expect("together \(decimal(H.whole, 2)) nats")
    #expect(decimal(exp(H.whole) / 1e23, 0) == "6")
    page.expect("e^\(decimal(H.whole, 1)) or about 6·10²³ questions")
    page.expect(
        "If all \(tokens.all) predictions of a row count, the best loss is \(decimal(H.whole, 2))/\(tokens.all) = "
            + "\(decimal(H.whole / Double(tokens.all), 4)).")

    let anyTicket = log(binomial(45, 6))
    page.expect("\(decimal(anyTicket, 2)) nats instead of \(decimal(H.games / 3, 2)), and")
    let ignorant = (H.tickets + H.numbers + 3 * anyTicket) / Double(tokens.all)
    page.expect("its best loss is \(decimal(ignorant, 4)).")

    // The line feed after the mark, the answer, the blank line, the end of the text.
    let counted = 1 + tokens.answer + 1 + 1
    page.expect("the \(counted) tokens after 결과")
    #expect(decimal(-log(0.9999), 4) == "0.0001")
    page.expect("99.99% has a loss of 0.0001, and \(decimal(100 * pow(0.9999, Double(counted)), 1))% of its answers")
    page.expect("0.9999 to the power of \(counted).")
    let one = tokenCount(maxTickets: 1).all
    page.expect("A row then has \(one) tokens")
    // The exercise's training ended at 0.4774, as near to this as the page says.
    let exercise = (log(binomial(45, 6)) + log(39) + anyTicket) / Double(one)
    #expect((0..<0.01).contains(0.4774 - exercise))

    expectPicture(&page)
    // Measured: the exactness of smaller models and other forms (LOG.md), losses, what `peek` prints; and options in commands.
    let left = page.numbers(but: [
        "99.6", "30,400", "2.5", "99.8", "10,000", "9,981", "0.0000", "0.25", "5.2", ".0", ".1", ".2", "5e-3", "0.05",
        "2,000",
        "5.66", "5.23", "4.56", "1.68", "0.764", "0.685", "0.4066", "0.01",
    ])
    #expect(left.isEmpty, "no test computes these: \(left)")
}

/// The shares that the page reads off its picture.
private func expectPicture(_ page: inout Page) {
    guard let svg = try? text("dev/doc/pictures/lottery_attention.svg") else {
        Issue.record("the picture is not there")
        return
    }
    let heads = svg.components(separatedBy: "<g transform").dropFirst().map { head in
        Dictionary(
            head.matches(of: /<title>(\d+) (\S+) → (\d+) (\S+): ([0-9.]+)</).map {
                ("\($0.1) \($0.2) \($0.3) \($0.4)", String($0.5))
            }, uniquingKeysWith: { first, _ in first })
    }
    guard heads.count == 2 else {
        Issue.record("the picture has \(heads.count) heads")
        return
    }
    func share(_ head: Int, _ cell: String) -> String { heads[head][cell] ?? "nothing" }
    page.expect("it takes \(share(1, "57 ○ 14 ␣9")) from column 14, which is 9")
    page.expect("Row 54 is 3: \(share(0, "54 ␣3 2 ␣3")) from column 2")
    page.expect("not win: \(share(0, "60 ␣27 15 ␣27")) from column 15")
    let marks = ["55 ○", "57 ○", "59 ×", "61 ×", "63 ○"].map { share(0, "65 ○ \($0)") }
    page.expect("it takes \(marks.dropLast().joined(separator: ", ")) and \(marks[4]) from the five marks before it")
}
