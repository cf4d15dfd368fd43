// BERT (Devlin et al., 2018), transformers' BertModel and BertForMaskedLM, and DistilBERT (Sanh et al., 2019): configuration,
// the table of tensors, and one walk through the layers, forward and below it backward. It reads a whole text at once:
//
//     token + segment + position → layernorm → L × [ x = layernorm(x + attention(x));  x = layernorm(x + mlp(x)) ] → x
//
//     of masked tokens      x → dense → gelu → layernorm → classifier     the head: which token was here
//     of the first token    x → dense → tanh                              the pooler: a vector for the whole text
//
// What differs from GPT2.swift:
//
// 1. Every token sees all of its sequence, those after it, too.
// 2. The layer norms come after the sums (post-norm), so there is one after the embeddings and none at the end.
// 3. A token's segment (transformers: its token type) has an embedding, too: the first or second text of a pair.
// 4. GELU is the exact one.
// 5. The head is a layer of its own before the classifier, which is wte as in GPT-2, with a bias. It sees only the rows
//    whose target counts: of masked-language modelling's, about 15%.
//
// A DistilBERT has no segments, no pooler, and no dropout of the attention's projection; else it is a BERT under other
// names. A model has the head and the pooler, either, or neither. The pooler is never trained: masked-language modelling
// does not use it.
//
// Sequences lie one after another without padding, so there are no masks for padding. (transformers' padding gets
// embeddings and attends, but nothing attends to it. Nor does its token's embedding learn there from being read; here it is
// a token like any other.)
//
// Dimensions: B sequences, T time, C channels, V vocabulary, NH heads, FC channels inside the MLP, L layers, N rows in a
// pass, M of them in the head.
// The names are GPT2.swift's; new are wse for the segments' embedding, ln0 for the embeddings' layer norm, trans for the
// head's dense layer, lnf for its layer norm, headb for the classifier's bias, and pool for the pooler.

import Kernels

// MARK: - configuration

/// The sizes of a BERT or DistilBERT, and which parts it has.
package struct BERTConfiguration: ModelConfiguration {
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
    /// Channels inside the MLP.
    package var FC: Int
    /// Segments there are embeddings for; 0 in a DistilBERT.
    package var segments: Int
    package var isDistilBERT: Bool
    /// What the layer norms add to the variance.
    package var epsilon: Float = 1e-12
    /// Whether GELU is GPT-2's approximation.
    package var hasTanhGELU = false
    /// What is computed below without it and with it: GPT2.swift says more.
    package static let variants = (exact: "gelu", tanh: "gelu_new")
    /// Whether it has the head, which predicts tokens.
    package var hasHead = true
    package var hasPooler = false

    /// - Parameter FC: nil is 4·C.
    package init(maxT: Int, V: Int, L: Int, NH: Int, C: Int, FC: Int? = nil, isDistilBERT: Bool = false) {
        (self.maxT, self.V, self.L, self.NH, self.C, self.FC) = (maxT, V, L, NH, C, FC ?? 4 * C)
        (self.isDistilBERT, segments) = (isDistilBERT, isDistilBERT ? 0 : 2)
    }

    /// Google's base size: 109,514,298 parameters with the head.
    package static let base = BERTConfiguration(maxT: 512, V: 30522, L: 12, NH: 12, C: 768)
    /// Hugging Face's DistilBERT: 66,985,530 parameters with the head.
    package static let distilBase = BERTConfiguration(maxT: 512, V: 30522, L: 6, NH: 12, C: 768, isDistilBERT: true)
}

// MARK: - the tables of tensors

/// The parameters of a BERT. Initialisation is transformers': N(0, 0.02) for the matrices, biases 0, layer norms 1.
/// Weight decay acts on the matrices only.
package struct BERTTensors {
    package let table: TensorTable
    package let wte, wpe, ln0w, ln0b, qkvw, qkvb, attprojw, attprojb: Tensor
    package let ln1w, ln1b, fcw, fcb, fcprojw, fcprojb, ln2w, ln2b: Tensor
    /// nil without segments.
    package let wse: Tensor?
    package let head: Head?
    package let pooler: Pooler?

    /// The head's own tensors.
    package struct Head {
        package let transw, transb, lnfw, lnfb, headb: Tensor
        package var tensors: [Tensor] { [transw, transb, lnfw, lnfb, headb] }
    }
    package struct Pooler {
        package let poolw, poolb: Tensor
        package var tensors: [Tensor] { [poolw, poolb] }
    }

    package init(_ config: BERTConfiguration) {
        let (V, C, FC, L, isDistil) = (config.V, config.C, config.FC, config.L, config.isDistilBERT)
        let weights = Tensor.InitialValues.normal(deviation: 0.02)
        // In a model with a head, transformers calls the rest by a name.
        let base = config.hasHead ? isDistil ? "distilbert." : "bert." : ""
        let embeddings = "\(base)embeddings"
        let layer = isDistil ? "\(base)transformer.layer.#" : "\(base)encoder.layer.#"
        let attention = isDistil ? "\(layer).attention" : "\(layer).attention.self"
        let (query, key, value) =
            isDistil
            ? ("\(attention).q_lin", "\(attention).k_lin", "\(attention).v_lin")
            : ("\(attention).query", "\(attention).key", "\(attention).value")
        let attproj = isDistil ? "\(layer).attention.out_lin" : "\(layer).attention.output.dense"
        let ln1 = isDistil ? "\(layer).sa_layer_norm" : "\(layer).attention.output.LayerNorm"
        let fc = isDistil ? "\(layer).ffn.lin1" : "\(layer).intermediate.dense"
        let fcproj = isDistil ? "\(layer).ffn.lin2" : "\(layer).output.dense"
        let ln2 = isDistil ? "\(layer).output_layer_norm" : "\(layer).output.LayerNorm"
        let trans = isDistil ? "vocab_transform" : "cls.predictions.transform.dense"
        let lnf = isDistil ? "vocab_layer_norm" : "cls.predictions.transform.LayerNorm"
        let bias = isDistil ? "vocab_projector.bias" : "cls.predictions.bias"

        var table = TensorTable()
        wte = table.add(
            "wte", V, C, initialValues: weights, decays: true, huggingFace: "\(embeddings).word_embeddings.weight")
        wpe = table.add(
            "wpe", config.maxT, C, initialValues: weights, decays: true,
            huggingFace: "\(embeddings).position_embeddings.weight")
        wse =
            config.segments == 0
            ? nil
            : table.add(
                "wse", config.segments, C, initialValues: weights, decays: true,
                huggingFace: "\(embeddings).token_type_embeddings.weight")
        ln0w = table.add("ln0w", C, initialValues: .ones, huggingFace: "\(embeddings).LayerNorm.weight")
        ln0b = table.add("ln0b", C, huggingFace: "\(embeddings).LayerNorm.bias")
        qkvw = table.add(
            "qkvw", layers: L, 3 * C, C, initialValues: weights, decays: true, huggingFace: "\(query).weight",
            "\(key).weight", "\(value).weight")
        qkvb = table.add(
            "qkvb", layers: L, 3 * C, huggingFace: "\(query).bias", "\(key).bias", "\(value).bias")
        attprojw = table.add(
            "attprojw", layers: L, C, C, initialValues: weights, decays: true, huggingFace: "\(attproj).weight")
        attprojb = table.add("attprojb", layers: L, C, huggingFace: "\(attproj).bias")
        ln1w = table.add("ln1w", layers: L, C, initialValues: .ones, huggingFace: "\(ln1).weight")
        ln1b = table.add("ln1b", layers: L, C, huggingFace: "\(ln1).bias")
        fcw = table.add(
            "fcw", layers: L, FC, C, initialValues: weights, decays: true, huggingFace: "\(fc).weight")
        fcb = table.add("fcb", layers: L, FC, huggingFace: "\(fc).bias")
        fcprojw = table.add(
            "fcprojw", layers: L, C, FC, initialValues: weights, decays: true, huggingFace: "\(fcproj).weight")
        fcprojb = table.add("fcprojb", layers: L, C, huggingFace: "\(fcproj).bias")
        ln2w = table.add("ln2w", layers: L, C, initialValues: .ones, huggingFace: "\(ln2).weight")
        ln2b = table.add("ln2b", layers: L, C, huggingFace: "\(ln2).bias")
        head =
            config.hasHead
            ? Head(
                transw: table.add(
                    "transw", C, C, initialValues: weights, decays: true, huggingFace: "\(trans).weight"),
                transb: table.add("transb", C, huggingFace: "\(trans).bias"),
                lnfw: table.add("lnfw", C, initialValues: .ones, huggingFace: "\(lnf).weight"),
                lnfb: table.add("lnfb", C, huggingFace: "\(lnf).bias"),
                headb: table.add("headb", V, huggingFace: bias)) : nil
        // The last, so that what is trained has the table's layout.
        pooler =
            config.hasPooler
            ? Pooler(
                poolw: table.add(
                    "poolw", C, C, initialValues: weights, decays: true, huggingFace: "\(base)pooler.dense.weight"),
                poolb: table.add("poolb", C, huggingFace: "\(base)pooler.dense.bias")) : nil
        self.table = table
    }
}

/// The activations: what the forward pass computes and the backward pass reads. The layer norms' outputs, GELU's and the
/// attention's probabilities are recomputed: kept are the sums that the layer norms read.
private struct BERTActivations {
    let table: TensorTable
    /// What a layer's input is the layer norm of: the embeddings' sum, then the sum at the end of each layer.
    let residual, lnmean, lnrstd: Tensor
    let qkv, lse, atty, residual2, ln1mean, ln1rstd, fch, losses, correct: Tensor
    /// Used again by every layer. x is a layer norm's output: the hidden states.
    let x, gelu: Tensor
    /// The backward pass's own.
    let dx, dresidual, datty, dfch: Tensor

    /// - Parameters:
    ///   - N: rows of a pass.
    ///   - trains: whether a backward pass follows. Without one the layers overwrite one another, and within a layer
    ///     what is no longer needed is overwritten, too: a row then takes 2·C + max(3·C, FC) floats and a few.
    init(_ config: BERTConfiguration, N: Int, trains: Bool) {
        let (C, FC, NH) = (config.C, config.FC, config.NH)
        let L = trains ? config.L : 1
        let backwardN = trains ? N : 0
        var table = TensorTable(alignment: 16)  // every tensor begins a cache line
        x = table.add("x", N, C)
        residual = trains ? table.add("residual", layers: L + 1, N, C) : x
        residual2 = trains ? table.add("residual2", layers: L, N, C) : x
        qkv = table.add("qkv", layers: L, N, trains ? 3 * C : max(3 * C, FC))
        atty = table.add("atty", layers: L, N, C)
        fch = trains ? table.add("fch", layers: L, N, FC) : qkv
        gelu = trains ? table.add("gelu", N, FC) : fch
        lnmean = table.add("lnmean", layers: trains ? L + 1 : 1, N)
        lnrstd = table.add("lnrstd", layers: trains ? L + 1 : 1, N)
        ln1mean = table.add("ln1mean", layers: L, N)
        ln1rstd = table.add("ln1rstd", layers: L, N)
        lse = table.add("lse", layers: L, N, NH)
        losses = table.add("losses", N)
        correct = table.add("correct", N)
        dx = table.add("dx", backwardN, C)
        dresidual = table.add("dresidual", backwardN, C)
        datty = table.add("datty", backwardN, C)
        dfch = table.add("dfch", backwardN, max(3 * C, FC))
        self.table = table
    }
}

/// The head's activations, of the M rows that it is asked for.
private struct BERTHeadActivations {
    let table: TensorTable
    let inp, trans, gelu, lnf, lnfmean, lnfrstd, losses, correct: Tensor
    /// The backward pass's own.
    let dinp: Tensor

    init(_ config: BERTConfiguration, M: Int, trains: Bool) {
        let C = config.C
        var table = TensorTable(alignment: 16)
        inp = table.add("inp", M, C)
        trans = table.add("trans", M, C)
        gelu = trains ? table.add("gelu", M, C) : trans
        lnf = trains ? table.add("lnf", M, C) : trans
        lnfmean = table.add("lnfmean", M)
        lnfrstd = table.add("lnfrstd", M)
        losses = table.add("losses", M)
        correct = table.add("correct", M)
        dinp = table.add("dinp", trains ? M : 0, C)
        self.table = table
    }
}

/// The memory of passes: kept until a pass of more rows comes.
private final class BERTWorkspace<Activations> {
    let activations: Activations
    let floats: UnsafeMutablePointer<Float>
    /// Rows that it has room for.
    let capacity: Int
    private let count: Int

    init(_ activations: Activations, _ table: TensorTable, capacity: Int) {
        (self.activations, self.capacity, count) = (activations, capacity, table.count)
        floats = allocateFloats(count)
    }

    deinit { freeFloats(floats, count: count) }
}

// MARK: - the model

/// A BERT or DistilBERT: its parameters, and the passes through it. Not for use from several threads at once: the kernels
/// inside use all cores.
package final class BERT: Transformer {
    package let config: BERTConfiguration
    package let tensors: BERTTensors
    package let parameters: Parameters
    /// The rates of dropout, in batches that bring a key for it: of the embeddings and what is added to the residual, and
    /// of the attention's probabilities.
    package var dropout: Float = 0
    package var attentionDropout: Float = 0

    private let classifier: Classifier
    private let trains: Bool
    private var workspace: BERTWorkspace<BERTActivations>
    private var headWorkspace: BERTWorkspace<BERTHeadActivations>
    /// Of the last forward pass: its rows, the place of each in its sequence, and its segment.
    private var N = 0
    private var positions: [Int32] = []
    private var segments: [Int32]?
    /// Of the sequences of the last batch, and what it drops by; nil without dropout.
    private var lengths: [Int] = []
    private var dropoutKey: DropoutKey?

    /// A model with all parameters zero. One that trains needs the head.
    package convenience init(_ config: BERTConfiguration, trains: Bool) {
        self.init(config, trains: trains, logitRows: Classifier.chunkRows)
    }

    /// A model with all parameters zero: to be filled by `parameters.initialize` or from a checkpoint.
    /// - Parameters:
    ///   - trains: needs the head. All but the pooler is trained.
    ///   - logitRows: rows of logits at a time.
    package init(_ config: BERTConfiguration, trains: Bool, logitRows: Int) {
        precondition(config.C % config.NH == 0)
        precondition(config.hasHead || !trains)
        self.config = config
        self.trains = trains
        tensors = BERTTensors(config)
        classifier = Classifier(
            weight: tensors.wte, bias: tensors.head?.headb, C: config.C, V: config.V, chunkRows: logitRows)
        parameters = Parameters(tensors.table, trains: false)
        if trains { parameters.train(config.trainedTensors) }
        workspace = BERT.workspace(config, rows: 0, trains: trains)
        headWorkspace = BERT.headWorkspace(config, rows: 0, trains: trains)
    }

    package var maxT: Int { config.maxT }
    package var V: Int { config.V }

    /// The share of the tokens that masked-language modelling predicts.
    private static let maskedShare = 0.15

    /// Floating-point operations of a forward and backward pass, for each token: those of the layers' products, of the
    /// head's and classifier's for the share of tokens that is masked, and 12·L·C·T for the attention.
    package func flopsPerToken(T: Int) -> Double {
        let layers = parameters.flopsPerToken(of: tensors.table.tensors.filter(\.isPerLayer))
        let head = parameters.flopsPerToken(of: (tensors.head?.tensors ?? []) + [tensors.wte])
        return Double(layers + 12 * config.L * config.C * T) + BERT.maskedShare * Double(head)
    }

    package func loss(of batch: Batch) -> Loss {
        forward(inputs: batch.inputs, segments: batch.segments, lengths: batch.lengths)
        return classify(targets: batch.targets)
    }

    /// Forward and backward pass of a batch, with its dropout; the gradients are added to those that are there.
    /// - Parameter gradientScale: of a target's loss in the total.
    @discardableResult package func learn(from batch: Batch, gradientScale: Float) -> Loss {
        forward(
            inputs: batch.inputs, segments: batch.segments, lengths: batch.lengths, dropout: batch.dropoutKey)
        let loss = classify(targets: batch.targets, gradientScale: gradientScale)
        backward(inputs: batch.inputs)
        return loss
    }

    // MARK: forward

    /// The forward pass up to the hidden states.
    /// - Parameters:
    ///   - inputs: (N), tokens below V.
    ///   - segments: (N), below the configuration's; nil where all are 0. A DistilBERT does not look at them.
    ///   - lengths: of the sequences, at most maxT; N is their sum.
    ///   - key: with it, a model that has a rate of dropout drops.
    package func forward(
        inputs: UnsafePointer<Int32>, segments: [Int32]? = nil, lengths: [Int], dropout key: DropoutKey? = nil
    ) {
        precondition(lengths.allSatisfy { $0 <= maxT } && (key == nil || trains))
        N = lengths.reduce(0, +)
        precondition(segments.map { $0.count == N } ?? true)
        positions = lengths.flatMap { 0..<Int32($0) }
        (self.lengths, self.segments, dropoutKey) = (lengths, segments, key)
        if N > workspace.capacity { workspace = BERT.workspace(config, rows: N, trains: trains) }
        let (activations, a) = (workspace.activations, workspace.floats)
        let linear = Linear(parameters: parameters, dropout: key)
        let (p, t, C, FC, NH) = (parameters.values, tensors, config.C, config.FC, config.NH)
        let x = a + activations.x  // (N,C)
        let gelu = a + activations.gelu  // (N,FC)
        let scratch = a + activations.datty  // (N,C): for dropout; the backward pass is not there yet

        embeddingForward(
            out: a.at(activations.residual, 0), inp: inputs, positions: positions, segments: segments, wte: p + t.wte,
            wpe: p + t.wpe, wse: t.wse.map { UnsafePointer(p + $0) }, N: N, C: C)
        layerNormForward(
            out: x, mean: a.at(activations.lnmean, 0), rstd: a.at(activations.lnrstd, 0),
            inp: a.at(activations.residual, 0), weight: p + t.ln0w, bias: p + t.ln0b, N: N, C: C,
            epsilon: config.epsilon)
        if let drop = dropped(.embedding) {
            dropoutForward(out: x, inp: x, residual: nil, count: N * C, rate: drop.rate, key: drop.key)
        }
        for l in 0..<config.L {
            let qkv = a.at(activations.qkv, l)  // (N,3C)
            let atty = a.at(activations.atty, l)  // (N,C)
            let residual2 = a.at(activations.residual2, l)  // (N,C)
            let fch = a.at(activations.fch, l)  // (N,FC)
            let residual3 = a.at(activations.residual, l + 1)  // (N,C)

            linear.forward(out: qkv, inp: x, weight: t.qkvw, bias: t.qkvb, layer: l, N: N, C: C, OC: 3 * C)
            attentionForward(
                out: atty, lse: a.at(activations.lse, l), qkv: qkv, lengths: lengths, C: C, NH: NH, causal: false,
                dropout: dropped(.attention, layer: l), precision: parameters.precision)
            linear.forward(
                out: residual2, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l, residual: x,
                dropout: dropped(.attentionProjection, layer: l), scratch: scratch, N: N, C: C, OC: C)
            layerNormForward(
                out: x, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual2,
                weight: p.at(t.ln1w, l), bias: p.at(t.ln1b, l), N: N, C: C, epsilon: config.epsilon)

            linear.forward(out: fch, inp: x, weight: t.fcw, bias: t.fcb, layer: l, N: N, C: C, OC: FC)
            forwardGELU(out: gelu, inp: fch, count: N * FC)
            linear.forward(
                out: residual3, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l, residual: x,
                dropout: dropped(.mlp, layer: l), scratch: scratch, N: N, C: FC, OC: C)
            layerNormForward(
                out: x, mean: a.at(activations.lnmean, l + 1), rstd: a.at(activations.lnrstd, l + 1), inp: residual3,
                weight: p.at(t.ln2w, l), bias: p.at(t.ln2b, l), N: N, C: C, epsilon: config.epsilon)
        }
    }

    /// The hidden states (N,C) after `forward`. Valid until the next pass, forward or backward.
    package var hidden: UnsafePointer<Float> { UnsafePointer(workspace.floats + workspace.activations.x) }

    /// The pooler's vectors (B,C) after `forward`, one for each sequence; none may be empty.
    package func pool(into out: UnsafeMutablePointer<Float>) {
        guard let pooler = tensors.pooler else { preconditionFailure("a model without a pooler") }
        let (B, C) = (lengths.count, config.C)
        let firsts = allocateFloats(B * C)
        defer { freeFloats(firsts, count: B * C) }
        var n = 0
        for (b, T) in lengths.enumerated() {
            precondition(T > 0)
            (firsts + b * C).update(from: hidden + n * C, count: C)
            n += T
        }
        Linear(parameters: parameters).forward(
            out: out, inp: firsts, weight: pooler.poolw, bias: pooler.poolb, N: B, C: C, OC: C)
        tanhForward(out, count: B * C)
    }

    /// The head up to its layer norm, for some rows of the last forward pass.
    /// - Returns: (M,C) in the head's memory.
    @discardableResult private func forwardHead(rows: [Int]) -> UnsafeMutablePointer<Float> {
        guard let head = tensors.head else { preconditionFailure("a model without a head") }
        let (M, C, p) = (rows.count, config.C, parameters.values)
        if M > headWorkspace.capacity { headWorkspace = BERT.headWorkspace(config, rows: M, trains: trains) }
        let (activations, a) = (headWorkspace.activations, headWorkspace.floats)
        let inp = a + activations.inp  // (M,C)
        for (i, n) in rows.enumerated() { (inp + i * C).update(from: hidden + n * C, count: C) }
        Linear(parameters: parameters).forward(
            out: a + activations.trans, inp: inp, weight: head.transw, bias: head.transb, N: M, C: C, OC: C)
        forwardGELU(out: a + activations.gelu, inp: a + activations.trans, count: M * C)
        layerNormForward(
            out: a + activations.lnf, mean: a + activations.lnfmean, rstd: a + activations.lnfrstd,
            inp: a + activations.gelu, weight: p + head.lnfw, bias: p + head.lnfb, N: M, C: C, epsilon: config.epsilon)
        return a + activations.lnf
    }

    /// Logits (M,V) of some rows after `forward`.
    package func logits(into out: UnsafeMutablePointer<Float>, rows: [Int]) {
        Linear(parameters: parameters).forward(
            out: out, inp: forwardHead(rows: rows), weight: tensors.wte, bias: tensors.head?.headb, N: rows.count,
            C: config.C, OC: config.V)
    }

    /// The cross entropy of targets (N) after `forward`: head and classifier, for the rows whose target counts.
    /// - Parameters:
    ///   - targets: the token that is masked; a negative one does not count.
    ///   - gradientScale: nil only measures. Otherwise the head's backward pass happens here: its gradients, wte's as the
    ///     classifier, and the gradient that `backward` continues with. The scale is that of a token's loss in the total:
    ///     1 / (targets that count in all micro-batches).
    package func classify(targets: UnsafePointer<Int32>, gradientScale: Float? = nil) -> Loss {
        precondition(gradientScale == nil || trains)
        let rows = (0..<N).filter { targets[$0] >= 0 }
        let (losses, correct) = (
            workspace.floats + workspace.activations.losses, workspace.floats + workspace.activations.correct
        )
        losses.update(repeating: 0, count: N)
        correct.update(repeating: 0, count: N)
        let linear = Linear(parameters: parameters)
        if !rows.isEmpty {
            let lnf = forwardHead(rows: rows)
            let (activations, a) = (headWorkspace.activations, headWorkspace.floats)
            _ = classifier.loss(
                losses: a + activations.losses, correct: a + activations.correct, dinp: a + activations.dinp, inp: lnf,
                targets: rows.map { targets[$0] }, gradientScale: gradientScale, N: rows.count, linear: linear)
            for (i, n) in rows.enumerated() {
                losses[n] = (a + activations.losses)[i]
                correct[n] = (a + activations.correct)[i]
            }
        }
        if gradientScale != nil { backwardHead(rows: rows, linear) }
        return Loss(
            losses: UnsafeBufferPointer(start: losses, count: N),
            correct: UnsafeBufferPointer(start: correct, count: N), counted: rows.count)
    }

    // MARK: backward

    /// The head's backward pass, from what the classifier wrote to `dinp`: the gradient of the hidden states, which is
    /// zero for the rows that the head did not see.
    private func backwardHead(rows: [Int], _ linear: Linear) {
        guard let head = tensors.head else { preconditionFailure("a model without a head") }
        let (activations, a) = (headWorkspace.activations, headWorkspace.floats)
        let (p, g, M, C) = (parameters.values, parameters.trained, rows.count, config.C)
        let dx = workspace.floats + workspace.activations.dx  // (N,C)
        dx.update(repeating: 0, count: N * C)
        if rows.isEmpty { return }
        let dlnf = a + activations.dinp  // (M,C)
        let dgelu = a + activations.lnf  // (M,C): its place, which is free by then
        let dtrans = dgelu  // in place
        dgelu.update(repeating: 0, count: M * C)
        layerNormBackward(
            dinp: dgelu, dweight: g + head.lnfw, dbias: g + head.lnfb, dout: dlnf, inp: a + activations.gelu,
            weight: p + head.lnfw, mean: a + activations.lnfmean, rstd: a + activations.lnfrstd, N: M, C: C)
        backwardGELU(dinp: dtrans, dout: dgelu, inp: a + activations.trans, count: M * C)
        let dinp = a + activations.dinp
        linear.backward(
            dinp: dinp, dout: dtrans, inp: a + activations.inp, weight: head.transw, bias: head.transb, N: M, C: C,
            OC: C)
        for (i, n) in rows.enumerated() { (dx + n * C).update(from: dinp + i * C, count: C) }
    }

    /// Adds the gradients of all parameters that are trained to `parameters.gradients`, after `forward` and `classify`
    /// with a scale.
    package func backward(inputs: UnsafePointer<Int32>) {
        precondition(trains)
        let (activations, a) = (workspace.activations, workspace.floats)
        let linear = Linear(parameters: parameters, dropout: dropoutKey)
        let (p, g, t, C, FC, NH) = (
            parameters.values, parameters.trained, tensors, config.C, config.FC, config.NH
        )
        let dx = a + activations.dx  // (N,C): the gradient of a layer's output, then of its input
        let dresidual = a + activations.dresidual  // (N,C)
        let datty = a + activations.datty  // (N,C)
        let dfch = a + activations.dfch  // (N,FC)
        let dqkv = dfch  // (N,3C): dfch's place, which is free by then
        let x = a + activations.x  // (N,C)
        let gelu = a + activations.gelu  // (N,FC)

        for l in stride(from: config.L - 1, through: 0, by: -1) {
            let qkv = a.at(activations.qkv, l)
            let atty = a.at(activations.atty, l)
            let residual2 = a.at(activations.residual2, l)
            let fch = a.at(activations.fch, l)

            // out = layernorm(residual3), residual3 = x1 + fcproj(gelu(fc(x1))); a sum passes its gradient on to both its
            // terms, so what the MLP sends back is added to dresidual.
            dresidual.update(repeating: 0, count: N * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(t.ln2w, l), dbias: g.at(t.ln2b, l), dout: dx,
                inp: a.at(activations.residual, l + 1), weight: p.at(t.ln2w, l), mean: a.at(activations.lnmean, l + 1),
                rstd: a.at(activations.lnrstd, l + 1), N: N, C: C)
            forwardGELU(out: gelu, inp: fch, count: N * FC)
            linear.backward(
                dinp: dfch, dout: dresidual, inp: gelu, weight: t.fcprojw, bias: t.fcprojb, layer: l,
                dropout: dropped(.mlp, layer: l), scratch: x, N: N, C: FC, OC: C)
            backwardGELU(dinp: dfch, dout: dfch, inp: fch, count: N * FC)
            layerNormRecompute(  // x1
                out: x, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual2,
                weight: p.at(t.ln1w, l), bias: p.at(t.ln1b, l), N: N, C: C)
            linear.backward(
                dinp: dresidual, dout: dfch, inp: x, weight: t.fcw, bias: t.fcb, layer: l, accumulate: true, N: N,
                C: C, OC: FC)

            // x1 = layernorm(residual2), residual2 = x + attproj(attention(qkv(x)))
            dx.update(repeating: 0, count: N * C)
            layerNormBackward(
                dinp: dx, dweight: g.at(t.ln1w, l), dbias: g.at(t.ln1b, l), dout: dresidual, inp: residual2,
                weight: p.at(t.ln1w, l), mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), N: N,
                C: C)
            linear.backward(
                dinp: datty, dout: dx, inp: atty, weight: t.attprojw, bias: t.attprojb, layer: l,
                dropout: dropped(.attentionProjection, layer: l), scratch: x, N: N, C: C, OC: C)
            attentionBackward(
                dqkv: dqkv, dout: datty, qkv: qkv, out: atty, lse: a.at(activations.lse, l), lengths: lengths, C: C,
                NH: NH, causal: false, dropout: dropped(.attention, layer: l), precision: parameters.precision)
            layerNormRecompute(  // the layer's input
                out: x, mean: a.at(activations.lnmean, l), rstd: a.at(activations.lnrstd, l),
                inp: a.at(activations.residual, l), weight: l == 0 ? p + t.ln0w : p.at(t.ln2w, l - 1),
                bias: l == 0 ? p + t.ln0b : p.at(t.ln2b, l - 1), N: N, C: C)
            if l == 0, let drop = dropped(.embedding) {
                dropoutForward(out: x, inp: x, residual: nil, count: N * C, rate: drop.rate, key: drop.key)
            }
            linear.backward(
                dinp: dx, dout: dqkv, inp: x, weight: t.qkvw, bias: t.qkvb, layer: l, accumulate: true, N: N, C: C,
                OC: 3 * C)
            parameters.layerIsDone?(l)
        }
        if let drop = dropped(.embedding) {
            dropoutBackward(dinp: dx, dout: dx, count: N * C, rate: drop.rate, key: drop.key, accumulate: false)
        }
        dresidual.update(repeating: 0, count: N * C)
        layerNormBackward(
            dinp: dresidual, dweight: g + t.ln0w, dbias: g + t.ln0b, dout: dx, inp: a.at(activations.residual, 0),
            weight: p + t.ln0w, mean: a.at(activations.lnmean, 0), rstd: a.at(activations.lnrstd, 0), N: N, C: C)
        embeddingBackward(
            dwte: g.rows(of: t.wte), dwpe: g + t.wpe, dout: dresidual, inp: inputs, positions: positions, N: N, C: C)
        if let wse = t.wse, let dwse = g + wse {
            segmentEmbeddingBackward(dwse: dwse, dout: dresidual, segments: segments, N: N, C: C)
        }
    }

    // MARK: the configuration's choices

    private func forwardGELU(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, count: Int) {
        if config.hasTanhGELU {
            geluForward(out: out, inp: inp, count: count)
        } else {
            exactGELUForward(out: out, inp: inp, count: count)
        }
    }

    private func backwardGELU(
        dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, count: Int
    ) {
        if config.hasTanhGELU {
            geluBackward(dinp: dinp, dout: dout, inp: inp, count: count)
        } else {
            exactGELUBackward(dinp: dinp, dout: dout, inp: inp, count: count)
        }
    }

    /// The last batch's dropout at one place; nil without.
    private func dropped(_ site: DropoutSite, layer l: Int = 0) -> (rate: Float, key: DropoutKey)? {
        if site == .attentionProjection, config.isDistilBERT { return nil }
        let rate = site == .attention ? attentionDropout : dropout
        return rate > 0 ? dropoutKey.map { (rate, $0.at(site: site.rawValue, layer: l)) } : nil
    }

    // MARK: memory

    private static func workspace(
        _ config: BERTConfiguration, rows N: Int, trains: Bool
    ) -> BERTWorkspace<BERTActivations> {
        let activations = BERTActivations(config, N: N, trains: trains)
        return BERTWorkspace(activations, activations.table, capacity: N)
    }

    private static func headWorkspace(
        _ config: BERTConfiguration, rows M: Int, trains: Bool
    ) -> BERTWorkspace<BERTHeadActivations> {
        let activations = BERTHeadActivations(config, M: M, trains: trains)
        return BERTWorkspace(activations, activations.table, capacity: M)
    }
}

extension BERTConfiguration {
    package var table: TensorTable { BERTTensors(self).table }

    /// All but the pooler: masked-language modelling does not use it.
    package var trainedTensors: [Tensor] {
        let tensors = BERTTensors(self)
        let frozen = tensors.pooler?.tensors.map(\.index) ?? []
        return tensors.table.tensors.filter { !frozen.contains($0.index) }
    }

    package func passBytes(rows N: Int, trains: Bool) -> Double {
        let activations = BERTActivations(self, N: N, trains: trains).table.count
        let head = trains ? BERTHeadActivations(self, M: N, trains: true).table.count : 0
        return 4 * (Double(activations) + Double(head)) + (trains ? Classifier.bytes(rows: N, C: C, V: V) : 0)
    }
}
