// Layer normalisation.

/// The layer norm out (N,C): each row of inp (N,C) minus its mean, divided by its standard deviation, times weight (C),
/// plus bias (C). Also the rows' mean (N) and rstd (N) = 1 / √(variance + ε).
package func naiveLayerNormForward(
    inp: [Double], weight: [Double], bias: [Double], N: Int, C: Int, epsilon: Float = 1e-5
) -> (out: [Double], mean: [Double], rstd: [Double]) {
    var out = [Double](repeating: 0, count: N * C)
    var (means, rstds) = ([Double](), [Double]())
    for n in 0..<N {
        let x = inp[n * C..<(n + 1) * C]
        let mean = x.reduce(0, +) / Double(C)
        let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(C)
        let rstd = 1 / (variance + Double(epsilon)).squareRoot()
        for c in 0..<C { out[n * C + c] = (inp[n * C + c] - mean) * rstd * weight[c] + bias[c] }
        means.append(mean)
        rstds.append(rstd)
    }
    return (out, means, rstds)
}

/// The gradients. The forward pass was out = norm · weight + bias with norm = (inp − mean) · rstd. So dweight (C) and
/// dbias (C) are the sums of dout · norm and dout over all rows. dinp (N,C) is dnorm · rstd, minus the effect of a
/// channel on the mean (the same for all channels) and on the variance (proportional to norm).
package func naiveLayerNormBackward(
    dout: [Double], inp: [Double], weight: [Double], mean: [Double], rstd: [Double], N: Int, C: Int
) -> (dinp: [Double], dweight: [Double], dbias: [Double]) {
    var dinp = [Double](repeating: 0, count: N * C)
    var dweight = [Double](repeating: 0, count: C)
    var dbias = [Double](repeating: 0, count: C)
    for n in 0..<N {
        var (meanDnorm, meanDnormNorm) = (0.0, 0.0)
        for c in 0..<C {
            let norm = (inp[n * C + c] - mean[n]) * rstd[n]
            let dnorm = weight[c] * dout[n * C + c]
            meanDnorm += dnorm / Double(C)
            meanDnormNorm += dnorm * norm / Double(C)
        }
        for c in 0..<C {
            let norm = (inp[n * C + c] - mean[n]) * rstd[n]
            let dnorm = weight[c] * dout[n * C + c]
            dinp[n * C + c] = (dnorm - meanDnorm - norm * meanDnormNorm) * rstd[n]
            dweight[c] += dout[n * C + c] * norm
            dbias[c] += dout[n * C + c]
        }
    }
    return (dinp, dweight, dbias)
}
