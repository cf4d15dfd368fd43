// The settings of a new model that suit a text and a time: where it was tried, within 3% of the best that a search found, in
// bits a byte of held-out text (texts from 40 kB to 62 MB, a minute to half an hour of two cores: dev/LOG.md). What the search
// showed is simple:
//
//  - Small models that see many tokens beat larger ones that see few: 3 layers of 64 channels for a minute, and as many
//    more parameters as the time to the power of 0.85 (0.5 in the large: Hoffmann et al., 2022).
//  - With Muon one learning rate suits them all (1% less loss with a smaller one from 192 channels on); steps are of one or
//    two thousand tokens.
//  - A model that is large for its text, and reads it often, wants dropout and weight decay; any other is the worse for
//    them. A short text is learned by heart in the end whatever one does, so there is an end to how often, the sooner the
//    longer it is, and a larger model than some four layers of 128 channels only gets there sooner.

import Foundation
import Kernels

/// The settings of a new model, from the size of a text and a number of operations.
package struct TimeBudget {
    package let layers: Int
    package let channels: Int
    package var heads: Int { channels / 32 }
    package let B: Int
    package let T: Int
    package let dropout: Double
    package let weightDecay: Double
    /// How often the text is read at most.
    package let mostEpochs: Double

    /// - Parameters:
    ///   - tokens: of the text to learn from.
    ///   - V: the vocabulary.
    ///   - operations: what the machine could do in the time at its multiply-add peak.
    package init(tokens: Int, V: Int, operations: Double) {
        // 1 for a minute of 236 GFLOP/s.
        let budget = max(operations / (60 * 236e9), 1e-3)
        // Of the text, 1 for 300 kB.
        let text = Double(max(tokens, 1)) / 86e3
        let size = min(budget, 7 * max(1, pow(text, 0.7)))
        layers = min(max(Int((2.6 * pow(size, 0.25)).rounded()), 1), 24)
        channels = min(max(Int((64 * pow(size, 0.3) / 32).rounded()) * 32, 64), 1024)
        // So that there are a thousand steps at least.
        var (rows, length) = (budget < 2 ? 8 : 16, budget < 0.5 ? 64 : 128)
        // A short text must fill a batch.
        while rows > 1, tokens / 8 < (rows + 1) * length { rows /= 2 }
        while length > 8, tokens / 8 < (rows + 1) * length { length /= 2 }
        (B, T) = (rows, length)
        // How often the text is read, if the machine reaches half its peak, and how well the model could know it by heart:
        // dropout and decay cost a model that could not.
        mostEpochs = min(max(40 * pow(text, text < 1 ? -0.75 : -0.4), 10), 100)
        let parameters = Double(12 * layers * channels * channels + V * channels)
        let epochs = min(operations / 2 / (6 * parameters) / Double(max(tokens, 1)), mostEpochs)
        let learningByHeart = epochs * parameters / Double(max(tokens, 1))
        dropout = learningByHeart < 20 ? 0 : learningByHeart < 150 ? 0.1 : learningByHeart < 500 ? 0.2 : 0.3
        weightDecay = learningByHeart < 20 ? 0.1 : learningByHeart < 120 ? 0.4 : 1
    }

    /// Where AdamW is asked for.
    package static let learningRateOfAdamW = "2e-3"

    /// The options of train_gpt2 that say this, but for those that follow from the number of steps.
    package var options: [String: String] {
        [
            "layers": "\(layers)", "heads": "\(heads)", "channels": "\(channels)", "batch-size": "\(B)",
            "sequence-length": "\(T)", "dropout": "\(dropout)", "optimizer": "muon", "shuffle": "rows",
            "learning-rate": channels < 192 ? "8e-3" : "5e-3", "final-lr-fraction": "0.05",
            "weight-decay": "\(weightDecay)",
        ]
    }

    /// Validations of a run, and the batches of each.
    private static let (validations, validationBatches) = (10, 20)

    /// The steps that the time is enough for.
    /// - Parameters:
    ///   - seconds: to train in.
    ///   - secondsPerStep: measured.
    ///   - batches: of an epoch.
    package func steps(seconds: Double, secondsPerStep: Double, batches: Int) -> Int {
        // A batch of a validation takes a third of a step: a forward pass without a backward one.
        let validating = Double(TimeBudget.validations * TimeBudget.validationBatches) / 3
        let affordable = max(seconds / secondsPerStep - validating, seconds / secondsPerStep / 2, 1)
        return max(1, Int(min(affordable, mostEpochs * Double(batches), 1e9)))
    }

    /// The options that follow from the number of steps.
    package static func options(steps: Int) -> [String: String] {
        let every = max(1, steps / validations)
        return [
            "steps": "\(steps)", "warmup": "\(min(100, steps / 20))", "val-every": "\(every)",
            "val-batches": "\(validationBatches)", "sample-every": "\(every)",
        ]
    }

    // MARK: - the machine

    /// The seconds of a micro-batch with an update, of a model that is thrown away.
    /// - Parameter duration: how long to measure, in seconds: the machine may be busy for a moment.
    package static func timeStep(
        _ config: GPT2Configuration, _ settings: TrainingSettings, T: Int, for duration: Double
    ) -> Double {
        let model = GPT2(config, trains: true)
        model.parameters.initialize(seed: settings.seed)
        model.dropout = settings.dropout
        model.parameters.precision = settings.precision
        var random = MersenneTwister(seed: settings.seed)
        let tokens = (0..<settings.B * T).map { _ in Int32(random.next() % UInt32(config.V)) }
        let lengths = Array(repeating: T, count: settings.B)
        var times: [Double] = []
        let start = now()
        while times.count < 4 || now() - start < duration {
            let begin = now()
            let key = settings.dropout > 0 ? DropoutKey(seed: settings.seed, microBatch: times.count) : nil
            model.forward(inputs: tokens, .batch(lengths: lengths, dropout: key))
            _ = model.classify(targets: tokens, gradientScale: 1 / Float(tokens.count))
            model.backward(inputs: tokens)
            _ = model.parameters.gradientNorm()
            model.parameters.update(
                settings.optimizer, learningRate: 1e-3, beta1: 0.9, beta2: 0.95, decay: 0, gradientScale: 1,
                step: times.count + 1)
            times.append(now() - begin)
        }
        return times.dropFirst().sorted()[(times.count - 1) / 2]
    }
}
