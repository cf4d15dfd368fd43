// BERT-base beside what the machine allows, and beside torch_bert.py: masked steps, and texts of mixed length into hidden
// states.

import Foundation
import Kernels
import LLM

/// A masked step of B texts of T tokens, with dropout; 15% of the tokens are targets.
func bertStep(B: Int, T: Int) {
    let model = BERT(.base, trains: true)
    model.parameters.initialize(seed: 42)
    (model.dropout, model.attentionDropout) = (0.1, 0.1)
    var random = Xorshift(seed: 1)
    let tokens = (0..<B * T).map { _ in Int32(random.below(model.V)) }
    var batch = Batch(
        B: B, T: T, inputs: tokens, targets: tokens.map { random.uniform() < 0.15 ? $0 : -1 })
    batch.dropoutKey = DropoutKey(seed: 1, microBatch: 1)
    step("BERT-base", model, B: B, T: T) { model.learn(from: batch, gradientScale: 1 / Float(batch.counted)) }
}

/// Texts of 8 to 71 tokens, in batches of similar length: BERT-base, and a sentence encoder of six layers and 384 channels.
func bertEncoding(quick: Bool) {
    var small = BERTConfiguration(maxT: 512, V: 30522, L: 6, NH: 12, C: 384)
    var base = BERTConfiguration.base
    (small.hasHead, base.hasHead) = (false, false)
    for (name, config, texts) in [("BERT-base", base, quick ? 128 : 512), ("a six-layer encoder", small, 2048)] {
        let model = BERT(config, trains: false)
        model.parameters.initialize(seed: 42)
        var random = Xorshift(seed: 1)
        let lengths = (0..<texts).map { _ in 8 + random.below(64) }.sorted()
        let tokens = lengths.reduce(0, +)
        let inputs = (0..<tokens).map { _ in Int32(random.below(config.V)) }
        // The products, and the attention of every token to all of its text.
        let pairs = lengths.reduce(0.0) { $0 + Double($1 * $1) }
        let (L, C, FC) = (config.L, config.C, config.FC)
        let flops = 2 * Double(L * (4 * C * C + 2 * C * FC) * tokens) + 4 * Double(L * C) * pairs
        func encode() {
            withThreadsAwake {
                for first in stride(from: 0, to: texts, by: 64) {
                    let part = lengths[first..<min(first + 64, texts)]
                    let start = lengths[..<first].reduce(0, +)
                    inputs.withUnsafeBufferPointer {
                        if let base = $0.baseAddress { model.forward(inputs: base + start, lengths: Array(part)) }
                    }
                }
            }
        }
        kernelTimes = nil
        let result = measure(runs: quick ? 3 : 5, .flops(flops), encode)
        print(
            String(
                format: "\n%@: %ld texts of %.1f tokens: %.0f texts/s, %.0f tok/s, %.0f%% of the peak", name, texts,
                Double(tokens) / Double(texts), Double(texts) / result.seconds, Double(tokens) / result.seconds,
                100 * result.share))
        let section = "encode_\(name)".replacingOccurrences(of: " ", with: "_")
        record(section, "texts_per_second", Double(texts) / result.seconds)
        record(section, "share_of_peak", result.share)
        kernelTimes = [:]
        encode()
        let kernels = kernelTimes ?? [:]
        kernelTimes = nil
        for (kernel, time) in kernels.sorted(by: { $0.value.seconds > $1.value.seconds }) {
            print("  " + column(kernel, 20) + String(format: "%9.1f ms", time.seconds * 1000))
        }
    }
}
