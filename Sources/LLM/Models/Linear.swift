// The linear layer, one door for every model: out = inp · weightᵀ + bias. Which kernel computes it depends on how many
// rows there are and on whether the weights have been packed for few rows; a model's walk says only which weights it
// wants. What changes a linear layer as a whole belongs here, so that no walk changes: an adapter adds its part
// (LoRA.swift), and the gradient of a frozen weight is not computed.

import Kernels

/// The linear layers of a model.
package struct Linear {
    private let parameters: Parameters
    private let generates: Bool
    private let packed: PackedWeights?
    private let dropout: DropoutKey?
    private let precision: Precision

    /// - Parameters:
    ///   - generates: whether few rows take kernels of their own. They add in a different order from training's,
    ///     so a batch never takes them: its results must not depend on where it is cut.
    ///   - packed: a copy of the weights for few rows; nil takes the weights themselves.
    ///   - dropout: what an adapter drops its inputs by; nil drops nothing.
    package init(
        parameters: Parameters, generates: Bool = false, packed: PackedWeights? = nil, dropout: DropoutKey? = nil
    ) {
        (self.parameters, self.generates, self.packed, self.dropout) = (parameters, generates, packed, dropout)
        precision = generates ? .float32 : parameters.precision
        precondition(generates || parameters.packed == nil, "the weights' floats are gone")
    }

    /// The linear layers as a pass needs them.
    init(parameters: Parameters, _ context: Context) {
        switch context {
        case .batch(_, let dropout): self.init(parameters: parameters, dropout: dropout)
        case .cache(let cache): self.init(parameters: parameters, generates: true, packed: cache.packed)
        }
    }

    /// The layer's output: out (N,OC) = inp (N,C) · weight (OC,C)ᵀ + bias (OC) + residual (N,OC).
    /// - Parameters:
    ///   - residual: added to the result if not nil; may be `out` itself.
    ///   - outStride: floats from one row of `out` to the next; OC if nil.
    package func forward(
        out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor, bias: Tensor?, layer l: Int = 0,
        residual: UnsafePointer<Float>? = nil, N: Int, C: Int, OC: Int, outStride: Int? = nil
    ) {
        let p = parameters.values
        let bias = bias.map { UnsafePointer(p.at($0, l)) }
        let stride = outStride ?? OC
        if generates, N == 1, packed == nil {
            matmulRow(out: out, inp: inp, weight: p.at(weight, l), bias: bias, residual: residual, C: C, OC: OC)
            parameters.adapter?.addRow(out: out, inp: inp, weight: weight, layer: l)
            return
        }
        withLowRank(of: weight, layer: l, inp: inp, N: N, OC: OC) { lowRank in
            guard generates, let packed, N < PackedWeights.manyRows || packed.format != .float32 else {
                return matmulForward(
                    out: out, inp: inp, weight: p.at(weight, l), bias: bias, residual: residual, N: N, C: C, OC: OC,
                    outStride: stride, lowRank: lowRank, precision: precision)
            }
            precondition(stride == OC)
            packed.multiply(
                out: out, inp: inp, weight: weight, layer: l, bias: bias, residual: residual, N: N, C: C, OC: OC)
            guard let lowRank else { return }
            matmulForward(
                out: out, inp: lowRank.a, weight: lowRank.b, bias: nil, residual: out, N: N, C: lowRank.rank, OC: OC)
        }
    }

    /// Calls `body` with what an adapter adds to a product; nil for nothing.
    private func withLowRank(
        of weight: Tensor, layer l: Int, inp: UnsafePointer<Float>, N: Int, OC: Int, _ body: (LowRank?) -> Void
    ) {
        guard let adapter = parameters.adapter else { return body(nil) }
        adapter.withLowRank(of: weight, layer: l, inp: inp, dropout: dropout, N: N, OC: OC, body)
    }

    /// The layer's backward pass: dinp (N,C) = or += dout (N,OC) · weight (OC,C); the gradients of weight and bias, as
    /// far as they are trained, are added to theirs.
    ///
    /// With out = inp · weightᵀ + bias, each out[n,o] = Σ_c inp[n,c] · weight[o,c] + bias[o]. So dinp[n,c] is the sum
    /// over o of dout[n,o] · weight[o,c], dweight[o,c] the sum over n of dout[n,o] · inp[n,c], dbias[o] the sum of
    /// dout[n,o].
    /// - Parameters:
    ///   - inp: what the forward pass had.
    ///   - accumulate: whether to add to what is in `dinp`.
    ///   - doutStride: floats from one row of `dout` to the next; OC if nil.
    package func backward(
        dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor,
        bias: Tensor?, layer l: Int = 0, accumulate: Bool = false, N: Int, C: Int, OC: Int, doutStride: Int? = nil
    ) {
        let (p, g) = (parameters.values, parameters.trained)
        /// Where the bias is trained in the same rows as the weight.
        func dbias(of rows: Range<Int>) -> UnsafeMutablePointer<Float>? {
            guard let part = bias.flatMap({ g.rows(of: $0) }), part.rows == rows else { return nil }
            return part.gradient
        }
        if let dweight = g.at(weight, l) {
            matmulBackwardWeight(
                dweight: dweight, dbias: bias.flatMap { g.at($0, l) }, dout: dout, inp: inp, N: N, C: C, OC: OC,
                doutStride: doutStride, precision: precision)
        } else if let part = g.rows(of: weight) {
            matmulBackwardWeight(
                dweight: part.gradient, dbias: dbias(of: part.rows), dout: dout + part.rows.lowerBound, inp: inp, N: N,
                C: C,
                OC: part.rows.count, doutStride: doutStride ?? OC, precision: precision)
        }
        func backwardInput(_ lowRank: LowRank?) {
            matmulBackwardInput(
                dinp: dinp, dout: dout, weight: p.at(weight, l), N: N, C: C, OC: OC, doutStride: doutStride,
                accumulate: accumulate, lowRank: lowRank, precision: precision)
        }
        guard let adapter = parameters.adapter else { return backwardInput(nil) }
        adapter.backward(
            dinp: dinp, dout: dout, inp: inp, weight: weight, layer: l, trained: g, dropout: dropout, N: N, C: C,
            doutStride: doutStride ?? OC, backwardInput)
    }
}
