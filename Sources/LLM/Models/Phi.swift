// Phi-1.5 (Li et al., 2023), transformers' PhiForCausalLM: configuration, the table of tensors, and one walk through the
// layers, forward and below it backward. It is GPT2.swift with five differences:
//
//     GPT-2   token + position → L × [ x += attention(layernorm(x));  x += mlp(layernorm(x)) ] → layernorm → classifier
//     Phi     token            → L × [ x += attention(layernorm(x)) + mlp(the same layernorm(x)) ] → layernorm → classifier
//
//         GPT-2                      Phi
//           x                          x
//           ├─────────┐                ├──────────────┐
//       layernorm     │            layernorm          │
//           │         │          ┌─────┴─────┐        │
//       attention     │      attention      mlp       │
//           └────────(+)         └───────────┴───────(+)
//           ┌─────────┤                               ▼
//       layernorm     │
//           │         │
//          mlp        │
//           └────────(+)
//                     ▼
//
// 1. Attention and MLP are parallel, behind one layer norm.
// 2. No learnt positions: queries and keys are turned by angles that depend on the position (Kernels/Rotary.swift).
// 3. The classifier is a matrix of its own, not wte, and has a bias.
// 4. The vocabulary is not padded: there is no llm.c file that would ask for it.
// 5. All matrices begin as N(0, 0.02), whatever the depth.
//
// Dimensions: B batch, T time, C channels, V vocabulary, NH heads, HS head size, R channels of a head that turn, FC
// channels inside the MLP, L layers, N rows in a pass (B·T in pretraining).
// The names are GPT2.swift's; new are lnw and lnb for a layer's only norm, and headw and headb for the classifier.

import Kernels

// MARK: - configuration

/// The sizes of a Phi.
package struct PhiConfiguration: CausalConfiguration {
    /// The longest sequence. No parameter depends on it, only the table of angles.
    package var maxT: Int
    /// Tokens in the vocabulary.
    package var V: Int
    /// Layers.
    package var L: Int
    /// Attention heads; they divide C.
    package var NH: Int
    /// Channels.
    package var C: Int
    /// Channels inside the MLP.
    package var FC: Int
    /// Channels of a head that turn; even, 2 to C/NH.
    package var R: Int
    /// The base of the rotary frequencies.
    package var theta: Float = 10000
    /// What is computed below and cannot be seen in the sizes: GPT2.swift says more.
    package static let variant = "gelu_new"

    /// - Parameter FC: nil is 4·C.
    package init(maxT: Int, V: Int, L: Int, NH: Int, C: Int, FC: Int? = nil, R: Int, theta: Float = 10000) {
        (self.maxT, self.V, self.L, self.NH, self.C) = (maxT, V, L, NH, C)
        (self.FC, self.R, self.theta) = (FC ?? 4 * C, R, theta)
    }

    /// Microsoft's Phi-1.5: 1,418,270,720 parameters.
    package static let phi1_5 = PhiConfiguration(maxT: 2048, V: 51200, L: 24, NH: 32, C: 2048, R: 32)
}

// MARK: - the tables of tensors

/// The parameters of a Phi. Initialisation is transformers': N(0, 0.02) for the matrices, biases 0, layer norms 1.
/// Weight decay acts on the matrices only.
package struct PhiTensors {
    package let table: TensorTable
    package let wte, lnw, lnb, qkvw, qkvb, attprojw, attprojb: Tensor
    package let fcw, fcb, fcprojw, fcprojb, lnfw, lnfb, headw, headb: Tensor

    package init(_ config: PhiConfiguration) {
        let (V, C, FC, L) = (config.V, config.C, config.FC, config.L)
        let weights = Tensor.InitialValues.normal(deviation: 0.02)
        let layer = "model.layers.#"
        var table = TensorTable()
        wte = table.add(
            "wte", V, C, initialValues: weights, decays: true, huggingFace: "model.embed_tokens.weight")
        lnw = table.add(
            "lnw", layers: L, C, initialValues: .ones, huggingFace: "\(layer).input_layernorm.weight")
        lnb = table.add("lnb", layers: L, C, huggingFace: "\(layer).input_layernorm.bias")
        qkvw = table.add(
            "qkvw", layers: L, 3 * C, C, initialValues: weights, decays: true,
            huggingFace: "\(layer).self_attn.q_proj.weight", "\(layer).self_attn.k_proj.weight",
            "\(layer).self_attn.v_proj.weight")
        qkvb = table.add(
            "qkvb", layers: L, 3 * C, huggingFace: "\(layer).self_attn.q_proj.bias",
            "\(layer).self_attn.k_proj.bias", "\(layer).self_attn.v_proj.bias")
        attprojw = table.add(
            "attprojw", layers: L, C, C, initialValues: weights, decays: true,
            huggingFace: "\(layer).self_attn.dense.weight")
        attprojb = table.add("attprojb", layers: L, C, huggingFace: "\(layer).self_attn.dense.bias")
        fcw = table.add(
            "fcw", layers: L, FC, C, initialValues: weights, decays: true, huggingFace: "\(layer).mlp.fc1.weight")
        fcb = table.add("fcb", layers: L, FC, huggingFace: "\(layer).mlp.fc1.bias")
        fcprojw = table.add(
            "fcprojw", layers: L, C, FC, initialValues: weights, decays: true, huggingFace: "\(layer).mlp.fc2.weight")
        fcprojb = table.add("fcprojb", layers: L, C, huggingFace: "\(layer).mlp.fc2.bias")
        lnfw = table.add("lnfw", C, initialValues: .ones, huggingFace: "model.final_layernorm.weight")
        lnfb = table.add("lnfb", C, huggingFace: "model.final_layernorm.bias")
        headw = table.add(
            "headw", V, C, initialValues: weights, decays: true, isHead: true, huggingFace: "lm_head.weight")
        headb = table.add("headb", V, huggingFace: "lm_head.bias")
        self.table = table
    }
}

/// The activations: what the forward pass computes and the backward pass reads. As in GPT-2 the layer norm's output,
/// GELU's and the attention's probabilities are recomputed. There is no residual between attention and MLP to keep, so
/// a layer takes one (N,C) less.
private struct PhiActivations {
    let table: TensorTable
    let residual, lnmean, lnrstd, qkv, lse, atty, fch: Tensor
    let lnfmean, lnfrstd, lnf, losses, correct: Tensor
    /// Used again by every layer.
    let ln, gelu: Tensor
    /// The backward pass's own.
    let dlnf, dresidual, dln, datty, dfch: Tensor

    /// - Parameters:
    ///   - N: rows of a pass.
    ///   - trains: whether a backward pass follows. Without one the layers overwrite one another, and within a layer
    ///     what is no longer needed is overwritten, too. But `ln` must outlive the attention: the MLP reads it.
    init(_ config: PhiConfiguration, N: Int, trains: Bool) {
        let (C, FC, NH) = (config.C, config.FC, config.NH)
        let L = trains ? config.L : 1
        let backwardN = trains ? N : 0
        var table = TensorTable(alignment: 16)  // every tensor begins a cache line
        residual = table.add("residual", layers: trains ? L + 1 : 1, N, C)
        ln = table.add("ln", N, C)
        qkv = table.add("qkv", layers: L, N, trains ? 3 * C : max(3 * C, FC))
        atty = table.add("atty", layers: L, N, C)
        fch = trains ? table.add("fch", layers: L, N, FC) : qkv
        gelu = trains ? table.add("gelu", N, FC) : fch
        lnf = trains ? table.add("lnf", N, C) : ln
        lnmean = table.add("lnmean", layers: L, N)
        lnrstd = table.add("lnrstd", layers: L, N)
        lnfmean = table.add("lnfmean", N)
        lnfrstd = table.add("lnfrstd", N)
        lse = table.add("lse", layers: L, N, NH)
        losses = table.add("losses", N)
        correct = table.add("correct", N)
        dlnf = table.add("dlnf", backwardN, C)
        dresidual = table.add("dresidual", backwardN, C)
        dln = table.add("dln", backwardN, C)
        datty = table.add("datty", backwardN, C)
        dfch = table.add("dfch", backwardN, max(3 * C, FC))
        self.table = table
    }
}

/// The memory of passes: kept until a pass of more rows comes.
private final class PhiWorkspace {
    let activations: PhiActivations
    let floats: UnsafeMutablePointer<Float>
    /// Rows that it has room for.
    let capacity: Int

    init(_ config: PhiConfiguration, N: Int, trains: Bool) {
        activations = PhiActivations(config, N: N, trains: trains)
        floats = allocateFloats(activations.table.count)
        capacity = N
    }

    deinit { freeFloats(floats, count: activations.table.count) }
}

// MARK: - the model

/// A Phi: its parameters, and the passes through it. Not for use from several threads at once: the kernels inside use
/// all cores.
package final class Phi: LanguageModel {
    package let config: PhiConfiguration
    package let tensors: PhiTensors
    package let parameters: Parameters
    /// The rate of dropout at all places, in batches that bring a key for it.
    package var dropout: Float = 0
    /// (maxT,R): cosines and sines of the angles that queries and keys turn by.
    private let rotaryTable: UnsafeMutablePointer<Float>

    private let classifier: Classifier
    /// The memory of passes that a backward pass follows, and of those without one, which need far less.
    private var training: PhiWorkspace
    private var inference: PhiWorkspace
    /// The last forward pass's memory, its rows, and the place of each row in its sequence.
    private var workspace: PhiWorkspace
    private var N = 0
    private var positions: [Int32] = []
    /// Of the sequences of the last batch, and what it drops by; nil without dropout.
    private var lengths: [Int] = []
    private var dropoutKey: DropoutKey?

    /// A model with all parameters zero: to be filled by `parameters.initialize` or from a checkpoint.
    package convenience init(_ config: PhiConfiguration, trains: Bool) {
        self.init(config, trains: trains, logitRows: Classifier.chunkRows)
    }

    /// - Parameter logitRows: rows of logits at a time.
    package init(_ config: PhiConfiguration, trains: Bool, logitRows: Int) {
        precondition(config.C % config.NH == 0)
        precondition(config.R % 2 == 0 && (2...config.C / config.NH).contains(config.R))
        self.config = config
        tensors = PhiTensors(config)
        classifier = Classifier(
            weight: tensors.headw, bias: tensors.headb, C: config.C, V: config.V, chunkRows: logitRows)
        parameters = Parameters(tensors.table, trains: trains)
        rotaryTable = allocateFloats(config.maxT * config.R)
        fillRotaryTable(rotaryTable, maxT: config.maxT, R: config.R, theta: config.theta)
        training = PhiWorkspace(config, N: 0, trains: trains)
        inference = PhiWorkspace(config, N: 0, trains: false)
        workspace = inference
    }

    deinit { freeFloats(rotaryTable, count: config.maxT * config.R) }

    /// Floating-point operations of a forward and backward pass, for each token: those of the products (the embeddings
    /// take part in none), and 6·L·C·T for the attention, which sees T/2 tokens on average.
    package func flopsPerToken(T: Int) -> Double {
        Double(parameters.flopsPerToken(without: tensors.wte) + 6 * config.L * config.C * T)
    }

    package var maxT: Int { config.maxT }
    package var V: Int { config.V }

    package func makeCache(sequences: Int, capacity: Int) -> KVCache {
        KVCache(
            L: config.L, C: config.C, NH: config.NH, sequences: sequences, capacity: min(capacity, config.maxT))
    }

    // MARK: forward

    /// The forward pass up to the last layer norm, the same for training (a batch) and for generating (a cache).
    /// - Parameter inputs: the tokens of the context's rows. With a cache, the walk ends with one row for each segment,
    ///   that of its last token.
    package func forward(inputs: UnsafePointer<Int32>, _ context: Context) {
        N = context.rows
        positions = context.positions
        switch context {
        case .batch(let lengths, let key):
            precondition(lengths.allSatisfy { $0 <= maxT })
            self.lengths = lengths
            dropoutKey = key
            precondition(key == nil || parameters.trains)
            workspace = parameters.trains ? trainingWorkspace(rows: N) : inferenceWorkspace(rows: N)
        case .cache(let cache):
            precondition(cache.capacity <= maxT)
            dropoutKey = nil
            workspace = inferenceWorkspace(rows: N)
        }
        let (activations, a) = (workspace.activations, workspace.floats)
        let linear = Linear(parameters: parameters, context)
        let (p, t, C, FC, NH) = (parameters.values, tensors, config.C, config.FC, config.NH)

        embeddingForward(
            out: a.at(activations.residual, 0), inp: inputs, positions: positions, wte: p + t.wte, wpe: nil, N: N,
            C: C)
        if let drop = dropped(.embedding) {
            let residual = a.at(activations.residual, 0)
            dropoutForward(
                out: residual, inp: residual, residual: nil, count: N * C, rate: drop.rate, key: drop.key)
        }
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,FC)
        let scratch = a + activations.dln  // (N,C): for dropout; the backward pass is not there yet
        for l in 0..<config.L {
            let residual = a.at(activations.residual, l)  // (N,C)
            let residual2 = a.at(activations.residual, l + 1)  // (N,C): the next layer's residual
            let qkv = a.at(activations.qkv, l)  // (N,3C), queries and keys turned
            let lse = a.at(activations.lse, l)  // (NH,T) of each sequence
            let atty = a.at(activations.atty, l)  // (N,C)
            let fch = a.at(activations.fch, l)  // (N,FC)

            layerNormForward(
                out: ln, mean: a.at(activations.lnmean, l), rstd: a.at(activations.lnrstd, l), inp: residual,
                weight: p.at(t.lnw, l), bias: p.at(t.lnb, l), N: N, C: C)
            linear.forward(out: qkv, inp: ln, weight: t.qkvw, bias: t.qkvb, layer: l, N: N, C: C, OC: 3 * C)
            rotaryForward(qkv: qkv, table: rotaryTable, positions: positions, N: N, C: C, NH: NH, R: config.R)
            switch context {
            case .batch:
                attentionForward(
                    out: atty, lse: lse, qkv: qkv, lengths: lengths, C: C, NH: NH,
                    dropout: dropped(.attention, layer: l), precision: parameters.precision)
            case .cache(let cache):
                cache.store(qkv, layer: l)
                // Only the last token of each sequence has a successor to predict. Of all others only the keys and
                // values are still needed, and those are stored by now.
                if l == config.L - 1 { N = cache.keepLastTokens((residual, C), (qkv, 3 * C), (ln, C)) }
                cache.attention(out: atty, lse: lse, qkv: qkv, layer: l)
            }
            linear.forward(
                out: residual2, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l, residual: residual,
                dropout: dropped(.attentionProjection, layer: l), scratch: scratch, N: N, C: C, OC: C)

            // The MLP reads the same ln, and adds to what the attention has just written.
            linear.forward(out: fch, inp: ln, weight: t.fcw, bias: t.fcb, layer: l, N: N, C: C, OC: FC)
            geluForward(out: gelu, inp: fch, count: N * FC)
            linear.forward(
                out: residual2, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l, residual: residual2,
                dropout: dropped(.mlp, layer: l), scratch: scratch, N: N, C: FC, OC: C)
        }
        layerNormForward(
            out: a + activations.lnf, mean: a + activations.lnfmean, rstd: a + activations.lnfrstd,
            inp: a.at(activations.residual, config.L), weight: p + t.lnfw, bias: p + t.lnfb, N: N, C: C)
    }

    /// Logits (N,V) after `forward`, one row for each that it ended with.
    package func logits(into out: UnsafeMutablePointer<Float>, _ context: Context) {
        Linear(parameters: parameters, context).forward(
            out: out, inp: workspace.floats + workspace.activations.lnf, weight: tensors.headw, bias: tensors.headb,
            N: N, C: config.C, OC: config.V)
    }

    /// The classifier and the cross entropy of targets (N) after `forward`.
    /// - Parameters:
    ///   - targets: a negative one does not count.
    ///   - gradientScale: nil only measures. Otherwise the classifier's backward pass happens here: the gradients of
    ///     headw and headb, and the one that `backward` continues with. The scale is that of a token's loss in the total:
    ///     1 / (targets that count in all micro-batches).
    package func classify(targets: UnsafePointer<Int32>, gradientScale: Float? = nil) -> Loss {
        precondition(gradientScale == nil || parameters.trains)
        let (activations, a) = (workspace.activations, workspace.floats)
        return classifier.loss(
            losses: a + activations.losses, correct: a + activations.correct, dinp: a + activations.dlnf,
            inp: a + activations.lnf, targets: targets, gradientScale: gradientScale, N: N,
            linear: Linear(parameters: parameters, dropout: dropoutKey))
    }

    /// What the last pass over a batch left, as in GPT2.swift; in qkv queries and keys are turned. Only a model that trains
    /// keeps it.
    package var activations: [TensorView] {
        let a = workspace.activations
        precondition(workspace === training && N > 0)
        return [
            a.residual, a.lnmean, a.lnrstd, a.qkv, a.lse, a.atty, a.fch, a.lnfmean, a.lnfrstd, a.lnf, a.losses,
            a.correct, a.dlnf, a.dresidual,
        ].map {
            // The attention has its rows by heads, (NH,T) for each sequence; in all others the first dimension is the rows.
            let shape = $0.index == a.lse.index ? [config.NH, N] : [N] + $0.layerShape.dropFirst()
            return TensorView($0, in: workspace.floats, layerShape: shape)
        }
    }

    // MARK: backward

    /// Adds the gradients of all parameters that are trained to `parameters.gradients`, after `forward` with a batch and
    /// `classify` with a scale.
    package func backward(inputs: UnsafePointer<Int32>) {
        precondition(parameters.trains && workspace === training)
        let (activations, a) = (workspace.activations, workspace.floats)
        let linear = Linear(parameters: parameters, dropout: dropoutKey)
        let (p, g, t, C, FC, NH) = (
            parameters.values, parameters.trained, tensors, config.C, config.FC, config.NH
        )
        let dresidual = a + activations.dresidual  // (N,C): the gradient with respect to the residual at this point
        let dln = a + activations.dln  // (N,C)
        let dfch = a + activations.dfch  // (N,FC)
        let dqkv = dfch  // (N,3C): dfch's place, which is free by then
        let datty = a + activations.datty  // (N,C)
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,FC)

        dresidual.update(repeating: 0, count: N * C)
        layerNormBackward(
            dinp: dresidual, dweight: g + t.lnfw, dbias: g + t.lnfb, dout: a + activations.dlnf,
            inp: a.at(activations.residual, config.L), weight: p + t.lnfw, mean: a + activations.lnfmean,
            rstd: a + activations.lnfrstd, N: N, C: C)
        for l in stride(from: config.L - 1, through: 0, by: -1) {
            let residual = a.at(activations.residual, l)
            let qkv = a.at(activations.qkv, l)
            let atty = a.at(activations.atty, l)
            let fch = a.at(activations.fch, l)

            // residual2 = residual + attproj(attention(turned(qkv(ln)))) + fcproj(gelu(fc(ln))), ln =
            // layernorm(residual); a sum passes its gradient on to all its terms, so dresidual serves for the three.
            geluForward(out: gelu, inp: fch, count: N * FC)
            linear.backward(
                dinp: dfch, dout: dresidual, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l,
                dropout: dropped(.mlp, layer: l), scratch: dln, N: N, C: FC, OC: C)
            geluBackward(dinp: dfch, dout: dfch, inp: fch, count: N * FC)
            layerNormRecompute(
                out: ln, mean: a.at(activations.lnmean, l), rstd: a.at(activations.lnrstd, l), inp: residual,
                weight: p.at(t.lnw, l), bias: p.at(t.lnb, l), N: N, C: C)
            linear.backward(
                dinp: dln, dout: dfch, inp: ln, weight: t.fcw, bias: t.fcb, layer: l, N: N, C: C, OC: FC)

            linear.backward(
                dinp: datty, dout: dresidual, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l,
                dropout: dropped(.attentionProjection, layer: l), scratch: dqkv, N: N, C: C, OC: C)
            attentionBackward(
                dqkv: dqkv, dout: datty, qkv: qkv, out: atty, lse: a.at(activations.lse, l), lengths: lengths, C: C,
                NH: NH, dropout: dropped(.attention, layer: l), precision: parameters.precision)
            rotaryBackward(dqkv: dqkv, table: rotaryTable, positions: positions, N: N, C: C, NH: NH, R: config.R)
            // The layer norm fed both branches, so dln is the sum of what comes back from them.
            linear.backward(
                dinp: dln, dout: dqkv, inp: ln, weight: t.qkvw, bias: t.qkvb, layer: l, accumulate: true, N: N, C: C,
                OC: 3 * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(t.lnw, l), dbias: g.at(t.lnb, l), dout: dln, inp: residual,
                weight: p.at(t.lnw, l), mean: a.at(activations.lnmean, l), rstd: a.at(activations.lnrstd, l),
                N: N, C: C)
            parameters.layerIsDone?(l)
        }
        if let drop = dropped(.embedding) {
            dropoutBackward(
                dinp: dresidual, dout: dresidual, count: N * C, rate: drop.rate, key: drop.key, accumulate: false)
        }
        embeddingBackward(
            dwte: g.rows(of: t.wte), dwpe: nil, dout: dresidual, inp: inputs, positions: positions, N: N, C: C)
    }

    /// The last batch's dropout at one place; nil without.
    private func dropped(_ site: DropoutSite, layer l: Int = 0) -> (rate: Float, key: DropoutKey)? {
        dropout > 0 ? dropoutKey.map { (dropout, $0.at(site: site.rawValue, layer: l)) } : nil
    }

    // MARK: memory

    private func trainingWorkspace(rows N: Int) -> PhiWorkspace {
        if N > training.capacity { training = PhiWorkspace(config, N: N, trains: true) }
        return training
    }

    private func inferenceWorkspace(rows N: Int) -> PhiWorkspace {
        if N > inference.capacity { inference = PhiWorkspace(config, N: N, trains: false) }
        return inference
    }
}

extension PhiConfiguration {
    package var table: TensorTable { PhiTensors(self).table }
    package var modulePrefix: String { "" }

    package func passBytes(rows N: Int, trains: Bool) -> Double {
        let activations = PhiActivations(self, N: N, trains: trains).table.count
        return 4 * Double(activations) + (trains ? Classifier.bytes(rows: N, C: C, V: V) : 0)
            + 4 * Double(saturatingProduct(maxT, R))
    }
}
