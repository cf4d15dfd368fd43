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
    let gradients = model.parameters.array(model.parameters.gradients)
    for tensor in model.parameters.table.tensors {
        let part = Array(gradients[tensor.offset..<tensor.offset + tensor.count])
        expectDerivative(
            model, tensor.name, at: model.parameters.values + tensor, part, inputs, targets, B: B, T: T,
            used: used[tensor.name], dropout: dropout)
    }
}

/// The same for some values of a model.
/// - Parameter part: their gradients.
func expectDerivative(
    _ model: any LanguageModel, _ name: String, at values: UnsafeMutablePointer<Float>, _ part: [Float],
    _ inputs: [Int32], _ targets: [Int32], B: Int, T: Int, used: Int? = nil, dropout: DropoutKey? = nil
) {
    expectDerivative(name, at: values, part, used: used) {
        model.loss(inputs, targets, B: B, T: T, dropout: dropout)
    }
}

/// The same for some values of any loss.
func expectDerivative(
    _ name: String, at values: UnsafeMutablePointer<Float>, _ part: [Float], used: Int? = nil, loss: () -> Double
) {
    var random = Xorshift(seed: 3)
    /// f′(0) from four values (Richardson's extrapolation of the central difference), so that ε may be large: float32
    /// losses are right to about 10⁻⁷, and a plain difference with a smaller ε would have only noise.
    func slope(_ f: (Float) -> Double) -> Double {
        let epsilon: Float = 0.01
        func difference(_ e: Float) -> Double { (f(e) - f(-e)) / (2 * Double(e)) }
        return (4 * difference(epsilon / 2) - difference(epsilon)) / 3
    }
    let before = Array(UnsafeBufferPointer(start: values, count: part.count))
    for _ in 0..<8 {
        let i = random.below(used ?? part.count)
        let expected = slope { distance in
            values[i] = before[i] + distance
            return loss()
        }
        values[i] = before[i]
        #expect(abs(Double(part[i]) - expected) <= 1e-3 * abs(expected) + 1e-4, "\(name)[\(i)]")
    }
    // All of them along their gradient: the loss changes by the gradient's norm.
    let norm = part.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let expected = slope { distance in
        for i in part.indices { values[i] = before[i] + distance * part[i] / norm }
        return loss()
    }
    for i in part.indices { values[i] = before[i] }
    #expect(norm > 0 && abs(expected / Double(norm) - 1) < 1e-3, "\(name) along its gradient")
}
