import Foundation
import Kernels
import LLM

func generateBench() {
    let layers = 12
    let shapes = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
    let total = layers * shapes.reduce(0) { $0 + $1.0 * $1.1 } + 768 * 50257
    let weights = randomFloats(total)
    let inp = randomFloats(64 * 3072)
    let out = randomFloats(64 * 50257)
    for N in [1, 2, 4, 8, 10, 16, 32, 48] {
        for useFew in [true, false] {
            var ratios: [Double] = []
            var times: [Double] = []
            for _ in 0..<(N > 8 ? 3 : 7) {
                let bandwidth = measureReadBandwidth(weights, count: total)
                let start = now()
                var w = UnsafePointer(weights)
                for (C, OC) in (0..<layers).flatMap({ _ in shapes }) + [(768, 50257)] {
                    if useFew {
                        matmulFewRows(out: out, inp: inp, weight: w, bias: nil, N: N, C: C, OC: OC)
                    } else {
                        matmulForward(out: out, inp: inp, weight: w, bias: nil, N: N, C: C, OC: OC)
                    }
                    w += C * OC
                }
                let seconds = now() - start
                times.append(seconds)
                ratios.append(Double(total * 4) / seconds / bandwidth)
                if N == 1 && useFew { print(String(format: "bw %.1f GB/s", bandwidth * 1e-9)) }
            }
            print(
                String(
                    format: "N %d %@: %.2f ms, %.1f%% of bandwidth", N, useFew ? "few" : "packed",
                    times.sorted()[times.count / 2] * 1000, 100 * ratios.sorted()[ratios.count / 2]))
        }
    }
}
