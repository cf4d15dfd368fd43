// Reading a tokenizer from disk: the choice of the file and its format. TokenizerJSON.swift has Hugging Face's
// tokenizer.json, TokenizerBinary.swift llm.c's tokenizer.bin, VocabularyFiles.swift the formats of BERT and GPT-2,
// TiktokenFile.swift that of tiktoken. TokenizerDirectory.swift writes.

import Foundation

extension Tokenizer {
    /// Reads a tokenizer from a directory, or from a file.
    package init(at path: String) throws {
        self = fileExists(path) && !isDirectory(path) ? try Tokenizer(path: path) : try Tokenizer(directory: path)
        if let warning = lostWords { note("warning: \(path): \(warning)") }
    }

    /// What is said of a WordPiece vocabulary whose tokens the normalizer keeps out of texts: a cased vocabulary with the
    /// settings of an uncased one, or the other way round. Nil where they fit.
    package var lostWords: String? {
        guard case .wordPiece? = model, case .bert(_, _, let stripsAccents, let lowercases)? = normalizer else {
            return nil
        }
        let added = Set(addedTokens.map(\.id))
        let words = spellings.indices.filter { !added.contains(Int32($0)) && spellings[$0].first != UInt8(ascii: "[") }
        func count(_ condition: (UInt32) -> Bool) -> Int {
            words.count { scalars(of: spellings[$0]).contains(where: condition) }
        }
        let setting = "; the setting is do_lower_case in tokenizer_config.json, or lowercase in tokenizer.json"
        let capitals = count { (0x41...0x5A).contains($0) }
        if lowercases, capitals > 0 {
            return "text becomes lower case, so \(grouped(capitals)) tokens with capital letters never come up"
                + setting
        }
        // With its accents a syllable loses its form: it becomes a consonant, a vowel, and perhaps another consonant.
        let syllables = stripsAccents ? count { (0xAC00...0xD7A3).contains($0) } : 0
        if syllables > 0 {
            return "stripping accents takes Hangul apart, so \(grouped(syllables)) tokens with syllables never come up"
                + setting + " (or strip_accents)"
        }
        if !lowercases, capitals == 0, 2 * count({ (0x61...0x7A).contains($0) }) > words.count {
            return "text keeps its capital letters and no token has one, so words with them are unknown" + setting
        }
        return nil
    }

    /// Reads the tokenizer.json in `directory`; if there is none, another vocabulary, with tokenizer.bin as the last
    /// choice.
    package init(directory: String) throws {
        try finishInterruptedWrites(in: directory)
        guard let path = Tokenizer.file(in: directory) else {
            guard isDirectory(directory) else {
                throw UserError(
                    "there is no \(directory)", hint: "make a tokenizer: train_tokenizer --input text.txt --output DIR")
            }
            if Tokenizer.vocabularyIsToLookAt(in: directory) {
                throw UserError(
                    "no tokenizer.json in \(directory), and its vocab.txt is only to look at",
                    hint: "copy tokenizer.json from where it was written, too, or write it again with train_tokenizer")
            }
            let others = LLM.names(in: directory).filter {
                $0.hasSuffix(".txt") || $0.hasSuffix(".json") && !$0.hasSuffix("config.json")
            }
            let isModel = fileExists("\(directory)/config.json")
            throw UserError(
                "no tokenizer.json in \(directory)",
                hint: !others.isEmpty
                    ? "if one of its files is the vocabulary, name it: \(directory)/\(others[0])"
                    : isModel
                        ? "name the tokenizer that the model was trained with: --tokenizer DIR"
                        : "make one: train_tokenizer --input text.txt --output \(directory)")
        }
        try self.init(path: path)
    }

    /// The path of the tokenizer in a directory; nil if there is none.
    package static func file(in directory: String) -> String? {
        var names = ["tokenizer.json", "encoder.json", "vocab.json", "vocab.txt"]
        if vocabularyIsToLookAt(in: directory) { names.removeLast() }
        names += LLM.names(in: directory).filter { $0.hasSuffix(".tiktoken") } + ["tokenizer.bin"]
        return names.map { "\(directory)/\($0)" }.first { fileExists($0) }
    }

    /// Whether the vocab.txt in a directory is not BERT's but one that was written beside a tokenizer.json.
    private static func vocabularyIsToLookAt(in directory: String) -> Bool {
        let config = "\(directory)/tokenizer_config.json"
        guard fileExists("\(directory)/vocab.txt"), fileExists(config),
            let settings = try? JSON(try contents(of: config), name: config)
        else { return false }
        return settings["tokenizer_class"]?.text == "PreTrainedTokenizerFast"
    }

    /// Reads a tokenizer.json, or the format that the name indicates: vocab.txt, encoder.json, vocab.bpe, *.tiktoken,
    /// tokenizer.bin.
    package init(path: String) throws {
        try finishInterruptedWrites(in: LLM.folder(of: path))
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

    /// The size limit of a tokenizer's file, in bytes.
    private static let largestFile = 1 << 27

    /// The contents of a tokenizer's file.
    static func contents(of path: String) throws -> [UInt8] {
        let file = try InputFile(path, hint: "make one: train_tokenizer --input text.txt --output DIR")
        guard file.size <= largestFile else {
            throw UserError(
                "\(path) has \(file.size) bytes, which is too many for a tokenizer", hint: "is it the right file?")
        }
        let bytes = try file.read(file.size, of: UInt8.self, at: 0)
        // Some editors write one. It would become part of the first token, or make the JSON invalid.
        guard !bytes.starts(with: [0xEF, 0xBB, 0xBF]) else {
            throw UserError("\(path) begins with a byte order mark", hint: "remove it: tail -c +4 FILE > NEW")
        }
        return bytes
    }

    /// Checks that these special tokens can be used in training.
    /// - Parameter byteLevel: whether tokens are spelt in the byte alphabet.
    /// - Throws: if a token is too short, given twice, or would be read as other bytes.
    package static func checkSpecialTokens(_ contents: [[UInt8]], byteLevel: Bool = true) throws {
        for (index, content) in contents.enumerated() {
            let shown = String(decoding: content, as: UTF8.self)
            let hint = "for example: --special \"<|endoftext|>\" \"<|user|>\""
            guard content.count > 1 else {
                throw UserError("the special token \"\(shown)\" is too short", hint: hint, exitCode: 2)
            }
            guard !contents[..<index].contains(content) else {
                throw UserError("the special token \"\(shown)\" is given twice", hint: hint, exitCode: 2)
            }
            // In a tokenizer.json it would be read as the bytes that its characters stand for.
            guard !byteLevel || ByteAlphabet.bytes(for: content).map({ $0 == content }) ?? true else {
                throw UserError(
                    "the special token \"\(shown)\" spells other bytes in the byte alphabet", hint: hint,
                    exitCode: 2)
            }
        }
    }
}
