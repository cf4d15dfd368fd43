// A GPT-2 as a textbook has it: the naive twins one after another, in double precision, on plain arrays. The forward
// pass, and below it the same lines in reverse, the backward pass. Sources/LLM/Models/GPT2.swift computes the same in
// float32, with fast kernels, and has the same names.
//
//     token + position → L × [ x += attention(layernorm(x));  x += mlp(layernorm(x)) ] → layernorm → classifier

import Kernels

/// Arrays of a model by their names and, where each layer has its own, by the layer: its parameters, their gradients, or
/// its activations.
package struct NaiveTensors {
    private struct Name: Hashable {
        let name: String
        let layer: Int?
    }

    private var arrays: [Name: [Double]] = [:]

    package init() {}

    package subscript(name: String, layer: Int? = nil) -> [Double] {
        get {
            guard let array = arrays[Name(name: name, layer: layer)] else {
                preconditionFailure("there is no \(name)\(layer.map { " of layer \($0)" } ?? "")")
            }
            return array
        }
        set { arrays[Name(name: name, layer: layer)] = newValue }
    }
}

/// The naive GPT-2.
package struct NaiveGPT2 {
    /// Tokens in the vocabulary, layers, attention heads, channels.
    package let V, L, NH, C: Int
    /// The parameters, by the names of GPT2.swift's table; wte (V,C) without padding.
    package var w: NaiveTensors
    /// The rate of dropout, and what it is drawn by; nil drops nothing.
    package var dropout: (rate: Float, key: DropoutKey)?

    package init(V: Int, L: Int, NH: Int, C: Int, w: NaiveTensors) {
        (self.V, self.L, self.NH, self.C, self.w) = (V, L, NH, C, w)
    }

    /// Sequences one after another, and the token that follows each token; where that is negative it does not count.
    package struct Batch {
        package let inputs, targets: [Int32]  // (N)
        package let lengths: [Int]

        package init(inputs: [Int32], targets: [Int32], lengths: [Int]) {
            (self.inputs, self.targets, self.lengths) = (inputs, targets, lengths)
        }

        /// Each token's place in its sequence.
        var positions: [Int32] { lengths.flatMap { 0..<Int32($0) } }
    }

    /// The dropout of one place: 0 the embedding, 1 the attention's probabilities, 2 its projection, 3 the MLP.
    private func drop(_ site: Int, _ l: Int) -> (rate: Float, key: DropoutKey)? {
        dropout.map { ($0.rate, $0.key.at(site: site, layer: l)) }
    }

    // MARK: forward

    /// The forward pass: the mean loss of the targets that count, and all that was computed on the way.
    package func forward(_ batch: Batch) -> (loss: Double, a: NaiveTensors) {
        let N = batch.inputs.count
        var a = NaiveTensors()
        let embedded = naiveEmbeddingForward(
            inp: batch.inputs, positions: batch.positions, wte: w["wte"], wpe: w["wpe"], C: C)
        a["residual", 0] = naiveDropout(embedded, drop(0, 0))  // (N,C)
        for l in 0..<L {
            // residual2 = residual + attproj(attention(qkv(layernorm(residual))))
            (a["ln1", l], a["ln1mean", l], a["ln1rstd", l]) = naiveLayerNormForward(
                inp: a["residual", l], weight: w["ln1w", l], bias: w["ln1b", l], N: N, C: C)
            a["qkv", l] = naiveMatmulForward(
                inp: a["ln1", l], weight: w["qkvw", l], bias: w["qkvb", l], N: N, C: C, OC: 3 * C)
            a["atty", l] = naiveAttentionForward(
                qkv: a["qkv", l], lengths: batch.lengths, C: C, NH: NH, dropout: drop(1, l))
            let attproj = naiveMatmulForward(
                inp: a["atty", l], weight: w["attprojw", l], bias: w["attprojb", l], N: N, C: C, OC: C)
            a["residual2", l] = sum(a["residual", l], naiveDropout(attproj, drop(2, l)))

            // the next residual = residual2 + fcproj(gelu(fc(layernorm(residual2))))
            (a["ln2", l], a["ln2mean", l], a["ln2rstd", l]) = naiveLayerNormForward(
                inp: a["residual2", l], weight: w["ln2w", l], bias: w["ln2b", l], N: N, C: C)
            a["fch", l] = naiveMatmulForward(
                inp: a["ln2", l], weight: w["fcw", l], bias: w["fcb", l], N: N, C: C, OC: 4 * C)
            a["gelu", l] = a["fch", l].map(naiveGELU)
            let fcproj = naiveMatmulForward(
                inp: a["gelu", l], weight: w["fcprojw", l], bias: w["fcprojb", l], N: N, C: 4 * C, OC: C)
            a["residual", l + 1] = sum(a["residual2", l], naiveDropout(fcproj, drop(3, l)))
        }
        (a["lnf"], a["lnfmean"], a["lnfrstd"]) = naiveLayerNormForward(
            inp: a["residual", L], weight: w["lnfw"], bias: w["lnfb"], N: N, C: C)
        a["logits"] = naiveMatmulForward(inp: a["lnf"], weight: w["wte"], bias: nil, N: N, C: C, OC: V)
        let scale = 1 / Double(batch.targets.count { $0 >= 0 })
        let (losses, dlogits) = naiveCrossEntropy(
            logits: a["logits"], targets: batch.targets, scale: scale, N: N, V: V)
        a["dlogits"] = dlogits
        return (losses.reduce(0, +) * scale, a)
    }

    // MARK: backward

    /// The gradient of the loss with respect to each parameter.
    /// - Parameter a: what the forward pass of this batch computed.
    package func backward(_ batch: Batch, _ a: NaiveTensors) -> NaiveTensors {
        let N = batch.inputs.count
        var g = NaiveTensors()
        /// A linear layer: keeps the gradients of its parameters, and returns its input's.
        func linear(_ name: String, _ l: Int, dout: [Double], inp: [Double], C: Int, OC: Int) -> [Double] {
            let d = naiveMatmulBackward(dout: dout, inp: inp, weight: w["\(name)w", l], N: N, C: C, OC: OC)
            (g["\(name)w", l], g["\(name)b", l]) = (d.dweight, d.dbias)
            return d.dinp
        }
        /// The same for a layer norm.
        func norm(_ name: String, _ l: Int?, dout: [Double], inp: [Double]) -> [Double] {
            let d = naiveLayerNormBackward(
                dout: dout, inp: inp, weight: w["\(name)w", l], mean: a["\(name)mean", l], rstd: a["\(name)rstd", l],
                N: N, C: C)
            (g["\(name)w", l], g["\(name)b", l]) = (d.dweight, d.dbias)
            return d.dinp
        }
        let classifier = naiveMatmulBackward(
            dout: a["dlogits"], inp: a["lnf"], weight: w["wte"], N: N, C: C, OC: V)
        var dresidual = norm("lnf", nil, dout: classifier.dinp, inp: a["residual", L])  // (N,C)
        for l in (0..<L).reversed() {
            // A sum passes its gradient on to both its terms: dresidual serves the MLP, and what the MLP passes on is
            // added to it.
            let dfcproj = naiveDropout(dresidual, drop(3, l))
            let dgelu = linear("fcproj", l, dout: dfcproj, inp: a["gelu", l], C: 4 * C, OC: C)
            let dfch = zip(dgelu, a["fch", l]).map { $0 * naiveGELUSlope($1) }
            let dln2 = linear("fc", l, dout: dfch, inp: a["ln2", l], C: C, OC: 4 * C)
            dresidual = sum(dresidual, norm("ln2", l, dout: dln2, inp: a["residual2", l]))

            // The same for the attention.
            let dattproj = naiveDropout(dresidual, drop(2, l))
            let datty = linear("attproj", l, dout: dattproj, inp: a["atty", l], C: C, OC: C)
            let dqkv = naiveAttentionBackward(
                dout: datty, qkv: a["qkv", l], lengths: batch.lengths, C: C, NH: NH, dropout: drop(1, l))
            let dln1 = linear("qkv", l, dout: dqkv, inp: a["ln1", l], C: C, OC: 3 * C)
            dresidual = sum(dresidual, norm("ln1", l, dout: dln1, inp: a["residual", l]))
        }
        let embedding = naiveEmbeddingBackward(
            dout: naiveDropout(dresidual, drop(0, 0)), inp: batch.inputs, positions: batch.positions, V: V,
            maxT: w["wpe"].count / C, C: C)
        g["wpe"] = embedding.dwpe
        // wte is the classifier and the embedding of tokens, and has a gradient from both.
        g["wte"] = sum(classifier.dweight, embedding.dwte)
        return g
    }
}
