// Shared by the tokenizer's tests: the fixtures, hard text, temporary directories, small tokenizers.

import Foundation
import LLM
import Testing

func contents(of path: String) throws -> [UInt8] { try Array(Data(contentsOf: URL(fileURLWithPath: path))) }

/// A hard string with its words and ids, as Hugging Face's library gives them.
struct TokenizerCase {
    let text: [UInt8]
    let words: [[UInt8]]
    let ids: [Int32]

    static func all() throws -> [TokenizerCase] {
        let path = try fixture("tokenizer_cases.json")
        guard case .array(let cases) = try JSON(try contents(of: path), name: path) else { return [] }
        return try cases.map { json in
            guard case .string(let text)? = json["text"], case .array(let words)? = json["words"],
                case .array(let ids)? = json["ids"]
            else { throw UserError("a case is incomplete", hint: "write the fixtures again") }
            let spelt = words.compactMap { word -> [UInt8]? in
                if case .string(let bytes) = word { return bytes }
                return nil
            }
            return TokenizerCase(text: text, words: spelt, ids: ids.compactMap { $0.int.map { Int32($0) } })
        }
    }
}

/// Random text in which all the kinds of characters that pre-tokenizers distinguish occur next to each other; if
/// `invalid`, also bytes that are not UTF-8.
func hardText(_ random: inout Xorshift, length: Int, invalid: Bool = false) -> [UInt8] {
    var parts = ["a", "the", "Z", "안녕", "꽃", "\u{1112}\u{1161}", "é", "e\u{301}", "日", "1", "42", "½", "٣"]
    parts += [" ", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u{A0}", "\u{3000}", "\u{85}"]
    parts += ["'", "'s", "'ll", "'re", "'L", "!", "...", "😀", "\0", "\u{7F}"]
    var broken: [[UInt8]] = [[0x80], [0xFF], [0xC3], [0xE0, 0x80], [0xEA, 0xB0]]
    broken += [[0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80]]
    var text: [UInt8] = []
    for _ in 0..<length {
        if invalid, random.below(8) == 0 {
            text += broken[random.below(broken.count)]
        } else {
            text += Array(parts[random.below(parts.count)].utf8)
        }
    }
    return text
}

func write(_ bytes: [UInt8], to path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

/// The error of something that must fail.
func userError(_ body: () throws -> Void) -> UserError? {
    do { try body() } catch { return error as? UserError }
    return nil
}

/// A byte-level tokenizer learnt from `text`.
func trainByteLevel(
    _ text: [UInt8], vocabularySize: Int, minimumFrequency: Int = 0, rare: Int64? = nil
) throws -> Tokenizer {
    var trainer = BytePairTrainer(
        countWords(text), specialTokens: [Array("<|endoftext|>".utf8)], vocabularySize: vocabularySize,
        rare: rare)
    let learnt = trainer.train(minimumFrequency: minimumFrequency)
    return try Tokenizer(learnt, addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
}

/// A small CodeGenTokenizer, such as Phi's: a byte-level vocabulary, <|endoftext|> and 38 runs of white space.
func codeGenTokenizer() throws -> Tokenizer { try Tokenizer(path: fixture("tokenizer_codegen.json")) }

/// The files in which a model directory has GPT-2's kind of vocabulary: vocab.json and merges.txt.
func writeGPT2Files(_ tokenizer: Tokenizer, to directory: String) throws {
    let json = try #require(try JSON(tokenizer.json(), name: "json")["model"])
    guard case .array(let merges)? = json["merges"], let vocabulary = json["vocab"] else {
        throw UserError("it has no merges", hint: "choose a byte-pair tokenizer")
    }
    let lines = merges.map { merge -> [UInt8] in
        guard case .array(let sides) = merge, case .string(let a)? = sides.first, case .string(let b)? = sides.last
        else { return [] }
        return a + [UInt8(ascii: " ")] + b + [UInt8(ascii: "\n")]
    }
    try write(vocabulary.text(), to: directory + "/vocab.json")
    try write(Array("#version: 0.2\n".utf8) + lines.joined(), to: directory + "/merges.txt")
}

/// The counts of a text's words, in several partitions, as with several threads.
func countWords(_ text: [UInt8], partitions: Int = 3) -> WordCounts {
    var words = WordCounts(partitions: partitions)
    text.withUnsafeBufferPointer { words.add(linesOf: $0, .byteLevel(addsPrefixSpace: false, words: .gpt2)) }
    return words
}

/// The merges of a byte-level tokenizer, as bytes.
func merges(_ tokenizer: Tokenizer) -> [[[UInt8]]] {
    guard case .bytePair(let model)? = tokenizer.model else { return [] }
    return model.merges.map { [tokenizer.bytes(of: Int($0.left)), tokenizer.bytes(of: Int($0.right))] }
}

/// A tokenizer from a small rank file, read as a vocabulary with this pattern; its special tokens are behind gaps.
func smallTiktoken(_ ranks: [UInt8], _ pattern: WordPattern) throws -> Tokenizer {
    let plain = try Tokenizer.readRanks(ranks, name: "small", known: [])
    let count = plain.vocabularySize - 1
    let known = TiktokenVocabulary(
        "small", pattern, [("<|endoftext|>", count + 1), ("<|endofprompt|>", count + 5)],
        tokens: (0..<count).map { plain.bytes(of: $0) })
    return try Tokenizer.readRanks(ranks, name: "small", known: [known])
}
