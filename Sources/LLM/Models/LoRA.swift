// LoRA (Hu et al., 2021, "Low-Rank Adaptation of Large Language Models"): a model learns something new while its own
// weights stay as they are. Beside a weight W (OC,C) stand two thin matrices, A (r,C) and B (OC,r), and the linear layer
// becomes
//
//     out = inp · Wᵀ + s · (inp · Aᵀ) · Bᵀ           s = alpha / r, or alpha / √r (rank-stabilised: Kalajdzievski, 2023)
//
// which is the layer with the weight W + s·B·A. B begins as zero, so training begins with the model as it was. A and B
// have r·(C + OC) parameters, W has C·OC: with rank 8 about a hundredth of a GPT-2's. Only they need gradients and moments.
//
// (In training, A's input is dropped out first; the model's own product sees all of it.)
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
    /// The fingerprint of its model's parameters, before anything was changed in them; nil if it is not known.
    package var modelFingerprint: UInt64?
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
        /// Its place among a layer's dropouts, after the model's own.
        let site: Int
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
            let site = 128 + products.count { $0.module.layer == module.layer }
            products.append(Product(module: module, a: a, b: b, rank: rank, scale: scale, site: site))
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

    /// What a product drops its inputs by; nil drops nothing.
    package func dropout(_ key: DropoutKey?, _ product: Product) -> (rate: Float, key: DropoutKey)? {
        guard let key, configuration.dropout > 0 else { return nil }
        return (configuration.dropout, key.at(site: product.site, layer: product.module.layer))
    }

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

extension Adapter {
    /// Calls `body` with what the adapter adds to the product with a weight (OC,C), h (N,R) · B (OC,R)ᵀ; nil for nothing.
    /// Where several layers of Hugging Face are one here, R is the sum of their ranks, and B is 0 where the rows of one
    /// meet the h of another.
    /// - Parameters:
    ///   - inp: (N,C).
    ///   - dropout: of the batch; nil drops nothing.
    func withLowRank(
        of weight: Tensor, layer l: Int, inp: UnsafePointer<Float>, dropout key: DropoutKey?, N: Int, OC: Int,
        _ body: (LowRank?) -> Void
    ) {
        let products = products(of: weight, layer: l)
        guard !products.isEmpty else { return body(nil) }
        let R = products.reduce(0) { $0 + $1.rank }
        let h = allocateAligned(N * R)
        defer { freeAligned(h) }
        var column = 0
        for product in products {
            product.withInput(inp, dropout(key, product), N: N) {
                product.hidden(h + column, $0, values, N: N, stride: R)
            }
            column += product.rank
        }
        if products.count == 1, products[0].module.rows.count == OC {
            return body(LowRank(a: h, b: values + products[0].b, rank: R))
        }
        let b = allocateAligned(OC * R)
        defer { freeAligned(b) }
        b.update(repeating: 0, count: OC * R)
        column = 0
        for product in products {
            for (i, row) in product.module.rows.enumerated() {
                (b + row * R + column).update(from: values + product.b + i * product.rank, count: product.rank)
            }
            column += product.rank
        }
        body(LowRank(a: h, b: b, rank: R))
    }

    /// out (OC) += what the adapter adds for one row, which is not worth a product of matrices.
    func addRow(out: UnsafeMutablePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor, layer l: Int) {
        for product in products(of: weight, layer: l) {
            let (r, part) = (product.rank, out + product.module.rows.lowerBound)
            let h = allocateAligned(r)
            defer { freeAligned(h) }
            matmulRow(out: h, inp: inp, weight: values + product.a, bias: nil, C: product.module.C, OC: r)
            for i in 0..<r { h[i] *= product.scale }
            matmulRow(
                out: part, inp: h, weight: values + product.b, bias: nil, residual: part, C: r,
                OC: product.module.rows.count)
        }
    }

    /// The gradients of A and B of a weight's products, and the part of dinp (N,C) that comes through them,
    /// s · (dout · B) · A. Without dropout it is given to `body`, which adds it to the weight's own; otherwise it is added
    /// afterwards.
    /// - Parameters:
    ///   - inp: what the forward pass had. h is computed again: it is cheap, and (N,r) for every layer is not.
    ///   - dout: doutStride floats from one row to the next.
    ///   - trained: where their gradients are, if the adapter is trained.
    func backward(
        dinp: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>, weight: Tensor,
        layer l: Int, trained: Trained, dropout key: DropoutKey?, N: Int, C: Int, doutStride: Int,
        _ body: (LowRank?) -> Void
    ) {
        let products = products(of: weight, layer: l)
        guard !products.isEmpty else { return body(nil) }
        let R = products.reduce(0) { $0 + $1.rank }
        let dh = allocateAligned(N * R)  // product after product, (N,r) each
        defer { freeAligned(dh) }
        var first = 0
        for product in products {
            product.backward(
                dh: dh + N * first, dout: dout, inp: inp, values: values, da: trained.atAdapter(product.a),
                db: trained.atAdapter(product.b), dropout: dropout(key, product), N: N, doutStride: doutStride)
            first += product.rank
        }
        guard key == nil || configuration.dropout == 0 else {
            body(nil)
            first = 0
            for product in products {
                product.addInputGradient(
                    dinp: dinp, dh: dh + N * first, values: values, dropout: dropout(key, product), N: N)
                first += product.rank
            }
            return
        }
        if products.count == 1 { return body(LowRank(a: dh, b: values + products[0].a, rank: R)) }
        let (all, a) = (allocateAligned(N * R), allocateAligned(R * C))
        defer {
            freeAligned(all)
            freeAligned(a)
        }
        first = 0
        for product in products {
            let r = product.rank
            (a + first * C).update(from: values + product.a, count: r * C)
            for n in 0..<N { (all + n * R + first).update(from: dh + N * first + n * r, count: r) }
            first += r
        }
        body(LowRank(a: all, b: a, rank: R))
    }
}

extension Adapter.Product {
    /// h (N,r) = s · inp (N,C) · Aᵀ.
    /// - Parameter stride: floats from one row of h to the next.
    fileprivate func hidden(
        _ h: UnsafeMutablePointer<Float>, _ inp: UnsafePointer<Float>, _ values: UnsafeMutablePointer<Float>, N: Int,
        stride: Int
    ) {
        matmulForward(
            out: h, inp: inp, weight: values + a, bias: nil, N: N, C: module.C, OC: rank, outStride: stride)
        for n in 0..<N { for i in 0..<rank { h[n * stride + i] *= scale } }
    }

    /// dh (N,r) = s · dout (N,rows) · B, and the gradients dA += dhᵀ · inp and dB += doutᵀ · h.
    /// - Parameter da, db: nil where the adapter is not trained.
    fileprivate func backward(
        dh: UnsafeMutablePointer<Float>, dout: UnsafePointer<Float>, inp: UnsafePointer<Float>,
        values: UnsafeMutablePointer<Float>, da: UnsafeMutablePointer<Float>?, db: UnsafeMutablePointer<Float>?,
        dropout: (rate: Float, key: DropoutKey)?, N: Int, doutStride: Int
    ) {
        let (C, rows) = (module.C, module.rows.count)
        let dout = dout + module.rows.lowerBound
        matmulBackwardInput(
            dinp: dh, dout: dout, weight: values + b, N: N, C: rank, OC: rows, doutStride: doutStride)
        for i in 0..<N * rank { dh[i] *= scale }
        guard let da, let db else { return }
        let h = allocateAligned(N * rank + rank * rows)
        defer { freeAligned(h) }
        // dBᵀ (r,rows) = hᵀ · dout is a product of few rows, like dA, and fast; dB itself has few columns.
        let transposed = h + N * rank
        transposed.update(repeating: 0, count: rank * rows)
        withInput(inp, dropout, N: N) { inp in
            hidden(h, inp, values, N: N, stride: rank)
            matmulBackwardWeight(
                dweight: transposed, dbias: nil, dout: h, inp: dout, N: N, C: rows, OC: rank, inpStride: doutStride)
            matmulBackwardWeight(dweight: da, dbias: nil, dout: dh, inp: inp, N: N, C: C, OC: rank)
        }
        for row in 0..<rows { for i in 0..<rank { db[row * rank + i] += transposed[i * rows + row] } }
    }

    /// dinp (N,C) += dropped(dh (N,r) · A), with the masks of the forward pass.
    fileprivate func addInputGradient(
        dinp: UnsafeMutablePointer<Float>, dh: UnsafePointer<Float>, values: UnsafeMutablePointer<Float>,
        dropout: (rate: Float, key: DropoutKey)?, N: Int
    ) {
        guard let dropout else { return }
        let dropped = allocateAligned(N * module.C)
        defer { freeAligned(dropped) }
        matmulBackwardInput(dinp: dropped, dout: dh, weight: values + a, N: N, C: module.C, OC: rank)
        dropoutBackward(
            dinp: dinp, dout: dropped, count: N * module.C, rate: dropout.rate, key: dropout.key, accumulate: true)
    }

    /// Calls `body` with A's input (N,C): `inp`, dropped out.
    fileprivate func withInput(
        _ inp: UnsafePointer<Float>, _ dropout: (rate: Float, key: DropoutKey)?, N: Int,
        _ body: (UnsafePointer<Float>) -> Void
    ) {
        guard let dropout else { return body(inp) }
        let dropped = allocateAligned(N * module.C)
        defer { freeAligned(dropped) }
        dropoutForward(
            out: dropped, inp: inp, residual: nil, count: N * module.C, rate: dropout.rate, key: dropout.key)
        body(dropped)
    }
}
