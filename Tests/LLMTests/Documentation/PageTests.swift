// The pages in dev/doc say what is so: every number of gpt2.md that was not measured is computed here and must stand in its
// sentence, and what pages link to or name is there.

import Foundation
import LLM
import Naive
import Testing

// MARK: - gpt2.md's numbers

private let d12 = GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768)

@Test func `every number of gpt2 md is computed`() throws {
    var page = try Page("dev/doc/gpt2.md", measured: ["| 5e-3 |", "| 2e-2 |"])
    expectTable(&page)
    expectLayerNorm(&page)
    expectAttention(&page)
    expectGELU(&page)
    expectLoss(&page)
    expectAdamW(&page)
    expectSchedule(&page)
    expectSums(&page)
    expectCosts(&page)
    // What GPT-2, llm.c or the text itself set, and a step's learning rate in a command.
    let left = page.numbers(but: ["1,024", "0.044715", "0.9", "0.95", "1e-8", "0.1", "5e-3", "2e-2", "0.05"])
    #expect(left.isEmpty, "no test computes these: \(left)")
}

private func expectTable(_ page: inout Page) {
    let tensors = GPT2Tensors(d12)
    page.expect(
        "wte begins at \(tensors.wte.offset), wpe at \(grouped(tensors.wpe.offset)), ln1w at "
            + "\(grouped(tensors.ln1w.offset)).")
    guard case .normal(let usual) = tensors.qkvw.initialValues,
        case .normal(let smaller) = tensors.attprojw.initialValues
    else {
        Issue.record("matrices are not drawn from a normal distribution")
        return
    }
    page.expect("with \(d12.L) layers \(decimal(Double(usual), 2)) becomes \(decimal(Double(smaller), 4)).")
}

private func expectLayerNorm(_ page: inout Page) {
    let row: [Double] = [1, 1, 5, 5]
    let dn: [Double] = [1, 0, 0, 0]
    let ones: [Double] = [1, 1, 1, 1]
    let forward = naiveLayerNormForward(inp: row, weight: ones, bias: [0, 0, 0, 0], N: 1, C: 4)
    let dx = naiveLayerNormBackward(
        dout: dn, inp: row, weight: ones, mean: forward.mean, rstd: forward.rstd, N: 1, C: 4
    ).dinp
    let n = forward.out.map { decimal($0, 0) }.joined(separator: ", ")
    #expect(decimal(forward.rstd[0], 3) == "0.500")
    page.expect("has μ = \(decimal(forward.mean[0], 0)) and r = ½, so n = (\(n)).")
    let means = [0.25, dot(dn, forward.out) / 4].map { decimal($0, 2) }
    page.expect("the two means are \(means[0]) and \(means[1]), and")
    let rounded = dx.map { abs($0) < 1e-5 ? "0" : decimal($0, 2) }
    page.expect("dx = (\(rounded.joined(separator: ", "))).")
    #expect(abs(dx.reduce(0, +)) < 1e-9)
    #expect(abs(dot(dx, forward.out)) < 1e-5)
}

private func expectAttention(_ page: inout Page) {
    // The second token's row, as the page has it; the first one's query is anything.
    let query: [Double] = [1, 0]
    let keys: [[Double]] = [[0, 1], [1, 0]]
    let values: [[Double]] = [[1, 0], [0, 1]]
    let qkv = [0.3, -0.2] + keys[0] + values[0] + query + keys[1] + values[1]
    let out = naiveAttentionForward(qkv: qkv, lengths: [2], C: 2, NH: 1)
    let scores = keys.map { dot(query, $0) / 2.0.squareRoot() }
    let lse = log(scores.map { exp($0) }.reduce(0, +))
    let p = scores.map { exp($0 - lse) }
    // The values are chosen so that the output is the probabilities: the twin has the same.
    #expect(relativeError(Array(out[2...]), p) < 1e-12)
    page.expect(
        "scores \(decimal(scores[0], 0)) and \(short(scores[1])), lse \(decimal(lse, 4)), probabilities "
            + "\(short(p[0])) and \(short(p[1])), so out = (\(short(out[2])), \(short(out[3]))).")

    let dqkv = naiveAttentionBackward(dout: [0, 0, 1, 0], qkv: qkv, lengths: [2], C: 2, NH: 1)
    // dkey_k is ds_k · query / √HS, and the query is (1, 0).
    let ds = [dqkv[2], dqkv[8]].map { $0 * 2.0.squareRoot() }
    page.expect(
        "dp = (1, 0), D = \(short(out[2])), ds = (\(short(ds[0])), \(short(ds[1]))), and dquery = "
            + "(\(short(dqkv[6])), \(short(dqkv[7])))")
    page.expect("dvalue_0 = (\(short(dqkv[4])), \(decimal(dqkv[5], 0))).")
    let probabilities = 4 * d12.NH * d12.maxT * d12.maxT
    page.expect("NH·T² numbers: \(decimal(Double(probabilities) / 1e6, 0)) MB for each sequence of 1,024 tokens")
}

private func expectGELU(_ page: inout Page) {
    let points: [Double] = [-1, 0, 1, 3]
    let values = points.map { $0 == 0 ? decimal(naiveGELU($0), 0) : decimal(naiveGELU($0), 4) }
    let slopes = points.map { decimal(naiveGELUSlope($0), $0 == 0 ? 1 : 4) }
    page.expect(
        "The values at −1, 0, 1 and 3 are \(values[0]), \(values[1]), \(values[2]) and \(values[3]), the slopes "
            + "\(slopes[0]), \(slopes[1]), \(slopes[2]) and \(slopes[3]):")
}

private func expectLoss(_ page: inout Page) {
    let logits: [Double] = [2, 1, 0]
    let p = naiveSoftmax(logits).map { short($0) }
    let (losses, dz) = naiveCrossEntropy(logits: logits, targets: [1], scale: 1, N: 1, V: 3)
    page.expect("p = (\(p.joined(separator: ", "))), the loss is \(decimal(losses[0], 4)), and")
    page.expect("dz = (\(dz.map { short($0) }.joined(separator: ", "))).")
    page.expect("ln \(grouped(d12.V)) = \(decimal(log(Double(d12.V)), 2)).")
    page.expect("The logits of 1,024 rows are \(decimal(Double(4 * 1024 * d12.V) / 1e6, 0)) MB,")
}

private func expectAdamW(_ page: inout Page) {
    func firstStep(_ gradient: Double, from start: Double = 0, decay: Double = 0) -> Double {
        var (parameter, m, v) = (start, 0.0, 0.0)
        naiveAdamW(
            parameter: &parameter, gradient: gradient, m: &m, v: &v, learningRate: 0.001, beta1: 0.9, beta2: 0.95,
            epsilon: 1e-8, decay: decay, step: 1)
        return parameter
    }
    let moves = [firstStep(0.5), firstStep(-3)].map { decimal($0, 3) } + [decimal(firstStep(1e-6), 5)]
    page.expect(
        "Gradients of 0.5, −3 and 1e-6 move a weight by \(moves[0]), \(moves[1]) and \(moves[2]) at a rate of 0.001.")
    page.expect("at a decay of 0.1 a weight of 2 goes to \(decimal(firstStep(0, from: 2, decay: 0.1), 4)).")

    // ±1 by chance, for long. No decay and a rate of 1: a step is how far the parameter went.
    var (parameter, m, v, sum) = (0.0, 0.0, 0.0, 0.0)
    let gradients = noise(100_000, seed: 1)
    for (i, gradient) in gradients.enumerated() {
        let before = parameter
        naiveAdamW(
            parameter: &parameter, gradient: gradient < 0 ? -1 : 1, m: &m, v: &v, learningRate: 1, beta1: 0.9,
            beta2: 0.95, epsilon: 1e-8, decay: 0, step: i + 1)
        if i >= 1000 { sum += (parameter - before) * (parameter - before) }
    }
    let length = (sum / Double(gradients.count - 1000)).squareRoot()
    page.expect("by the rate in the first step, later by \(decimal(length, 2)) of it")
}

private func expectSchedule(_ page: inout Page) {
    let words = Recipe("lotto").trainArguments()
    func number(_ option: String) -> Double {
        words.firstIndex(of: option).flatMap { Double(words[$0 + 1]) } ?? .nan
    }
    let (steps, warmup) = (Int(number("-x")), Int(number("-u")))
    let schedule = Schedule(
        shape: .cosine, learningRate: number("-l"), warmupSteps: warmup, steps: steps, finalFraction: number("-q"))
    func rate(_ step: Int) -> String {
        let value = String(format: "%.1e", schedule.rate(at: step)).replacingOccurrences(of: "e-0", with: "e-")
        return value.replacingOccurrences(of: ".0e", with: "e")
    }
    let middle = warmup + (steps - warmup) / 2
    let late = warmup + (steps - warmup) * 3 / 4
    page.expect(
        "\(rate(0)) in its first step, \(rate(warmup - 1)) after \(warmup), half of that in the middle of the rest, "
            + "\(rate(middle)), and \(rate(late)) after three quarters")
}

private func expectSums(_ page: inout Page) {
    let large: Float = 16_777_216
    let one: Float = 1
    let left = (large + one) + one
    let right = large + (one + one)
    page.expect("Between \(grouped(Int(large))) and twice that the floats are \(Int(large.ulp)) apart")
    page.expect("(16777216 + 1) + 1 = \(Int(left)) 16777216 + (1 + 1) = \(Int(right))")
}

private func expectCosts(_ page: inout Page) {
    let tensors = GPT2Tensors(d12).table.tensors
    func count(_ names: String...) -> String {
        grouped(tensors.filter { names.contains($0.name) }.reduce(0) { $0 + $1.usedCount * $1.layers })
    }
    page.expect("| wte | V·C | \(count("wte")) |")
    page.expect("| wpe | 1024·C | \(count("wpe")) |")
    page.expect("| L·4·C | \(count("ln1w", "ln1b", "ln2w", "ln2b")) |")
    page.expect("| qkv | L·(3·C·C + 3·C) | \(count("qkvw", "qkvb")) |")
    page.expect("| attproj | L·(C·C + C) | \(count("attprojw", "attprojb")) |")
    page.expect("| fc | L·(4·C·C + 4·C) | \(count("fcw", "fcb")) |")
    page.expect("| fcproj | L·(4·C·C + C) | \(count("fcprojw", "fcprojb")) |")
    page.expect("| lnf | 2·C | \(count("lnfw", "lnfb")) |")
    let all = tensors.reduce(0) { $0 + $1.usedCount * $1.layers }
    page.expect("| together | | \(grouped(all)) |")
    page.expect("with L = \(d12.L), C = \(d12.C), V = \(grouped(d12.V)) and \(grouped(d12.maxT)) positions")
    page.expect("wte has \(grouped(d12.Vp)) rows, a multiple of 128, and all have \(grouped(d12.table.count)).")

    // A model of the real size would take 2 GB. The formula's own test is in GPT2Tests; it is linear in what a layer and the
    // vocabulary have, so a small model of the same widths gives both.
    func operations(L: Int, V: Int, T: Int) -> Double {
        GPT2(GPT2Configuration(maxT: 1, V: V, L: L, NH: 12, C: 768), trains: true).flopsPerToken(T: T)
    }
    let none = operations(L: 0, V: 128, T: 0)
    let classifier = (operations(L: 0, V: 256, T: 0) - none) * Double(d12.Vp / 128)
    let layer = operations(L: 1, V: 128, T: 0) - none
    let attention = (operations(L: 1, V: 128, T: 1024) - none - layer) * 12
    let total = none + classifier * Double(d12.Vp - 128) / Double(d12.Vp) + 12 * layer + attention
    page.expect(
        "At 1,024 tokens that is \(decimal(total / 1e6, 0)) million operations for each token, of which attention has "
            + "\(decimal(100 * attention / total, 0))%, and the classifier \(decimal(100 * classifier / total, 0))%.")

    let weights = Parameters.bytes(d12.table, trains: false)
    let training = Parameters.bytes(d12.table, trains: true)
    page.expect(
        "The weights take \(decimal(weights / 1e6, 0)) MB, with gradients and moments \(grouped(Int((training / 1e6).rounded()))) MB."
    )
    // Without the logits, which are of 1,024 rows in both.
    let rows = d12.passBytes(rows: 8192, trains: true) - d12.passBytes(rows: 4096, trains: true)
    page.expect(
        "it is \(decimal(rows / 4096 / 1e3, 0)) kB for each token, \(grouped(Int((rows / 1e6).rounded()))) MB for a batch of 4 · 1,024."
    )
    func cache(_ sequences: Int, _ capacity: Int) -> Double {
        KVCache.bytes(L: d12.L, C: d12.C, NH: d12.NH, sequences: sequences, capacity: capacity)
    }
    let (token, sequence) = (cache(2, 1) - cache(1, 1), cache(2, 1024) - cache(1, 1024))
    page.expect("\(decimal(token / 1e3, 1)) kB for each token, \(decimal(sequence / 1e6, 1)) MB at 1,024 tokens.")
}

// MARK: - what pages point to

func pages() throws -> [String] {
    let files = try FileManager.default.contentsOfDirectory(atPath: project.appendingPathComponent("dev/doc").path)
    let pages = files.filter { $0.hasSuffix(".md") }.map { "dev/doc/\($0)" }
    #expect(pages.count >= 10)
    return pages.sorted() + ["README.md", "dev/README.ko.md"]
}

/// A heading as an address: small letters, hyphens for spaces, nothing else but letters and digits.
private func anchor(_ heading: Substring) -> String {
    String(
        heading.drop { $0 == "#" }.dropFirst().lowercased().compactMap { c -> Character? in
            c == " " ? "-" : c.isLetter || c.isNumber || c == "-" || c == "_" ? c : nil
        })
}

@Test func `what a page links to is there`() throws {
    for page in try pages() + ["dev/LOG.md", "CHANGELOG.md"] {
        let folder = project.appendingPathComponent(page).deletingLastPathComponent()
        for link in try text(page).matches(of: /\[([^\]\n]*)\]\(([^)\s]+)\)/) {
            let parts = link.2.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            if link.2.contains("://") || link.2.contains(".swift#L") { continue }  // lines: StudyPageTests.swift
            let target =
                parts[0].isEmpty
                ? project.appendingPathComponent(page) : folder.appendingPathComponent(String(parts[0]))
            guard FileManager.default.fileExists(atPath: target.path) else {
                Issue.record("\(page) links to \(link.2), which is not there")
                continue
            }
            guard let file = try? String(contentsOf: target, encoding: .utf8) else { continue }
            if parts.count == 2 {
                let headings = file.split(separator: "\n").filter { $0.hasPrefix("#") }.map { anchor($0) }
                let isThere = headings.contains(String(parts[1]))
                #expect(isThere, "\(page) links to a heading \(link.2)")
            }
            // A link named as a function or a type: the file has it.
            let name = link.1.filter { $0 != "`" }
            if link.2.hasSuffix(".swift"), name.wholeMatch(of: /[A-Za-z_][A-Za-z0-9_]*/) != nil {
                let hasName = file.contains(name)
                #expect(hasName, "\(page) links \(name) to \(link.2), which does not have it")
            }
        }
    }
}

@Test func `the sources that a page names are there`() throws {
    /// What a reader of CHANGING.md is to write.
    let new: Set = ["ReLU.swift", "ReLUTests.swift", "reluForward", "reluBackward"]
    var (files, words) = (Set(["Package.swift"]), Set<Substring>())
    for folder in ["Sources", "Tests", "dev"] {
        let names = FileManager.default.enumerator(atPath: project.appendingPathComponent(folder).path)
        while let name = names?.nextObject() as? String {
            guard [".swift", ".py", ".sh"].contains(where: { name.hasSuffix($0) }) else { continue }
            files.insert(String(name.split(separator: "/").last ?? ""))
            // Not this file, which has names that must not be there.
            if name.hasSuffix("PageTests.swift") { continue }
            let source = try text("\(folder)/\(name)")
            words.formUnion(source.split { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_")) })
        }
    }
    #expect(files.count > 100)
    for page in try pages() {
        let text = try text(page)
        for file in text.matches(of: /\b([A-Za-z0-9_]+\.(swift|py|sh))\b/) {
            let name = String(file.1)
            if ["llm.swift", "www.swift"].contains(name) || new.contains(name) { continue }  // the project, and a site
            let isThere = files.contains(name)
            #expect(isThere, "\(page) names \(name)")
        }
        // In code, with a capital inside: a function or a type of ours.
        for word in text.matches(of: /`([A-Za-z_][A-Za-z0-9_]*[a-z][A-Za-z0-9_]*[A-Z][A-Za-z0-9_]*)`/)
        where !new.contains(String(word.1)) {
            let isThere = words.contains(word.1)
            #expect(isThere, "\(page) names \(word.1)")
        }
    }
}
