// bench ladder: what each step of dev/doc/matmul.md reaches on this machine.

import Kernels
import LLM
import Ladder

private let (C, OC) = (768, 3072)

/// The steps on fc of GPT-2 124M. The slow ones compute fewer rows: their rate does not depend on how many.
func ladder(quick: Bool) {
    let threads = threadCount
    defer { threadCount = threads }
    let N = 1024
    let few = 32
    let (inp, weight, B, out) = (
        randomFloats(N * C), randomFloats(OC * C), allocateFloats(C * OC), allocateFloats(N * OC)
    )
    let panel = allocateAligned(C * rungPanelWidth)
    defer {
        for (floats, count) in [(inp, N * C), (weight, OC * C), (B, C * OC), (out, N * OC)] {
            freeFloats(floats, count: count)
        }
        freeAligned(panel)
    }
    for oc in 0..<OC {
        for c in 0..<C { B[c * OC + oc] = weight[oc * C + c] }
    }
    let rungs: [(name: String, rows: Int, threads: Int, run: () -> Void)] = [
        ("three loops", few, 1, { threeLoops(out, inp, weight, N: few, C: C, OC: OC) }),
        ("… down the columns of B", few, 1, { threeLoopsDownColumns(out, inp, B: B, N: few, C: C, OC: OC) }),
        ("… B row by row", few, 1, { threeLoopsInOrder(out, inp, B: B, N: few, C: C, OC: OC) }),
        (
            "vectors, one sum", few, 1,
            { dotProducts(out, inp, weight, N: few, C: C, OC: OC, inEightSums: false) }
        ),
        (
            "vectors, eight sums", few, 1,
            { dotProducts(out, inp, weight, N: few, C: C, OC: OC, inEightSums: true) }
        ),
        ("register tiles", N, 1, { tiles(out, inp, B: B, N: N, C: C, OC: OC) }),
        ("… of packed panels", N, 1, { tilesOfPanels(out, inp, B: B, panel: panel, N: N, C: C, OC: OC) }),
        ("matmulForward", N, 1, { matmulForward(out: out, inp: inp, weight: weight, bias: nil, N: N, C: C, OC: OC) }),
        (
            "… all threads", N, threads,
            { matmulForward(out: out, inp: inp, weight: weight, bias: nil, N: N, C: C, OC: OC) }
        ),
    ]
    // In turn, so that a slow moment of the machine is not one step's.
    var rates = Array(repeating: [Double](), count: rungs.count)
    var shares = rates
    for round in 0...(quick ? 3 : 9) {
        for (i, rung) in rungs.enumerated() {
            threadCount = rung.threads
            let peak = measurePeakFlops()
            let start = now()
            rung.run()
            let rate = 2 * Double(rung.rows * C * OC) / (now() - start)
            if round == 0 { continue }  // warms up
            rates[i].append(rate)
            shares[i].append(rate / peak)
        }
    }
    print("\nout (\(N),\(OC)) = inp (\(N),\(C)) · weight (\(OC),\(C))ᵀ; threads \(threads)\n")
    print("| step | GFLOP/s | of the peak |\n|---|---|---|")
    for (i, rung) in rungs.enumerated() {
        print("| \(rung.name) | \(tenths(median(rates[i]) * 1e-9)) | \(tenths(100 * median(shares[i])))% |")
        record("ladder", rung.name, median(shares[i]))
    }
    threadCount = 1
    tileSizes(inp, weight, quick: quick)
    caches(quick: quick)
}

private func tenths(_ x: Double) -> String { "\((x * 10).rounded() / 10)" }

/// Tiles of fewer and more rows than the project's, by themselves.
private func tileSizes(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, quick: Bool) {
    let (length, times) = (128, 2000)
    var shares = Array(repeating: [Double](), count: tileHeights.count)
    for _ in 0..<(quick ? 5 : 15) {
        for (i, rows) in tileHeights.enumerated() {
            let peak = measurePeakFlops()
            let start = now()
            let sum = tileAlone(rows: rows, a, b, C: length, times: times)
            let rate = 2 * Double(times * length * rows * rungPanelWidth) / (now() - start)
            shares[i].append(sum.isNaN ? 0 : rate / peak)
        }
    }
    print("\n| rows of a tile | sums | of the peak |\n|---|---|---|")
    for (i, rows) in tileHeights.enumerated() {
        print("| \(rows) | \(3 * rows) | \(tenths(100 * median(shares[i])))% |")
        record("ladder", "tile_\(rows)", median(shares[i]))
    }
}

/// What one core reads in a second, of so many bytes again and again.
private func caches(quick: Bool) {
    let sizes = [16 << 10, 256 << 10, 8 << 20, 256 << 20]
    var rates = Array(repeating: [Double](), count: sizes.count)
    for _ in 0..<(quick ? 3 : 9) {
        for (i, bytes) in sizes.enumerated() {
            let times = max(1, (64 << 20) / bytes)
            var sum = readAll(streamed, count: bytes / 4)
            let start = now()
            for _ in 0..<times { sum += readAll(streamed, count: bytes / 4) }
            let rate = Double(times * bytes) / (now() - start)
            rates[i].append(sum.isNaN ? 0 : rate)
        }
    }
    print("\n| one core reads | GB/s |\n|---|---|")
    for (i, bytes) in sizes.enumerated() {
        print("| \(bytes < 1 << 20 ? "\(bytes >> 10) kB" : "\(bytes >> 20) MB") | \(tenths(median(rates[i]) * 1e-9)) |")
        record("ladder", "read_\(bytes)", median(rates[i]) * 1e-9)
    }
}
