// The linear layer, forward and backward.

/// The linear layer out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC): each token's C channels become OC channels.
package func naiveMatmulForward(
    inp: [Double], weight: [Double], bias: [Double]?, N: Int, C: Int, OC: Int
) -> [Double] {
    var out = [Double](repeating: 0, count: N * OC)
    for n in 0..<N {
        for oc in 0..<OC {
            var sum = bias?[oc] ?? 0
            for c in 0..<C { sum += inp[n * C + c] * weight[oc * C + c] }
            out[n * OC + oc] = sum
        }
    }
    return out
}

/// The gradients dinp (N,C), dweight (OC,C) and dbias (OC). The forward pass was out[n,oc] += inp[n,c] · weight[oc,c].
/// So each of the two factors gets dout[n,oc] times the other, and the bias, whose factor was 1, gets dout[n,oc].
package func naiveMatmulBackward(
    dout: [Double], inp: [Double], weight: [Double], N: Int, C: Int, OC: Int
) -> (dinp: [Double], dweight: [Double], dbias: [Double]) {
    var dinp = [Double](repeating: 0, count: N * C)
    var dweight = [Double](repeating: 0, count: OC * C)
    var dbias = [Double](repeating: 0, count: OC)
    for n in 0..<N {
        for oc in 0..<OC {
            let d = dout[n * OC + oc]
            for c in 0..<C {
                dinp[n * C + c] += d * weight[oc * C + c]
                dweight[oc * C + c] += d * inp[n * C + c]
            }
            dbias[oc] += d
        }
    }
    return (dinp, dweight, dbias)
}
