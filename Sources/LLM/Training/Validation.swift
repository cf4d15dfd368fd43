// What a validation measures, and how: the ranks share the batches, and every number is the same on all of them.

import Foundation

/// What a validation measures, over the targets that count.
struct Validation {
    /// Means.
    private(set) var (loss, accuracy) = (0.0, 0.0)
    /// The share of sequences whose every target was the most probable token: greedy decoding then writes exactly this
    /// answer.
    private(set) var exact = 0.0
    /// Sequences with a target that counts.
    private(set) var sequences = 0
    /// The loss for each byte of text instead of each token, so that models with different vocabularies compare; nil
    /// without a tokenizer.
    private(set) var bitsPerByte: Double?

    /// Measures the first batches of the data.
    /// - Parameters:
    ///   - bytesOfTokens: the bytes of text that each token stands for; empty without a tokenizer.
    ///   - checkStop: throws if the run is to stop.
    init(
        of model: any TrainableModel, on data: any TrainingData, batches: Int, bytesOfTokens: [Int],
        checkStop: () throws -> Void
    ) throws {
        let batches = min(batches, data.batchesPerEpoch)
        /// Of each batch that this rank measures.
        var results: [Double] = []
        data.startEpoch()
        for i in 0..<batches {
            // Between two rounds, so that the ranks measure at the same time.
            if i % ranks.size == 0 { try checkStop() }
            guard i % ranks.size == ranks.rank else {
                data.skipBatch()
                continue
            }
            results += Validation.results(of: model, on: try data.nextBatch(), bytesOfTokens)
        }
        let all = ranks.gather(results)
        var (targets, exactOnes, bytes) = (0.0, 0.0, 0.0)
        for i in 0..<batches {
            let first = i / ranks.size * Validation.resultCount
            let batch = all[i % ranks.size][first..<first + Validation.resultCount]
            loss += batch[first]
            accuracy += batch[first + 1]
            targets += batch[first + 2]
            bytes += batch[first + 3]
            sequences += Int(batch[first + 4])
            exactOnes += batch[first + 5]
        }
        func mean(_ sum: Double, of count: Double) -> Double { sum.isNaN ? .nan : sum / max(1, count) }
        if bytes > 0 { bitsPerByte = mean(loss * M_LOG2E, of: bytes) }
        loss = mean(loss, of: targets)
        accuracy = mean(accuracy, of: targets)
        exact = mean(exactOnes, of: Double(sequences))
    }

    private static let resultCount = 6

    /// A batch's sums of losses, of right predictions and of targets, its bytes, its sequences, and those of them that are
    /// right as a whole.
    private static func results(of model: any TrainableModel, on batch: Batch, _ bytesOfTokens: [Int]) -> [Double] {
        let loss = model.loss(of: batch)
        let bytes = batch.targets.reduce(0) {
            $0 + ($1 >= 0 && Int($1) < bytesOfTokens.count ? bytesOfTokens[Int($1)] : 0)
        }
        var (first, sequences, exactOnes) = (0, 0, 0)
        for length in batch.lengths {
            let counted = (first..<first + length).filter { batch.targets[$0] >= 0 }
            first += length
            guard !counted.isEmpty else { continue }
            sequences += 1
            if counted.allSatisfy({ loss.correct[$0] == 1 }) { exactOnes += 1 }
        }
        return [
            loss.mean * Double(loss.counted), loss.accuracy * Double(loss.counted), Double(loss.counted),
            Double(bytes), Double(sequences), Double(exactOnes),
        ]
    }
}
