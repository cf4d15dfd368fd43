// The softmax of one row of logits.

import Foundation

/// The probabilities of a row: exponentials divided by their sum. The maximum is subtracted so that none overflows.
package func naiveSoftmax(_ logits: [Double]) -> [Double] {
    let maximum = logits.max() ?? 0
    let exponentials = logits.map { exp($0 - maximum) }
    let sum = exponentials.reduce(0, +)
    return exponentials.map { $0 / sum }
}
