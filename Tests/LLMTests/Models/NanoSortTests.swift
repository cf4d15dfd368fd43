// A model that others trained: gpt-nano-sort, three layers that sort six letters of three kinds, with the
// activations that minGPT computed. Its classifier is not tied to its embeddings, and its linear weights are (out, in),
// as ours are. The files are not part of this project; LLM_TEST_NANO_SORT names their folder.

import Foundation
import LLM
import Testing

/// A JSON file of tensors: name → {"shape", "data"}, base64 of float32.
private struct NanoFile {
    let json: JSON

    init(_ path: String) throws { json = try JSON(try contents(of: path), name: path) }

    func config(_ name: String) throws -> Int { try #require(json["config"]?[name]?.int) }

    func floats(_ name: String) throws -> [Float] {
        let text = try #require(json[name]?["data"]?.text)
        let bytes = try #require(Data(base64Encoded: text))
        return bytes.withUnsafeBytes { data in
            (0..<data.count / 4).map { data.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
        }
    }
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["LLM_TEST_NANO_SORT"] != nil)) struct NanoSort {
    let folder = ProcessInfo.processInfo.environment["LLM_TEST_NANO_SORT"] ?? ""

    private func load() throws -> (model: GPT2, classifier: [Float]) {
        let file = try NanoFile(folder + "/gpt-nano-sort-model.json")
        let config = GPT2Configuration(
            maxT: try file.config("block_size"), V: try file.config("vocab_size"), L: try file.config("n_layer"),
            NH: try file.config("n_head"), C: try file.config("n_embd"))
        let model = GPT2(config, trains: true)
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                let name = try #require(tensor.huggingFace)
                let values = try file.floats("transformer." + name(layer: l)[0])
                try #require(values.count == tensor.usedCount)
                model.parameters.values.at(tensor, l).update(from: values, count: values.count)
            }
        }
        return (model, try file.floats("lm_head.weight"))
    }

    /// Logits (B,T,V) with a classifier that is not wte: it stands in wte's place while they are computed.
    private func logits(_ model: GPT2, _ classifier: [Float], _ inputs: [Int32], B: Int, T: Int) -> [Float] {
        let wte = model.parameters.values + model.tensors.wte
        let embeddings = Array(UnsafeBufferPointer(start: wte, count: classifier.count))
        model.forward(inputs, B: B, T: T)
        wte.update(from: classifier, count: classifier.count)
        defer { wte.update(from: embeddings, count: embeddings.count) }
        return model.logits(B: B, T: T)
    }

    @Test func `every activation is minGPT's`() throws {
        let (model, classifier) = try load()
        let theirs = try NanoFile(folder + "/gpt-nano-sort-t0-partials.json")
        let (B, T) = (try theirs.config("B"), model.config.maxT)
        let found = logits(model, classifier, try theirs.floats("idx").map { Int32($0) }, B: B, T: T)
        for (ours, name) in [
            (model.activation("residual"), "x"), (model.activation("qkv"), "qkv"), (model.activation("atty"), "y"),
            (model.activation("residual2"), "attnResid"), (model.activation("fch"), "fc"),
            (model.activation("residual", layer: 1), "block0"), (model.activation("residual", layer: 2), "block1"),
            (model.activation("residual", layer: 3), "block2"), (model.activation("lnf"), "ln_f"), (found, "lm_head"),
        ] {
            #expect(relativeError(ours, try theirs.floats(name)) <= 1e-5, "\(name)")
        }
    }

    @Test func `it sorts`() throws {
        let (model, classifier) = try load()
        let (letters, V) = (6, 3)
        let inputs = (0..<729).map { number in
            [1, 3, 9, 27, 81, 243].map { (place: Int) in Int32(number / place % 3) }
        }
        var texts = inputs
        for _ in 0..<letters {
            let T = texts[0].count
            let found = logits(model, classifier, texts.flatMap { $0 }, B: texts.count, T: T)
            for i in texts.indices {
                let row = found[(i * T + T - 1) * V..<(i * T + T) * V]
                texts[i].append(Int32(row.firstIndex(of: row.max() ?? 0).map { $0 - row.startIndex } ?? 0))
            }
        }
        let sorted = zip(inputs, texts).count { $0.sorted() == Array($1.suffix(letters)) }
        print("gpt-nano-sort sorts \(sorted) of \(inputs.count)")
        #expect(sorted == inputs.count)
    }
}
