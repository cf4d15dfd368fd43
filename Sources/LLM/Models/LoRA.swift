// LoRA (Hu et al., 2021, "Low-Rank Adaptation of Large Language Models"): a model learns something new while its own
// weights stay as they are. Beside a weight W (OC,C) stand two thin matrices, A (r,C) and B (OC,r), and the linear layer
// becomes
//
//     out = inp · Wᵀ + s · (inp · Aᵀ) · Bᵀ           s = alpha / r, or alpha / √r (rank-stabilised: Kalajdzievski, 2023)
//
// which is the layer with the weight W + s·B·A. B begins as zero, so training begins with the model as it was. A and B
// have r·(C + OC) parameters, W has C·OC: with rank 8 about a hundredth of a GPT-2's. Only they need gradients and moments.
//
// In the backward pass, with h = s · inp · Aᵀ (N,r):
//
//     dh = dout · B        dB += doutᵀ · h        dA += s · dhᵀ · inp        dinp += s · dh · A
//
// W's own gradient, a third of a step's work, is never computed. Linear.swift does all of this for every layer: no model
// knows that there is an adapter.
//
// Names and settings are those of Hugging Face's peft (Formats/PEFTAdapter.swift reads and writes its files).

import Kernels

// MARK: - what an adapter is put on

/// A linear layer that an adapter can be put on, as Hugging Face names it. It has a whole weight of ours, or some of its
/// rows: queries, keys and values are one matrix here, and may be three there.
package struct LinearModule {
    /// Such as `transformer.h.0.attn.c_attn`.
    package let name: String
    package let weight: Tensor
    package let layer: Int
    /// The rows of the weight that it has: its outputs.
    package let rows: Range<Int>
    /// Its inputs.
    package let C: Int
    /// Whether Hugging Face keeps the weight as (in, out), which it calls Conv1D.
    package let isTransposed: Bool
    /// Whether it is the classifier, which "all linear layers" does not mean.
    package let isHead: Bool
}

extension CausalConfiguration {
    /// The model's linear layers, in the order of the table and layer by layer. A classifier that is the embedding, too,
    /// is none of them.
    package var linearModules: [LinearModule] {
        var modules: [LinearModule] = []
        let matrices = table.tensors.filter { $0.layerShape.count == 2 && ($0.isPerLayer || $0.isHead) }
        for l in 0..<L {
            for tensor in matrices where l < tensor.layers {
                guard let huggingFace = tensor.huggingFace else { continue }
                let names = huggingFace(layer: l)
                let rows = tensor.usedRows / names.count
                for (i, name) in names.enumerated() {
                    modules.append(
                        LinearModule(
                            name: modulePrefix + name.dropLast(".weight".count), weight: tensor, layer: l,
                            rows: i * rows..<(i + 1) * rows, C: tensor.rowCount,
                            isTransposed: huggingFace.isTransposed, isHead: !tensor.isPerLayer))
                }
            }
        }
        return modules
    }
}

/// Linear layers as peft's target_modules names them.
package enum ModulePattern: Equatable {
    /// A layer whose whole name is one of these, or ends with it after a dot.
    case names([String])
    /// A layer whose whole name matches.
    case expression(String)
    /// All but the classifier.
    case allLinear

    func matches(_ module: LinearModule) throws -> Bool {
        switch self {
        case .names(let names): names.contains { module.name == $0 || module.name.hasSuffix("." + $0) }
        case .expression(let text): try Expression(text).matches(module.name)
        case .allLinear: !module.isHead
        }
    }
}

/// The settings of an adapter.
package struct LoRAConfiguration: Equatable {
    package var rank = 8
    package var alpha = 8.0
    /// Whether s is alpha / √r instead of alpha / r.
    package var isRankStabilized = false
    /// The share of the inputs of A that dropout hides in training.
    package var dropout: Float = 0
    package var targets = ModulePattern.allLinear
    package var excluded: ModulePattern?
    /// The layers it is on; nil for all. A layer that the targets name in full is on whatever its number is.
    package var layers: [Int]?
    /// Expressions for what stands before a layer's number in its name; none for anything.
    package var layersPatterns: [String] = []
    /// Modules that are not targets, because they are trained whole.
    package var savedModules: [String] = []
    /// Expressions for the end of a layer's name, from a dot on, and what its rank or alpha is instead. The first that matches counts.
    package var ranks: [(pattern: String, rank: Int)] = []
    package var alphas: [(pattern: String, alpha: Double)] = []

    package init() {}

    package static func == (a: Self, b: Self) -> Bool {
        a.rank == b.rank && a.alpha == b.alpha && a.isRankStabilized == b.isRankStabilized && a.dropout == b.dropout
            && a.targets == b.targets && a.excluded == b.excluded && a.layers == b.layers
            && a.layersPatterns == b.layersPatterns && a.savedModules == b.savedModules
            && a.ranks.elementsEqual(b.ranks) { $0 == $1 } && a.alphas.elementsEqual(b.alphas) { $0 == $1 }
    }

    func isTarget(_ module: LinearModule) throws -> Bool {
        if let excluded, try excluded.matches(module) { return false }
        for saved in savedModules where try Expression("(.*\\.)?\(saved)(\\..*)?").matches(module.name) { return false }
        guard try targets.matches(module) else { return false }
        if case .names(let names) = targets, names.contains(module.name) { return true }
        return try isInLayers(module)
    }

    private func isInLayers(_ module: LinearModule) throws -> Bool {
        guard let layers else { return true }
        guard !module.isHead, layers.contains(module.layer) else { return false }
        return try layersPatterns.isEmpty
            || layersPatterns.contains {
                try Expression("(.*\\.)?(\($0))\\.\(module.layer)\\..*").matches(module.name)
            }
    }

    /// A layer's rank and scale s.
    func rankAndScale(of module: LinearModule) throws -> (rank: Int, scale: Float) {
        func first<Value>(_ patterns: [(String, Value)]) throws -> Value? {
            try patterns.first { try Expression("(.*\\.)?(\($0.0))").matches(module.name) }?.1
        }
        let r = try first(ranks) ?? rank
        let alpha = try first(alphas) ?? alpha
        return (r, Float(alpha / (isRankStabilized ? Double(r).squareRoot() : Double(r))))
    }
}

// MARK: - the adapter

/// An adapter: the matrices A and B of the linear layers that it is on.
package final class Adapter {
    package let configuration: LoRAConfiguration
    /// A and B of each layer, one after another.
    package let table: TensorTable
    /// (table.count) floats.
    package let values: UnsafeMutablePointer<Float>
    package let products: [Product]
    /// Ids of tokens whose rows in the embeddings (and in the classifier) are the adapter's own: words that the model
    /// did not know. While it is on, they are in the model's parameters.
    package var tokens: [Int] = []
    /// What it has in place of values of the model. While it is on, the model's are kept here.
    private var exchanged: [Exchange] = []
    /// By a weight's index in the model's table, and by layer.
    private let ofWeight: [Int: [[Product]]]

    /// Values in place of a model's, from a place in its buffer on.
    private struct Exchange {
        let place: Int
        var values: [Float]
    }

    /// What it adds to one linear layer.
    package struct Product {
        package let module: LinearModule
        /// (rank, C) and (rows, rank).
        package let a, b: Tensor
        package let rank: Int
        /// s.
        package let scale: Float
    }

    /// An adapter with all values zero: to be filled by `initialize` or from a file.
    /// - Throws: if no layer is a target, or a rank is 0 or larger than a matrix.
    package init(_ configuration: LoRAConfiguration, on model: some CausalConfiguration) throws {
        let modules = model.linearModules
        func refuse(_ what: String, _ hint: String) -> UserError { UserError(what, hint: hint) }
        var table = TensorTable()
        var products: [Product] = []
        for module in modules where try configuration.isTarget(module) {
            let (rank, scale) = try configuration.rankAndScale(of: module)
            let largest = min(module.C, module.rows.count)
            guard (1...largest).contains(rank) else {
                throw refuse(
                    "rank \(rank), and \(module.name) is a matrix of \(module.rows.count) · \(module.C)",
                    "take a rank from 1 to \(largest)")
            }
            let bound = 1 / Float(module.C).squareRoot()
            let a = table.add(
                module.name + ".lora_A.weight", rank, module.C, initialValues: .uniform(bound: bound), decays: true)
            let b = table.add(module.name + ".lora_B.weight", module.rows.count, rank, decays: true)
            products.append(Product(module: module, a: a, b: b, rank: rank, scale: scale))
        }
        guard !products.isEmpty else {
            let names = Set(modules.map { $0.name.split(separator: ".").last ?? "" }).sorted().joined(separator: ", ")
            throw refuse("no linear layer is a target of the adapter", "the model's layers are \(names)")
        }
        var ofWeight: [Int: [[Product]]] = [:]
        for product in products {
            let module = product.module
            ofWeight[module.weight.index, default: Array(repeating: [], count: module.weight.layers)][module.layer]
                .append(product)
        }
        (self.configuration, self.table, self.products, self.ofWeight) = (configuration, table, products, ofWeight)
        values = allocateFloats(table.count)
    }

    deinit { freeFloats(values, count: table.count) }

    /// peft's beginning: A drawn evenly from ±1/√C, B zero.
    package func initialize(seed: UInt32) { table.initialize(values, seed: seed) }

    /// What it adds to a layer's weight: one product, or one for each part of the weight's rows, or none.
    func products(of weight: Tensor, layer l: Int) -> [Product] { ofWeight[weight.index]?[l] ?? [] }

    /// Lets the adapter have values of its own in place of a model's.
    /// - Parameter place: of the first, in floats from the beginning of the model's buffer.
    func replace(_ place: Int, by values: [Float]) { exchanged.append(Exchange(place: place, values: values)) }

    /// Exchanges the values it has in place of a model's with the model's.
    func exchangeValues(with parameters: UnsafeMutablePointer<Float>) {
        for i in exchanged.indices {
            for j in exchanged[i].values.indices {
                swap(&exchanged[i].values[j], &parameters[exchanged[i].place + j])
            }
        }
        exchanged.reverse()  // where two overlap, the last one is undone first
    }

    /// W += s·B·A for every weight, and the values that it has in place of the model's: the model is then one with the
    /// adapter, which must not be put on any more.
    package func merge(into parameters: Parameters) {
        exchangeValues(with: parameters.values)
        for product in products {
            let (module, r) = (product.module, product.rank)
            let weight = parameters.values.at(module.weight, module.layer) + module.rows.lowerBound * module.C
            let b = allocateAligned(module.rows.count * r)
            defer { freeAligned(b) }
            for i in 0..<module.rows.count * r { b[i] = product.scale * (values + product.b)[i] }
            matmulBackwardInput(
                dinp: weight, dout: b, weight: values + product.a, N: module.rows.count, C: module.C, OC: r,
                accumulate: true)
        }
    }
}

// MARK: - its part of a linear layer

extension Adapter.Product {
    /// out (N,rows) += s · (inp (N,C) · Aᵀ) · Bᵀ.
    /// - Parameters:
    ///   - out: the outputs of the whole weight, outStride floats from one row to the next.
    ///   - values: the adapter's.
    func forward(
        out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, values: UnsafeMutablePointer<Float>, N: Int,
        outStride: Int
    ) {
        let h = hidden(inp, values, N: N)
        defer { freeAligned(h) }
        let part = out + module.rows.lowerBound
        if N == 1 {
            matmulRow(
                out: part, inp: h, weight: values + b, bias: nil, residual: part, C: rank, OC: module.rows.count)
        } else {
            matmulForward(
                out: part, inp: h, weight: values + b, bias: nil, residual: part, N: N, C: rank, OC: module.rows.count,
                outStride: outStride)
        }
    }

    /// The gradients of A and B, and dinp (N,C) += s · (dout (N,rows) · B) · A.
    /// - Parameters:
    ///   - inp: what the forward pass had. h is computed again: it is cheap, and (N,r) for every layer is not.
    ///   - dout: of the whole weight, doutStride floats from one row to the next.
    ///   - da, db: nil where the adapter is not trained.
    func backward(
        dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>,
        values: UnsafeMutablePointer<Float>, da: UnsafeMutablePointer<Float>?, db: UnsafeMutablePointer<Float>?, N: Int,
        doutStride: Int
    ) {
        let (C, rows) = (module.C, module.rows.count)
        let dout = dout + module.rows.lowerBound
        let dh = allocateAligned(N * rank)
        defer { freeAligned(dh) }
        matmulBackwardInput(
            dinp: dh, dout: dout, weight: values + b, N: N, C: rank, OC: rows, doutStride: doutStride)
        for i in 0..<N * rank { dh[i] *= scale }
        if let da, let db {
            let h = hidden(inp, values, N: N)
            defer { freeAligned(h) }
            matmulBackwardWeight(
                dweight: db, dbias: nil, dout: dout, inp: h, N: N, C: rank, OC: rows, doutStride: doutStride)
            matmulBackwardWeight(dweight: da, dbias: nil, dout: dh, inp: inp, N: N, C: C, OC: rank)
        }
        matmulBackwardInput(dinp: dinp, dout: dh, weight: values + a, N: N, C: C, OC: rank, accumulate: true)
    }

    /// h (N,r) = s · inp (N,C) · Aᵀ; the caller frees it.
    private func hidden(
        _ inp: UnsafePointer<Float>, _ values: UnsafeMutablePointer<Float>, N: Int
    ) -> UnsafeMutablePointer<Float> {
        let h = allocateAligned(N * rank)
        if N == 1 {
            matmulRow(out: h, inp: inp, weight: values + a, bias: nil, C: module.C, OC: rank)
        } else {
            matmulForward(out: h, inp: inp, weight: values + a, bias: nil, N: N, C: module.C, OC: rank)
        }
        for i in 0..<N * rank { h[i] *= scale }
        return h
    }
}
