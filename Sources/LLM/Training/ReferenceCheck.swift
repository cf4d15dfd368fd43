// The comparison of a model with PyTorch: what test_gpt2 and test_phi print.

import Foundation

/// The comparison of a model with a reference: logits, loss and every gradient, then ten steps of AdamW and the loss
/// before each.
package enum ReferenceCheck {
    /// The relative error allowed for logits and gradients, ‖ours − theirs‖ / ‖theirs‖, and the difference allowed for
    /// losses.
    package static let tolerance = 1e-4

    /// Prints every comparison.
    /// - Parameter losses: the ten that are expected.
    /// - Returns: how many comparisons failed.
    package static func run(_ model: any LanguageModel, _ state: DebugState, losses: [Double]) -> Int {
        let (B, T, V) = (state.B, state.T, model.V)
        let batch = Batch(B: B, T: T, inputs: state.inputs, targets: state.targets)
        var failures = 0
        func compare(_ what: String, _ error: Double, _ detail: String) {
            let isGood = error <= tolerance  // false for NaN
            if !isGood { failures += 1 }
            print(
                "\(isGood ? "OK      " : "NOT OK  ") \(what.padding(toLength: 10, withPad: " ", startingAt: 0)) \(detail)"
            )
        }
        for step in 0..<10 {
            let loss = model.learn(from: batch, gradientScale: 1 / Float(batch.counted)).mean
            if step == 0 {
                var logits = [Float](repeating: 0, count: B * T * V)
                logits.withUnsafeMutableBufferPointer { buffer in
                    if let base = buffer.baseAddress { model.logits(into: base, .batch(B: B, T: T)) }
                }
                let error = logits.withUnsafeBufferPointer { relativeError($0, state.logits[...]) }
                compare("logits", error, String(format: "relative error %.1e", error))
                compare(
                    "loss", abs(loss - Double(state.loss)),
                    String(format: "%.6f, PyTorch's %.6f", loss, state.loss))
                for tensor in model.parameters.table.tensors {
                    let ours = UnsafeBufferPointer(start: model.parameters.gradients + tensor, count: tensor.count)
                    let error = relativeError(ours, state.gradients[tensor.offset..<tensor.offset + tensor.count])
                    compare("d" + tensor.name, error, String(format: "relative error %.1e", error))
                }
            }
            model.parameters.update(
                learningRate: 1e-4, beta1: 0.9, beta2: 0.999, decay: 0.01, decaysAll: true, gradientScale: 1,
                step: step + 1)
            compare(
                "step \(step)", abs(loss - losses[step]),
                String(format: "loss %.6f, PyTorch's %.6f", loss, losses[step]))
        }
        return failures
    }

    /// ‖ours − theirs‖ / ‖theirs‖.
    private static func relativeError(_ ours: UnsafeBufferPointer<Float>, _ theirs: ArraySlice<Float>) -> Double {
        var (difference, norm) = (0.0, 0.0)
        for (a, b) in zip(ours, theirs) {
            difference += Double(a - b) * Double(a - b)
            norm += Double(b) * Double(b)
        }
        return (difference / max(norm, 1e-300)).squareRoot()
    }
}
