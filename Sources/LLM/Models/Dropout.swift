// Dropout in a model's walk: its places, and the linear layer whose output is dropped before it joins the residual.

import Kernels

/// A place of dropout, as transformers has them: embd_pdrop, attn_pdrop (Phi: attention_dropout) and resid_pdrop, twice in
/// a layer. A BERT's are attention_probs_dropout_prob, and hidden_dropout_prob at the three others.
enum DropoutSite: Int {
    case embedding
    /// The attention's probabilities.
    case attention
    /// What the attention's projection adds to the residual.
    case attentionProjection
    /// What the MLP adds to the residual.
    case mlp
}

extension Linear {
    /// The layer's output added to the residual, with dropout: out (N,OC) = dropped(inp · weightᵀ + bias) + residual.
    /// - Parameters:
    ///   - dropout: nil drops nothing.
    ///   - scratch: (N,OC), for dropout alone. It may be `out`, unless that is `residual`.
    func forward(
        out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor, bias: Tensor?, layer l: Int,
        residual: UnsafePointer<Float>, dropout: (rate: Float, key: DropoutKey)?, scratch: UnsafeMutablePointer<Float>,
        N: Int, C: Int, OC: Int
    ) {
        guard let dropout else {
            return forward(
                out: out, inp: inp, weight: weight, bias: bias, layer: l, residual: residual, N: N, C: C, OC: OC)
        }
        forward(out: scratch, inp: inp, weight: weight, bias: bias, layer: l, N: N, C: C, OC: OC)
        dropoutForward(
            out: out, inp: scratch, residual: residual, count: N * OC, rate: dropout.rate, key: dropout.key)
    }

    /// The backward pass of the same: dropout's, then the layer's. What flows to the residual is `dout` itself.
    /// - Parameter scratch: (N,OC), for dropout alone.
    func backward(
        dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor,
        bias: Tensor?, layer l: Int, dropout: (rate: Float, key: DropoutKey)?, scratch: UnsafeMutablePointer<Float>,
        N: Int, C: Int, OC: Int
    ) {
        if let dropout {
            dropoutBackward(
                dinp: scratch, dout: dout, count: N * OC, rate: dropout.rate, key: dropout.key, accumulate: false)
        }
        backward(
            dinp: dinp, dout: dropout == nil ? dout : UnsafePointer(scratch), inp: inp, weight: weight, bias: bias,
            layer: l, N: N, C: C, OC: OC)
    }
}
