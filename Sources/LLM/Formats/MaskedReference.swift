// What a BERT is checked against: batches, and what transformers computed with them.

/// A safetensors file, all of it float32: `inputs`, `mask`, `targets` and, for a BERT, `segments` (S,B,T), for S steps; of
/// the first step's batch `hidden` (B,T,C), and as far as the model has the parts `pooled` (B,C), `logits` (B,T,V) and
/// `gradient.NAME` for each tensor that is trained by its name at Hugging Face; and `losses`, each before its step. Steps
/// that are more than S take the batches in turn. What is padding, where the mask is 0, is left out.
package struct MaskedReference {
    package let batches: [Batch]
    /// (N,C) of the first batch.
    package let hidden: [Float]
    /// (B,C); nil without a pooler.
    package let pooled: [Float]?
    /// (N,V); nil without a head.
    package let logits: [Float]?
    package let losses: [Double]
    /// In the order of the table, but the pooler's; empty without a head.
    package let gradients: [Float]

    package init(_ path: String, config: BERTConfiguration) throws {
        let file = try SafetensorsFile(path)
        func wrong(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "give the reference that was written with this model")
        }
        func floats(_ name: String, _ shape: [Int]) throws -> [Float] {
            try file.check(name, shape: shape)
            let count = shape.reduce(1, *)
            return try [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
                if let base = buffer.baseAddress { try file.readFloats(name, shape: shape, into: base) }
                initialized = count
            }
        }
        guard let shape = file.entries["inputs"]?.shape, shape.count == 3, shape[0] > 0, shape[1] > 0,
            (1...config.maxT).contains(shape[2])
        else { throw wrong("its inputs are missing, or do not fit the model") }
        let (B, T) = (shape[1], shape[2])
        func numbers(_ name: String, _ allowed: Range<Int>) throws -> [Int32] {
            try floats(name, shape).map {
                guard let number = Int32(exactly: $0), allowed.contains(Int(number)) else {
                    throw wrong("\(name) has \($0), which does not fit the model")
                }
                return number
            }
        }
        let (inputs, mask) = (try numbers("inputs", 0..<config.V), try numbers("mask", 0..<2))
        let targets = try numbers("targets", -100..<config.V)
        let segments = config.segments == 0 ? nil : try numbers("segments", 0..<config.segments)

        let texts = stride(from: 0, to: mask.count, by: T).map { mask[$0..<$0 + T] }
        let lengths = texts.map { $0.count { $0 == 1 } }
        guard zip(texts, lengths).allSatisfy({ $1 > 0 && $0.prefix($1).allSatisfy { $0 == 1 } }) else {
            throw wrong("its mask is not ones, then zeros, in each row")
        }
        /// The places without padding of one step's (B,T).
        func places(_ step: Int) -> [Int] {
            (step * B..<(step + 1) * B).flatMap { row in row * T..<row * T + lengths[row] }
        }
        batches = (0..<shape[0]).map { step in
            let places = places(step)
            return Batch(
                lengths: Array(lengths[step * B..<(step + 1) * B]), inputs: places.map { inputs[$0] },
                targets: places.map { targets[$0] }, segments: segments.map { all in places.map { all[$0] } })
        }
        func rows(_ name: String, _ width: Int) throws -> [Float] {
            let all = try floats(name, [B, T, width])
            return places(0).flatMap { all[$0 * width..<($0 + 1) * width] }
        }
        hidden = try rows("hidden", config.C)
        pooled = config.hasPooler ? try floats("pooled", [B, config.C]) : nil
        logits = config.hasHead ? try rows("logits", config.V) : nil
        let steps = file.entries["losses"]?.count ?? 0
        losses = config.hasHead ? try floats("losses", [steps]).map { Double($0) } : []
        let tensors = BERTTensors(config)
        let untrained = tensors.pooler?.tensors.map(\.index) ?? []
        var gradients: [Float] = []
        for tensor in tensors.table.tensors where config.hasHead && !untrained.contains(tensor.index) {
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    gradients += try floats("gradient.\(part.name)", part.shape)
                }
            }
        }
        self.gradients = gradients
    }
}
