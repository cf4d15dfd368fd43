// peek looks into one forward and backward pass of a trained model: the loss of each token, and each tensor's name, shape
// and size of numbers; or the tensors themselves for NumPy; or pictures of where each token looks.
//
// What the passes leave behind: `activations` in Sources/LLM/Models/GPT2.swift. The pictures:
// Sources/LLM/Inspection/AttentionMap.swift. How to use it: dev/doc/lottery.md.

import Foundation
import LLM

let aboutPeeking =
    "looks into one forward and backward pass of a model over a text\n\n"
    + "Prints the loss of each token, and min, mean, max and root of the mean square of every tensor: the activations that\n"
    + "the forward pass keeps, then the gradients of the mean loss, which have a d in front. Names and shapes are those in\n"
    + "Sources/LLM/Models/GPT2.swift; qkv.2 is layer 2 of qkv, residual.0 the sum of the embeddings.\n\n"
    + "ln and gelu, and of the backward pass dln, datty and dfch, are not there: each layer overwrites the one before. Of\n"
    + "the residual's gradient what is left in the end is that of residual.0, dresidual. In losses, correct and dlnf the\n"
    + "last row is 0: nothing follows the last token. A Phi's qkv has queries and keys as they were turned.\n\n"
    + "  peek --prompt \"A text\"\n"
    + "  peek --prompt \"A text\" --dump residual,qkv.1,dwte -o look      residual.npy (L+1,T,C), qkv.1.npy (T,3C), …\n"
    + "  peek --prompt \"A text\" --attention -o look                     attention.0.svg, …: where each token looks"

let table: [Option] =
    modelOptions + Prompt.options("the text to look at; texts of a corpus begin with <|endoftext|>") + [
        Option(
            "dump", nil, .text, "NAMES",
            "write these tensors, with commas between them, as .npy (float32); a name without a layer is all layers"),
        Option("attention", nil, .flag, "[0|1]", "draw the attention of each layer, its heads beside one another"),
        Option(
            "rows", nil, .text, "FIRST-LAST",
            "with --attention, only these tokens that look, as the list of losses numbers them, and the columns to which one "
                + "of them gives 10% or more"),
        Option("output", "o", .text, "DIR", "where --dump and --attention write to"),
        Option("threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores)"),
    ]

@main
enum Peek {
    static func main() {
        runReportingErrors {
            let options = try Options(program: "peek", about: aboutPeeking, table: table)
            let writes = options.isGiven("dump") || options.flag("attention")
            try checkTogether(options, writes: writes)
            if options.isGiven("threads") { useThreads(options.int("threads")) }
            let path = options.text("model") ?? ""
            try requireModel(path, isDefault: !options.isGiven("model"))
            let config = try readConfiguration(path)
            let tokenizer = try readTokenizer(
                ofModel: path, nil, given: options.given("tokenizer"), else: options.text("tokenizer") ?? ""
            ).tokenizer
            let tokens = try tokenizer.encode(try Prompt.read(options))
            let labels = tokens.map { tokenLabel(tokenizer.bytes(of: Int($0))) }
            try check(tokens, config)
            let rows = try rows(options, of: tokens.count)
            let folder = options.text("output") ?? "."
            try createDirectory(folder)

            let model = try readModel(path)
            model.train(.all)
            let targets = tokens.dropFirst() + [-1]
            let loss = model.learn(
                from: Batch(B: 1, T: tokens.count, inputs: tokens, targets: Array(targets)),
                gradientScale: 1 / Float(tokens.count - 1))
            let tensors = model.activations + model.gradientViews
            if let names = options.text("dump") {
                for (tensor, layer) in try find(names, in: tensors) { try dump(tensor, layer, to: folder) }
            }
            if options.flag("attention") { try draw(model, labels, rows, to: folder) }
            if !writes {
                show(loss, model.activation("losses"), labels)
                show(tensors)
            }
        }
    }

    // MARK: - what is shown

    /// Each token, and how well the model predicted it.
    static func show(_ loss: Loss, _ losses: [Float], _ labels: [String]) {
        print("   token    loss  probability")
        print("       0                       \(labels[0])")
        for (t, label) in labels.enumerated().dropFirst() {
            let probability = 100 * exp(-Double(losses[t - 1]))
            let isBest = loss.correct[t - 1] == 1
            print(String(format: "%8ld %7.4f %10.2f%% %@ ", t, losses[t - 1], probability, isBest ? "*" : " ") + label)
        }
        print(
            String(
                format: "mean loss %.4f; %.1f%% were the most probable token (*)\n", loss.mean, 100 * loss.accuracy))
    }

    static func show(_ tensors: [TensorView]) {
        func padded(_ text: String, _ width: Int) -> String {
            text.padding(toLength: width, withPad: " ", startingAt: 0)
        }
        print(padded("tensor", 14) + padded("shape", 14) + "        min        mean         max         rms")
        for tensor in tensors {
            for l in 0..<tensor.layers {
                let values = tensor.layer(l)
                let (sum, squares) = values.reduce((0.0, 0.0)) { ($0.0 + Double($1), $0.1 + Double($1) * Double($1)) }
                let count = Double(max(1, values.count))
                let numbers = [
                    Double(values.min() ?? 0), sum / count, Double(values.max() ?? 0), (squares / count).squareRoot(),
                ]
                let name = tensor.name + (tensor.isPerLayer ? ".\(l)" : "")
                print(
                    padded(name, 14) + padded(shapeText(tensor.layerShape), 14)
                        + numbers.map { String(format: "%11.4g ", $0) }.joined())
            }
        }
    }

    static func shapeText(_ shape: [Int]) -> String { "(\(shape.map(String.init).joined(separator: ",")))" }

    // MARK: - what is written

    static func dump(_ tensor: TensorView, _ layer: Int?, to folder: String) throws {
        let path = "\(folder)/\(tensor.name)\(layer.map { ".\($0)" } ?? "").npy"
        let shape = layer == nil ? tensor.shape : tensor.layerShape
        try NPY.write((layer.map { $0...$0 } ?? 0...tensor.layers - 1).map(tensor.layer), shape: shape, to: path)
        print("\(path): \(shapeText(shape))")
    }

    static func draw(_ model: any LanguageModel, _ labels: [String], _ rows: Range<Int>?, to folder: String) throws {
        guard let qkv = model.activations.first(where: { $0.name == "qkv" }),
            let lse = model.activations.first(where: { $0.name == "lse" })
        else { preconditionFailure("no qkv and lse were kept") }
        for l in 0..<qkv.layers {
            let map = AttentionMap(
                qkv: qkv.layer(l), lse: lse.layer(l), T: labels.count, C: qkv.layerShape[1] / 3, NH: lse.layerShape[0])
            let path = "\(folder)/attention.\(l).svg"
            let svg = map.svg("layer \(l): each row's token looks at the columns'", tokens: labels, rows: rows)
            try writeDurably(path) { try $0.write(svg) }
            print("\(path): \(map.probabilities.count) heads")
        }
    }

    // MARK: - what comes in

    static func checkTogether(_ options: Options, writes: Bool) throws {
        func refuse(_ what: String, _ hint: String) -> UserError { UserError(what, hint: hint, exitCode: 2) }
        try Prompt.checkOnce(options)
        if !options.isGiven("prompt"), !options.isGiven("prompt-file") {
            throw refuse("there is no text to look at", "--prompt TEXT, or --prompt-file FILE")
        }
        if options.isGiven("rows"), !options.flag("attention") {
            throw refuse("--rows is for a picture", "add --attention, or leave it out")
        }
        if writes, !options.isGiven("output") {
            throw refuse("there is no folder to write to", "add --output DIR")
        }
        if !writes, options.isGiven("output") {
            throw refuse("nothing is to be written to --output", "add --dump NAMES or --attention, or leave it out")
        }
    }

    /// Refuses texts that no loss is of, that are too long, or that there is no memory for.
    static func check(_ tokens: [Int32], _ config: any CausalConfiguration) throws {
        guard tokens.count >= 2 else {
            throw UserError(
                "the text has \(tokens.count == 1 ? "one token" : "no tokens"), and a loss is of a token after another",
                hint: "take a longer text, or begin it with <|endoftext|>")
        }
        guard tokens.count <= config.maxT else {
            throw UserError(
                "the text has \(tokens.count) tokens, and the model reads at most \(config.maxT)",
                hint: "shorten the text")
        }
        try checkMemory(config.bytes(rows: tokens.count, trains: true), hint: "take a shorter text, or a smaller model")
    }

    /// The rows to draw; nil for all.
    static func rows(_ options: Options, of count: Int) throws -> Range<Int>? {
        guard let text = options.text("rows") else { return nil }
        let numbers = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard numbers.count == 2, let first = numbers[0], let last = numbers[1], first <= last, last < count else {
            throw UserError(
                "--rows \(text): not the first and the last of tokens 0 to \(count - 1)",
                hint: "for example --rows \(count / 2)-\(count - 1)", exitCode: 2)
        }
        return first..<last + 1
    }

    /// The tensors of names such as qkv,qkv.2, and each one's layer; nil for all layers.
    static func find(_ names: String, in tensors: [TensorView]) throws -> [(TensorView, layer: Int?)] {
        let found = try names.split(separator: ",").map { try find(name: String($0), in: tensors) }
        guard !found.isEmpty else {
            throw UserError("no tensor is named by --dump \(names)", hint: "for example --dump qkv,lse", exitCode: 2)
        }
        return found
    }

    static func find(name: String, in tensors: [TensorView]) throws -> (TensorView, layer: Int?) {
        let parts = name.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let tensor = tensors.first(where: { $0.name == parts.first }) else {
            let names = tensors.map(\.name)
            let nearest = names.min {
                Options.editDistance($0, parts[0]) < Options.editDistance($1, parts[0])
            }
            throw UserError(
                "there is no tensor \(name)",
                hint: "did you mean \(nearest ?? "qkv")? peek without --dump lists them all", exitCode: 2)
        }
        guard parts.count == 2 else { return (tensor, nil) }
        guard tensor.isPerLayer, let layer = Int(parts[1]), (0..<tensor.layers).contains(layer) else {
            throw UserError(
                "there is no tensor \(name)",
                hint: tensor.isPerLayer
                    ? "\(tensor.name) has the layers 0 to \(tensor.layers - 1), and all of them without a number"
                    : "\(tensor.name) is there once: write it without a layer", exitCode: 2)
        }
        return (tensor, layer)
    }
}
