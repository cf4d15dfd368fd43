// Learns a vocabulary from text: the first stage. It writes tokenizer.json, which Hugging Face's tokenizers load too,
// and tokenizer.bin, which llm.c's programs load. What is learnt and how: Sources/LLM/BytePairEncoding.swift.

import Foundation
import LLM

@main
enum TrainTokenizer {
    static let table = [
        Option("input", "i", .texts, "FILE…", "text to learn from, UTF-8; - is standard input"),
        Option(
            "vocab-size", "v", .integer(1...16_777_216), "N", default: "32000",
            "tokens, with the special ones and bytes"),
        Option("output", "o", .text, "DIR", "where tokenizer.json and tokenizer.bin go"),
        Option(
            "special", nil, .texts, "TOKEN…", default: "<|endoftext|>",
            "special tokens, ids from 0; <|endoftext|>, or else the first, separates documents"),
        Option(
            "min-frequency", nil, .integer(0...Int.max), "N", default: "0",
            "learn no pair that occurs less often than this"),
    ]

    static func main() {
        runReportingErrors {
            let options = try Options(
                program: "train_tokenizer", about: "learns a byte-level BPE vocabulary from text", table: table)
            let example = "train_tokenizer --input text.txt --vocab-size 32000 --output data"
            _ = try options.required("input", example: example)
            let output = try options.required("output", example: example)
            let special = options.texts("special").map { Array($0.utf8) }
            try Tokenizer.checkSpecialTokens(special)
            let files = try openTexts(options.texts("input"))
            let size = files.reduce(0) { $0 + $1.size }

            var progress = Progress("count", total: Double(size) / 1e6, unit: "MB")
            let words = try WordCounts.counting(linesOf: files) { progress.update(Double($0) / 1e6) }
            progress.finish()

            let wanted = options.int("vocab-size")
            var trainer = BytePairTrainer(words, specialTokens: special)
            progress = Progress("merge", total: Double(wanted), unit: "tokens")
            let model = trainer.train(vocabularySize: wanted, minimumFrequency: options.int("min-frequency")) {
                progress.update(Double($0))
            }
            progress.finish()

            let tokenizer = Tokenizer(
                model: model,
                addedTokens: special.enumerated().map { Tokenizer.AddedToken(id: Int32($0), content: $1) })
            try tokenizer.write(to: output)
            report(tokenizer, words, tokens: trainer.tokenCount, wanted: wanted, output: output)
        }
    }

    static func report(_ tokenizer: Tokenizer, _ words: WordCounts, tokens: Int, wanted: Int, output: String) {
        let count = tokenizer.vocabularySize
        if count < wanted {
            note("note: \(count) tokens instead of \(wanted): after these no pair occurs often enough")
        } else if count > wanted {
            note("note: \(count) tokens instead of \(wanted): the special tokens and the 256 bytes are always there")
        }
        print("vocabulary \(count) tokens")
        let ratio = String(format: "%.3f", Double(words.textBytes) / Double(max(tokens, 1)))
        print("compression \(ratio) bytes per token (\(words.textBytes) bytes, \(tokens) tokens)")
        print("distinct words \(words.counts.count)")
        print("wrote \(output)/tokenizer.json")
    }
}
