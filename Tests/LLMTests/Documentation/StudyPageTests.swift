// STUDY.md and its Korean: every number to compute by hand is computed here, the lines that a link names are those of what it
// names, and both languages say the same numbers and links.

import Foundation
import LLM
import Naive
import Testing

private let (english, korean) = ("dev/doc/STUDY.md", "dev/doc/STUDY.ko.md")

/// The lottery machine, by the recipe of `make run`.
private let lottery = GPT2Configuration(maxT: 167, V: 369, L: 2, NH: 2, C: 64)

@Test func `every number of STUDY md is computed`() throws {
    var page = try Page(english, measured: [])
    expectTokens(&page)
    expectSizes(&page)
    expectGradients(&page)
    expectSteps(&page)
    expectChoice(&page)
    expectSpeed(&page)
    // Sums and products written out, settings, and sizes that the sentences checked above begin with.
    let left = page.numbers(but: [
        "0.5", "0.9", "0.95", "0.01", "5e-3", "0.25", "0.05", "0.1", "0.81", "64,000", "135,360",
    ])
    #expect(left.isEmpty, "no test computes these: \(left)")
}

private func expectTokens(_ page: inout Page) {
    let bytes = Array("가".utf8)
    #expect("가".unicodeScalars.first?.value == 0xAC00 && bytes.count == 3)
    page.expect(
        bytes.map { String(format: "%02X", $0) }.joined(separator: " ") + ", three bytes, so three tokens at most")
    page.expect("\(lottery.V) is one token for `<|endoftext|>`, 256 bytes, and \(lottery.V - 257) merges.")
}

private func expectSizes(_ page: inout Page) {
    let tensors = GPT2Tensors(lottery)
    let C = lottery.C
    let layer = 12 * C * C + 13 * C
    let (wte, wpe, lnf) = (tensors.wte.count, tensors.wpe.count, tensors.lnfw.count + tensors.lnfb.count)
    #expect(tensors.table.count == 2 * layer + wte + wpe + lnf)
    page.expect("of 369 that is padded to \(lottery.Vp) rows")
    page.expect("which is \(grouped(layer)) for C = \(C).")
    page.expect(
        "Two layers are \(grouped(2 * layer)), wte \(grouped(wte)), wpe \(grouped(wpe)), and the last layer norm \(lnf): "
            + "together \(grouped(tensors.table.count)).")
    let HS = C / lottery.NH
    let key = 3 * 3 * C + C + HS
    page.expect("A row is 3·\(C) = \(3 * C) floats, so token 3 begins at \(3 * 3 * C).")
    page.expect("another \(HS): \(key). Its value is \(C) after that, at \(key + C).")
}

private func expectGradients(_ page: inout Page) {
    let (losses, gradients) = naiveCrossEntropy(logits: [1, 1, 1, 1], targets: [3], scale: 1, N: 1, V: 4)
    let parts = gradients.map { decimal($0, 2) }
    page.expect(
        "ln 4 = \(decimal(losses[0], 4)). Each of the four has probability 0.25, so the gradients are \(parts[0]), \(parts[1]), "
            + "\(parts[2]), and \(parts[3]) for the right one")
    page.expect("ln \(lottery.V) = \(decimal(log(Double(lottery.V)), 4));")
    func y(_ a: Double) -> Double { a * 3 + a }
    page.expect("With a = 2.01, y is \(decimal(y(2.01), 2)) instead of \(decimal(y(2), 0)), and 0.04/0.01 = 4.")
    #expect(abs((y(2.01) - y(2)) / 0.01 - 4) < 1e-9)
}

private func expectSteps(_ page: inout Page) {
    var (weight, m, v) = (0.0, 0.0, 0.0)
    func step(_ gradient: Double, _ t: Int) -> Double {
        let before = weight
        naiveAdamW(
            parameter: &weight, gradient: gradient, m: &m, v: &v, learningRate: 1, beta1: 0.9, beta2: 0.95, epsilon: 0,
            decay: 0, step: t)
        return weight - before
    }
    page.expect("m̂ = 0.5, √v̂ = 0.5, so it moves by \(decimal(step(0.5, 1), 0)), a whole rate.")
    let second = step(-0.5, 2)
    page.expect(
        "m = 0.9·0.05 − 0.1·0.5 = \(decimal(m, 3)), divided by 1 − 0.81 is \(decimal(m / 0.19, 4)); v̂ is \(decimal(v / 0.0975, 2)) again;"
    )
    page.expect("so it moves by \(decimal(second, 4)) of the rate, back.")

    let steps = 64_000 / 16
    let words = Recipe("lotto").trainArguments()
    for (option, value) in [("-b", 16), ("-t", lottery.maxT), ("-x", steps), ("--channels", lottery.C), ("-u", 100)] {
        let given = words.firstIndex(of: option).map { words[$0 + 1] }
        #expect(given == "\(value)", "\(option)")
    }
    page.expect("64,000/16 = \(grouped(steps)) steps, and the run has \(grouped(steps)):")
    let schedule = Schedule(shape: .cosine, learningRate: 5e-3, warmupSteps: 100, steps: steps, finalFraction: 0)
    page.expect("Half of a cosine is half the rate, \(decimal(1e3 * schedule.rate(at: (100 + steps) / 2), 1))e-3.")
}

private func expectChoice(_ page: inout Page) {
    func probabilities(_ logits: [Double]) -> [Double] {
        let sum = logits.reduce(0) { $0 + exp($1) }
        return logits.map { exp($0) / sum }
    }
    let (warm, hot) = (probabilities([2, 1, 0]), probabilities([1, 0.5, 0]))
    page.expect("\(short(warm[0])), \(short(warm[1])) and \(short(warm[2])).")
    page.expect("the logits are 1, 0.5 and 0: \(short(hot[0])), \(short(hot[1])) and \(short(hot[2])).")
    let two = warm[0] + warm[1]
    page.expect("The first two have \(short(two)) together")
    page.expect("they are \(short(warm[0] / two)) and \(short(warm[1] / two)).")
}

private func expectSpeed(_ page: inout Page) {
    let flops = GPT2(lottery, trains: true).flopsPerToken(T: lottery.maxT)
    let tokens = 16 * lottery.maxT
    let tensors = GPT2Tensors(lottery)
    page.expect(
        "6·(\(grouped(tensors.table.count)) − \(grouped(tensors.wpe.count))) + 6·2·64·167 = \(grouped(Int(flops))) for each token"
    )
    let step = flops * Double(tokens)
    page.expect("\(decimal(step / 1e9, 2)) GFLOP for \(grouped(tokens)) tokens: \(decimal(step / 500e9 * 1e3, 1)) ms.")
    let (operations, loads) = (2 * 8 * 48, 8 + 48)
    page.expect(
        "8·48/16 = \(8 * 48 / 16) registers of the 32 that there are. 24 multiply-adds of 16 floats are \(operations) operations"
    )
    page.expect(
        "8 floats of one matrix and 48 of the other: \(loads). So an operation needs \(decimal(Double(loads) / Double(operations), 2)) of a float"
    )
}

// MARK: - both languages

@Test func `a link to lines names the lines of what it is called`() throws {
    var count = 0
    for page in try pages() {
        let links = try text(page).matches(of: /\[([A-Za-z0-9]+)\]\(\.\.\/\.\.\/([^)#]+\.swift)#L([0-9]+)-L([0-9]+)\)/)
        count += links.count
        for link in links {
            let lines = try text(String(link.2)).split(separator: "\n", omittingEmptySubsequences: false)
            let declares = try Regex("(func|class|struct|enum) `?\(link.1)\\b")
            guard let first = lines.firstIndex(where: { $0.contains(declares) && !$0.contains("//") }) else {
                Issue.record("\(page): \(link.2) does not declare \(link.1)")
                continue
            }
            let end = lines[first].prefix { $0 == " " } + "}"
            let last = lines[first...].firstIndex { $0.hasPrefix(end) } ?? first
            let isRight = link.3 == "\(first + 1)" && link.4 == "\(last + 1)"
            #expect(isRight, "\(page): \(link.1) is \(link.2)#L\(first + 1)-L\(last + 1) now")
        }
    }
    #expect(count >= 30)
}

@Test func `the Korean page has the numbers, links and commands of the English one`() throws {
    func facts(_ page: String, _ pattern: Regex<Substring>) throws -> [String] {
        try text(page).matches(of: pattern).map { String($0.0) }.filter { !$0.contains("STUDY") }.sorted()
    }
    let numbers = /[0-9]*\.[0-9]+|[0-9]+(?:,[0-9]{3})+|[0-9]+e-[0-9]+/
    #expect(try facts(korean, numbers) == facts(english, numbers))
    #expect(try facts(korean, /\]\([^)]+\)/) == facts(english, /\]\([^)]+\)/))
    #expect(try facts(korean, /`make [^`]+`|\n    [^\n]+/) == facts(english, /`make [^`]+`|\n    [^\n]+/))
}
