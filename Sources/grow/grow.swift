// grow gives a model rows for the tokens that its tokenizer has grown by: the tokenizer that has learnt new words → how
// their rows begin → a larger model → a check of what was written.
//
// What a row begins with is Sources/LLM/Models/GrowVocabulary.swift.

import Foundation
import Kernels
import LLM

let aboutGrowing =
    "gives a model rows for the tokens that were added to its tokenizer\n\n"
    + "  tokenize --tokenizer my-model --add-token newword --output my-tokenizer\n"
    + "  grow --model my-model --tokenizer my-tokenizer --output my-larger-model\n\n"
    + "Every place where the vocabulary has a dimension grows: the embeddings, a classifier of its own, its bias. What\n"
    + "was there stays as it is, bit for bit, and so do the scores of every text without the new tokens; grow reads what\n"
    + "it has written and checks that. Then train it on texts with the new words, as a whole or, with --train new-rows,\n"
    + "these rows alone: new_tokens.txt says which they are.\n\n"
    + "How a new row begins:\n\n"
    + "  mean-of-pieces   as the mean of the pieces that the word was split into before\n"
    + "  mean             as the mean of all rows\n"
    + "  normal           around that mean, as transformers' resize_token_embeddings draws\n"
    + "  like=TOKEN       as a copy of another token's\n"
    + "  zero             as zeros"

let table: [Option] = [
    Option(
        "model", "e", .text, "DIR|FILE",
        "the model: a Hugging Face directory of a GPT-2, Phi, BERT or DistilBERT, or a GPT-2's file"),
    Option("tokenizer", "k", .text, "DIR", "its tokenizer with the new tokens, as tokenize --add-token writes it"),
    Option("output", "o", .text, "DIR", "where the larger model goes, a Hugging Face directory"),
    Option("init", nil, .text, "HOW", default: "mean-of-pieces", "how a new row begins; see above"),
    Option(
        "pad-to-multiple-of", nil, .integer(1...65_536), "N", default: "1",
        "rows in all: a multiple of N; those without a token begin as the mean (with zero, as zeros)"),
    Option("seed", "s", .integer(0...Int(UInt32.max)), "N", default: "42", "of --init normal"),
]

@main
enum Grow {
    static func main() {
        runReportingErrors { try grow(Options(program: "grow", about: aboutGrowing, table: table)) }
    }

    static func grow(_ options: Options) throws {
        let example = "grow --model my-model --tokenizer my-tokenizer --output my-larger-model"
        let path = try options.required("model", example: example)
        let place = try options.required("tokenizer", example: example)
        let output = try options.required("output", example: example)
        let config = try readAnyConfiguration(path)
        let tokenizer = try Tokenizer(at: place)
        try checkTokenizer(
            tokenizer, from: place, belongsTo: path, vocabulary: tokenizer.vocabularySize,
            hint: "take the model's own tokenizer, and add to it: tokenize --add-token WORD --output DIR")
        guard tokenizer.model != nil else {
            throw UserError(
                "a tokenizer.bin cannot be written with a model", hint: "name a directory with tokenizer.json")
        }
        try checkOutput(output, model: path, tokenizer)

        // The tokens that are new: those that the model's own tokenizer does not have, or that the model has no rows for.
        let own = isHuggingFaceDirectory(path) ? try? Tokenizer(directory: path) : nil
        let first = min(try tokenCount(ofModel: path) ?? config.V, config.V)
        let new = first..<tokenizer.vocabularySize
        guard !new.isEmpty else {
            throw UserError(
                "nothing to grow: \(path) has rows for \(grouped(config.V)) tokens, and the tokenizer in \(place) has "
                    + grouped(tokenizer.vocabularySize),
                hint: "add tokens first: tokenize --tokenizer \(place) --add-token WORD --output DIR", exitCode: 2)
        }
        let multiple = options.int("pad-to-multiple-of")
        let V = (max(config.V, tokenizer.vocabularySize) + multiple - 1) / multiple * multiple
        var larger = config
        larger.V = V
        try checkMemory(
            config.bytes(rows: 1, trains: false) + 2 * larger.bytes(rows: 1, trains: false),
            hint: "grow it on a machine with more memory")
        let rows = try newRows(options, tokenizer, new: new, before: own ?? tokenizer.before(first))

        let model = try readAnyModel(path)
        let template = savedTemplate(in: [path])
        let files = DurableFiles()
        let grown = model.grown(to: V, from: first, rows)
        if let (bert, old) = (grown, model) as? (BERT, BERT) {
            // What its configuration says of dropout stays.
            (bert.dropout, bert.attentionDropout) = (old.dropout, old.attentionDropout)
        }
        try write(grown, tokenizer, template, to: output, in: files)
        try NewTokens.write(new, tokenizer, to: output, in: files)
        if let bert = grown as? BERT {
            try SentenceSettings.copyFiles(from: path, to: output, C: bert.config.C, in: files)
        }
        try files.commit()
        let more = V - config.V
        print("\(output): \(larger.summary), \(grouped(more)) \(more == 1 ? "row" : "rows") more than \(path)")
        let written = try readAnyModel(output)
        try check(written, against: model, tokens: first)
        show(new, of: written, tokenizer)
    }

    static func checkOutput(_ output: String, model path: String, _ tokenizer: Tokenizer) throws {
        guard isDirectory(output) || !fileExists(output) else {
            throw UserError("\(output) is a file", hint: "name a directory: --output DIR", exitCode: 2)
        }
        guard realPath(output) != realPath(path) else {
            throw UserError("\(output) is the model that is to grow", hint: "name another directory", exitCode: 2)
        }
        try refusePartOfRun(output, option: "--output")
        try checkModelFolder(output, tokenizer, isFile: false)
    }

    /// How the rows of the new tokens begin, by --init.
    /// - Parameter before: the tokenizer without them.
    static func newRows(
        _ options: Options, _ tokenizer: Tokenizer, new: Range<Int>, before: Tokenizer?
    ) throws -> NewRows {
        switch options.text("init") ?? "" {
        case "mean": return .mean
        case "zero": return .zero
        case "normal": return .normal(seed: UInt32(options.int("seed")))
        case "mean-of-pieces":
            guard let before, before.vocabularySize <= new.lowerBound else {
                throw UserError(
                    "how the model's tokenizer splits the new words is not known",
                    hint: "give the model with its tokenizer in its directory, or take --init mean")
            }
            let contents = Dictionary(tokenizer.addedTokens.map { (Int($0.id), $0.content) }) { first, _ in first }
            var encoder = try before.makeEncoder(recognizesSpecialTokens: true)
            return .meanOfPieces(
                new.map { id in
                    // What only a template puts around a text is no piece of the word, and neither is what it lacks.
                    var pieces: [Int32] = []
                    let word = contents[id] ?? tokenizer.bytes(of: id)
                    word.withUnsafeBufferPointer { encoder.encode($0, to: &pieces) }
                    return pieces.filter { $0 != before.unknown }
                })
        case let name where name.hasPrefix("like="):
            let token = Array(name.dropFirst("like=".count).utf8)
            guard
                let id = (0..<new.lowerBound).first(where: {
                    tokenizer.spellings[$0] == token || tokenizer.bytes(of: $0) == token
                })
            else {
                throw UserError(
                    "\"\(String(decoding: token, as: UTF8.self))\" is not a token that the model knows",
                    hint: "name one from vocab.txt, such as \(tokenizer.readableToken(new.lowerBound - 1))")
            }
            return .like(id)
        case let name:
            throw UserError(
                "--init \(name) is unknown",
                hint: "it is mean-of-pieces, mean, normal, like=TOKEN or zero", exitCode: 2)
        }
    }

    static func write(
        _ model: any Transformer, _ tokenizer: Tokenizer, _ template: ChatTemplate?, to directory: String,
        in files: DurableFiles
    ) throws {
        switch model {
        case let model as GPT2:
            model.tokenizer = tokenizer.fingerprint()
            try HuggingFaceGPT2.write(model, tokenizer, template, to: directory, hasChecksum: false, in: files)
        case let model as Phi:
            try HuggingFacePhi.write(model, tokenizer, template, to: directory, in: files)
        case let model as BERT: try HuggingFaceBERT.write(model, tokenizer, to: directory, in: files)
        default: preconditionFailure("a model of an unknown kind")
        }
    }

    // MARK: - what is checked and shown

    /// Checks that the rows of the model's own tokens, and what it makes of them, are what they were.
    static func check(_ grown: any Transformer, against model: any Transformer, tokens: Int) throws {
        func fail(_ what: String) -> UserError {
            UserError("the model that was written has \(what)", hint: "this is a fault of grow: do not use it")
        }
        let vocabulary = model.config.vocabularyTensors.map(\.index)
        for (old, new) in zip(model.parameters.table.tensors, grown.parameters.table.tensors) {
            let count = vocabulary.contains(old.index) ? tokens * old.rowCount : old.count
            let isSame = memcmp(model.parameters.values + old, grown.parameters.values + new, 4 * count) == 0
            guard isSame else { throw fail("other values in \(old.name)") }
        }
        let count = min(model.config.maxT, 64)
        var random = MersenneTwister(seed: 1)
        let text = (0..<count).map { _ in Int32(Int(random.next()) % tokens) }
        guard outputs(grown, text, tokens) == outputs(model, text, tokens) else {
            throw fail("other outputs for a text of old tokens")
        }
        print(
            "checked     the rows of \(grouped(tokens)) tokens, and what the model says of \(count) of them: the same bits"
        )
    }

    /// What a model makes of a text: scores of the first tokens for each of its tokens; or, of a BERT without a head, its
    /// hidden states.
    static func outputs(_ model: any Transformer, _ text: [Int32], _ tokens: Int) -> [[Float]] {
        let (count, V) = (text.count, model.config.V)
        var all = [Float](repeating: 0, count: count * V)
        switch model {
        case let model as any LanguageModel:
            let context = Context.batch(lengths: [count])
            model.forward(inputs: text, context)
            model.logits(into: &all, context)
        case let model as BERT:
            model.forward(inputs: text, lengths: [count])
            let C = model.config.C
            guard model.config.hasHead else {
                return (0..<count).map { Array(UnsafeBufferPointer(start: model.hidden + $0 * C, count: C)) }
            }
            model.logits(into: &all, rows: Array(0..<count))
        default: preconditionFailure("a model of an unknown kind")
        }
        return (0..<count).map { Array(all[$0 * V..<$0 * V + tokens]) }
    }

    /// Prints the new tokens and the nearest old ones, by the cosine of their embeddings.
    static func show(_ new: Range<Int>, of model: any Transformer, _ tokenizer: Tokenizer) {
        guard let wte = model.config.vocabularyTensors.first else { return }
        let (values, C, old) = (model.parameters.values + wte, wte.rowCount, new.lowerBound)
        func row(_ id: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: values + id * C, count: C) }
        func length(_ id: Int) -> Float { row(id).reduce(0) { $0 + $1 * $1 }.squareRoot() }
        let lengths = (0..<old).map { max(length($0), .leastNormalMagnitude) }
        let most = 10
        print("\nid      token, and the nearest of the old ones (cosine)")
        for id in new.prefix(most) {
            let own = max(length(id), .leastNormalMagnitude)
            let cosines = (0..<old).map { other in
                zip(row(id), row(other)).reduce(0) { $0 + $1.0 * $1.1 } / own / lengths[other]
            }
            let nearest = cosines.indices.sorted { (-cosines[$0], $0) < (-cosines[$1], $1) }.prefix(3)
            let names = nearest.map { String(format: "%@ %.2f", tokenizer.readableToken($0), cosines[$0]) }
            print(
                String(id).padding(toLength: 8, withPad: " ", startingAt: 0)
                    + tokenizer.readableToken(id) + "   " + (length(id) == 0 ? "zero" : names.joined(separator: ", ")))
        }
        if new.count > most { print("… and \(grouped(new.count - most)) more") }
    }
}
