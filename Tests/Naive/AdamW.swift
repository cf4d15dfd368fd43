// The optimizer.

import Foundation

/// Step t (from 1) for a single parameter. m and v are running means of the gradient and of its square. Both start at
/// zero, so they are divided by 1 − βᵗ to remove that bias. Weight decay is a step towards zero that does not go
/// through m and v: that is the W of AdamW.
package func naiveAdamW(
    parameter: inout Double, gradient: Double, m: inout Double, v: inout Double, learningRate: Double, beta1: Double,
    beta2: Double, epsilon: Double, decay: Double, step t: Int
) {
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient * gradient
    let mHat = m / (1 - pow(beta1, Double(t)))
    let vHat = v / (1 - pow(beta2, Double(t)))
    parameter -= learningRate * (mHat / (vHat.squareRoot() + epsilon) + decay * parameter)
}
