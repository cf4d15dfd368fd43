// matmul.md: every number that was not measured is computed from the sources' constants and must stand in its sentence.

import Foundation
import Testing

/// A constant of a source file, as it is written there: `private let maxPartK = 1536`. The page describes AVX-512, whatever this
/// machine has, so what stands there first is meant.
private func constant(_ name: String, in path: String) throws -> Int {
    let source = try text(path)
    let pattern = try Regex("let \(name) = ([0-9]+)", as: (Substring, Substring).self)
    let value = source.firstMatch(of: pattern).flatMap { Int($0.1) }
    return try #require(value, "\(path) has no \(name)")
}

@Test func `every number of matmul md is computed`() throws {
    let kernel = "Sources/Kernels/Matmul.swift"
    let rows = try constant("tileRows", in: kernel)
    let longest = try constant("maxPartK", in: kernel)
    let weightRows = try constant("maxWeightRows", in: kernel)
    let tasks = try constant("tasksPerThread", in: kernel)
    // AVX-512, and the two units of a Zen 5, with a latency of four cycles (two for an addition).
    let (lanes, registers, units, latency) = (16, 32, 2, 4)
    let (N, C, OC) = (1024, 768, 3072)
    let width = 3 * lanes
    let sums = rows * 3
    let perCycle = units * lanes * 2
    let chains = latency * units
    func percent(_ x: Double) -> String { decimal(100 * x, 1) + "%" }
    func kilobytes(_ floats: Int) -> String { decimal(Double(4 * floats) / 1e3, 0) + " kB" }

    var page = try Page(
        "dev/doc/matmul.md",
        measured: [
            "| three loops", "| … ", "| vectors, ", "| register tiles", "| matmulForward", "| 16 kB", "| 256 kB",
            "| 8 MB",
            "| 256 MB", "| 1 |", "| 2 |", "| 4 |", "| 8 |", "| 9 |", "| 12 |",
        ])
    let operations = 2 * Double(N * C * OC)
    page.expect("with \(grouped(N)) tokens: C = \(C), OC = \(OC), \(decimal(operations / 1e9, 1)) billion operations")
    page.expect("two such units of \(lanes) floats: \(perCycle) operations a cycle")

    let bytes = 4 * Double(N * C + C * OC + N * OC)
    page.expect("\(decimal(operations / bytes, 0)) operations for each byte: plenty")
    page.expect("The weights are \(decimal(Double(4 * C * OC) / 1e6, 1)) MB, too many")
    // What the table has for 8 MB, at half an operation a byte.
    let table = try text("dev/doc/matmul.md")
    let line = try #require(table.firstMatch(of: /\| 8 MB \| ([0-9.]+) \|/))
    let read = try #require(Double(line.1))
    page.expect("So at \(line.1) GB/s it cannot do more than \(decimal(read / 2, 0)) GFLOP/s")

    page.expect("one lane: 2 / (2 · \(perCycle)) = \(percent(2 / Double(2 * perCycle))) of the peak")
    page.expect(
        "the next number is a row away, \(grouped(4 * OC)) bytes. For each number a cache line of 64 bytes comes and \(64 - 4) of them"
    )
    page.expect("So \(latency) · \(units) = \(chains) must be on their way")
    page.expect("at 1/\(chains) = \(percent(1 / Double(chains))) of the peak at best")

    page.expect("Take \(rows) rows of inp and \(width) columns of B at once.")
    page.expect("\(rows) numbers of A and \(width) of B make \(rows * width) products")
    page.expect("| \(rows) · 3 = \(sums) |")
    page.expect("\(sums) + 3 + 2 = \(sums + 3 + 2) registers of the \(registers) that AVX-512 has.")
    #expect(sums + 5 <= registers)
    let loads = 3 + rows
    page.expect(
        "\(sums) multiply-adds need \(loads) loads, \(decimal(Double(loads) / Double(sums), 2)) each; a dot product needs 2."
    )
    page.expect("And \(sums) chains are more than the \(chains) that hide the latency.")
    page.expect("One row has 3 sums, of the \(chains) that are needed: \(percent(3 / Double(chains))).")
    page.expect("With 36 sums the registers are too few")
    let source = try text(kernel)
    let narrow = try #require(source.matches(of: /let tileRows = ([0-9]+)/).last.flatMap { Int($0.1) })
    page.expect("so Matmul.swift takes \(narrow) rows: \(3 * narrow) sums, 3 and 1 are \(3 * narrow + 3 + 1).")

    page.expect("A panel of \(C) rows is \(kilobytes(C * width)), and stays in the L2 cache.")
    page.expect("Sums longer than \(grouped(longest)) are cut into parts: \(kilobytes(longest * width)) at most.")
    let cycles = sums / units
    page.expect(
        "takes \(4 * width) bytes of it, and has \(sums) / \(units) = \(cycles) cycles for that: \(4 * width / cycles) bytes a cycle"
    )
    page.expect("The copy is made once for \(grouped(N)) rows of A.")
    page.expect("serves \(width) columns, \(2 * width) operations for 4 bytes.")
    page.expect("and for the \(sums) lines that it will write")
    page.expect("With \(grouped(N)) rows that brought two points")
    let words = [4: "four", 8: "eight"]
    page.expect("There are at least \(words[tasks] ?? "?") tasks for each thread")
    page.expect("a task packs its rows of A, at most \(weightRows), and goes")
    page.expect("asks for the lines of \(try constant("rowsAhead", in: kernel)) rows later")
    let together = try constant("rowsPerPartialSum", in: "Sources/Kernels/ColumnSums.swift")
    page.expect("from the same \(together) rows before the next ones come")
    // A way of an L2 of 1 MB has 65,536 bytes: rows land in as many places as it takes to come round to the first.
    let way = (1 << 20) / 16
    let places = (1...).first { $0 * 4 * OC % way == 0 } ?? 0
    page.expect("rows \(grouped(4 * OC)) bytes apart share \(places) places in the L2")
    page.expect("in parts of at most \(grouped(longest)). That")
    page.expect(
        "(10 / 24 = \(decimal(10.0 / 24, 2)) and 24 + 4 + 2 = \(24 + 4 + 2). Its panels would be \(4 * lanes) wide.)")

    let left = page.numbers(but: [])
    #expect(left.isEmpty, "no test computes these: \(left)")
}
