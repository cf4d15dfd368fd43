// embed turns texts into vectors with a BERT or DistilBERT: text → tokens → hidden states → one vector → files, nearest
// lines, cosines of pairs.
//
// The model is Sources/LLM/Models/BERT.swift; how hidden states become one vector is
// Sources/LLM/Embedding/SentenceEncoder.swift.

import Foundation
import Kernels
import LLM

let aboutEmbedding =
    "turns texts into vectors with a BERT or a DistilBERT\n\n"
    + "  embed --model my-bert --text \"a sentence\"                       its tokens and their vectors\n"
    + "  embed --model my-bert --input lines.txt --output vectors.npy    a vector for each line\n"
    + "  embed --model my-bert --input lines.txt --query \"a sentence\"    the lines that are nearest\n"
    + "  embed --model my-bert --pairs pairs.tsv                         the cosine of each pair\n\n"
    + "The vector of a text comes from its tokens' hidden states as the model's files say (modules.json of\n"
    + "sentence-transformers); without them it is their mean. An output that ends in .npy is NumPy's, in .jsonl a line of\n"
    + "JSON for each text. Pairs are a line each, with a tab between, and after another tab a score, if there is one:\n"
    + "then embed also prints Spearman's correlation of cosines and scores."

let table: [Option] = [
    Option("model", "e", .text, "DIR", "a Hugging Face directory of a BERT or DistilBERT"),
    Option("tokenizer", "k", .text, "DIR", "the tokenizer (default: the model's)"),
    Option("text", "t", .texts, "TEXT…", "texts to look at, token by token"),
    Option("input", "i", .texts, "FILE…", "a text on each line"),
    Option("output", "o", .text, "FILE", "where the lines' vectors go: .npy or .jsonl"),
    Option("query", "q", .texts, "TEXT…", "texts whose nearest lines are wanted"),
    Option("top", nil, .integer(1...1_000_000), "N", default: "5", "lines for each query"),
    Option("pairs", "p", .text, "FILE", "pairs of texts, with a tab between"),
    Option(
        "pooling", nil, .choice(SentenceSettings.Pooling.allCases.map(\.rawValue)), "",
        "how tokens' vectors become a text's (default: as the model's files say, else mean)"),
    Option("normalize", nil, .flag, "[0|1]", "divide vectors by their length (default: as the model's files say)"),
    Option("json", nil, .flag, "[0|1]", "with --text: all numbers, an object of JSON for each text"),
    Option(
        "threads", nil, .integer(1...1024), "N", "threads to compute with (default: all cores); the result is the same"),
]

@main
enum Embed {
    static func main() {
        runReportingErrors { try embed(Options(program: "embed", about: aboutEmbedding, table: table)) }
    }

    static func embed(_ options: Options) throws {
        let path = try options.required("model", example: "embed --model my-bert --text \"a sentence\"")
        let (texts, files) = (options.texts("text"), options.texts("input"))
        let (queries, pairs, output) = (options.texts("query"), options.text("pairs"), options.text("output"))
        guard !files.isEmpty || output == nil && queries.isEmpty else {
            throw UserError(
                "there are no lines", hint: "name a file with a text on each line: --input FILE", exitCode: 2)
        }
        guard files.isEmpty ? !texts.isEmpty || pairs != nil : output != nil || !queries.isEmpty else {
            throw UserError(
                files.isEmpty ? "there is nothing to embed" : "nothing is wanted of the lines",
                hint: files.isEmpty
                    ? "give --text TEXT, --pairs FILE, or --input FILE with --output FILE or --query TEXT"
                    : "add --output vectors.npy or --query TEXT", exitCode: 2)
        }
        if let output, !output.hasSuffix(".npy"), !output.hasSuffix(".jsonl") {
            throw UserError(
                "\(output) is of no kind that is known", hint: "name it .npy (NumPy) or .jsonl (JSON Lines)",
                exitCode: 2)
        }
        if options.isGiven("threads") { useThreads(options.int("threads")) }
        let encoder = try makeEncoder(path, options)
        for text in texts { try show(Array(text.utf8), encoder, asJSON: options.flag("json")) }
        if let pairs { try compare(pairs, encoder) }
        guard !files.isEmpty else { return reportCut(encoder) }

        let lines = try openTexts(files).flatMap { try $0.lines() }
        guard !lines.isEmpty else {
            throw UserError("there are no lines in \(files.joined(separator: ", "))", hint: "give a text on each line")
        }
        let vectors = try vectors(of: lines, encoder)
        defer { vectors.deallocate() }
        if let output { try write(vectors, lines, encoder, to: output) }
        for query in queries { try findNearest(to: query, in: lines, vectors, encoder, count: options.int("top")) }
        reportCut(encoder)
    }

    static func makeEncoder(_ path: String, _ options: Options) throws -> SentenceEncoder {
        let config = try readBERTConfiguration(path, head: false, pooler: false)
        var settings = try SentenceSettings(
            directory: path, C: config.C,
            pooling: options.text("pooling").flatMap { SentenceSettings.Pooling(rawValue: $0) })
        if options.isGiven("normalize") { settings.normalizes = options.flag("normalize") }
        let place = options.text("tokenizer") ?? path
        let tokenizer = try Tokenizer(at: place)
        try checkTokenizer(tokenizer, from: place, belongsTo: path)
        try checkMemory(config.bytes(rows: max(1024, config.maxT), trains: false))
        return try SentenceEncoder(readBERT(path, trains: false, head: false, pooler: false), tokenizer, settings)
    }

    /// The vectors (lines,C) of lines.
    static func vectors(of lines: [[UInt8]], _ encoder: SentenceEncoder) throws -> UnsafeMutablePointer<Float> {
        let C = encoder.model.config.C
        try checkMemory(4 * Double(lines.count) * Double(C), hint: "embed the file in parts")
        let texts = lines.map { encoder.tokens(of: $0) }
        let vectors = UnsafeMutablePointer<Float>.allocate(capacity: lines.count * C)
        var progress = Progress("embed", total: Double(lines.count), unit: "lines")
        encoder.encode(texts, into: vectors) { progress.update(Double($0)) }
        progress.finish(Double(lines.count))
        let empty = lines.count { $0.isEmpty }
        if empty > 0 {
            let have = empty == 1 ? "line is empty; it has" : "lines are empty; they have"
            note("note: \(grouped(empty)) \(have) a vector, too")
        }
        return vectors
    }

    static func reportCut(_ encoder: SentenceEncoder) {
        let cut = encoder.cut
        guard cut > 0 else { return }
        let (texts, were) = cut == 1 ? ("text", "was") : ("texts", "were")
        note("note: \(grouped(cut)) \(texts) \(were) longer than \(encoder.longest) tokens, and \(were) cut")
    }

    // MARK: - what is shown

    static func text(_ numbers: UnsafePointer<Float>, count: Int) -> String {
        "[" + (0..<count).map { "\(numbers[$0])" }.joined(separator: ",") + "]"
    }

    /// Prints the tokens of a text, the embedding of each, and its hidden state.
    static func show(_ text: [UInt8], _ encoder: SentenceEncoder, asJSON: Bool) throws {
        let (ids, model) = (encoder.tokens(of: text), encoder.model)
        let C = model.config.C
        guard !ids.isEmpty else { throw UserError("an empty text has no tokens", hint: "give a text") }
        let vector = UnsafeMutablePointer<Float>.allocate(capacity: C)
        defer { vector.deallocate() }
        encoder.encode([ids], into: vector)
        let rows = model.parameters.values + model.tensors.wte
        let names = ids.map { encoder.tokenizer.readableToken(Int($0)) }
        if asJSON {
            func list(_ row: (Int) -> UnsafePointer<Float>) -> String {
                "[" + ids.indices.map { self.text(row($0), count: C) }.joined(separator: ",") + "]"
            }
            func quoted(_ text: [UInt8]) -> String { String(decoding: JSON.quoted(text), as: UTF8.self) }
            print(
                "{\"text\":\(quoted(text)),\"tokens\":[\(names.map { quoted(Array($0.utf8)) }.joined(separator: ","))],"
                    + "\"ids\":[\(ids.map { String($0) }.joined(separator: ","))],"
                    + "\"embeddings\":\(list { UnsafePointer(rows + Int(ids[$0]) * C) }),"
                    + "\"hidden\":\(list { model.hidden + $0 * C }),\"vector\":\(self.text(vector, count: C))}")
            return
        }
        func summary(_ vector: UnsafePointer<Float>) -> String {
            let norm = (0..<C).reduce(0.0) { $0 + Double(vector[$1]) * Double(vector[$1]) }.squareRoot()
            let first = (0..<min(3, C)).map { String(format: "%8.4f", vector[$0]) }.joined()
            return first + (C > 3 ? " …" : "  ") + String(format: " ‖%.3f‖", norm)
        }
        print("\(String(decoding: text, as: UTF8.self))\n\(ids.count) tokens, \(C) channels; first numbers and length:")
        print("     id   embedding                             hidden state")
        for (n, id) in ids.enumerated() {
            print(
                String(format: "%7d", id), " ", summary(rows + Int(id) * C), "  ", summary(model.hidden + n * C), "  ",
                names[n])
        }
        print(
            "the text (\(encoder.settings.pooling.rawValue)\(encoder.settings.normalizes ? ", normalized" : "")): \(summary(vector))\n"
        )
    }

    /// Prints the cosine of each pair, and Spearman's correlation with the scores, if each has one.
    static func compare(_ path: String, _ encoder: SentenceEncoder) throws {
        var (pairs, scores): ([([UInt8], [UInt8])], [Double]) = ([], [])
        for (number, line) in try openTexts([path])[0].lines().enumerated() where !line.isEmpty {
            let fields = line.split(separator: 9, omittingEmptySubsequences: false).map { Array($0) }
            let score = fields.count == 3 ? Double(String(decoding: fields[2], as: UTF8.self)) : nil
            guard fields.count == 2 || score?.isFinite == true else {
                throw UserError(
                    "\(path), line \(number + 1): not two texts with a tab between, and not a score after them",
                    hint: "TEXT<tab>TEXT or TEXT<tab>TEXT<tab>NUMBER on each line")
            }
            pairs.append((fields[0], fields[1]))
            if let score { scores.append(score) }
        }
        guard !pairs.isEmpty else { throw UserError("\(path): no pairs", hint: "TEXT<tab>TEXT on each line") }
        guard scores.isEmpty || scores.count == pairs.count else {
            throw UserError(
                "\(path): \(scores.count) of \(pairs.count) pairs have a score", hint: "give all of them one, or none")
        }
        let C = encoder.model.config.C
        let vectors = try vectors(of: pairs.flatMap { [$0.0, $0.1] }, encoder)
        defer { vectors.deallocate() }
        let cosines = pairs.indices.map { cosine(vectors + 2 * $0 * C, vectors + (2 * $0 + 1) * C, count: C) }
        for (i, pair) in pairs.enumerated() {
            print(
                String(format: "%.4f", cosines[i]), String(decoding: pair.0, as: UTF8.self),
                String(decoding: pair.1, as: UTF8.self), separator: "\t")
        }
        if !scores.isEmpty {
            let correlation = spearman(cosines, scores)
            let shown =
                correlation.isNaN
                ? "undefined, as all scores or all cosines are equal" : String(format: "%.4f", correlation)
            print("Spearman's correlation with the scores: \(shown)")
        }
    }

    static func write(
        _ vectors: UnsafeMutablePointer<Float>, _ lines: [[UInt8]], _ encoder: SentenceEncoder, to path: String
    ) throws {
        let C = encoder.model.config.C
        try createDirectory(folder(of: path))
        try writeDurably(path) { file in
            if path.hasSuffix(".npy") {
                try file.write(NPY.header(shape: [lines.count, C]))
                return try file.write(UnsafeRawBufferPointer(start: vectors, count: 4 * lines.count * C))
            }
            for (i, line) in lines.enumerated() {
                try file.write(
                    "{\"text\":\(String(decoding: JSON.quoted(line), as: UTF8.self)),"
                        + "\"vector\":\(text(vectors + i * C, count: C))}\n")
            }
        }
        print("\(path): \(grouped(lines.count)) vectors of \(C) numbers")
    }

    static func findNearest(
        to query: String, in lines: [[UInt8]], _ vectors: UnsafeMutablePointer<Float>, _ encoder: SentenceEncoder,
        count: Int
    ) throws {
        let C = encoder.model.config.C
        let own = UnsafeMutablePointer<Float>.allocate(capacity: C)
        defer { own.deallocate() }
        encoder.encode([encoder.tokens(of: Array(query.utf8))], into: own)
        let cosines = lines.indices.map { cosine(vectors + $0 * C, own, count: C) }
        print(query)
        for i in cosines.indices.sorted(by: { (-cosines[$0], $0) < (-cosines[$1], $1) }).prefix(count) {
            print(String(format: "%.4f  line %d: ", cosines[i], i + 1) + String(decoding: lines[i], as: UTF8.self))
        }
    }
}
