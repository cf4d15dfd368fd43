// Generating with GPT-2 124M beside what the machine allows: memory for one stream, multiply-adds for a prompt.

import Foundation
import Kernels
import LLM

/// A prompt of 512 tokens, one stream and ten, of a new model (its speed does not depend on what it has learnt).
func generating(quick: Bool) {
    let (L, C, V) = (gpt2.L, gpt2.C, gpt2.V)
    let model = GPT2(gpt2, trains: false)
    model.parameters.initialize(seed: 42)
    var random = Xorshift(seed: 1)
    let prompt = (0..<512).map { _ in Int32(random.below(V)) }

    // What a prompt takes: every token goes through all matrices of the layers, and attends to half of the others on
    // average; in the last layer only its key and value are computed. The classifier has one row.
    let T = prompt.count
    let matrices = L * 12 * C * C * T - 9 * C * C * (T - 1)
    let attention = (L - 1) * C * T * (T + 1) + 2 * C * T
    let flops = 2 * Double(matrices + attention + V * C)
    let long = Generator(model, sequences: 1, capacity: 1024)
    let read = measure(runs: quick ? 3 : 7, .flops(flops)) { long.start(with: prompt) }
    print(
        String(
            format: "\nGPT-2 124M, prompt of %ld tokens: %.0f ms, %.0f tokens/s, %.0f%% of the peak", T,
            read.seconds * 1000, Double(T) / read.seconds, 100 * read.share))

    record("generate", "prompt_512_tok_s", Double(T) / read.seconds)
    record("generate", "prompt_512_share", read.share)

    // What a step reads: every parameter but the positions (of these, as of the tokens, a row) and wte's padding, and
    // the cache. The bandwidth is measured just before, on the same memory.
    let parameters = model.parameters.table.count - model.tensors.wpe.count - (gpt2.Vp - V) * C
    let steps = 8
    var alone = 0.0
    for streams in [1, 10] {
        let generator = Generator(model, sequences: streams, capacity: 1024)
        generator.start(with: Array(prompt[..<16]))
        let next = [[Int32]](repeating: [1], count: streams)
        generator.append(next)
        var seconds: [Double] = []
        var shares: [Double] = []
        var bandwidths: [Double] = []
        for _ in 0..<(quick ? 5 : 15) {
            let bandwidth = measureReadBandwidth(model.parameters.values, count: model.parameters.table.count)
            let held = generator.tokens[0].count
            let start = now()
            for _ in 0..<steps {
                generator.append(next)
                for i in 0..<streams { _ = argmax(generator.logits(of: i)) }
            }
            let time = (now() - start) / Double(steps)
            let cached = streams * 2 * L * C * (held + steps / 2)
            seconds.append(time)
            bandwidths.append(bandwidth)
            shares.append(Double(4 * (parameters + cached)) / time / bandwidth)
        }
        let rate = Double(streams) / median(seconds)
        if streams == 1 { alone = rate }
        record("generate", "streams_\(streams)_tok_s", rate)
        record("generate", "streams_\(streams)_share_of_bandwidth", median(shares))
        print(
            String(
                format: "GPT-2 124M, %ld at once: %.2f ms a step, %.1f tokens/s%@, %.0f%% of the bandwidth (%.1f GB/s)",
                streams, median(seconds) * 1000, rate,
                streams == 1 ? "" : String(format: " (%.1f times one)", rate / alone),
                100 * median(shares), median(bandwidths) * 1e-9))
    }
}
