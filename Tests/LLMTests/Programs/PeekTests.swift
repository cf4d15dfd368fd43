// peek as a person runs it.

import Foundation
import LLM
import Naive
import Testing

/// A GPT-2 of random parameters in model.bin, with the tokenizer of data/.
private func makeModel(_ folder: String) throws -> GPT2 {
    try makeTokenizersAndData(folder)
    let model = GPT2(GPT2Configuration(maxT: 40, V: 300, L: 2, NH: 3, C: 24), trains: false)
    for tensor in model.parameters.table.tensors {
        for l in 0..<tensor.layers {
            let values = model.parameters.values.at(tensor, l)
            let seed = UInt64(100 * tensor.index + l + 1)
            for (i, value) in noise(tensor.usedCount, seed: seed, scale: 0.4).enumerated() {
                values[i] = value + (tensor.initialValues == .ones ? 1 : 0)
            }
        }
    }
    try writeModel(model, to: "\(folder)/model.bin")
    return model
}

private func naive(_ model: GPT2) -> NaiveGPT2 {
    var w = NaiveTensors()
    for tensor in model.parameters.table.tensors {
        for l in 0..<tensor.layers {
            let values = UnsafeBufferPointer(start: model.parameters.values.at(tensor, l), count: tensor.usedCount)
            w[tensor.name, tensor.isPerLayer ? l : nil] = doubles(Array(values))
        }
    }
    let config = model.config
    return NaiveGPT2(V: config.V, L: config.L, NH: config.NH, C: config.C, w: w)
}

private let prompt = "<|endoftext|>a text, two\nlines"
private let command = ["--model", "model.bin", "-p", prompt]

@Test func `peek writes the activations and gradients of the naive GPT-2`() throws {
    try withTemporaryDirectory { folder in
        let model = try makeModel(folder)
        let tokens = try Tokenizer(directory: "\(folder)/data").encode(Array(prompt.utf8))
        let (T, L, C) = (tokens.count, 2, 24)
        let batch = NaiveGPT2.Batch(inputs: tokens, targets: Array(tokens.dropFirst()) + [-1], lengths: [T])
        let twin = naive(model)
        let (loss, a) = twin.forward(batch)
        let gradients = twin.backward(batch, a)

        let kept = ["residual", "qkv", "atty", "residual2", "fch", "ln1mean", "ln1rstd", "ln2mean", "ln2rstd"]
        let once = ["lnf", "lnfmean", "lnfrstd"]
        let tensors = model.parameters.table.tensors
        let names = kept + once + tensors.map { "d\($0.name)" } + ["losses", "dlnf", "dresidual", "lse"]
        try expectSuccess("peek", command + ["--dump", names.joined(separator: ","), "-o", "all"], in: folder)
        func read(_ name: String) throws -> (shape: [Int], values: [Double]) {
            let file = try #require(readNPY(try bytes("\(folder)/all/\(name).npy")), "\(name)")
            return (file.shape, doubles(file.values))
        }
        func expectSame(_ name: String, _ expected: [Double], _ shape: [Int]) throws {
            let ours = try read(name)
            #expect(ours.shape == shape, "\(name)")
            let error = relativeError(ours.values, expected)
            #expect(error < 1e-5, "\(name) differs by \(error)")
        }
        for name in kept {
            let layers = name == "residual" ? L + 1 : L
            let expected = (0..<layers).flatMap { a[name, $0] }
            let width = expected.count / layers / T
            try expectSame(
                name, expected, [layers, T] + (name.contains("mean") || name.contains("rstd") ? [] : [width]))
        }
        for name in once { try expectSame(name, a[name], name == "lnf" ? [T, C] : [T]) }
        for tensor in tensors {
            let layers = (0..<tensor.layers).map { gradients[tensor.name, tensor.isPerLayer ? $0 : nil] }
            let shape = tensor.name == "wte" ? [300, C] : tensor.shape
            try expectSame("d\(tensor.name)", layers.flatMap { $0 }, shape)
        }
        // Positions occur once: the gradient of a row of wpe is that of the token's first residual.
        try expectSame("dresidual", Array(gradients["wpe"].prefix(T * C)), [T, C])
        let losses = try read("losses")
        #expect(losses.shape == [T] && losses.values.last == 0)
        #expect(abs(losses.values.reduce(0, +) / Double(T - 1) / loss - 1) < 1e-5)
        let lse = try read("lse")
        #expect(lse.shape == [L, 3, T])

        // A layer alone is its part of the whole.
        try expectSuccess("peek", command + ["--dump", "qkv.1,dqkvw.0", "-o", "one"], in: folder)
        let (whole, one) = (try bytes("\(folder)/all/qkv.npy"), try bytes("\(folder)/one/qkv.1.npy"))
        #expect(readNPY(one)?.shape == [T, 3 * C])
        #expect(readNPY(one)?.values == readNPY(whole)?.values.suffix(T * 3 * C))
        #expect(FileManager.default.fileExists(atPath: "\(folder)/one/dqkvw.0.npy"))
    }
}

@Test func `peek's table has each token's loss and each tensor's numbers`() throws {
    try withTemporaryDirectory { folder in
        let model = try makeModel(folder)
        let tokens = try Tokenizer(directory: "\(folder)/data").encode(Array(prompt.utf8))
        let result = try run("peek", command, in: folder)
        #expect(result.status == 0, "\(result.errors)")
        let lines = result.output.split(separator: "\n").map(String.init)
        let batch = NaiveGPT2.Batch(
            inputs: tokens, targets: Array(tokens.dropFirst()) + [-1], lengths: [tokens.count])
        let (loss, a) = naive(model).forward(batch)
        #expect(lines.contains { $0.hasPrefix(String(format: "mean loss %.4f;", loss)) }, "\(loss)")
        #expect(lines[1].hasSuffix("  <|endoftext|>"))
        func words(_ name: String) -> [String] {
            (lines.first { $0.hasPrefix("\(name) ") } ?? "").split(separator: " ").map(String.init)
        }
        let values = a["fch", 1]
        let rms = (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
        let numbers = [values.min() ?? 0, values.reduce(0, +) / Double(values.count), values.max() ?? 0, rms]
        let shown = words("fch.1")
        #expect(shown.count == 6 && shown[1] == "(\(tokens.count),96)")
        for (ours, expected) in zip(shown.dropFirst(2).compactMap(Double.init), numbers) {
            #expect(abs(ours - expected) < 1e-3 * abs(expected) + 1e-6)
        }
        for name in ["residual.2", "dresidual", "dwte", "dfcprojb.1", "losses"] { #expect(words(name).count == 6) }
        // What layers overwrite is not shown as if it were something.
        for name in ["ln", "gelu", "dln", "datty", "dfch", "qkv.2"] { #expect(words(name).isEmpty, "\(name)") }
    }
}

@Test func `peek draws a picture for each layer`() throws {
    try withTemporaryDirectory { folder in
        _ = try makeModel(folder)
        try expectSuccess("peek", command + ["--attention", "-o", "look"], in: folder)
        for l in 0..<2 {
            let svg = String(decoding: try bytes("\(folder)/look/attention.\(l).svg"), as: UTF8.self)
            #expect(svg.hasPrefix("<svg ") && svg.contains("layer \(l)") && svg.hasSuffix("</svg>\n"))
            #expect(svg.contains("head 2") && svg.contains("&lt;|endoftext|&gt;") && svg.contains("\\n"))
        }
        try expectSuccess("peek", command + ["--attention", "--rows", "2-3", "-o", "few"], in: folder)
        let few = String(decoding: try bytes("\(folder)/few/attention.0.svg"), as: UTF8.self)
        #expect(few.contains("<title>2 ") && few.contains("<title>3 ") && !few.contains("<title>4 "))
    }
}

@Test func `peek says what is wrong`() throws {
    try withTemporaryDirectory { folder in
        _ = try makeModel(folder)
        func refuse(_ words: String, _ hint: String, _ arguments: [String], status: Int32 = 2) throws {
            try expectRefusal(words, hint: hint, of: "peek", arguments, in: folder, status: status)
        }
        try refuse("no text to look at", "--prompt", ["--model", "model.bin"])
        try refuse("two prompts", "--prompt", command + ["--prompt-file", "x"])
        try refuse("there is no tensor qvk", "did you mean qkv?", command + ["--dump", "qvk", "-o", "x"])
        try refuse("there is no tensor dfcw.2", "layers 0 to 1", command + ["--dump", "lse,dfcw.2", "-o", "x"])
        try refuse("there is no tensor lnf.0", "without a layer", command + ["--dump", "lnf.0", "-o", "x"])
        try refuse("there is no tensor qkv.", "layers 0 to 1", command + ["--dump", "qkv.", "-o", "x"])
        #expect(names(in: "\(folder)/x").isEmpty)
        try refuse("no folder to write to", "--output", command + ["--dump", "lnf"])
        try refuse("nothing is to be written", "--attention", command + ["-o", "x"])
        try refuse("no tensor is named", "--dump qkv,lse", command + ["--dump", ",", "-o", "x"])
        try refuse("--rows is for a picture", "--attention", command + ["--rows", "0-1"])
        for rows in ["3", "3-2", "0-99", "a-b", "-1-2"] {
            try refuse("--rows \(rows)", "--rows ", command + ["--attention", "-o", "x", "--rows", rows])
        }
        try refuse("one token", "longer text", ["--model", "model.bin", "-p", "<|endoftext|>"], status: 1)
        try refuse("no tokens", "longer text", ["--model", "model.bin", "-p", ""], status: 1)
        let long = String(repeating: "<|endoftext|>", count: 41)
        try refuse("41 tokens, and the model reads at most 40", "shorten", ["-m", "model.bin", "-p", long], status: 1)
        try refuse("there is no model none.bin", "make run", ["--model", "none.bin", "-p", "a"], status: 1)
        try write([1], to: "\(folder)/file")
        try refuse("file is a file", "directory", command + ["--dump", "lnf", "-o", "file"], status: 1)
        let bert = try fixture("bert/small")
        try refuse("is a BERT", "GPT-2 or a Phi", ["--model", bert, "-k", "data", "-p", "ab"], status: 1)
    }
}
