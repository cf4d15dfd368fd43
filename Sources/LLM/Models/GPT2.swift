// GPT-2 (Radford et al., 2019): the file to study. Configuration, the table of tensors, forward, backward, update;
// flat, top to bottom, over one contiguous buffer of parameters. The layout and the names are llm.c's.
//
//     token + position → L × [ x += attention(layernorm(x));  x += mlp(layernorm(x)) ] → layernorm → classifier
//
// Dimensions: B batch, T time, C channels, V vocabulary, Vp vocabulary padded, NH heads, HS head size, L layers.
// A name with a `d` in front is the gradient of the loss by that tensor. Short names, as in llm.c: w weight, b bias,
// ln layer norm, lnf the last one, rstd reciprocal standard deviation, lse log-sum-exp of a row of attention scores,
// atty what attention gives, attproj the projection after it, fc and fcproj the two layers of the MLP, fch what fc gives.
// wte is both the token embedding and the classifier, so its gradient has two parts: one from `classify`, one from
// `embeddingBackward`.

import Foundation
import Kernels

// MARK: - configuration

package struct GPT2Configuration: Equatable {
    /// The longest sequence there are positions for.
    package var maxT: Int
    package var V: Int
    package var L: Int
    package var NH: Int
    package var C: Int
    /// V rounded up to a multiple of 128, as llm.c pads it; the extra rows of wte are zero.
    package var Vp: Int { (V + 127) / 128 * 128 }

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

/// A named part of a contiguous buffer of floats.
package struct Tensor {
    package let name: String
    /// Whether every layer has its own; L is then the first dimension of the shape.
    package let isPerLayer: Bool
    package let shape: [Int]
    /// In floats, from the start of the buffer.
    package let offset: Int
    package var count: Int { shape.reduce(1, *) }
    /// A matrix, not a vector: weight decay pulls at matrices only.
    package var isMatrix: Bool { shape.count - (isPerLayer ? 1 : 0) == 2 }

    fileprivate init(_ name: String, layers: Int?, _ shape: [Int], offset: Int) {
        self.name = name
        isPerLayer = layers != nil
        self.shape = (layers.map { [$0] } ?? []) + shape
        self.offset = offset
    }

    /// Floats from one layer to the next. Where there is only one for all layers, they share it.
    fileprivate var layerStride: Int { isPerLayer && shape[0] > 1 ? count / shape[0] : 0 }
}

/// The parameters: ONE table. The carving of the buffer, the checkpoint, the initialisation, the gradient check and the
/// weight decay all read it.
package struct GPT2Parameters {
    /// In the order of the buffer, which is the order of llm.c's checkpoints.
    package private(set) var tensors: [Tensor] = []
    package private(set) var count = 0
    package let wte, wpe, ln1w, ln1b, qkvw, qkvb, attprojw, attprojb: Tensor
    package let ln2w, ln2b, fcw, fcb, fcprojw, fcprojb, lnfw, lnfb: Tensor

    package init(_ config: GPT2Configuration) {
        let (C, L) = (config.C, config.L)
        var tensors: [Tensor] = []
        var offset = 0
        func tensor(_ name: String, layers: Int? = nil, _ shape: Int...) -> Tensor {
            let tensor = Tensor(name, layers: layers, shape, offset: offset)
            tensors.append(tensor)
            offset += tensor.count
            return tensor
        }
        wte = tensor("wte", config.Vp, C)
        wpe = tensor("wpe", config.maxT, C)
        ln1w = tensor("ln1w", layers: L, C)
        ln1b = tensor("ln1b", layers: L, C)
        qkvw = tensor("qkvw", layers: L, 3 * C, C)
        qkvb = tensor("qkvb", layers: L, 3 * C)
        attprojw = tensor("attprojw", layers: L, C, C)
        attprojb = tensor("attprojb", layers: L, C)
        ln2w = tensor("ln2w", layers: L, C)
        ln2b = tensor("ln2b", layers: L, C)
        fcw = tensor("fcw", layers: L, 4 * C, C)
        fcb = tensor("fcb", layers: L, 4 * C)
        fcprojw = tensor("fcprojw", layers: L, C, 4 * C)
        fcprojb = tensor("fcprojb", layers: L, C)
        lnfw = tensor("lnfw", C)
        lnfb = tensor("lnfb", C)
        self.tensors = tensors
        count = offset
    }
}

/// What the forward pass computes and the backward pass reads. Three things that would fit here are left out, because
/// computing them again costs less than the memory: the layer norms' outputs and GELU's (one more pass over memory
/// each), and the attention's (T,T) probabilities.
private struct GPT2Activations {
    private(set) var count = 0
    let residual, ln1mean, ln1rstd, qkv, lse, atty, residual2, ln2mean, ln2rstd, fch: Tensor
    let lnfmean, lnfrstd, lnf, losses, correct: Tensor
    /// Used anew by every layer.
    let ln, gelu: Tensor
    let logits: Tensor
    /// The backward pass's own.
    let dlnf, dresidual, dln, datty, dfch: Tensor

    init(_ config: GPT2Configuration, B: Int, T: Int, logitRows: Int, trains: Bool) {
        let (C, L, NH, N) = (config.C, config.L, config.NH, B * T)
        // Without a backward pass the layers write over one another.
        let keptL = trains ? L : 1
        let backwardN = trains ? N : 0
        var offset = 0
        func tensor(_ name: String, layers: Int? = nil, _ shape: Int...) -> Tensor {
            let tensor = Tensor(name, layers: layers, shape, offset: offset)
            offset += (tensor.count + 15) / 16 * 16  // every tensor begins a cache line
            return tensor
        }
        residual = tensor("residual", layers: trains ? L + 1 : 1, N, C)
        ln1mean = tensor("ln1mean", layers: keptL, N)
        ln1rstd = tensor("ln1rstd", layers: keptL, N)
        qkv = tensor("qkv", layers: keptL, N, 3 * C)
        lse = tensor("lse", layers: keptL, B * NH * T)
        atty = tensor("atty", layers: keptL, N, C)
        residual2 = tensor("residual2", layers: keptL, N, C)
        ln2mean = tensor("ln2mean", layers: keptL, N)
        ln2rstd = tensor("ln2rstd", layers: keptL, N)
        fch = tensor("fch", layers: keptL, N, 4 * C)
        lnfmean = tensor("lnfmean", N)
        lnfrstd = tensor("lnfrstd", N)
        lnf = tensor("lnf", N, C)
        losses = tensor("losses", N)
        correct = tensor("correct", N)
        ln = tensor("ln", N, C)
        gelu = tensor("gelu", N, 4 * C)
        logits = tensor("logits", logitRows, config.Vp)
        dlnf = tensor("dlnf", backwardN, C)
        dresidual = tensor("dresidual", backwardN, C)
        dln = tensor("dln", backwardN, C)
        datty = tensor("datty", backwardN, C)
        dfch = tensor("dfch", backwardN, 4 * C)
        count = offset
    }
}

extension UnsafeMutablePointer<Float> {
    /// Where a tensor begins in this buffer; with a layer, where that layer's part begins.
    package static func + (buffer: Self, tensor: Tensor) -> Self { buffer + tensor.offset }
    package func at(_ tensor: Tensor, _ layer: Int) -> Self { self + tensor.offset + layer * tensor.layerStride }
}

// MARK: - the model

/// The model's buffers, and what is done with them. Not for use from several threads at once: the kernels inside use
/// all cores.
package final class GPT2 {
    package let config: GPT2Configuration
    package let table: GPT2Parameters
    /// (table.count) floats; `gradients` and AdamW's moments `m` and `v` lie in the same order, and are there only if the model trains.
    package let parameters: UnsafeMutablePointer<Float>
    package let gradients: UnsafeMutablePointer<Float>
    package let m: UnsafeMutablePointer<Float>
    package let v: UnsafeMutablePointer<Float>
    package let trains: Bool

    /// Rows of logits at a time. A chunk is all there ever is of the (B,T,V) logits, the largest tensor by far. wte and
    /// its gradient come from memory once for each chunk and product; with 1024 rows that is 2% of the products' time,
    /// with 256 8%.
    private static let logitRows = 1024
    private var activations: GPT2Activations
    private var acts: UnsafeMutablePointer<Float>
    private var capacity = (B: 0, T: 0)
    /// Of the last forward pass.
    private var B = 0
    private var T = 0

    /// A model with all parameters zero: to be filled by `initialize` or from a checkpoint.
    package init(_ config: GPT2Configuration, trains: Bool) {
        precondition(config.C % config.NH == 0)
        self.config = config
        self.trains = trains
        table = GPT2Parameters(config)
        parameters = allocateFloats(table.count)
        gradients = allocateFloats(trains ? table.count : 0)
        m = allocateFloats(trains ? table.count : 0)
        v = allocateFloats(trains ? table.count : 0)
        activations = GPT2Activations(config, B: 0, T: 0, logitRows: 0, trains: trains)
        acts = allocateFloats(0)
    }

    deinit {
        freeFloats(parameters, count: table.count)
        for buffer in [gradients, m, v] { freeFloats(buffer, count: trains ? table.count : 0) }
        freeFloats(acts, count: activations.count)
    }

    /// GPT-2's initialisation: N(0, 0.02) for the matrices, divided by √(2L) where a layer adds to the residual, so
    /// that its variance does not grow with depth; biases 0, layer norms 1.
    package func initialize(seed: UInt32) {
        var random = MersenneTwister(seed: seed)
        // Layer by layer, as llm.c draws them: its seed 42 gives the same model.
        for l in 0..<config.L {
            for tensor in table.tensors where l == 0 || tensor.isPerLayer {
                // The padding of wte stays zero.
                let count =
                    tensor.name == "wte" ? config.V * config.C : tensor.count / (tensor.isPerLayer ? config.L : 1)
                let values = UnsafeMutableBufferPointer(start: parameters.at(tensor, l), count: count)
                switch tensor.name {
                case "wte", "wpe", "qkvw", "fcw":
                    random.fillNormal(values, deviation: 0.02)
                case "attprojw", "fcprojw":
                    random.fillNormal(values, deviation: 0.02 / Float(2 * config.L).squareRoot())
                case "ln1w", "ln2w", "lnfw":
                    values.update(repeating: 1)
                default:
                    values.update(repeating: 0)
                }
            }
        }
    }

    /// Floating-point operations of a forward and backward pass, for each token: 6 for each parameter that takes part
    /// in a product (the position table does not), and 6·L·C·T for the attention, which sees T/2 tokens on average.
    package func flopsPerToken(T: Int) -> Double {
        Double(6 * (table.count - table.wpe.count) + 6 * config.L * config.C * T)
    }

    // MARK: forward

    /// Everything up to the last layer norm, for inputs (B,T).
    package func forward(inputs: UnsafePointer<Int32>, B: Int, T: Int) {
        precondition(T <= config.maxT)
        reserve(B: B, T: T)
        (self.B, self.T) = (B, T)
        let (p, a, C, NH, N) = (parameters, acts, config.C, config.NH, B * T)

        embeddingForward(
            out: a.at(activations.residual, 0), inp: inputs, positions: (0..<N).map { Int32($0 % T) }, wte: p + table.wte,
            wpe: p + table.wpe, N: N, C: C)
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,4C)
        for l in 0..<config.L {
            let residual = a.at(activations.residual, l)  // (N,C)
            let residual2 = a.at(activations.residual2, l)  // (N,C)
            let residual3 = a.at(activations.residual, l + 1)  // (N,C): the next layer's residual
            let qkv = a.at(activations.qkv, l)  // (N,3C)
            let atty = a.at(activations.atty, l)  // (N,C)
            let fch = a.at(activations.fch, l)  // (N,4C)

            layerNormForward(
                out: ln, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual,
                weight: p.at(table.ln1w, l), bias: p.at(table.ln1b, l), N: N, C: C)
            matmulForward(
                out: qkv, inp: ln, weight: p.at(table.qkvw, l), bias: p.at(table.qkvb, l), N: N, C: C, OC: 3 * C)
            attentionForward(out: atty, lse: a.at(activations.lse, l), qkv: qkv, B: B, T: T, C: C, NH: NH)
            matmulForward(
                out: residual2, inp: atty, weight: p.at(table.attprojw, l), bias: p.at(table.attprojb, l),
                residual: residual, N: N, C: C, OC: C)

            layerNormForward(
                out: ln, mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l), inp: residual2,
                weight: p.at(table.ln2w, l), bias: p.at(table.ln2b, l), N: N, C: C)
            matmulForward(
                out: fch, inp: ln, weight: p.at(table.fcw, l), bias: p.at(table.fcb, l), N: N, C: C, OC: 4 * C)
            geluForward(out: gelu, inp: fch, count: N * 4 * C)
            matmulForward(
                out: residual3, inp: gelu, weight: p.at(table.fcprojw, l), bias: p.at(table.fcprojb, l),
                residual: residual2, N: N, C: 4 * C, OC: C)
        }
        layerNormForward(
            out: a + activations.lnf, mean: a + activations.lnfmean, rstd: a + activations.lnfrstd,
            inp: a.at(activations.residual, config.L), weight: p + table.lnfw, bias: p + table.lnfb, N: N, C: C)
    }

    /// The classifier and the cross entropy of targets (B,T) after `forward`, in chunks of rows, so that the logits
    /// (B,T,V) are never held.
    /// - Parameters:
    ///   - targets: a negative one does not count.
    ///   - gradientScale: nil only measures. Else the classifier's backward pass happens here and now, while a chunk's
    ///     logits are at hand: wte's gradient, and the gradient that `backward` goes on from. It is the scale of a
    ///     token's loss in the total: 1 / (targets that count in all micro-batches).
    /// - Returns: the mean loss of the targets that count, and the share of those that were the most probable token.
    package func classify(
        targets: UnsafePointer<Int32>, gradientScale: Float? = nil
    ) -> (loss: Double, accuracy: Double) {
        precondition(gradientScale == nil || trains)
        let (p, a, C, V, Vp, N) = (parameters, acts, config.C, config.V, config.Vp, B * T)
        let logits = a + activations.logits  // (rows,Vp)
        for row in stride(from: 0, to: N, by: GPT2.logitRows) {
            let rows = min(GPT2.logitRows, N - row)
            let lnf = a + activations.lnf + row * C  // (rows,C)
            matmulForward(
                out: logits, inp: lnf, weight: p + table.wte, bias: nil, N: rows, C: C, OC: V, outStride: Vp)
            crossEntropy(
                losses: a + activations.losses + row, correct: a + activations.correct + row, logits: logits,
                targets: targets + row, gradientScale: gradientScale, N: rows, V: V, stride: Vp)
            guard gradientScale != nil else { continue }
            let dlogits = logits  // (rows,Vp), in place
            matmulBackwardInput(
                dinp: a + activations.dlnf + row * C, dout: dlogits, weight: p + table.wte, N: rows, C: C, OC: V,
                doutStride: Vp)
            matmulBackwardWeight(
                dweight: gradients + table.wte, dbias: nil, dout: dlogits, inp: lnf, N: rows, C: C, OC: V,
                doutStride: Vp)
        }
        let losses = UnsafeBufferPointer(start: a + activations.losses, count: N)
        let counted = Double(max(1, UnsafeBufferPointer(start: targets, count: N).count { $0 >= 0 }))
        return (losses.reduce(0) { $0 + Double($1) } / counted, correct.reduce(0) { $0 + Double($1) } / counted)
    }

    /// (B,T) after `classify`: 1 where the target was the most probable token, else 0.
    package var correct: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: acts + activations.correct, count: B * T)
    }

    /// Logits (rows,V) of some rows of (B,T) after `forward`.
    package func logits(rows: Range<Int>, into out: UnsafeMutablePointer<Float>) {
        precondition(rows.upperBound <= B * T)
        matmulForward(
            out: out, inp: acts + activations.lnf + rows.lowerBound * config.C, weight: parameters + table.wte,
            bias: nil, N: rows.count, C: config.C, OC: config.V)
    }

    // MARK: backward

    /// Adds the gradients of all parameters to `gradients`, after `forward(inputs)` and `classify` with a scale.
    package func backward(inputs: UnsafePointer<Int32>) {
        precondition(trains)
        let (p, g, a, C, NH, N) = (parameters, gradients, acts, config.C, config.NH, B * T)
        let dresidual = a + activations.dresidual  // (N,C): the gradient by whatever the residual is at this point
        let dln = a + activations.dln  // (N,C)
        let dfch = a + activations.dfch  // (N,4C)
        let dqkv = dfch  // (N,3C): dfch's place, which is free by then
        let datty = a + activations.datty  // (N,C)
        let ln = a + activations.ln  // (N,C)
        let gelu = a + activations.gelu  // (N,4C)

        dresidual.update(repeating: 0, count: N * C)
        layerNormBackward(
            dinp: dresidual, dweight: g + table.lnfw, dbias: g + table.lnfb, dout: a + activations.dlnf,
            inp: a.at(activations.residual, config.L), weight: p + table.lnfw, mean: a + activations.lnfmean,
            rstd: a + activations.lnfrstd, N: N, C: C)
        for l in stride(from: config.L - 1, through: 0, by: -1) {
            let residual = a.at(activations.residual, l)
            let residual2 = a.at(activations.residual2, l)
            let qkv = a.at(activations.qkv, l)
            let atty = a.at(activations.atty, l)
            let fch = a.at(activations.fch, l)

            // residual3 = residual2 + fcproj(gelu(fc(layernorm(residual2)))); a sum hands its gradient on to
            // both its terms, so dresidual serves for both.
            geluForward(out: gelu, inp: fch, count: N * 4 * C)
            matmulBackwardWeight(
                dweight: g.at(table.fcprojw, l), dbias: g.at(table.fcprojb, l), dout: dresidual, inp: gelu, N: N,
                C: 4 * C, OC: C)
            matmulBackwardInput(
                dinp: dfch, dout: dresidual, weight: p.at(table.fcprojw, l), N: N, C: 4 * C, OC: C)
            geluBackward(dinp: dfch, dout: dfch, inp: fch, count: N * 4 * C)
            layerNormRecompute(
                out: ln, mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l), inp: residual2,
                weight: p.at(table.ln2w, l), bias: p.at(table.ln2b, l), N: N, C: C)
            matmulBackwardWeight(
                dweight: g.at(table.fcw, l), dbias: g.at(table.fcb, l), dout: dfch, inp: ln, N: N, C: C, OC: 4 * C)
            matmulBackwardInput(dinp: dln, dout: dfch, weight: p.at(table.fcw, l), N: N, C: C, OC: 4 * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(table.ln2w, l), dbias: g.at(table.ln2b, l), dout: dln, inp: residual2,
                weight: p.at(table.ln2w, l), mean: a.at(activations.ln2mean, l), rstd: a.at(activations.ln2rstd, l),
                N: N, C: C)

            // residual2 = residual + attproj(attention(qkv(layernorm(residual))))
            matmulBackwardWeight(
                dweight: g.at(table.attprojw, l), dbias: g.at(table.attprojb, l), dout: dresidual, inp: atty, N: N,
                C: C, OC: C)
            matmulBackwardInput(dinp: datty, dout: dresidual, weight: p.at(table.attprojw, l), N: N, C: C, OC: C)
            attentionBackward(
                dqkv: dqkv, dout: datty, qkv: qkv, out: atty, lse: a.at(activations.lse, l), B: B, T: T, C: C, NH: NH)
            layerNormRecompute(
                out: ln, mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l), inp: residual,
                weight: p.at(table.ln1w, l), bias: p.at(table.ln1b, l), N: N, C: C)
            matmulBackwardWeight(
                dweight: g.at(table.qkvw, l), dbias: g.at(table.qkvb, l), dout: dqkv, inp: ln, N: N, C: C, OC: 3 * C)
            matmulBackwardInput(dinp: dln, dout: dqkv, weight: p.at(table.qkvw, l), N: N, C: C, OC: 3 * C)
            layerNormBackward(
                dinp: dresidual, dweight: g.at(table.ln1w, l), dbias: g.at(table.ln1b, l), dout: dln, inp: residual,
                weight: p.at(table.ln1w, l), mean: a.at(activations.ln1mean, l), rstd: a.at(activations.ln1rstd, l),
                N: N, C: C)
        }
        embeddingBackward(
            dwte: g + table.wte, dwpe: g + table.wpe, dout: dresidual, inp: inputs,
            positions: (0..<N).map { Int32($0 % T) }, N: N, C: C)
    }

    // MARK: update

    /// ‖gradients‖, over all parameters.
    package func gradientNorm() -> Double { sumOfSquares(gradients, count: table.count).squareRoot() }

    /// One AdamW step, after which the gradients are zero again.
    /// - Parameters:
    ///   - decay: weight decay; of the matrices only, unless `decaysAll`.
    ///   - gradientScale: the gradients are multiplied by it first (clipping).
    ///   - step: counted from 1.
    package func update(
        learningRate: Double, beta1: Double, beta2: Double, epsilon: Double = 1e-8, decay: Double,
        decaysAll: Bool = false, gradientScale: Float, step: Int
    ) {
        for tensor in table.tensors {
            adamW(
                parameters: parameters + tensor, gradients: gradients + tensor, m: m + tensor, v: v + tensor,
                count: tensor.count, learningRate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
                decay: decaysAll || tensor.isMatrix ? decay : 0, gradientScale: gradientScale, step: step)
        }
    }

    /// Throws the gradients away, where an update is skipped.
    package func zeroGradients() { gradients.update(repeating: 0, count: table.count) }

    // MARK: memory

    /// What a model takes for batches of (B,T), in bytes; a Double, because nobody has checked the sizes yet.
    package static func bytes(_ config: GPT2Configuration, B: Int, T: Int, trains: Bool) -> Double {
        let (C, L, N) = (Double(config.C), Double(config.L), Double(B) * Double(T))
        let parameters = (Double(config.Vp) + Double(config.maxT)) * C + L * (12 * C * C + 13 * C) + 2 * C
        let activations = N * (C * (10 * (trains ? L : 1) + 15) + Double(config.NH) * L)
        let logits = min(N, Double(GPT2.logitRows)) * Double(config.Vp)
        return 4 * ((trains ? 4 : 1) * parameters + activations + logits)
    }

    /// Room for a pass over (B,T); kept until a larger one comes.
    private func reserve(B: Int, T: Int) {
        guard B * T > capacity.B * capacity.T || B * T == 0 else { return }
        freeFloats(acts, count: activations.count)
        activations = GPT2Activations(
            config, B: B, T: T, logitRows: min(B * T, GPT2.logitRows), trains: trains)
        acts = allocateFloats(activations.count)
        capacity = (B, T)
    }
}
