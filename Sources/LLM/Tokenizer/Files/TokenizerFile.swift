// A tokenizer on disk.
//
// tokenizer.json is Hugging Face's format (huggingface/tokenizers, version "1.0"): what is written here loads there with
// the same ids and the same decoding. Of what it can describe, byte-pair encoding and WordPiece are read, with the parts
// that Normalizer, PreTokenizer, Decoder and Tokenizer know. Anything else is refused by name, never half understood.
//
// tokenizer.bin is llm.c's format: 256 int32 (20240328, version, number of tokens, the end-of-text id; version 1 has
// no such field and is GPT-2's), then per token a length byte, 1 to 255, and the bytes. It can decode only: it has no
// merges. llm.c's programs read it, and so does `Tokenizer`, for people who have nothing else.
//
// Other formats that are read: VocabularyFiles.swift.

import Foundation

extension Tokenizer {
    /// Reads a tokenizer from a directory, or from a file.
    package init(at path: String) throws {
        self = fileExists(path) && !isDirectory(path) ? try Tokenizer(path: path) : try Tokenizer(directory: path)
    }

    /// Reads tokenizer.json in `directory`, or another vocabulary if there is none, tokenizer.bin last.
    package init(directory: String) throws {
        var names = ["tokenizer.json", "encoder.json", "vocab.json", "vocab.txt"]
        names += LLM.names(in: directory).filter { $0.hasSuffix(".tiktoken") } + ["tokenizer.bin"]
        guard let path = names.map({ "\(directory)/\($0)" }).first(where: { fileExists($0) }) else {
            guard isDirectory(directory) else {
                throw UserError(
                    "there is no \(directory)", hint: "make a tokenizer: train_tokenizer --input text.txt --output DIR")
            }
            let others = LLM.names(in: directory).filter { $0.hasSuffix(".txt") || $0.hasSuffix(".json") }
            throw UserError(
                "no tokenizer.json in \(directory)",
                hint: others.isEmpty
                    ? "make one: train_tokenizer --input text.txt --output \(directory)"
                    : "if one of its files is the vocabulary, give it by name: \(directory)/\(others[0])")
        }
        try self.init(path: path)
    }

    /// Reads a tokenizer.json, or what the name says: vocab.txt, encoder.json, vocab.bpe, *.tiktoken, tokenizer.bin.
    package init(path: String) throws {
        let bytes = try Tokenizer.contents(of: path)
        let file = path.split(separator: "/").last.map(String.init) ?? path
        if path.hasSuffix(".bin") {
            let (tokens, endOfText) = try Tokenizer.readBinary(bytes, name: path)
            self.init(tokens: tokens, endOfText: endOfText)
        } else if path.hasSuffix(".tiktoken") {
            self = try Tokenizer.readRanks(bytes, name: path)
        } else if path.hasSuffix(".txt"), file != "merges.txt" {
            self = try Tokenizer.readWordPieces(bytes, name: path)
        } else if ["encoder.json", "vocab.json", "vocab.bpe", "merges.txt"].contains(file) {
            self = try Tokenizer.readGPT2Files(beside: path)
        } else {
            self = try Tokenizer.readJSON(try JSON(bytes, name: path), name: path)
        }
    }

    private static let largestFile = 1 << 27

    static func contents(of path: String) throws -> [UInt8] {
        let file = try InputFile(path, hint: "make one: train_tokenizer --input text.txt --output DIR")
        guard file.size <= largestFile else {
            throw UserError("\(path) has \(file.size) bytes, too many for a tokenizer", hint: "is it the right file?")
        }
        let bytes = try file.read(file.size, of: UInt8.self, at: 0)
        // Some editors put one there. It would be part of the first token, or no JSON.
        guard !bytes.starts(with: [0xEF, 0xBB, 0xBF]) else {
            throw UserError("\(path) begins with a byte order mark", hint: "save it without: tail -c +4 FILE > NEW")
        }
        return bytes
    }

    /// Whether tokens of these contents can be trained with.
    /// - Parameter byteLevel: whether tokens are spelt in the byte alphabet.
    package static func checkSpecialTokens(_ contents: [[UInt8]], byteLevel: Bool = true) throws {
        for (index, content) in contents.enumerated() {
            let shown = String(decoding: content, as: UTF8.self)
            let hint = "write for example --special \"<|endoftext|>\" \"<|user|>\""
            guard content.count > 1 else {
                throw UserError("the special token \"\(shown)\" is too short", hint: hint, exitCode: 2)
            }
            guard !contents[..<index].contains(content) else {
                throw UserError("the special token \"\(shown)\" is given twice", hint: hint, exitCode: 2)
            }
            // In tokenizer.json it would read as the bytes that its characters stand for.
            guard !byteLevel || ByteAlphabet.bytes(for: content).map({ $0 == content }) ?? true else {
                throw UserError(
                    "the special token \"\(shown)\" is written like other bytes in the byte alphabet", hint: hint,
                    exitCode: 2)
            }
        }
    }
}
