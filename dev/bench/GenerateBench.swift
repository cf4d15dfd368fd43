// Generating beside what the machine allows: memory for one stream, multiply-adds for a prompt.

import Foundation
import Kernels
import LLM

func generating(
    _ name: String, _ config: GPT2Configuration, _ model: GPT2, streams: [Int], quick: Bool,
    weights: WeightFormat = .float32
) {
    // All but the positions and wte's padding.
    let read = model.parameters.table.count - model.tensors.wpe.count - (config.Vp - config.V) * config.C
    generating(name, config, model, read: read, streams: streams, quick: quick, weights: weights)
}

func generating(_ name: String, _ config: PhiConfiguration, _ model: Phi, streams: [Int], quick: Bool) {
    // All but the embeddings; the classifier is another matrix.
    let read = model.parameters.table.count - model.tensors.wte.count
    generating(name, config, model, read: read, streams: streams, quick: quick)
}

/// A prompt of 512 tokens, one stream and several, of a new model (its speed does not depend on what it has learnt).
/// - Parameter read: the parameters that a step reads, but for a row of the embeddings.
private func generating(
    _ name: String, _ config: any CausalConfiguration, _ model: any LanguageModel, read parameters: Int,
    streams: [Int], quick: Bool, weights: WeightFormat = .float32
) {
    let name = weights == .float32 ? name : "\(name) in \(weights)"
    // In 8 bits there is a scale for 64 weights.
    let bytes = weights == .float32 ? 4 : weights == .bfloat16 ? 2 : 1 + 4.0 / 64
    let (L, C, V) = (config.L, config.C, config.V)
    model.parameters.initialize(seed: 42)
    var random = Xorshift(seed: 1)
    let prompt = (0..<512).map { _ in Int32(random.below(V)) }

    // What a prompt takes: every token goes through all matrices of the layers, and attends to half of the others on
    // average; in the last layer only its key and value are computed. The classifier has one row.
    let T = prompt.count
    let matrices = L * 12 * C * C * T - 9 * C * C * (T - 1)
    let attention = (L - 1) * C * T * (T + 1) + 2 * C * T
    let flops = 2 * Double(matrices + attention + V * C)
    let long = Generator(model, sequences: 1, capacity: 1024, weights: weights)
    let read = measure(runs: quick ? 3 : 7, .flops(flops, weights == .float32 ? .float32 : .bfloat16)) {
        long.start(with: prompt)
    }
    print(
        String(
            format: "\n%@, prompt of %ld tokens: %.0f ms, %.0f tokens/s, %.0f%% of the peak", name, T,
            read.seconds * 1000, Double(T) / read.seconds, 100 * read.share))

    let section = "generate_\(name)".replacingOccurrences(of: " ", with: "_")
    record(section, "prompt_512_tok_s", Double(T) / read.seconds)
    record(section, "prompt_512_share", read.share)

    // What a step reads: these parameters, and the cache. The bandwidth is measured just before, on the same memory.
    let steps = 8
    var alone = 0.0
    for streams in streams {
        let generator = Generator(model, sequences: streams, capacity: 1024, weights: weights)
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
            shares.append((bytes * Double(parameters) + Double(4 * cached)) / time / bandwidth)
        }
        let rate = Double(streams) / median(seconds)
        if streams == 1 { alone = rate }
        record(section, "streams_\(streams)_tok_s", rate)
        record(section, "streams_\(streams)_share_of_bandwidth", median(shares))
        print(
            String(
                format: "%@, %ld at once: %.2f ms a step, %.1f tokens/s%@, %.0f%% of the bandwidth (%.1f GB/s)", name,
                streams, median(seconds) * 1000, rate,
                streams == 1 ? "" : String(format: " (%.1f times one)", rate / alone),
                100 * median(shares), median(bandwidths) * 1e-9))
    }
}

/// What rounding the weights costs: the mean loss of the tokens of a shard, each predicted as `generate` does, in every
/// format; the ratio of losses is that of the bits a byte.
func weightsError(_ path: String, _ shardPath: String, T: Int = 128, sequences: Int = 64, batches: Int = 4) throws {
    let (model, _) = try readModel(path, adapters: [])
    let shard = try TokenShard(shardPath)
    let T = min(T, model.maxT)
    let rows = min(sequences * batches, (shard.count - 1) / T)
    var exact = 0.0
    for format in WeightFormat.allCases {
        var (sum, count) = (0.0, 0)
        for first in stride(from: 0, to: rows, by: sequences) {
            let texts = try (first..<min(first + sequences, rows)).map { try shard.read(T + 1, at: $0 * T) }
            let generator = Generator(model, sequences: texts.count, capacity: T, weights: format)
            for t in 0..<T {
                generator.append(texts.map { [$0[t]] })
                for (i, text) in texts.enumerated() {
                    let logits = generator.logits(of: i)
                    let largest = Double(logits.max() ?? 0)
                    let total = logits.reduce(0) { $0 + exp(Double($1) - largest) }
                    sum += log(total) + largest - Double(logits[Int(text[t + 1])])
                    count += 1
                }
            }
        }
        let loss = sum / Double(count)
        if format == .float32 { exact = loss }
        print(
            String(
                format: "%@: %.5f nats for a token, %+.3f%%, over %ld tokens", format.rawValue, loss,
                100 * (loss / exact - 1), count))
    }
}
