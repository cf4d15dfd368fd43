// GPT-2 (Radford et al., 2019): the file to study. Configuration, the table of tensors, and one walk through the
// layers: the forward pass and below it the backward pass, flat, over one contiguous buffer of parameters. The layout
// and the names are llm.c's.
//
//     token + position → L × [ x += attention(layernorm(x));  x += mlp(layernorm(x)) ] → layernorm → classifier
//
// Dimensions: B batch, T time, C channels, V vocabulary, Vp vocabulary padded, NH heads, HS head size, L layers,
// N rows in a pass (B·T in pretraining).
// A name with a `d` in front is the gradient of the loss with respect to that tensor. Short names, as in llm.c: w
// weight, b bias, ln layer norm, lnf the last one, rstd reciprocal standard deviation, lse log-sum-exp of a row of
// attention scores, atty the attention's output, attproj the projection after it, fc and fcproj the two layers of the
// MLP, fch the output of fc. wte is both the token embedding and the classifier, so its gradient has two parts: one
// from `classify`, one from `embeddingBackward`.

import Kernels

// MARK: - configuration

/// The sizes of a GPT-2.
package struct GPT2Configuration: CausalConfiguration {
    /// The longest sequence there are positions for.
    package var maxT: Int
    /// Tokens in the vocabulary.
    package var V: Int
    /// Layers.
    package var L: Int
    /// Attention heads; they divide C.
    package var NH: Int
    /// Channels.
    package var C: Int
    /// V rounded up to a multiple of 128, as llm.c pads it; the extra rows of wte are zero.
    package var Vp: Int { (V + 127) / 128 * 128 }
    /// What is computed below and cannot be seen in the sizes: the activation, as Hugging Face calls it. Files carry it, and
    /// a model of another variant is refused. Who changes the computation changes this line (dev/doc/CHANGING.md).
    package static let variant = "gelu_new"

    package init(maxT: Int, V: Int, L: Int, NH: Int, C: Int) {
        self.maxT = maxT
        self.V = V
        self.L = L
        self.NH = NH
        self.C = C
    }

    /// The shapes of llm.c's descriptors: `d12` is OpenAI's 124M, `d48` its 1558M.
    package static let descriptors: [String: (L: Int, C: Int, NH: Int)] = [
        "d6": (6, 384, 6), "d12": (12, 768, 12), "d24": (24, 1024, 16), "d36": (36, 1280, 20), "d48": (48, 1600, 25),
    ]
}

// MARK: - the tables of tensors

/// The parameters of a GPT-2, in the order of llm.c's checkpoints. Initialisation is GPT-2's: N(0, 0.02) for the
/// matrices, divided by √(2L) where a layer adds to the residual, so that its variance does not grow with depth; biases
/// 0, layer norms 1. Weight decay acts on the matrices only.
package struct GPT2Tensors {
    package let table: TensorTable
    package let wte, wpe, ln1w, ln1b, qkvw, qkvb, attprojw, attprojb: Tensor
    package let ln2w, ln2b, fcw, fcb, fcprojw, fcprojb, lnfw, lnfb: Tensor

    package init(_ config: GPT2Configuration) {
        let (C, L) = (config.C, config.L)
        let weights = Tensor.InitialValues.normal(deviation: 0.02)
        let projection = Tensor.InitialValues.normal(deviation: 0.02 / Float(2 * config.L).squareRoot())
        var table = TensorTable()
        wte = table.add(
            "wte", config.Vp, C, usedRows: config.V, initialValues: weights, decays: true, huggingFace: "wte.weight")
        wpe = table.add("wpe", config.maxT, C, initialValues: weights, decays: true, huggingFace: "wpe.weight")
        ln1w = table.add("ln1w", layers: L, C, initialValues: .ones, huggingFace: "h.#.ln_1.weight")
        ln1b = table.add("ln1b", layers: L, C, huggingFace: "h.#.ln_1.bias")
        qkvw = table.add(
            "qkvw", layers: L, 3 * C, C, initialValues: weights, decays: true,
            huggingFace: "h.#.attn.c_attn.weight", isTransposedInHuggingFace: true)
        qkvb = table.add("qkvb", layers: L, 3 * C, huggingFace: "h.#.attn.c_attn.bias")
        attprojw = table.add(
            "attprojw", layers: L, C, C, initialValues: projection, decays: true,
            huggingFace: "h.#.attn.c_proj.weight", isTransposedInHuggingFace: true)
        attprojb = table.add("attprojb", layers: L, C, huggingFace: "h.#.attn.c_proj.bias")
        ln2w = table.add("ln2w", layers: L, C, initialValues: .ones, huggingFace: "h.#.ln_2.weight")
        ln2b = table.add("ln2b", layers: L, C, huggingFace: "h.#.ln_2.bias")
        fcw = table.add(
            "fcw", layers: L, 4 * C, C, initialValues: weights, decays: true,
            huggingFace: "h.#.mlp.c_fc.weight", isTransposedInHuggingFace: true)
        fcb = table.add("fcb", layers: L, 4 * C, huggingFace: "h.#.mlp.c_fc.bias")
        fcprojw = table.add(
            "fcprojw", layers: L, C, 4 * C, initialValues: projection, decays: true,
            huggingFace: "h.#.mlp.c_proj.weight", isTransposedInHuggingFace: true)
        fcprojb = table.add("fcprojb", layers: L, C, huggingFace: "h.#.mlp.c_proj.bias")
        lnfw = table.add("lnfw", C, initialValues: .ones, huggingFace: "ln_f.weight")
        lnfb = table.add("lnfb", C, huggingFace: "ln_f.bias")
        self.table = table
    }
}

/// The activations: what the forward pass computes and the backward pass reads. Three are not stored, because
/// recomputing them costs less than the memory: the layer norms' outputs and GELU's (one more pass over memory each),
/// and the attention's (T,T) probabilities. In bfloat16 the largest, fch, is kept rounded, in half the memory.
private struct GPT2Activations {
    let table: TensorTable
    let residual, ln1mean, ln1rstd, qkv, lse, atty, residual2, ln2mean, ln2rstd, fch: Tensor
    let lnfmean, lnfrstd, lnf, losses, correct: Tensor
    /// Used again by every layer.
    let ln, gelu: Tensor
    /// The backward pass's own.
    let dlnf, dresidual, dln, datty, dfch: Tensor
    /// Whether fch holds bfloat16, two in the place of a float.
    let fchIsRounded: Bool

    /// - Parameters:
    ///   - N: rows of a pass.
    ///   - trains: whether a backward pass follows. Without one the layers overwrite one another, and within a layer
    ///     what is no longer needed is overwritten, too: a row then takes 6·C floats and a few.
    ///   - precision: of the linear layers.
    init(_ config: GPT2Configuration, N: Int, trains: Bool, precision: Precision) {
        let (C, NH) = (config.C, config.NH)
        fchIsRounded = trains && precision == .bfloat16
        let L = trains ? config.L : 1
        let backwardN = trains ? N : 0
        var table = TensorTable(alignment: 16)  // every tensor begins a cache line
        residual = table.add("residual", layers: trains ? L + 1 : 1, N, C)
        ln = table.add("ln", N, C)
        fch = table.add("fch", layers: L, N, fchIsRounded ? 2 * C : 4 * C)
        qkv = trains ? table.add("qkv", layers: L, N, 3 * C) : fch
        atty = trains ? table.add("atty", layers: L, N, C) : ln
        residual2 = trains ? table.add("residual2", layers: L, N, C) : residual
        gelu = trains ? table.add("gelu", N, 4 * C) : fch
        lnf = trains ? table.add("lnf", N, C) : ln
        ln1mean = table.add("ln1mean", layers: L, N)
        ln1rstd = table.add("ln1rstd", layers: L, N)
        ln2mean = table.add("ln2mean", layers: L, N)
        ln2rstd = table.add("ln2rstd", layers: L, N)
        lnfmean = table.add("lnfmean", N)
        lnfrstd = table.add("lnfrstd", N)
        lse = table.add("lse", layers: L, N, NH)
        losses = table.add("losses", N)
        correct = table.add("correct", N)
        dlnf = table.add("dlnf", backwardN, C)
        dresidual = table.add("dresidual", backwardN, C)
        dln = table.add("dln", backwardN, C)
        datty = table.add("datty", backwardN, C)
        dfch = table.add("dfch", backwardN, 4 * C)
        self.table = table
    }
}

/// The memory of passes: kept until a pass of more rows comes.
private final class GPT2Workspace {
    let activations: GPT2Activations
    let floats: UnsafeMutablePointer<Float>
    /// Rows that it has room for.
    let capacity: Int
    let precision: Precision

    init(_ config: GPT2Configuration, N: Int, trains: Bool, precision: Precision = .float32) {
        activations = GPT2Activations(config, N: N, trains: trains, precision: precision)
        self.precision = precision
        floats = allocateFloats(activations.table.count)
        capacity = N
    }

    deinit { freeFloats(floats, count: activations.table.count) }
}

// MARK: - the model

/// A GPT-2: its parameters, and the passes through it. Not for use from several threads at once: the kernels inside use
/// all cores.
package final class GPT2: LanguageModel {
    package let config: GPT2Configuration
    package let tensors: GPT2Tensors
    package let parameters: Parameters
    /// What its ids mean: the tokenizer it was trained with; nil if that is not known. Nothing is computed from it.
    package var tokenizer: TokenizerFingerprint?
    /// The rate of dropout, in batches that bring a key for it. GPT-2 has one for all places.
    package var dropout: Float = 0

    private let classifier: Classifier
    /// The memory of passes that a backward pass follows, and of those without one, which need far less.
    private var training: GPT2Workspace
    private var inference: GPT2Workspace
    /// Of the last forward pass: its memory, its rows, and the place of each in its sequence.
    private var workspace: GPT2Workspace
    private var N = 0
    private var positions: [Int32] = []
    /// Of the sequences of the last batch, and what it drops by; nil without dropout.
    private var lengths: [Int] = []
    private var dropoutKey: DropoutKey?

    /// A model with all parameters zero: to be filled by `parameters.initialize` or from a checkpoint.
    package convenience init(_ config: GPT2Configuration, trains: Bool) {
        self.init(config, trains: trains, logitRows: Classifier.chunkRows)
    }

    /// - Parameter logitRows: rows of logits at a time.
    package init(_ config: GPT2Configuration, trains: Bool, logitRows: Int) {
        precondition(config.C % config.NH == 0)
        self.config = config
        tensors = GPT2Tensors(config)
        classifier = Classifier(
            weight: tensors.wte, bias: nil, C: config.C, V: config.V, chunkRows: logitRows)
        parameters = Parameters(tensors.table, trains: trains)
        training = GPT2Workspace(config, N: 0, trains: trains)
        inference = GPT2Workspace(config, N: 0, trains: false)
        workspace = inference
    }

    /// Floating-point operations of a forward and backward pass, for each token: those of the products (the position
    /// table takes part in none), and 6·L·C·T for the attention, which sees T/2 tokens on average.
    package func flopsPerToken(T: Int) -> Double {
        Double(parameters.flopsPerToken(without: tensors.wpe) + 6 * config.L * config.C * T)
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
        let (p, t, C, NH) = (parameters.values, tensors, config.C, config.NH)

        embeddingForward(
            out: a.at(activations.residual, 0), inp: inputs, positions: positions, wte: p + t.wte, wpe: p + t.wpe,
            N: N, C: C)
        if let drop = dropped(.embedding) {
            let residual = a.at(activations.residual, 0)
            dropoutForward(
                out: residual, inp: residual, residual: nil, count: N * C, rate: drop.rate, key: drop.key)
        }
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,4C)
        let scratch = a + activations.dln  // (N,C): for dropout; the backward pass is not there yet
        for l in 0..<config.L {
            let residual = a.at(activations.residual, l)  // (N,C)
            let residual2 = a.at(activations.residual2, l)  // (N,C)
            let residual3 = a.at(activations.residual, l + 1)  // (N,C): the next layer's residual
            let qkv = a.at(activations.qkv, l)  // (N,3C)
            let lse = a.at(activations.lse, l)  // (NH,T) of each sequence
            let atty = a.at(activations.atty, l)  // (N,C)
            let fch = activations.fchIsRounded ? gelu : a.at(activations.fch, l)  // (N,4C)

            layerNormForward(
                out: ln, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual,
                weight: p.at(t.ln1w, l), bias: p.at(t.ln1b, l), N: N, C: C)
            linear.forward(out: qkv, inp: ln, weight: t.qkvw, bias: t.qkvb, layer: l, N: N, C: C, OC: 3 * C)
            switch context {
            case .batch:
                attentionForward(
                    out: atty, lse: lse, qkv: qkv, lengths: lengths, C: C, NH: NH,
                    dropout: dropped(.attention, layer: l), precision: parameters.precision)
            case .cache(let cache):
                cache.store(qkv, layer: l)
                // Only the last token of each sequence has a successor to predict. Of all others only the keys and
                // values are still needed, and those are stored by now.
                if l == config.L - 1 { N = cache.keepLastTokens((residual, C), (qkv, 3 * C)) }
                cache.attention(out: atty, lse: lse, qkv: qkv, layer: l)
            }
            linear.forward(
                out: residual2, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l, residual: residual,
                dropout: dropped(.attentionProjection, layer: l), scratch: scratch, N: N, C: C, OC: C)

            layerNormForward(
                out: ln, mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l), inp: residual2,
                weight: p.at(t.ln2w, l), bias: p.at(t.ln2b, l), N: N, C: C)
            linear.forward(out: fch, inp: ln, weight: t.fcw, bias: t.fcb, layer: l, N: N, C: C, OC: 4 * C)
            if activations.fchIsRounded {
                roundToBFloat16(out: a.at(activations.fch, l), inp: fch, count: N * 4 * C)
            }
            geluForward(out: gelu, inp: fch, count: N * 4 * C)
            linear.forward(
                out: residual3, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l, residual: residual2,
                dropout: dropped(.mlp, layer: l), scratch: scratch, N: N, C: 4 * C, OC: C)
        }
        layerNormForward(
            out: a + activations.lnf, mean: a + activations.lnfmean, rstd: a + activations.lnfrstd,
            inp: a.at(activations.residual, config.L), weight: p + t.lnfw, bias: p + t.lnfb, N: N, C: C)
    }

    /// Logits (N,V) after `forward`, one row for each that it ended with.
    package func logits(into out: UnsafeMutablePointer<Float>, _ context: Context) {
        Linear(parameters: parameters, context).forward(
            out: out, inp: workspace.floats + workspace.activations.lnf, weight: tensors.wte, bias: nil, N: N,
            C: config.C, OC: config.V)
    }

    /// The classifier and the cross entropy of targets (N) after `forward`.
    /// - Parameters:
    ///   - targets: a negative one does not count.
    ///   - gradientScale: nil only measures. Otherwise the classifier's backward pass happens here: wte's gradient, and
    ///     the gradient that `backward` continues with. The scale is that of a token's loss in the total:
    ///     1 / (targets that count in all micro-batches).
    package func classify(targets: UnsafePointer<Int32>, gradientScale: Float? = nil) -> Loss {
        precondition(gradientScale == nil || parameters.trains)
        let (activations, a) = (workspace.activations, workspace.floats)
        return classifier.loss(
            losses: a + activations.losses, correct: a + activations.correct, dinp: a + activations.dlnf,
            inp: a + activations.lnf, targets: targets, gradientScale: gradientScale, N: N,
            linear: Linear(parameters: parameters, dropout: dropoutKey))
    }

    /// What the last pass over a batch left, in its order, to look inside: what the forward pass keeps for the backward
    /// pass, and of that pass the gradients that no layer overwrites, dlnf and, in dresidual, that of residual 0. Only a
    /// model that trains, in float32, keeps them.
    package var activations: [TensorView] {
        let a = workspace.activations
        precondition(workspace === training && N > 0 && !a.fchIsRounded)
        return [
            a.residual, a.ln1mean, a.ln1rstd, a.qkv, a.lse, a.atty, a.residual2, a.ln2mean, a.ln2rstd, a.fch,
            a.lnfmean, a.lnfrstd, a.lnf, a.losses, a.correct, a.dlnf, a.dresidual,
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
        let (p, g, t, C, NH) = (parameters.values, parameters.trained, tensors, config.C, config.NH)
        let dresidual = a + activations.dresidual  // (N,C): the gradient with respect to the residual at this point
        let dln = a + activations.dln  // (N,C)
        let dfch = a + activations.dfch  // (N,4C)
        let dqkv = dfch  // (N,3C): dfch's place, which is free by then
        let datty = a + activations.datty  // (N,C)
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,4C)

        dresidual.update(repeating: 0, count: N * C)
        layerNormBackward(
            dinp: dresidual, dweight: g + t.lnfw, dbias: g + t.lnfb, dout: a + activations.dlnf,
            inp: a.at(activations.residual, config.L), weight: p + t.lnfw, mean: a + activations.lnfmean,
            rstd: a + activations.lnfrstd, N: N, C: C)
        for l in stride(from: config.L - 1, through: 0, by: -1) {
            let residual = a.at(activations.residual, l)
            let residual2 = a.at(activations.residual2, l)
            let qkv = a.at(activations.qkv, l)
            let atty = a.at(activations.atty, l)
            let fch = activations.fchIsRounded ? gelu : a.at(activations.fch, l)
            /// fch in gelu's place, from what was kept of it.
            func restoreFCH() {
                guard activations.fchIsRounded else { return }
                floatsOfBFloat16(out: gelu, inp: a.at(activations.fch, l), count: N * 4 * C)
            }

            // residual3 = residual2 + fcproj(gelu(fc(layernorm(residual2)))); a sum passes its gradient on to both its
            // terms, so dresidual serves for both.
            restoreFCH()
            geluForward(out: gelu, inp: fch, count: N * 4 * C)
            linear.backward(
                dinp: dfch, dout: dresidual, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l,
                dropout: dropped(.mlp, layer: l), scratch: dln, N: N, C: 4 * C, OC: C)
            restoreFCH()
            geluBackward(dinp: dfch, dout: dfch, inp: fch, count: N * 4 * C)
            layerNormRecompute(
                out: ln, mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l), inp: residual2,
                weight: p.at(t.ln2w, l), bias: p.at(t.ln2b, l), N: N, C: C)
            linear.backward(
                dinp: dln, dout: dfch, inp: ln, weight: t.fcw, bias: t.fcb, layer: l, N: N, C: C, OC: 4 * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(t.ln2w, l), dbias: g.at(t.ln2b, l), dout: dln, inp: residual2,
                weight: p.at(t.ln2w, l), mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l),
                N: N, C: C)

            // residual2 = residual + attproj(attention(qkv(layernorm(residual))))
            linear.backward(
                dinp: datty, dout: dresidual, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l,
                dropout: dropped(.attentionProjection, layer: l), scratch: dln, N: N, C: C, OC: C)
            attentionBackward(
                dqkv: dqkv, dout: datty, qkv: qkv, out: atty, lse: a.at(activations.lse, l), lengths: lengths, C: C,
                NH: NH, dropout: dropped(.attention, layer: l), precision: parameters.precision)
            layerNormRecompute(
                out: ln, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual,
                weight: p.at(t.ln1w, l), bias: p.at(t.ln1b, l), N: N, C: C)
            linear.backward(
                dinp: dln, dout: dqkv, inp: ln, weight: t.qkvw, bias: t.qkvb, layer: l, N: N, C: C, OC: 3 * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(t.ln1w, l), dbias: g.at(t.ln1b, l), dout: dln, inp: residual,
                weight: p.at(t.ln1w, l), mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l),
                N: N, C: C)
            parameters.layerIsDone?(l)
        }
        if let drop = dropped(.embedding) {
            dropoutBackward(
                dinp: dresidual, dout: dresidual, count: N * C, rate: drop.rate, key: drop.key, accumulate: false)
        }
        embeddingBackward(
            dwte: g.rows(of: t.wte), dwpe: g + t.wpe, dout: dresidual, inp: inputs, positions: positions, N: N, C: C)
    }

    /// The last batch's dropout at one place; nil without.
    private func dropped(_ site: DropoutSite, layer l: Int = 0) -> (rate: Float, key: DropoutKey)? {
        dropout > 0 ? dropoutKey.map { (dropout, $0.at(site: site.rawValue, layer: l)) } : nil
    }

    // MARK: memory

    private func trainingWorkspace(rows N: Int) -> GPT2Workspace {
        let precision = parameters.precision
        if N > training.capacity || training.precision != precision {
            training = GPT2Workspace(config, N: N, trains: true, precision: precision)
        }
        return training
    }

    private func inferenceWorkspace(rows N: Int) -> GPT2Workspace {
        if N > inference.capacity { inference = GPT2Workspace(config, N: N, trains: false) }
        return inference
    }
}

extension GPT2Configuration {
    package var table: TensorTable { GPT2Tensors(self).table }
    package var modulePrefix: String { "transformer." }

    package func passBytes(rows N: Int, trains: Bool) -> Double {
        let activations = GPT2Activations(self, N: N, trains: trains, precision: .float32).table.count
        return 4 * Double(activations) + (trains ? Classifier.bytes(rows: N, C: C, V: V) : 0)
    }
}
