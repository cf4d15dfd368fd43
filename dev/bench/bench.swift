// bench measures what training reaches of what this machine allows, on GPT-2 124M: `make bench`.
//
//     bench [--quick] [SECTION…]      machine products kernels steps load generate tokenizer; all of them without one
//     bench [--quick] ladder          a product in three loops, and each step from there to ours: dev/doc/matmul.md
//     bench step B T [--dtype D]      one shape of step alone, to set beside another program's; also phi-step, bert-step
//     bench weights MODEL SHARD       what generating from bfloat16 and int8 costs, in loss
//     bench bert-encode               texts into hidden states, to set beside torch_bert.py encode
//     bench tokenizer --text FILE [--vocabulary DIR]      with a text of your own instead of a small made one
//
// A shared machine changes its speed from one moment to the next. So every run is compared with a measurement of the
// machine's own limit just before it, and the figure is the median of their ratios: the multiply-adds' peak for what
// computes, the memory's bandwidth for what only moves. The last line is everything once more, as JSON.

import Foundation
import Kernels
import LLM

// MARK: - measuring

/// What a kernel can be limited by.
enum Limit {
    /// The multiply-adds it makes; two operations each.
    case flops(Double, Precision = .float32)
    /// The bytes it must read, where it writes little.
    case reads(Double)
    /// The bytes it must read and write, about as many of each.
    case updates(Double)

    var amount: Double {
        switch self {
        case .flops(let amount, _), .reads(let amount), .updates(let amount): amount
        }
    }

    /// What this machine makes of it in a second, at this moment.
    func measure() -> Double {
        switch self {
        case .flops(_, let precision): measurePeakFlops(precision)
        case .reads: measureReadBandwidth(streamed, count: streamedCount, runs: 1)
        case .updates: measureUpdateBandwidth(streamed, count: streamedCount, runs: 1)
        }
    }
}

/// 256 MB that nothing else uses, for the bandwidth.
let streamedCount = 1 << 26
nonisolated(unsafe) let streamed = randomFloats(streamedCount)

func randomFloats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let floats = allocateFloats(count)
    var random = Xorshift(seed: UInt64(count))
    for i in 0..<count { floats[i] = random.uniform() - 0.5 }
    return floats
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

/// Medians over several runs, after one that warms up: seconds, and the share of the limit measured just before each.
func measure(runs: Int, _ limit: Limit, _ body: () -> Void) -> (seconds: Double, share: Double) {
    body()
    var seconds: [Double] = []
    var shares: [Double] = []
    for _ in 0..<runs {
        let rate = limit.measure()
        let start = now()
        body()
        let time = now() - start
        seconds.append(time)
        shares.append(limit.amount / time / rate)
    }
    return (median(seconds), median(shares))
}

/// The most memory this process ever held, in bytes; 0 where the system does not say.
func peakMemory() -> Double {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return (line?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) * 1024
}

// MARK: - the report

/// What the JSON line will hold: section → name → figure.
nonisolated(unsafe) var report: [String: [String: Double]] = [:]

func record(_ section: String, _ name: String, _ value: Double) {
    report[section, default: [:]][name] = (value * 10_000).rounded() / 10_000
}

/// Left-aligned in so many columns.
func column(_ text: String, _ width: Int) -> String { text.padding(toLength: width, withPad: " ", startingAt: 0) }

// MARK: - sections

func machine() {
    let (flops, reads, updates) = (
        measurePeakFlops(), measureReadBandwidth(streamed, count: streamedCount),
        measureUpdateBandwidth(streamed, count: streamedCount)
    )
    print(
        String(
            format: "%d threads, vectors of %d floats: %.0f GFLOP/s; memory: reading %.1f GB/s, updating %.1f GB/s",
            threadCount, vectorWidth, flops * 1e-9, reads * 1e-9, updates * 1e-9))
    record("machine", "threads", Double(threadCount))
    record("machine", "gflops", flops * 1e-9)
    record("machine", "read_gb_s", reads * 1e-9)
    record("machine", "update_gb_s", updates * 1e-9)
}

/// Forward, dinp and dweight of every linear layer: milliseconds and % of the peak.
func products(N: Int, quick: Bool, _ precision: Precision = .float32) {
    print("\nproducts of GPT-2 124M in \(precision), B·T = \(N)")
    print("layer        C     OC   forward ms    %    dinp ms    %  dweight ms    %")
    let suffix = precision == .float32 ? "" : "_\(precision)"
    var totals = (time: 0.0, ideal: 0.0)
    for (name, C, OC) in [
        ("qkv", 768, 2304), ("attproj", 768, 768), ("fc", 768, 3072), ("fcproj", 3072, 768), ("classifier", 768, 50257),
    ] {
        let outStride = (OC + 15) / 16 * 16  // as the classifier's logits have it
        let sizes = [N * C, OC * C, N * outStride, OC]
        let buffers = sizes.map { randomFloats($0) }
        let (inp, weight, out, bias) = (buffers[0], buffers[1], buffers[2], buffers[3])
        let limit = Limit.flops(2 * Double(N) * Double(C) * Double(OC), precision)
        var line = column(name, 10) + String(format: "%5d %6d", C, OC)
        for kernel in ["forward", "dinp", "dweight"] {
            let (seconds, share) = measure(runs: (OC > 10_000 ? 5 : 15) / (quick ? 3 : 1), limit) {
                switch kernel {
                case "forward":
                    matmulForward(
                        out: out, inp: inp, weight: weight, bias: bias, N: N, C: C, OC: OC, outStride: outStride,
                        precision: precision)
                case "dinp":
                    matmulBackwardInput(
                        dinp: inp, dout: out, weight: weight, N: N, C: C, OC: OC, doutStride: outStride,
                        precision: precision)
                default:
                    matmulBackwardWeight(
                        dweight: weight, dbias: bias, dout: out, inp: inp, N: N, C: C, OC: OC,
                        doutStride: outStride, precision: precision)
                }
            }
            totals.time += seconds
            totals.ideal += seconds * share
            line += String(format: "  %9.2f %4.0f", seconds * 1000, 100 * share)
            record("products_\(N)\(suffix)", "\(name)_\(kernel)", share)
        }
        print(line)
        for (buffer, size) in zip(buffers, sizes) { freeFloats(buffer, count: size) }
    }
    print(String(format: "all together %.0f%% of the peak", 100 * totals.ideal / totals.time))
    record("products_\(N)\(suffix)", "all", totals.ideal / totals.time)
}

/// The other kernels, on GPT-2 124M's shapes with B = 4, T = 1024. Bytes are what must be moved at least.
func kernels(quick: Bool) {
    let (B, T, C, NH, V) = (4, 1024, 768, 12, 50257)
    let N = B * T
    let rows = 1024  // of logits
    let count = 124_439_808  // parameters
    print("\nkernels of GPT-2 124M, B \(B), T \(T)")
    print("kernel                  ms      rate          % of the limit")
    func show(_ name: String, _ limit: Limit, _ body: () -> Void) {
        let (seconds, share) = measure(runs: quick ? 3 : 7, limit, body)
        let unit = if case .flops = limit { "GFLOP/s" } else { "GB/s   " }
        print(
            column(name, 20)
                + String(
                    format: "%8.2f  %7.1f %@ %4.0f", seconds * 1000, limit.amount / seconds * 1e-9, unit, 100 * share))
        record("kernels", name.replacingOccurrences(of: " ", with: "_"), share)
    }
    func floats(_ count: Int) -> Double { 4 * Double(count) }
    func with(_ sizes: [Int], _ body: ([UnsafeMutablePointer<Float>]) -> Void) {
        let buffers = sizes.map { randomFloats($0) }
        body(buffers)
        for (buffer, size) in zip(buffers, sizes) { freeFloats(buffer, count: size) }
    }
    let tokens = (0..<N).map { Int32($0 * 7919 % V) }
    let positions = (0..<N).map { Int32($0 % T) }
    let lengths = Array(repeating: T, count: B)

    // Half of the (T,T) products are masked and need not be made: two forward, five backward.
    with([N * C, B * NH * T, N * 3 * C, N * C, N * 3 * C]) { b in
        let pairs = Double(B) * Double(T) * Double(T) * Double(C)
        show("attention forward", .flops(2 * pairs)) {
            attentionForward(out: b[0], lse: b[1], qkv: b[2], lengths: lengths, C: C, NH: NH)
        }
        let dropout = (rate: Float(0.1), key: DropoutKey(seed: 1, microBatch: 0))
        show("  with dropout", .flops(2 * pairs)) {
            attentionForward(out: b[0], lse: b[1], qkv: b[2], lengths: lengths, C: C, NH: NH, dropout: dropout)
        }
        show("attention backward", .flops(5 * pairs)) {
            attentionBackward(dqkv: b[4], dout: b[3], qkv: b[2], out: b[0], lse: b[1], lengths: lengths, C: C, NH: NH)
        }
        show("  with its dropout", .flops(5 * pairs)) {
            attentionBackward(
                dqkv: b[4], dout: b[3], qkv: b[2], out: b[0], lse: b[1], lengths: lengths, C: C, NH: NH,
                dropout: dropout)
        }
    }
    with([N * C, N * C, N * C]) { b in
        let key = DropoutKey(seed: 1, microBatch: 0)
        show("dropout forward", .updates(floats(3 * N * C))) {
            dropoutForward(out: b[0], inp: b[1], residual: b[2], count: N * C, rate: 0.1, key: key)
        }
    }
    with([N * C, N, N, N * C, C, C, N * C, C, C]) { b in
        show("layernorm forward", .updates(floats(2 * N * C))) {
            layerNormForward(out: b[0], mean: b[1], rstd: b[2], inp: b[3], weight: b[4], bias: b[5], N: N, C: C)
        }
        // Reads dout, inp and dinp, which it adds to.
        show("layernorm backward", .updates(floats(4 * N * C))) {
            layerNormBackward(
                dinp: b[6], dweight: b[7], dbias: b[8], dout: b[0], inp: b[3], weight: b[4], mean: b[1], rstd: b[2],
                N: N, C: C)
        }
    }
    with([N * 4 * C, N * 4 * C]) { b in
        show("gelu forward", .updates(floats(2 * N * 4 * C))) { geluForward(out: b[0], inp: b[1], count: N * 4 * C) }
        show("gelu backward", .updates(floats(3 * N * 4 * C))) {
            geluBackward(dinp: b[0], dout: b[0], inp: b[1], count: N * 4 * C)
        }
    }
    with([N * C, V * C, T * C]) { b in
        show("embedding forward", .updates(floats(2 * N * C + T * C))) {
            embeddingForward(out: b[0], inp: tokens, positions: positions, wte: b[1], wpe: b[2], N: N, C: C)
        }
        show("embedding backward", .updates(floats(3 * N * C + 2 * T * C))) {
            embeddingBackward(
                dwte: TrainedRows(rows: 0..<V, gradient: b[1]), dwpe: b[2], dout: b[0], inp: tokens,
                positions: positions, N: N, C: C)
        }
    }
    with([rows, rows, rows * V]) { b in
        show("cross entropy", .updates(floats(2 * rows * V))) {
            crossEntropy(
                losses: b[0], correct: b[1], logits: b[2], targets: tokens, gradientScale: 0.1, N: rows, V: V, stride: V
            )
        }
    }
    with([count, count, count, count]) { b in
        for i in 0..<count { b[3][i] = abs(b[3][i]) }
        show("gradient norm", .reads(floats(count))) { _ = sumOfSquares(b[1], count: count) }
        show("adamw", .updates(floats(8 * count))) {
            adamW(
                parameters: b[0], gradients: b[1], m: b[2], v: b[3], count: count, learningRate: 1e-4, beta1: 0.9,
                beta2: 0.95, epsilon: 1e-8, decay: 0.1, gradientScale: 1, step: 10)
        }
    }
}

/// Whole steps of a new model: forward, backward, clip, AdamW. The limit is the peak for the multiply-adds, and after
/// that the memory for the optimizer: it reads the gradients once for their norm, and then reads and writes parameters,
/// gradients and two moments.
/// - Parameters:
///   - rank: of an adapter on all linear layers, which alone is trained; nil trains the model.
///   - answers: the share of the targets, at the end of each row, that count.
func step(
    _ name: String, _ model: any LanguageModel, B: Int, T: Int, rank: Int? = nil, answers: Double = 1, runs: Int = 3
) throws {
    model.parameters.initialize(seed: 42)
    if let rank {
        var configuration = LoRAConfiguration()
        (configuration.rank, configuration.alpha) = (rank, Double(2 * rank))
        let adapter = try Adapter(configuration, on: model.config)
        adapter.initialize(seed: 42)
        model.parameters.train([], adapter: adapter)
    }
    var random = Xorshift(seed: 1)
    let tokens = (0...B * T).map { _ in Int32(random.below(model.V)) }
    let questions = T - Int((answers * Double(T)).rounded())
    let targets = (0..<B * T).map { $0 % T < questions ? -1 : tokens[$0 + 1] }
    let batch = Batch(B: B, T: T, inputs: Array(tokens.dropLast()), targets: targets)
    step(name, model, B: B, T: T, runs: runs) { model.learn(from: batch, gradientScale: 1 / Float(batch.counted)) }
}

/// - Parameter learn: forward and backward of a batch.
func step(
    _ name: String, _ model: any TrainableModel, B: Int, T: Int, runs: Int = 3, learn: () -> Void
) {
    let parameters = model.parameters
    var count = 0
    func once() {
        count += 1
        var norm = 0.0
        withThreadsAwake {
            learn()
            norm = parameters.gradientNorm()
        }
        parameters.update(
            learningRate: 1e-4, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: Float(1 / max(1, norm)), step: count)
    }
    once()
    let flops = model.flopsPerToken(T: T) * Double(B * T)
    let bytes = 4 * Double(parameters.trained.count)
    var (times, ofPeak, ofLimit) = ([Double](), [Double](), [Double]())
    kernelTimes = [:]
    for _ in 0..<runs {
        let peak = measurePeakFlops(parameters.precision)
        let reads = measureReadBandwidth(streamed, count: streamedCount, runs: 1)
        let updates = measureUpdateBandwidth(streamed, count: streamedCount, runs: 1)
        let start = now()
        once()
        let time = now() - start
        times.append(time)
        ofPeak.append(flops / time / peak)
        ofLimit.append((flops / peak + bytes / reads + 8 * bytes / updates) / time)
    }
    let kernels = kernelTimes ?? [:]
    kernelTimes = nil
    let seconds = median(times)
    print(
        String(
            format: "\n%@, B %d, T %d: %.0f ms a step, %.0f tok/s, %.0f%% of the peak, %.0f%% of the limit with the "
                + "optimizer's memory", name, B, T, seconds * 1000, Double(B * T) / seconds, 100 * median(ofPeak),
            100 * median(ofLimit)))
    let section = "step_\(name)_B\(B)_T\(T)".replacingOccurrences(of: " ", with: "_")
    record(section, "ms", seconds * 1000)
    record(section, "tokens_per_second", Double(B * T) / seconds)
    record(section, "share_of_peak", median(ofPeak))
    record(section, "share_of_limit", median(ofLimit))
    let total = times.reduce(0, +)
    var rest = total
    for (kernel, time) in kernels.sorted(by: { $0.value.seconds > $1.value.seconds }) {
        rest -= time.seconds
        print("  " + column(kernel, 20) + line(time.seconds / Double(runs), time.seconds / total))
        record(section, kernel.replacingOccurrences(of: " ", with: "_"), time.seconds / total)
    }
    print("  " + column("everything else", 20) + line(rest / Double(runs), rest / total))
    func line(_ seconds: Double, _ share: Double) -> String {
        String(format: "%9.1f ms %5.1f%%", seconds * 1000, 100 * share)
    }
}

let gpt2 = GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768)
/// Phi-1.5's architecture with GPT-2 124M's layers, and the vocabulary of a Korean tokenizer.
let phi = PhiConfiguration(maxT: 1024, V: 32000, L: 12, NH: 12, C: 768, R: 32)

func steps(quick: Bool) throws {
    let small = GPT2Configuration(maxT: 256, V: 4096, L: 6, NH: 6, C: 192)
    try step(
        "a small model of 6 layers and 192 channels", GPT2(small, trains: true), B: 16, T: 256, runs: quick ? 5 : 9)
    try step("GPT-2 124M", GPT2(gpt2, trains: true), B: 4, T: 64, runs: quick ? 3 : 5)
    try step("Phi of 12 layers and 768 channels", Phi(phi, trains: true), B: 4, T: quick ? 64 : 512, runs: 3)
    guard !quick else { return }
    try step("GPT-2 124M", GPT2(gpt2, trains: true), B: 4, T: 256)
    try step("GPT-2 124M", GPT2(gpt2, trains: true), B: 4, T: 1024)
    try step("GPT-2 124M with LoRA", GPT2(gpt2, trains: false), B: 4, T: 256, rank: 8)
    printPeakMemory()
}

func printPeakMemory() {
    print(String(format: "peak memory %.2f GB", (peakMemory() - 4 * Double(streamedCount)) * 1e-9))
    record("memory", "peak_gb", (peakMemory() - 4 * Double(streamedCount)) * 1e-9)
}

/// From the file of a 124M model to a model that can make its first step.
func load() throws {
    let path = NSTemporaryDirectory() + "bench_\(ProcessInfo.processInfo.processIdentifier).bin"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let model = GPT2(gpt2, trains: false)
    try writeModel(model, to: path)
    var times: [Double] = []
    for _ in 0..<3 {
        let start = now()
        _ = try readGPT2(path, trains: true)
        times.append(now() - start)
    }
    print(String(format: "\nreading a 124M checkpoint: %.2f s", median(times)))
    record("load", "seconds", median(times))
}

@main
enum Main {
    static func main() throws {
        var words = Array(CommandLine.arguments.dropFirst())
        let quick = words.contains("--quick")
        words.removeAll { $0 == "--quick" }
        func take(_ name: String) -> String? {
            guard let at = words.firstIndex(of: name), at + 1 < words.count else { return nil }
            defer { words.removeSubrange(at...at + 1) }
            return words[at + 1]
        }
        let (text, vocabulary) = (take("--text"), take("--vocabulary"))
        let answers = take("--answers").flatMap { Double($0) } ?? 1
        let precision = take("--dtype").flatMap(Precision.init(rawValue:)) ?? .float32
        if words.count == 3, 0...1 ~= answers,
            ["step", "small-step", "phi-step", "bert-step", "lora-step", "phi-1.5-lora-step"].contains(words[0]),
            let B = Int(words[1]), let T = Int(words[2]), B > 0, 1...1024 ~= T
        {
            machine()
            let phiName = "Phi of 12 layers and 768 channels"
            switch words[0] {
            case "step":
                let model = GPT2(gpt2, trains: true)
                model.parameters.precision = precision
                try step("GPT-2 124M in \(precision)", model, B: B, T: T)
            case "small-step":
                let small = GPT2Configuration(maxT: 1024, V: 4096, L: 4, NH: 4, C: 128)
                try step("GPT-2 of 4 layers and 128 channels", GPT2(small, trains: true), B: B, T: T, runs: 51)
            case "phi-step": try step(phiName, Phi(phi, trains: true), B: B, T: T)
            case "bert-step": bertStep(B: B, T: T)
            case "lora-step":
                try step("GPT-2 124M with LoRA", GPT2(gpt2, trains: false), B: B, T: T, rank: 8, answers: answers)
            default: try step("Phi-1.5 with LoRA", Phi(.phi1_5, trains: false), B: B, T: T, rank: 8)
            }
            printPeakMemory()
            return
        }
        if words.count == 3, words[0] == "weights" { return try weightsError(words[1], words[2]) }
        let sections = ["machine", "products", "kernels", "steps", "load", "generate", "tokenizer"]
        let more = ["ladder", "phi-generate", "bert-encode"]  // the last two: 6 GB, and 12 for several at once
        if let unknown = words.first(where: { !(sections + more).contains($0) }) {
            let known = (sections + more).joined(separator: " ")
            FileHandle.standardError.write(
                Data(
                    "error: no section \(unknown)\nhint: \(known), step B T, small-step B T, phi-step B T, bert-step B T, lora-step B T [--answers SHARE], phi-1.5-lora-step B T\n"
                        .utf8))
            exit(2)
        }
        for section in words.isEmpty ? sections : words {
            switch section {
            case "machine": machine()
            case "products":
                for N in quick ? [1024] : [1024, 256] { products(N: N, quick: quick) }
                products(N: quick ? 1024 : 4096, quick: quick, .bfloat16)
            case "kernels": kernels(quick: quick)
            case "ladder": ladder(quick: quick)
            case "steps": try steps(quick: quick)
            case "generate":
                let model = GPT2(gpt2, trains: false)
                for weights in WeightFormat.allCases {
                    generating("GPT-2 124M", gpt2, model, streams: [1, 10], quick: quick, weights: weights)
                }
            case "phi-generate":
                generating("Phi-1.5", .phi1_5, Phi(.phi1_5, trains: false), streams: [1], quick: quick)
            case "bert-encode": bertEncoding(quick: quick)
            case "tokenizer": try tokenizerBench(text: text, vocabulary: vocabulary, quick: quick)
            default: try load()
            }
        }
        let json = JSONEncoder()
        json.outputFormatting = [.sortedKeys]
        print("\n" + String(decoding: try json.encode(report), as: UTF8.self))
    }
}
