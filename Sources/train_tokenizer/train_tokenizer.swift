// train_tokenizer, the first stage, learns a vocabulary from text. It writes tokenizer.json, which Hugging Face's
// tokenizers load too, and tokenizer.bin, which llm.c's programs load. The algorithm is in
// Sources/LLM/Tokenizer/TextbookBytePairs.swift, and its fast version in Training/BytePairTrainer.swift.

import Foundation
import LLM

@main
enum TrainTokenizer {
    static let table = [
        Option(
            "input", "i", .texts, "FILE…",
            "text to learn from, UTF-8 (a byte order mark is dropped); a directory stands for its files but hidden ones, "
                + "- for standard input"),
        Option(
            "vocab-size", "v", .integer(0...16_777_216), "N", default: "32000",
            "number of tokens, including the special ones and the alphabet; 0 as many as suit a small model of the "
                + "text: one for each 160 bytes, 300 to 4096"),
        Option(
            "output", "o", .text, "DIR", "directory for tokenizer.json, the files that go with it, and tokenizer.bin"),
        Option(
            "scheme", nil, .choice(["byte-level", "prefix", "whitespace"]), default: "byte-level",
            "byte-level: as GPT-2; any text can be spelt. prefix: characters, with ## before those inside a word; "
                + "words are split at white space and punctuation; decodes as WordPiece. whitespace: characters; "
                + "words are \\w+ and [^\\w\\s]+"
        ),
        Option(
            "pre-tokenizer", nil, .choice(["byte-level", "bert", "whitespace", "whitespace-split"]), "",
            "how words are split, if not as in the scheme; bert: at white space and punctuation"),
        Option("prefix", nil, .text, "TEXT", "prefix of characters inside a word, if not as in the scheme"),
        Option(
            "unk", nil, .text, "TOKEN",
            "token for characters that the vocabulary lacks; [UNK] except with byte-level. \"\" drops them. It "
                + "gets the first id unless it is among --special"
        ),
        Option(
            "replace", nil, .texts, "OLD=NEW…",
            "replacement before text is split: --replace \"new word=newword\". It becomes part of the tokenizer"),
        Option(
            "nfc", nil, .flag, "",
            "normalize to NFC: macOS may store Hangul as single letters (NFD), which take many times the tokens"),
        Option(
            "special", nil, .texts, "TOKEN…", default: "<|endoftext|>",
            "special tokens, ids from 0; <|endoftext|>, else the first one, separates documents"),
        Option(
            "min-frequency", nil, .integer(0...Int.max), "N", default: "0",
            "do not merge pairs that occur less often than this"),
        Option(
            "max-token-length", nil, .integer(2...Int.max), "N",
            "learn only tokens with fewer characters (with byte-level, bytes) than this, as Hugging Face does"),
        Option("limit-alphabet", nil, .integer(1...Int.max), "N", "keep only the N most frequent characters"),
        Option(
            "lossy", nil, .flag, "",
            "replace bytes that are not UTF-8, and NUL, by U+FFFD; by default they are an error with file, line and byte"
        ),
        Option("held-out", nil, .texts, "FILE…", "other text to measure the compression on"),
        Option(
            "alphabet-order-from", nil, .text, "FILE",
            "a tokenizer.json that gives the order of characters with a prefix. Hugging Face's order is random, so a "
                + "comparison with one of its runs needs that run's file"
        ),
    ]

    static func main() {
        runReportingErrors {
            let options = try Options(
                program: "train_tokenizer", about: "learns a BPE vocabulary from text", table: table)
            let example = "train_tokenizer --input text.txt --vocab-size 32000 --output data"
            _ = try options.required("input", example: example)
            let output = try options.required("output", example: example)
            let plan = try Plan(options)
            let files = try openTexts(options.texts("input"))
            let heldOut = try openTexts(options.texts("held-out"))
            if !options.flag("lossy") { try checkTexts(heldOut) }
            try createDirectory(output)
            let start = now()
            let asked = options.int("vocab-size")
            let wanted = asked > 0 ? asked : suitableVocabularySize(textBytes: files.reduce(0) { $0 + $1.size })
            var (trainer, findings, distinct) = try count(files, plan, wanted: wanted, lossy: options.flag("lossy"))
            var progress = Progress("merge", total: Double(wanted), unit: "tokens")
            let learnt = trainer.train(
                minimumFrequency: options.int("min-frequency")
            ) { progress.update(Double($0)) }
            progress.finish(Double(learnt.spellings.count))

            let tokenizer = try plan.tokenizer(learnt)
            try tokenizer.write(to: output)
            note(String(format: "total %.1f s", now() - start))
            report(tokenizer, trainer, findings, distinct: distinct, wanted: wanted)
            try reportHeldOut(tokenizer, heldOut)
            print("wrote \(output)/tokenizer.json")
        }
    }

    /// The tokens that suit a small model: more are learned too seldom in a short text, and cost a small model time
    /// (dev/LOG.md).
    static func suitableVocabularySize(textBytes: Int) -> Int { min(max(textBytes / 160, 300), 4096) }

    /// A trainer of the words in `files`. The words themselves are freed here.
    static func count(
        _ files: [TextFile], _ plan: Plan, wanted: Int, lossy: Bool
    ) throws -> (BytePairTrainer, CorpusFindings, distinct: Int) {
        let size = files.reduce(0) { $0 + $1.size }
        var progress = Progress("read", total: Double(size) / 1e6, unit: "MB")
        let steps = try plan.trainingSteps()
        let (words, findings) = try WordCounts.counting(
            linesOf: files, steps.preTokenizer, steps.normalizer, lossy: lossy
        ) { progress.update(Double($0) / 1e6) }
        progress.finish()
        noteReplaced(findings.replaced)
        if findings.hasDecomposedHangul, !plan.normalizes {
            note(
                "note: the text contains Hangul as single letters (NFD, as stored by macOS), which take many times the "
                    + "tokens; --nfc composes them"
            )
        }
        if findings.longestWord.count > 10_000 {
            note(
                "note: the longest word has \(findings.longestWord.count) bytes and begins with "
                    + "\"\(readable(Array(findings.longestWord.prefix(30))))\"; is that text?"
            )
        }
        let distinct = words.count
        let pairs = Progress("count", total: Double(distinct), unit: "distinct words")
        let trainer = BytePairTrainer(
            consume words, alphabet: plan.alphabet, specialTokens: plan.special,
            vocabularySize: wanted, longestToken: plan.longestToken)
        pairs.finish()
        return (trainer, findings, distinct)
    }

    static func report(
        _ tokenizer: Tokenizer, _ trainer: BytePairTrainer, _ findings: CorpusFindings, distinct: Int, wanted: Int
    ) {
        let count = tokenizer.vocabularySize
        if count < wanted {
            note("note: \(count) tokens instead of \(wanted), because no further pair occurs often enough")
        } else if count > wanted {
            note("note: \(count) tokens instead of \(wanted), the special tokens and the alphabet")
        }
        print("vocabulary \(count) tokens")
        let counts = trainer.tokenCounts()
        printCompression("compression", findings.bytes, findings.characters, counts.reduce(0, +))
        print("distinct words \(distinct)")
        let special = Set(tokenizer.addedTokens.map { Int($0.id) })
        func shown(_ ids: some Sequence<Int>) -> String {
            ids.map { "\"\(tokenizer.readableToken($0))\"" }.joined(separator: " ")
        }
        let ids = (0..<count).filter { !special.contains($0) }
        let longest = ids.sorted {
            let (a, b) = (tokenizer.spellings[$0].count, tokenizer.spellings[$1].count)
            return a != b ? a > b : $0 < $1
        }
        print("longest tokens \(shown(longest.prefix(8)))")
        let commonest = ids.sorted { counts[$0] != counts[$1] ? counts[$0] > counts[$1] : $0 < $1 }
        print("commonest tokens \(shown(commonest.prefix(16)))")
    }

    static func printCompression(_ name: String, _ bytes: Int, _ characters: Int, _ tokens: Int) {
        let tokens = max(1, tokens)
        print(
            String(
                format: "%@ %.3f bytes or %.3f characters per token (%ld bytes, %ld tokens)", name,
                Double(bytes) / Double(tokens), Double(characters) / Double(tokens), bytes, tokens))
    }

    static func reportHeldOut(_ tokenizer: Tokenizer, _ files: [TextFile]) throws {
        guard !files.isEmpty else { return }
        var encoder = try tokenizer.makeEncoder()
        var (bytes, characters, replaced, tokens, unknowns) = (0, 0, 0, 0, 0)
        var ids: [Int32] = []
        for file in files {
            try forEachBlock(of: file, blockSize: 4 << 20, cut: tokenizer.cut) { block, offset in
                bytes += block.count
                TextSection(block, offset: offset).withText(count: &replaced) { text in
                    ids.removeAll(keepingCapacity: true)
                    encoder.encode(text, to: &ids)
                    characters += characterCount(of: text)
                }
                tokens += ids.count
                if let unknown = tokenizer.unknown { unknowns += ids.count { $0 == unknown } }
            }
        }
        noteReplaced(replaced)
        printCompression("held out", bytes, characters, tokens)
        if tokenizer.unknown != nil {
            print("held out, unknown tokens \(unknowns) (\(share(unknowns, of: tokens)))")
            try tokenizer.unknownWarning(unknowns, of: tokens, in: files).map(note)
        }
    }
}
