// What the tests of the models share.

import Foundation
import Kernels
import LLM
import Testing

/// Every third target does not count, as a question's don't where the loss is on the answers.
func hidingSome(_ targets: [Int32]) -> [Int32] { targets.indices.map { $0 % 3 == 0 ? -1 : targets[$0] } }

/// A check of a model's gradients, which must be there, against finite differences of its loss: single parameters, and
/// each tensor along its gradient.
/// - Parameters:
///   - used: floats of a tensor that the batch uses, from the first; all where there is no entry.
///   - dropout: the key whose masks stay the same all the while.
func expectDerivative(
    _ model: any LanguageModel, _ inputs: [Int32], _ targets: [Int32], B: Int, T: Int, used: [String: Int] = [:],
    dropout: DropoutKey? = nil
) {
    let values = model.parameters.values
    let gradients = model.parameters.array(model.parameters.gradients)
    var random = Xorshift(seed: 3)
    /// f′(0) from four values (Richardson's extrapolation of the central difference), so that ε may be large: float32
    /// losses are right to about 10⁻⁷, and a plain difference with a smaller ε would have only noise.
    func slope(_ f: (Float) -> Double) -> Double {
        let epsilon: Float = 0.01
        func difference(_ e: Float) -> Double { (f(e) - f(-e)) / (2 * Double(e)) }
        return (4 * difference(epsilon / 2) - difference(epsilon)) / 3
    }
    for tensor in model.parameters.table.tensors {
        let before = model.parameters.array(values, tensor)
        let part = Array(gradients[tensor.offset..<tensor.offset + tensor.count])
        for _ in 0..<8 {
            let i = random.below(used[tensor.name] ?? tensor.count)
            let expected = slope { distance in
                (values + tensor)[i] = before[i] + distance
                return model.loss(inputs, targets, B: B, T: T, dropout: dropout)
            }
            (values + tensor)[i] = before[i]
            let error = abs(Double(part[i]) - expected)
            #expect(error <= 1e-3 * abs(expected) + 1e-4, "\(tensor.name)[\(i)]")
        }
        // The whole tensor along its gradient: the loss changes by the gradient's norm.
        let norm = part.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let expected = slope { distance in
            for i in 0..<tensor.count { (values + tensor)[i] = before[i] + distance * part[i] / norm }
            return model.loss(inputs, targets, B: B, T: T, dropout: dropout)
        }
        for i in 0..<tensor.count { (values + tensor)[i] = before[i] }
        #expect(norm > 0 && abs(expected / Double(norm) - 1) < 1e-3, "\(tensor.name) along its gradient")
    }
}
