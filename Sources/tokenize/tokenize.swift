// tokenize turns text into token ids: a given line, to look at, or a corpus, into the shards that training reads.
// Documents and shards are explained in Sources/LLM/Data/CorpusWriter.swift.

import Foundation
import LLM

@main
enum Tokenize {
    static let table = [
        Option(
            "tokenizer", "k", .texts, "DIR",
            "a directory with a vocabulary, or its file: tokenizer.json (BPE or WordPiece), BERT's vocab.txt, "
                + "GPT-2's encoder.json with vocab.bpe, a .tiktoken file (cl100k_base, o200k_base, others with GPT-2's "
                + "words). Several, with --text, are shown side by side"
        ),
        Option(
            "text", nil, .text, "TEXT",
            "print the ids, pieces, bytes and decoded text of TEXT; special tokens in it are recognized"),
        Option(
            "suggest", nil, .integer(1...100_000), "N",
            "print the N words of --input that save most tokens if all of them are added, the best first: the word, how "
                + "often it is used, the tokens it takes now, the share of all tokens that it saves. A word serves all "
                + "words that contain it, and its cuts in words that were one token are deducted"),
        Option(
            "add-token", nil, .texts, "TOKEN…",
            "add words that are single tokens from then on, and write the tokenizer to --output. - reads them from "
                + "standard input, a line each up to its first tab, as --suggest prints them: tokenize --tokenizer DIR "
                + "--suggest 300 --input FILE | tokenize --tokenizer DIR --add-token - --output DIR2"),
        Option(
            "input", "i", .texts, "FILE…",
            "a corpus to encode, UTF-8 (a byte order mark is dropped); a directory stands for its files but hidden ones, "
                + "- for standard input. Special tokens written in it are ordinary text"),
        Option(
            "output", "o", .text, "DIR",
            "directory for train_*.bin, val_*.bin and the tokenizer; older shards are removed"),
        Option(
            "document", "d", .choice(DocumentMode.allCases.map(\.rawValue)), default: "blank",
            "what a document is: text up to blank lines, a line (blank ones are skipped; LF, CR LF or CR ends it), or a "
                + "file. <|endoftext|> comes before each"),
        Option(
            "lossy", nil, .flag, "",
            "replace bytes that are not UTF-8, and NUL, by U+FFFD; by default they are an error with file, line and byte"
        ),
        Option(
            "val-fraction", nil, .number(0...0.99), "X", default: "0.001",
            "the probability that a document is kept for validation. If none is drawn, it is the last one; a text of "
                + "one document is divided before its last X. 0: no validation"
        ),
        Option("val-input", nil, .texts, "FILE…", "files for validation; --val-fraction is then ignored"),
        Option(
            "row-length", nil, .integer(2...1_000_000), "T",
            "pad every document with <|endoftext|> to T tokens: in training with -t T a sequence is one document. A longer "
                + "one is an error, unless --cut is given"),
        Option(
            "cut", nil, .flag, "",
            "cut documents longer than --row-length: the rest goes on in the next rows, and the last of them is padded"),
        Option("seed", "s", .integer(0...Int.max), "N", default: "42", "seed of the draw for validation"),
        Option(
            "shard-tokens", nil, .integer(1...Int(Int32.max)), "N", default: "100000000", "tokens in a shard"),
    ]

    static func main() {
        runReportingErrors {
            let options = try Options(
                program: "tokenize", about: "turns text into token ids, by hand or into shards for training",
                table: table)
            let example = "tokenize --tokenizer data --input text.txt --output data"
            _ = try options.required("tokenizer", example: example)
            let paths = options.texts("tokenizer")
            if paths.count > 1, !options.isGiven("text") || options.isGiven("add-token") {
                throw UserError(
                    "\(paths.count) tokenizers are only for --text, which shows them side by side",
                    hint: "name one of them, or use --text TEXT without --add-token", exitCode: 2)
            }
            if options.isGiven("text"), options.isGiven("input") {
                throw UserError(
                    "--text shows a text and --input encodes a corpus; both are given", hint: "use one of them",
                    exitCode: 2)
            }
            if options.flag("cut"), !options.isGiven("row-length") {
                throw UserError(
                    "--cut cuts documents at the end of a row, and there are no rows",
                    hint: "add --row-length T, or leave out --cut", exitCode: 2)
            }
            if options.isGiven("suggest"), options.isGiven("text") || options.isGiven("output") {
                throw UserError(
                    "--suggest prints words, and --\(options.isGiven("text") ? "text" : "output") is for something else",
                    hint: "tokenize --tokenizer DIR --suggest 50 --input text.txt", exitCode: 2)
            }
            var tokenizer = try Tokenizer(at: paths[0])
            if options.isGiven("add-token") { tokenizer = try add(try tokensToAdd(options), to: tokenizer, options) }
            if let text = options.text("text") {
                if paths.count == 1 { return show(text, tokenizer, try tokenizer.encode(Array(text.utf8))) }
                for (path, tokenizer) in try paths.map({ ($0, try Tokenizer(at: $0)) }) {
                    try showBriefly(text, tokenizer, named: path)
                }
            } else if options.isGiven("suggest") {
                _ = try options.required("input", example: "tokenize --tokenizer DIR --suggest 50 --input text.txt")
                try suggest(options.int("suggest"), for: tokenizer, options)
            } else if options.isGiven("input") || !options.isGiven("add-token") {
                _ = try options.required("input", example: example)
                try encodeCorpus(tokenizer, options, output: try options.required("output", example: example))
            }
        }
    }

    /// The words of --add-token; for `-` those on standard input.
    static func tokensToAdd(_ options: Options) throws -> [String] {
        try options.texts("add-token").flatMap { token -> [String] in
            guard token == "-" else { return [token] }
            var (tokens, lines, number): ([String], InputLines, Int) = ([], InputLines(), 0)
            while case .bytes(var line)? = lines.next() {
                number += 1
                // Some editors begin a file with a byte order mark.
                if number == 1, line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
                var word = line.prefix { $0 != UInt8(ascii: "\t") }
                while word.last == UInt8(ascii: " ") { word.removeLast() }
                if word.isEmpty { continue }
                guard let token = String(validating: word, as: UTF8.self), !word.contains(0) else {
                    throw UserError(
                        "line \(number) of standard input is not UTF-8, or has a NUL byte",
                        hint: "give a word a line, as tokenize --suggest prints them")
                }
                tokens.append(token)
            }
            guard !tokens.isEmpty else {
                throw UserError(
                    "standard input has no word to add", hint: "give a word a line, as tokenize --suggest prints them")
            }
            return tokens
        }
    }

    static func add(_ tokens: [String], to tokenizer: Tokenizer, _ options: Options) throws -> Tokenizer {
        let output = options.text("output")
        guard output != nil || options.isGiven("text") else {
            throw UserError(
                "--output is missing", hint: "tokenize --tokenizer DIR --add-token WORD --output DIR2", exitCode: 2)
        }
        let larger = try tokenizer.adding(tokens.map { Array($0.utf8) })
        let (before, after, added) = (
            tokenizer.idsBySpelling, larger.idsBySpelling, Set(tokenizer.addedTokens.map(\.content))
        )
        var encoder = try larger.makeEncoder(recognizesSpecialTokens: true)
        for token in tokens {
            let content = Array(token.utf8)
            guard let id = after[content] else { continue }
            var more = before[content] == nil ? "" : ", which it had already"
            if !more.isEmpty, !added.contains(content) { more += "; it is found inside other words, too, from here on" }
            var ids: [Int32] = []
            content.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
            if ids != [id] {
                let pieces = ids.map { "\"\(larger.readableToken(Int($0)))\"" }.joined(separator: " ")
                more += ", and is never found: texts with it have " + (pieces.isEmpty ? "nothing" : pieces)
            }
            print("\(token.debugDescription) has id \(id)\(more)")
        }
        if let output, !options.isGiven("input") {
            try larger.write(to: output)
            print("wrote \(output)/tokenizer.json, \(larger.vocabularySize) tokens")
        }
        return larger
    }

    static func show(_ text: String, _ tokenizer: Tokenizer, _ ids: [Int32]) {
        func line(_ name: String, _ values: [String]) {
            print(name.padding(toLength: 8, withPad: " ", startingAt: 0) + values.joined(separator: " "))
        }
        line("ids", ids.map(String.init))
        // A piece may end inside a character; an incomplete character is shown as its bytes.
        line("pieces", ids.map { "\"\(tokenizer.readableToken(Int($0)))\"" })
        line(
            "bytes",
            ids.map { id in tokenizer.bytes(of: Int(id)).map { String(format: "%02X", $0) }.joined() })
        line("text", [String(decoding: tokenizer.decode(ids), as: UTF8.self)])
        print("\(ids.count) tokens for \(text.utf8.count) bytes")
        if let unknown = tokenizer.unknown {
            print("\(ids.count { $0 == unknown }) of them unknown (\(tokenizer.readableToken(Int(unknown))))")
        }
    }

    /// The pieces of `text`, each above its id.
    static func showBriefly(_ text: String, _ tokenizer: Tokenizer, named name: String) throws {
        let ids = try tokenizer.encode(Array(text.utf8))
        print("\(name): \(ids.count) tokens for \(text.utf8.count) bytes")
        let columns = ids.map { ["\"\(tokenizer.readableToken(Int($0)))\"", String($0)] }
        for (row, title) in ["pieces  ", "ids     "].enumerated() {
            let cells = columns.map { column in
                let width = column.map { terminalColumns(of: $0) }.max() ?? 0
                return column[row] + String(repeating: " ", count: width - terminalColumns(of: column[row]))
            }
            let line = title + cells.joined(separator: " ")
            print(line.trimmingCharacters(in: .whitespaces))
        }
    }

    static func suggest(_ count: Int, for tokenizer: Tokenizer, _ options: Options) throws {
        let files = try openTexts(options.texts("input"))
        let size = files.reduce(0) { $0 + $1.size }
        var progress = Progress("read", total: 3 * Double(size) / 1e6, unit: "MB")
        let found = try tokenizer.suggestedWords(count, for: files, lossy: options.flag("lossy")) {
            progress.update(Double($0) / 1e6)
        }
        progress.finish()
        for word in found.words {
            let columns = [
                String(decoding: word.content, as: UTF8.self), "\(word.count)", "\(word.pieces)",
                share(word.saved, of: found.before.tokens),
            ]
            print(columns.joined(separator: "\t"))
        }
        let saved = share(found.before.tokens - found.after.tokens, of: found.before.tokens)
        func tell(_ what: String, _ before: Int, _ after: Int, _ rest: String) {
            note("\(grouped(before)) \(what); \(grouped(after)) with these \(found.words.count) words added\(rest)")
        }
        tell("tokens", found.before.tokens, found.after.tokens, ", \(saved) fewer")
        if tokenizer.unknown != nil { tell("of them unknown", found.before.unknown, found.after.unknown, "") }
    }

    static func encodeCorpus(_ tokenizer: Tokenizer, _ options: Options, output: String) throws {
        let files = try openTexts(options.texts("input"))
        let validationFiles = try openTexts(options.texts("val-input"))
        let size = (files + validationFiles).reduce(0) { $0 + $1.size }
        if let missing = tokenizer.missingBytes {
            note("warning: the vocabulary lacks \(missing) of the 256 bytes; they are dropped from the text")
        }
        var writer = CorpusWriter(
            tokenizer: tokenizer, mode: DocumentMode(rawValue: options.text("document") ?? "") ?? .blank)
        writer.tokensPerShard = options.int("shard-tokens")
        writer.lossy = options.flag("lossy")
        if options.isGiven("row-length") { writer.rowLength = options.int("row-length") }
        writer.cutsDocuments = options.flag("cut")
        var progress = Progress("tokenize", total: Double(size) / 1e6, unit: "MB")
        let summary = try writer.write(
            files, validationFiles: validationFiles, fraction: options.double("val-fraction"),
            seed: UInt64(options.int("seed")), to: output
        ) { progress.update(Double($0) / 1e6) }
        progress.finish()
        noteReplaced(summary.replaced)

        print(
            String(
                format: "train %ld tokens in %ld documents", summary.trainingTokens,
                summary.documents - summary.validationDocuments))
        print(String(format: "val %ld tokens in %ld documents", summary.validationTokens, summary.validationDocuments))
        if let T = writer.rowLength {
            let padding = summary.rows * T - summary.tokens
            let share = 100 * Double(padding) / Double(max(1, summary.rows * T))
            print(String(format: "rows %ld of %ld tokens, %.1f%% padding", summary.rows, T, share))
        }
        let cut = summary.cutDocuments
        if writer.cutsDocuments { print("\(cut) \(cut == 1 ? "document" : "documents") cut") }
        let blank = summary.blankLines
        if blank > 0 { print("\(blank) blank \(blank == 1 ? "line" : "lines") skipped") }
        let tokens = max(1, summary.trainingTokens + summary.validationTokens)
        print(String(format: "%.3f bytes per token", Double(summary.bytes) / Double(tokens)))
        if tokenizer.unknown != nil {
            print("unknown tokens \(summary.unknownTokens) (\(share(summary.unknownTokens, of: summary.tokens)))")
            try tokenizer.unknownWarning(summary.unknownTokens, of: summary.tokens, in: files + validationFiles).map(
                note)
        }
        print("wrote \(output)/train_*.bin")
    }
}
