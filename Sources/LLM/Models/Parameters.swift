// A model's parameters, the adapter that is on them, and what training keeps beside everything it changes: a gradient and
// AdamW's two moments. Four buffers: the values in the table's layout, and the three others with room for what is trained.

import Kernels

/// The contiguous buffers of a model.
package final class Parameters {
    package let table: TensorTable
    /// (table.count) floats.
    package let values: UnsafeMutablePointer<Float>
    /// What every linear layer adds to the product with its weights; nil for nothing (LoRA.swift).
    package private(set) var adapter: Adapter?
    /// The format in which the linear layers multiply in a pass over a batch. Generation from a cache multiplies floats.
    package var precision = Precision.float32
    /// The linear layers' weights in another format, in place of their floats, which are zeros; nil where the floats are there.
    package private(set) var packed: PackedWeights?
    /// What training changes; no part if the model does not train.
    package private(set) var trained = Trained()
    /// (trained.count) floats each, part after part. Where everything is trained, that is the table's layout.
    package private(set) var gradients = allocateFloats(0)
    package private(set) var m = allocateFloats(0)
    package private(set) var v = allocateFloats(0)
    package var trains: Bool { !trained.parts.isEmpty }
    /// Is called by a backward pass after each layer, the last one first: its gradients are complete.
    package var layerIsDone: ((_ layer: Int) -> Void)?

    /// All zero: to be filled by `initialize` or from a checkpoint.
    /// - Parameter trains: whether everything is trained, or nothing.
    package init(_ table: TensorTable, trains: Bool) {
        self.table = table
        values = allocateFloats(table.count)
        if trains { train(table.tensors) }
    }

    deinit {
        freeFloats(values, count: table.count)
        freeTraining()
    }

    private func freeTraining() {
        for buffer in [gradients, m, v] { freeFloats(buffer, count: trained.count) }
    }

    /// Trains these and nothing else, from zero moments. The rest is frozen: it has no gradients and no moments.
    /// - Parameters:
    ///   - tensors: whole tensors.
    ///   - rows: a part of a tensor's rows.
    ///   - adapter: put on the parameters, and trained.
    package func train(_ tensors: [Tensor], rows: [(tensor: Tensor, rows: Range<Int>)] = [], adapter: Adapter? = nil) {
        freeTraining()
        trained = Trained()
        for tensor in tensors { trained.add(tensor, rows: 0..<tensor.count / tensor.rowCount, in: values) }
        for (tensor, rows) in rows where !rows.isEmpty { trained.add(tensor, rows: rows, in: values) }
        if let adapter {
            put(adapter)
            trained.add(adapter)
        }
        gradients = allocateFloats(trained.count)
        m = allocateFloats(trained.count)
        v = allocateFloats(trained.count)
        trained.gradients = gradients
    }

    /// Keeps the linear layers' weights in a format for generating alone. Who fills the values hands each matrix over as soon as
    /// it is complete, so a model never takes the memory of all its floats.
    package func pack(as format: WeightFormat) {
        precondition(!trains && adapter == nil)
        packed = PackedWeights(self, format)
    }

    /// Hands over a layer of a tensor that has just been read.
    func finishReading(_ tensor: Tensor, layer l: Int) {
        if tensor.isLinearWeight { packed?.replaceFloats(of: tensor, layer: l) }
    }

    /// Puts an adapter on the model in place of the one that is there; nil only takes that off.
    package func put(_ adapter: Adapter?) {
        guard adapter !== self.adapter else { return }
        precondition(packed == nil, "an adapter may replace weights that are gone")
        self.adapter?.exchangeValues(with: values)
        adapter?.exchangeValues(with: values)
        self.adapter = adapter
    }

    /// Floating-point operations of the products in a forward and backward pass, for each token: 2 for each parameter in
    /// the forward pass, 2 for the gradient of its input, and 2 for its own, if it is trained.
    /// - Parameter embedding: takes part in no product.
    func flopsPerToken(without embedding: Tensor) -> Int {
        let own = trained.count - (trained + embedding == nil ? 0 : embedding.count)
        return 4 * (table.count - embedding.count + (adapter?.table.count ?? 0)) + 2 * own
    }

    /// The same of some tensors alone.
    func flopsPerToken(of tensors: [Tensor]) -> Int {
        tensors.reduce(0) { $0 + (4 + (trained + $1 == nil ? 0 : 2)) * $1.count }
    }

    /// The memory that a table's parameters take, in bytes; a Double, because the sizes may not be checked yet.
    /// - Parameter weights: the format that they are packed in.
    package static func bytes(_ table: TensorTable, trains: Bool, weights: WeightFormat = .float32) -> Double {
        guard weights != .float32 else { return (trains ? 4 : 1) * 4 * Double(table.count) }
        let floats = table.tensors.filter { !$0.isLinearWeight }.map { Double($0.count) }.reduce(0, +)
        return 4 * floats + PackedWeights.bytes(table, weights)
    }

    /// Fills every tensor as its row says, or some alone. Layer by layer, as llm.c draws them: its seed 42 gives the same
    /// GPT-2.
    package func initialize(seed: UInt32, _ tensors: [Tensor]? = nil) {
        table.initialize(values, seed: seed, tensors)
    }

    /// What tells a model's parameters from another's: a checksum of the beginning of each tensor.
    package var fingerprint: UInt64 {
        var checksum = Checksum()
        for tensor in table.tensors {
            for l in 0..<tensor.layers {
                checksum.update(
                    UnsafeRawBufferPointer(start: values.at(tensor, l), count: 4 * min(1024, tensor.usedCount)))
            }
        }
        return checksum.value
    }

    /// Whether no parameter is NaN or infinite.
    package var areFinite: Bool {
        sumOfSquares(values, count: table.count).isFinite && packed?.areFinite ?? true
            && adapter.map { sumOfSquares($0.values, count: $0.table.count).isFinite } ?? true
    }

    /// Whether AdamW can continue with its moments: none is NaN or infinite, and no v, a mean of squares, is negative.
    package var momentsAreSound: Bool {
        guard sumOfSquares(m, count: trained.count).isFinite else { return false }
        var wrong: Int32 = 0
        for i in 0..<trained.count { wrong |= v[i] >= 0 && v[i] <= .greatestFiniteMagnitude ? 0 : 1 }
        return wrong == 0
    }

    /// Where the gradients of each layer are, of those tensors that are trained as a whole.
    package var layerRanges: [[Range<Int>]] {
        let tensors = table.tensors.filter { $0.isPerLayer && trained.at($0, 0) != nil }
        return (0..<(tensors.map(\.layers).max() ?? 0)).map { l in
            tensors.compactMap { tensor in
                trained.at(tensor, l).map { gradients.distance(to: $0) }.map { $0..<$0 + tensor.layerCount }
            }
        }
    }

    // MARK: - update

    /// The gradients' norm ‖g‖, over all that is trained.
    package func gradientNorm() -> Double { sumOfSquares(gradients, count: trained.count).squareRoot() }

    /// One step of AdamW, or of Muon where that takes a part, after which the gradients are zero again.
    /// - Parameters:
    ///   - beta1, beta2, epsilon: AdamW's.
    ///   - decay: weight decay; of the tensors whose row says so, unless `decaysAll`.
    ///   - gradientScale: the gradients are multiplied by it first (clipping).
    ///   - step: counted from 1.
    package func update(
        _ optimizer: Optimizer = .adamW, learningRate: Double, beta1: Double, beta2: Double, epsilon: Double = 1e-8,
        decay: Double,
        decaysAll: Bool = false, gradientScale: Float, step: Int
    ) {
        for part in trained.parts {
            let decay = decaysAll || part.decays ? decay : 0
            if optimizer == .muon, let matrix = part.matrix {
                updateByMuon(
                    part, rows: matrix.rows, columns: matrix.columns, learningRate: learningRate, decay: decay,
                    gradientScale: gradientScale)
                continue
            }
            adamW(
                parameters: part.values, gradients: gradients + part.offset, m: m + part.offset, v: v + part.offset,
                count: part.count, learningRate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
                decay: decay, gradientScale: gradientScale, step: step)
        }
    }

    /// Updates the matrices of a part, each by itself: one in each layer.
    private func updateByMuon(
        _ part: Trained.Part, rows: Int, columns: Int, learningRate: Double, decay: Double, gradientScale: Float
    ) {
        let scratch = allocateFloats(muonScratch(rows: rows, columns: columns))
        defer { freeFloats(scratch, count: muonScratch(rows: rows, columns: columns)) }
        // The products are short.
        withThreadsAwake {
            for i in stride(from: 0, to: part.count, by: rows * columns) {
                muon(
                    parameters: part.values + i, gradients: gradients + part.offset + i, m: m + part.offset + i,
                    rows: rows, columns: columns, learningRate: learningRate, decay: decay,
                    gradientScale: gradientScale, scratch: scratch)
            }
        }
    }

    /// Discards the gradients, where an update is skipped.
    package func zeroGradients() { gradients.update(repeating: 0, count: trained.count) }
}

/// The parts of a model's parameters that training changes, and where their gradients are.
package struct Trained {
    /// Parameters that lie one after another.
    package struct Part {
        package let values: UnsafeMutablePointer<Float>
        /// Where its gradients begin, and its moments, in floats.
        package let offset: Int
        package let count: Int
        package let decays: Bool
        /// The size of each of its matrices, if it is the weights of a linear layer in all layers.
        package let matrix: (rows: Int, columns: Int)?
    }

    package private(set) var parts: [Part] = []
    /// Floats of all parts.
    package private(set) var count = 0
    fileprivate(set) var gradients: UnsafeMutablePointer<Float>?
    /// By a tensor's index in the table: its rows that are trained, and where the gradient of the first of them begins.
    private var places: [Int: (rows: Range<Int>, offset: Int)] = [:]
    private var adapterOffset = 0

    fileprivate mutating func add(_ tensor: Tensor, rows: Range<Int>, in values: UnsafeMutablePointer<Float>) {
        places[tensor.index] = (rows, count)
        append(
            values + tensor.offset + rows.lowerBound * tensor.rowCount, count: rows.count * tensor.rowCount,
            decays: tensor.decays,
            matrix: tensor.isPerLayer && tensor.layerShape.count == 2 && rows.count * tensor.rowCount == tensor.count
                ? (tensor.layerShape[0], tensor.layerShape[1]) : nil)
    }

    fileprivate mutating func add(_ adapter: Adapter) {
        adapterOffset = count
        for tensor in adapter.table.tensors {
            append(adapter.values + tensor.offset, count: tensor.count, decays: tensor.decays)
        }
    }

    private mutating func append(
        _ values: UnsafeMutablePointer<Float>, count: Int, decays: Bool, matrix: (rows: Int, columns: Int)? = nil
    ) {
        parts.append(Part(values: values, offset: self.count, count: count, decays: decays, matrix: matrix))
        self.count += count
    }

    /// Where the gradient of a layer's part of a tensor is; nil if it is frozen, or only some of its rows are trained.
    package func at(_ tensor: Tensor, _ layer: Int) -> UnsafeMutablePointer<Float>? {
        guard let gradients, let place = places[tensor.index], place.rows.count * tensor.rowCount == tensor.count else {
            return nil
        }
        return gradients + place.offset + layer * tensor.layerStride
    }

    package static func + (trained: Trained, tensor: Tensor) -> UnsafeMutablePointer<Float>? { trained.at(tensor, 0) }

    /// The trained rows of a tensor that is not per layer, and where the gradient of the first of them is; nil if it is
    /// frozen.
    package func rows(of tensor: Tensor) -> TrainedRows? {
        guard let gradients, let place = places[tensor.index] else { return nil }
        return TrainedRows(rows: place.rows, gradient: gradients + place.offset)
    }

    /// Where the gradient of an adapter's tensor is.
    func atAdapter(_ tensor: Tensor) -> UnsafeMutablePointer<Float>? {
        gradients.map { $0 + adapterOffset + tensor.offset }
    }
}
