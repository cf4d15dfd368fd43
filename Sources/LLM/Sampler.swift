// The next token, drawn from the model's probabilities.

import Foundation

/// An index of logits, drawn with the probabilities softmax gives them.
/// - Parameter coin: uniform in [0, 1).
package func sampleSoftmax(_ logits: UnsafeBufferPointer<Float>, coin: Float) -> Int {
    let maximum = logits.max() ?? 0  // so that no exponential overflows
    var total = 0.0
    for logit in logits { total += Double(exp(logit - maximum)) }
    let threshold = Double(coin) * total
    var sum = 0.0
    for (i, logit) in logits.enumerated() {
        sum += Double(exp(logit - maximum))
        if threshold < sum { return i }
    }
    return logits.count - 1  // rounding
}

extension GPT2 {
    /// Draws `count` tokens after `prompt`, one by one, each from a forward pass over all before it (the last maxT).
    /// - Returns: the new tokens. Ends early with `stop`, which is not returned.
    package func generate(prompt: [Int32], count: Int, stop: Int32?, random: inout Xorshift) -> [Int32] {
        precondition(!prompt.isEmpty)
        var tokens = prompt
        let logits = UnsafeMutableBufferPointer<Float>.allocate(capacity: config.V)
        defer { logits.deallocate() }
        guard let base = logits.baseAddress else { return [] }
        for _ in 0..<count {
            let context = Array(tokens.suffix(config.maxT))
            forward(inputs: context, B: 1, T: context.count)
            self.logits(rows: context.count - 1..<context.count, into: base)
            let next = Int32(sampleSoftmax(UnsafeBufferPointer(logits), coin: random.uniform()))
            if next == stop { break }
            tokens.append(next)
        }
        return Array(tokens.dropFirst(prompt.count))
    }
}
