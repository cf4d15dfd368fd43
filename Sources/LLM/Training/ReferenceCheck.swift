// The comparison of a model with PyTorch: what test_gpt2, test_phi and test_bert print.

import Foundation

/// The comparison of a model with a reference: logits, loss and every gradient, then ten steps of AdamW and the loss
/// before each.
package enum ReferenceCheck {
    /// The relative error allowed for logits and gradients, ‖ours − theirs‖ / ‖theirs‖, and the difference allowed for
    /// losses.
    package static let tolerance = 1e-4

    /// A model and its reference, as given; or all that the tests have of a kind, in turn.
    /// - Parameter kind: `phi` or `bert`, the folder of the tests' references.
    package static func paths(_ given: [String], of kind: String) throws -> [String] {
        guard given.isEmpty else {
            guard given.count == 2 else {
                throw UserError(
                    "a model and its reference are needed, not \(given.count) paths",
                    hint: "test_\(kind) DIR REFERENCE.safetensors", exitCode: 2)
            }
            return given
        }
        let folder = "Tests/LLMTests/Fixtures/\(kind)"
        let references = LLM.paths(matching: "\(folder)/*_reference.safetensors")
        guard !references.isEmpty else {
            throw UserError(
                "no references in \(folder)",
                hint: "run it in the project's folder, or: test_\(kind) DIR REFERENCE.safetensors")
        }
        return references.flatMap { [String($0.dropLast("_reference.safetensors".count)), $0] }
    }

    /// Prints every comparison.
    /// - Parameter losses: the ten that are expected.
    /// - Returns: how many comparisons failed.
    package static func run(_ model: any LanguageModel, _ state: DebugState, losses: [Double]) -> Int {
        let (B, T, V) = (state.B, state.T, model.V)
        let batch = Batch(B: B, T: T, inputs: state.inputs, targets: state.targets)
        var table = Comparisons()
        for step in 0..<10 {
            let loss = model.learn(from: batch, gradientScale: 1 / Float(batch.counted)).mean
            if step == 0 {
                var logits = [Float](repeating: 0, count: B * T * V)
                logits.withUnsafeMutableBufferPointer { buffer in
                    if let base = buffer.baseAddress { model.logits(into: base, .batch(B: B, T: T)) }
                }
                let error = logits.withUnsafeBufferPointer { relativeError($0, state.logits[...]) }
                table.compare("logits", error, String(format: "relative error %.1e", error))
                table.compare(
                    "loss", abs(loss - Double(state.loss)),
                    String(format: "%.6f, PyTorch's %.6f", loss, state.loss))
                for tensor in model.parameters.table.tensors {
                    let ours = UnsafeBufferPointer(start: model.parameters.gradients + tensor, count: tensor.count)
                    let error = relativeError(ours, state.gradients[tensor.offset..<tensor.offset + tensor.count])
                    table.compare("d" + tensor.name, error, String(format: "relative error %.1e", error))
                }
            }
            model.parameters.update(
                learningRate: 1e-4, beta1: 0.9, beta2: 0.999, decay: 0.01, decaysAll: true, gradientScale: 1,
                step: step + 1)
            table.compare(
                "step \(step)", abs(loss - losses[step]),
                String(format: "loss %.6f, PyTorch's %.6f", loss, losses[step]))
        }
        return table.failures
    }

    /// The same for a BERT: hidden states, pooled vectors, logits, loss and gradients, as far as it has the parts, then
    /// every step of the reference.
    /// - Parameter lossTolerance: the difference allowed for losses.
    package static func run(
        _ model: BERT, _ reference: MaskedReference, lossTolerance: Double = tolerance
    ) -> Int {
        var table = Comparisons()
        func compare(_ what: String, _ ours: UnsafePointer<Float>, _ theirs: ArraySlice<Float>) {
            let ours = UnsafeBufferPointer(start: ours, count: theirs.count)
            let error = relativeError(ours, theirs)
            table.compare(what, error, String(format: "relative error %.1e", error))
        }
        let (first, config) = (reference.batches[0], model.config)
        let N = first.inputs.count
        model.forward(inputs: first.inputs, segments: first.segments, lengths: first.lengths)
        compare("hidden", model.hidden, reference.hidden[...])
        let out = allocateFloats(max(N * config.V, first.lengths.count * config.C))
        defer { freeFloats(out, count: max(N * config.V, first.lengths.count * config.C)) }
        if let pooled = reference.pooled {
            model.pool(into: out)
            compare("pooled", out, pooled[...])
        }
        if let logits = reference.logits {
            model.logits(into: out, rows: Array(0..<N))
            compare("logits", out, logits[...])
        }
        for (step, expected) in reference.losses.enumerated() {
            let batch = reference.batches[step % reference.batches.count]
            let loss = model.learn(from: batch, gradientScale: 1 / Float(max(1, batch.counted))).mean
            if step == 0 {
                var offset = 0
                for tensor in model.parameters.table.tensors {
                    guard let gradient = model.parameters.trained + tensor else { continue }
                    compare("d" + tensor.name, gradient, reference.gradients[offset..<offset + tensor.count])
                    offset += tensor.count
                }
            }
            model.parameters.update(
                learningRate: 1e-4, beta1: 0.9, beta2: 0.999, decay: 0.01, decaysAll: true, gradientScale: 1,
                step: step + 1)
            table.compare(
                "step \(step)", abs(loss - expected), within: lossTolerance,
                String(format: "loss %.6f, PyTorch's %.6f", loss, expected))
        }
        return table.failures
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

/// Comparisons, printed one a line, and how many failed.
private struct Comparisons {
    private(set) var failures = 0

    mutating func compare(
        _ what: String, _ error: Double, within tolerance: Double = ReferenceCheck.tolerance, _ detail: String
    ) {
        let isGood = error <= tolerance  // false for NaN
        if !isGood { failures += 1 }
        let name = what.padding(toLength: 10, withPad: " ", startingAt: 0)
        print("\(isGood ? "OK      " : "NOT OK  ") \(name) \(detail)")
    }
}
