// bench measures what the kernels reach of what this machine allows, on GPT-2 124M's shapes: `make bench`.
// A shared machine changes its speed from one moment to the next, so every run stands beside a measurement of the peak
// of its own, and the figure is the median of their ratios. Arguments: the rows B·T of the products (default 1024 256), or `step B T` for whole training steps.

import Foundation
import Kernels
import LLM

/// Medians over several runs, after one that warms up: seconds, and the share of the peak measured just before each.
func measure(runs: Int, flops: Double, _ body: () -> Void) -> (seconds: Double, share: Double) {
    body()
    var seconds: [Double] = []
    var shares: [Double] = []
    for _ in 0..<runs {
        let peak = measurePeakFlops()
        let start = now()
        body()
        seconds.append(now() - start)
        shares.append(flops / (now() - start) / peak)
    }
    return (seconds.sorted()[runs / 2], shares.sorted()[runs / 2])
}

func randomFloats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let floats = allocateFloats(count)
    var random = Xorshift(seed: UInt64(count))
    for i in 0..<count { floats[i] = random.uniform() - 0.5 }
    return floats
}

/// The most memory this process ever held, in bytes; 0 where the system does not say.
func peakMemory() -> Double {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return (line?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) * 1024
}

/// Forward, dinp and dweight of every linear layer: milliseconds and % of the peak measured beside them.
func products(N: Int) {
    print("products of GPT-2 124M, B·T = \(N), \(threadCount) threads")
    print("layer        C     OC   forward ms    %    dinp ms    %  dweight ms    %")
    var totals = (time: 0.0, ideal: 0.0)
    for (name, C, OC) in [
        ("qkv", 768, 2304), ("attproj", 768, 768), ("fc", 768, 3072), ("fcproj", 3072, 768), ("classifier", 768, 50257),
    ] {
        // The classifier runs in chunks of rows.
        let rows = OC > 10_000 ? min(N, 256) : N
        let sizes = [rows * C, OC * C, rows * OC, OC]
        let buffers = sizes.map { randomFloats($0) }
        let (inp, weight, out, bias) = (buffers[0], buffers[1], buffers[2], buffers[3])
        let flops = 2 * Double(rows) * Double(C) * Double(OC)
        var line = name.padding(toLength: 10, withPad: " ", startingAt: 0) + String(format: "%5d %6d", C, OC)
        for kernel in 0..<3 {
            let (seconds, share) = measure(runs: OC > 10_000 ? 5 : 15, flops: flops) {
                switch kernel {
                case 0: matmulForward(out: out, inp: inp, weight: weight, bias: bias, N: rows, C: C, OC: OC)
                case 1: matmulBackwardInput(dinp: inp, dout: out, weight: weight, N: rows, C: C, OC: OC)
                default:
                    matmulBackwardWeight(dweight: weight, dbias: bias, dout: out, inp: inp, N: rows, C: C, OC: OC)
                }
            }
            totals.time += seconds
            totals.ideal += seconds * share
            line += String(format: "  %9.2f %4.0f", seconds * 1000, 100 * share)
        }
        print(line)
        for (buffer, size) in zip(buffers, sizes) { freeFloats(buffer, count: size) }
    }
    print(String(format: "all together %.0f%% of the peak", 100 * totals.ideal / totals.time))
}

/// Whole steps of a new 124M model: forward, backward, clip, AdamW.
func step(B: Int, T: Int) {
    let config = GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768)
    let model = GPT2(config, trains: true)
    model.initialize(seed: 42)
    var random = Xorshift(seed: 1)
    let tokens = (0...B * T).map { _ in Int32(random.below(config.V)) }
    let (inputs, targets) = (Array(tokens.dropLast()), Array(tokens.dropFirst()))
    var count = 0
    let (seconds, share) = measure(runs: 3, flops: model.flopsPerToken(T: T) * Double(B * T)) {
        count += 1
        model.forward(inputs: inputs, B: B, T: T)
        _ = model.classify(targets: targets, gradientScale: 1 / Float(B * T))
        model.backward(inputs: inputs)
        model.update(
            learningRate: 1e-4, beta1: 0.9, beta2: 0.95, decay: 0,
            gradientScale: Float(1 / max(1, model.gradientNorm())), step: count)
    }
    print(
        String(
            format: "GPT-2 124M, B %d, T %d: %.0f ms a step, %.1f tok/s, %.0f%% of the peak, peak memory %.1f GB", B, T,
            seconds * 1000, Double(B * T) / seconds, 100 * share, peakMemory() * 0x1p-30))
}

@main
enum Main {
    static func main() {
        let words = CommandLine.arguments.dropFirst()
        let numbers = words.compactMap { Int($0) }.filter { $0 > 0 }
        if words.first == "generate" {
            generating()
        } else if words.first == "step", numbers.count == 2 {
            step(B: numbers[0], T: numbers[1])
        } else {
            for N in numbers.isEmpty ? [1024, 256] : numbers { products(N: N) }
        }
    }
}
