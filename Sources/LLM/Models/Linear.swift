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

    /// From so many rows on, training's product is as fast as the one with packed weights (measured with GPT-2 124M).
    private static let manyRows = 128

    /// - Parameters:
    ///   - generates: whether few rows take kernels of their own. They add in a different order from training's,
    ///     so a batch never takes them: its results must not depend on where it is cut.
    ///   - packed: a copy of the weights for few rows; nil takes the weights themselves.
    ///   - dropout: what an adapter drops its inputs by; nil drops nothing.
    package init(
        parameters: Parameters, generates: Bool = false, packed: PackedWeights? = nil, dropout: DropoutKey? = nil
    ) {
        (self.parameters, self.generates, self.packed, self.dropout) = (parameters, generates, packed, dropout)
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
        if generates, let packed, N < Linear.manyRows {
            precondition(outStride ?? OC == OC)
            matmulBlocks(
                out: out, inp: inp, blocks: packed.blocks(of: weight, layer: l, C: C, OC: OC), bias: bias,
                residual: residual, N: N, C: C, OC: OC)
        } else if generates, N == 1 {
            matmulRow(out: out, inp: inp, weight: p.at(weight, l), bias: bias, residual: residual, C: C, OC: OC)
        } else {
            matmulForward(
                out: out, inp: inp, weight: p.at(weight, l), bias: bias, residual: residual, N: N, C: C, OC: OC,
                outStride: outStride)
        }
        guard let adapter = parameters.adapter else { return }
        for product in adapter.products(of: weight, layer: l) {
            product.forward(
                out: out, inp: inp, values: adapter.values, dropout: adapter.dropout(dropout, product), N: N,
                outStride: outStride ?? OC)
        }
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
        if let dweight = g.at(weight, l) {
            matmulBackwardWeight(
                dweight: dweight, dbias: bias.flatMap { g.at($0, l) }, dout: dout, inp: inp, N: N, C: C, OC: OC,
                doutStride: doutStride)
        } else if let part = g.rows(of: weight) {
            matmulBackwardWeight(
                dweight: part.gradient, dbias: nil, dout: dout + part.rows.lowerBound, inp: inp, N: N, C: C,
                OC: part.rows.count, doutStride: doutStride ?? OC)
        }
        matmulBackwardInput(
            dinp: dinp, dout: dout, weight: p.at(weight, l), N: N, C: C, OC: OC, doutStride: doutStride,
            accumulate: accumulate)
        guard let adapter = parameters.adapter else { return }
        for product in adapter.products(of: weight, layer: l) {
            product.backward(
                dinp: dinp, dout: dout, inp: inp, values: adapter.values, da: g.atAdapter(product.a),
                db: g.atAdapter(product.b), dropout: adapter.dropout(dropout, product), N: N,
                doutStride: doutStride ?? OC)
        }
    }
}
