// What a model is checked against: llm.c's debug state (20240327, version 2) for a GPT-2, a safetensors file for others.

/// A batch and its logits, loss and the gradient of every tensor, as PyTorch computed them.
package struct DebugState {
    private static let headerBytes = 1024
    package let B: Int
    package let T: Int
    /// (B,T) each. A target of −1 does not count.
    package let inputs: [Int32]
    package let targets: [Int32]
    /// (B,T,V), without padding.
    package let logits: [Float]
    package let loss: Float
    /// In the order of the parameters, GPT-2's wte padded.
    package let gradients: [Float]
    /// The losses before each of ten steps of AdamW; empty where a file does not have them.
    package let losses: [Double]

    /// llm.c's file.
    package init(_ path: String, config: GPT2Configuration) throws {
        let file = try InputFile(path, hint: "dev/reference/gpt2_fixtures.py writes such a file")
        func wrong(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "give the debug state that was written with this checkpoint")
        }
        guard file.size >= DebugState.headerBytes else { throw wrong("too short for a debug state") }
        let header = try file.read(4, of: Int32.self, at: 0)
        guard header[0] == 20_240_327, header[1] == 2 else { throw wrong("this is not a debug state of version 2") }
        let parameterCount = GPT2Tensors(config).table.count
        // A batch that does not fit the file cannot be right; that bounds B and T before they are multiplied.
        guard (1...file.size).contains(Int(header[2])), (1...config.maxT).contains(Int(header[3])) else {
            throw wrong("its batch of (\(header[2]), \(header[3])) does not fit the model")
        }
        (B, T) = (Int(header[2]), Int(header[3]))
        let (rows, overflow) = B.multipliedReportingOverflow(by: T)
        guard !overflow, rows <= file.size else { throw wrong("its batch is larger than the file") }
        let (logitCount, logitsOverflow) = rows.multipliedReportingOverflow(by: config.V)
        guard !logitsOverflow, logitCount <= file.size,
            file.size == DebugState.headerBytes + 4 * (2 * rows + logitCount + 1 + parameterCount)
        else { throw wrong("its length does not fit the model") }
        inputs = try file.read(rows, of: Int32.self, at: DebugState.headerBytes)
        targets = try file.read(rows, of: Int32.self, at: DebugState.headerBytes + 4 * rows)
        guard (inputs + targets).allSatisfy({ 0 <= $0 && $0 < Int32(config.V) }) else {
            throw wrong("a token is not in the model's vocabulary")
        }
        logits = try file.read(logitCount, of: Float.self, at: DebugState.headerBytes + 8 * rows)
        loss = try file.read(1, of: Float.self, at: DebugState.headerBytes + 8 * rows + 4 * logitCount)[0]
        gradients = try file.read(
            parameterCount, of: Float.self, at: DebugState.headerBytes + 8 * rows + 4 * logitCount + 4)
        losses = []
    }

    /// A safetensors file, all of it float32: `inputs` and `targets` (B,T), `logits` (B,T,V), `loss` (1), `losses` (10),
    /// and `gradient.NAME` for each tensor by its name at Hugging Face.
    package init(safetensors path: String, config: any CausalConfiguration) throws {
        let file = try SafetensorsFile(path)
        func wrong(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "give the reference that was written with this model")
        }
        guard let shape = file.entries["inputs"]?.shape, shape.count == 2, shape[0] > 0,
            (1...config.maxT).contains(shape[1])
        else { throw wrong("its inputs are missing, or do not fit the model") }
        (B, T) = (shape[0], shape[1])
        func floats(_ name: String, _ shape: [Int]) throws -> [Float] {
            try file.check(name, shape: shape)
            let count = shape.reduce(1, *)
            return try [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
                if let base = buffer.baseAddress { try file.readFloats(name, shape: shape, into: base) }
                initialized = count
            }
        }
        func tokens(_ name: String, from least: Int) throws -> [Int32] {
            try floats(name, shape).map {
                guard let id = Int32(exactly: $0), (least..<config.V).contains(Int(id)) else {
                    throw wrong("\(name) has \($0), which is not in the model's vocabulary")
                }
                return id
            }
        }
        inputs = try tokens("inputs", from: 0)
        targets = try tokens("targets", from: -1)
        logits = try floats("logits", shape + [config.V])
        loss = try floats("loss", [1])[0]
        losses = try floats("losses", [10]).map { Double($0) }
        var gradients: [Float] = []
        for tensor in config.table.tensors {
            for l in 0..<tensor.layers {
                for part in tensor.partsAtHuggingFace(layer: l) {
                    gradients += try floats("gradient.\(part.name)", part.shape)
                }
            }
        }
        self.gradients = gradients
    }
}
