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

// MARK: - tokenizer.json, writing

extension Tokenizer {
    /// The contents of a tokenizer.json, in Hugging Face's own layout: two spaces, no newline at the end.
    /// - Precondition: the tokenizer has a model.
    package func json() -> [UInt8] {
        var text: [UInt8] = []
        func put(_ words: String) { text += Array(words.utf8) }
        let added = JSON.array(
            addedTokens.map { token in
                [
                    "id": JSON(integerLiteral: Int(token.id)), "content": .string(token.content),
                    "single_word": .bool(token.isSingleWord), "lstrip": .bool(token.stripsLeft),
                    "rstrip": .bool(token.stripsRight), "normalized": .bool(token.isNormalized),
                    "special": .bool(token.isSpecial),
                ]
            })
        put("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null")
        for (name, part) in [
            ("added_tokens", added), ("normalizer", parts.normalizer), ("pre_tokenizer", parts.preTokenizer),
            ("post_processor", parts.postProcessor), ("decoder", parts.decoder),
        ] {
            put(",\n  \"\(name)\": ")
            text += part.text(depth: 1)
        }
        put(",\n  \"model\": {\n    \"type\": ")
        switch model {
        case .bytePair(let model)?: putBytePairs(model)
        case .wordPiece(let model)?:
            put("\"WordPiece\",\n    \"unk_token\": ")
            text += JSON.quoted(spellings[Int(model.unknown)])
            put(",\n    \"continuing_subword_prefix\": ")
            text += JSON.quoted(model.prefix)
            put(",\n    \"max_input_chars_per_word\": \(model.longestWord)")
            putVocabulary()
        case nil: preconditionFailure("a tokenizer without a model has no tokenizer.json")
        }
        put("\n  }\n}")
        return text

        // The vocabulary is long, so it is not made a JSON value first.
        func putVocabulary() {
            put(",\n    \"vocab\": {")
            for id in 0..<modelSize {
                put(id == 0 ? "\n      " : ",\n      ")
                text += JSON.quoted(spellings[id])
                put(": \(id)")
            }
            put(modelSize == 0 ? "}" : "\n    }")
        }
        func putBytePairs(_ model: BytePairModel) {
            func quoted(_ bytes: [UInt8]?) -> [UInt8] { bytes.map { JSON.quoted($0) } ?? Array("null".utf8) }
            let characters = model.characters
            put("\"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ")
            text += quoted(characters.unknown.map { spellings[Int($0)] })
            put(",\n    \"continuing_subword_prefix\": ")
            text += quoted(characters.prefix.isEmpty ? nil : characters.prefix)
            put(",\n    \"end_of_word_suffix\": ")
            text += quoted(characters.suffix.isEmpty ? nil : characters.suffix)
            put(",\n    \"fuse_unk\": \(characters.fusesUnknown)")
            put(",\n    \"byte_fallback\": \(characters.fallsBackToBytes)")
            put(",\n    \"ignore_merges\": \(model.ignoresMerges)")
            putVocabulary()
            put(",\n    \"merges\": [")
            for (rank, merge) in model.merges.enumerated() {
                put(rank == 0 ? "\n      [\n        " : ",\n      [\n        ")
                text += JSON.quoted(spellings[Int(merge.left)])
                put(",\n        ")
                text += JSON.quoted(spellings[Int(merge.right)])
                put("\n      ]")
            }
            put(model.merges.isEmpty ? "]" : "\n    ]")
        }
    }
}

// MARK: - tokenizer.json, reading

extension Tokenizer {
    fileprivate static func readJSON(_ json: JSON, name: String) throws -> Tokenizer {
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(name): \(what)",
                hint: "it is damaged, or of a kind that this program does not read; tokenize --help lists what it does")
        }
        guard case .object = json, let model = json["model"], case .object = model else {
            throw refuse("it has no \"model\"; is it a tokenizer.json of Hugging Face's kind?")
        }
        for part in ["truncation", "padding"] {
            if let value = json[part], !value.isNull { note("note: \(name): its \(part) is left out") }
        }
        let parts = Parts(
            normalizer: json["normalizer"] ?? .null, preTokenizer: json["pre_tokenizer"] ?? .null,
            postProcessor: json["post_processor"] ?? .null, decoder: json["decoder"] ?? .null)
        let isByteLevel = try PreTokenizer.read(parts.preTokenizer, refuse: refuse)?.isByteLevel ?? false

        // GPT-2's own file is older than the type.
        let type = model["type"].map { $0.text ?? "of no known type" } ?? (model["merges"] == nil ? "WordPiece" : "BPE")
        guard ["BPE", "WordPiece"].contains(type) else {
            throw refuse("its model is \(type), neither BPE nor WordPiece")
        }
        let spellings = try readVocabulary(model["vocab"], refuse: refuse)
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() { _ = vocabulary.insert(spelling, Int32(id)) }
        let added = try readAddedTokens(json["added_tokens"], vocabulary, refuse: refuse)

        func id(of part: JSON?, _ what: String) throws -> Int32? {
            guard let part, !part.isNull else { return nil }
            guard case .string(let content) = part else { throw refuse("its \(what) is no string") }
            guard let id = vocabulary.id(of: content) else {
                throw refuse("its \(what) \"\(String(decoding: content, as: UTF8.self))\" is not in the vocabulary")
            }
            return id
        }
        let read: TokenModel
        if type == "WordPiece" {
            guard let unknown = try id(of: model["unk_token"], "unk_token") else { throw refuse("it has no unk_token") }
            guard case .string(let prefix) = model["continuing_subword_prefix"] ?? "##",
                let longest = (model["max_input_chars_per_word"] ?? 100).int, longest >= 0
            else { throw refuse("its continuing_subword_prefix or max_input_chars_per_word is damaged") }
            read = .wordPiece(
                WordPieceModel(vocabulary, unknown: unknown, prefix: prefix, longestWord: longest))
        } else {
            if let dropout = model["dropout"], !dropout.isNull, dropout.int != 0 {
                throw refuse("its model has a dropout, which is for training only")
            }
            var characters = BytePairModel.Characters()
            characters.unknown = try id(of: model["unk_token"], "unk_token")
            characters.fusesUnknown = model["fuse_unk"]?.bool ?? false
            characters.fallsBackToBytes = model["byte_fallback"]?.bool ?? false
            for (key, path) in [
                ("continuing_subword_prefix", \BytePairModel.Characters.prefix), ("end_of_word_suffix", \.suffix),
            ] {
                guard let value = model[key], !value.isNull else { continue }
                guard case .string(let affix) = value else { throw refuse("its \(key) is no string") }
                characters[keyPath: path] = affix
            }
            let isPlain = characters.prefix.isEmpty && characters.suffix.isEmpty && !characters.fallsBackToBytes
            guard !isByteLevel || isPlain else {
                throw refuse("its pre_tokenizer is ByteLevel, and its model has a prefix, a suffix or byte_fallback")
            }
            let merges = try readMerges(model["merges"], vocabulary, prefix: characters.prefix, refuse: refuse)
            let ignores = model["ignore_merges"]?.bool ?? false
            read = .bytePair(
                isByteLevel
                    ? byteLevelModel(
                        spellings, merges: merges, addedTokens: added, unknown: characters.unknown,
                        ignoresMerges: ignores)
                    : BytePairModel(
                        vocabulary, merges: merges, byteIDs: nil, characters: characters, ignoresMerges: ignores))
        }
        return try Tokenizer(model: read, spellings: spellings, addedTokens: added, parts: parts, refuse: refuse)
    }

    /// A model whose symbols are bytes.
    /// - Parameter spellings: of all tokens by id, in the byte alphabet.
    package static func byteLevelModel(
        _ spellings: [[UInt8]], merges: [Merge], addedTokens: [AddedToken], unknown: Int32? = nil,
        ignoresMerges: Bool = false, ranks: [Int]? = nil
    ) -> BytePairModel {
        let added = Set(addedTokens.map(\.id))
        var byteIDs = [Int32](repeating: -1, count: 256)
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() {
            guard let bytes = ByteAlphabet.bytes(for: spelling) else { continue }
            if bytes.count == 1 { byteIDs[Int(bytes[0])] = Int32(id) }
            if !added.contains(Int32(id)) { _ = vocabulary.insert(bytes, Int32(id)) }
        }
        var characters = BytePairModel.Characters()
        characters.unknown = unknown
        return BytePairModel(
            vocabulary, merges: merges, byteIDs: byteIDs, characters: characters, ignoresMerges: ignoresMerges,
            ranks: ranks)
    }

    /// The spellings by id: every number from 0 up, each once.
    static func readVocabulary(_ json: JSON?, refuse: (String) -> UserError) throws -> [[UInt8]] {
        guard case .object(let vocabulary)? = json else { throw refuse("model.vocab is no object") }
        var spellings = [[UInt8]](repeating: [], count: vocabulary.count)
        var seen = ByteStringTable()
        for (index, (spelling, value)) in vocabulary.enumerated() {
            let shown = String(decoding: spelling, as: UTF8.self)
            guard let id = value.int, id >= 0, id <= Int(Int32.max) else {
                throw refuse("the id of \"\(shown)\" is no whole number from 0 to \(Int32.max)")
            }
            guard !spelling.isEmpty else { throw refuse("the token with id \(id) is empty") }
            guard seen.insert(spelling) == index else { throw refuse("the token \"\(shown)\" occurs twice") }
            guard id < spellings.count else {
                throw refuse("id \(id) is out of range: there are \(spellings.count) tokens")
            }
            guard spellings[id].isEmpty else { throw refuse("id \(id) is given to two tokens") }
            spellings[id] = spelling
        }
        return spellings
    }

    private static func readMerges(
        _ json: JSON?, _ vocabulary: Vocabulary, prefix: [UInt8], refuse: (String) -> UserError
    ) throws -> [Merge] {
        guard case .array(let list)? = json else { throw refuse("model.merges is no array") }
        var pairs: [([UInt8], [UInt8])] = []
        pairs.reserveCapacity(list.count)
        for (rank, merge) in list.enumerated() {
            // The first line of a merges.txt, which older versions of Hugging Face's library passed over here, too.
            if rank == 0, case .string(let text) = merge, text.starts(with: Array("#version".utf8)) { continue }
            guard let pair = sides(of: merge) else { throw refuse("merge \(rank) is no pair of tokens") }
            pairs.append(pair)
        }
        return try Tokenizer.merges(pairs, vocabulary, prefix: prefix, refuse: refuse)
    }

    static func merges(
        _ pairs: [([UInt8], [UInt8])], _ vocabulary: Vocabulary, prefix: [UInt8], refuse: (String) -> UserError
    ) throws -> [Merge] {
        func id(of spelling: [UInt8], rank: Int) throws -> Int32 {
            guard let id = vocabulary.id(of: spelling) else {
                let shown = String(decoding: spelling, as: UTF8.self)
                throw refuse("merge \(rank) names \"\(shown)\", which is not in the vocabulary")
            }
            return id
        }
        return try pairs.enumerated().map { rank, pair in
            guard pair.1.starts(with: prefix) else {
                let shown = String(decoding: pair.1, as: UTF8.self)
                throw refuse("merge \(rank) has \"\(shown)\" on its right, without the prefix")
            }
            return Merge(
                left: try id(of: pair.0, rank: rank), right: try id(of: pair.1, rank: rank),
                result: try id(of: pair.0 + pair.1.dropFirst(prefix.count), rank: rank))
        }
    }

    /// `["a", "b"]`, or `"a b"` as files had it before version 0.20 of Hugging Face's library.
    private static func sides(of merge: JSON) -> ([UInt8], [UInt8])? {
        switch merge {
        case .array(let pair):
            guard pair.count == 2, case .string(let left) = pair[0], case .string(let right) = pair[1] else {
                return nil
            }
            return (left, right)
        case .string(let text): return sides(of: text[...])
        default: return nil
        }
    }

    /// `a b`
    static func sides(of line: ArraySlice<UInt8>) -> ([UInt8], [UInt8])? {
        let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        return parts.count == 2 ? (Array(parts[0]), Array(parts[1])) : nil
    }

    private static func readAddedTokens(
        _ list: JSON?, _ vocabulary: Vocabulary, refuse: (String) -> UserError
    ) throws -> [AddedToken] {
        guard let list, !list.isNull else { return [] }
        guard case .array(let values) = list else { throw refuse("added_tokens is no array") }
        var tokens: [AddedToken] = []
        var contents = ByteStringTable()
        var ids: Set<Int32> = []
        for (index, value) in values.enumerated() {
            guard case .string(let content)? = value["content"], !content.isEmpty else {
                throw refuse("added token \(index) has no content")
            }
            let shown = String(decoding: content, as: UTF8.self)
            guard let id = value["id"]?.int, let id = Int32(exactly: id), id >= 0 else {
                throw refuse("the id of the added token \"\(shown)\" is no whole number from 0 to \(Int32.max)")
            }
            let known = vocabulary.id(of: content)
            guard known == nil ? Int(id) >= vocabulary.count : known == id else {
                throw refuse(
                    "\"\(shown)\" has id \(id) as added token, and \(known.map { "\($0)" } ?? "none") in the vocabulary"
                )
            }
            guard contents.insert(content) == tokens.count, ids.insert(id).inserted else {
                throw refuse("the added token \"\(shown)\" or its id \(id) occurs twice")
            }
            tokens.append(
                AddedToken(
                    id: id, content: content, isSpecial: value["special"]?.bool ?? false,
                    isNormalized: value["normalized"]?.bool ?? false,
                    isSingleWord: value["single_word"]?.bool ?? false, stripsLeft: value["lstrip"]?.bool ?? false,
                    stripsRight: value["rstrip"]?.bool ?? false))
        }
        return tokens
    }
}

// MARK: - tokenizer.bin

extension Tokenizer {
    private static let binaryMagic: Int32 = 20_240_328
    private static let headerBytes = 1024

    /// The contents of a tokenizer.bin, version 2; nil if a token is longer than the 255 bytes the format has room for.
    package func binary() -> [UInt8]? {
        var header = [Int32](repeating: 0, count: 256)
        header[0] = Tokenizer.binaryMagic
        header[1] = 2
        header[2] = Int32(vocabularySize)
        header[3] = Int32(endOfText ?? 0)
        var result = header.withUnsafeBytes { Array($0) }
        for id in 0..<vocabularySize {
            let token = bytes(of: id)
            guard (1...255).contains(token.count) else { return nil }
            result.append(UInt8(token.count))
            result += token
        }
        return result
    }

    fileprivate static func readBinary(_ bytes: [UInt8], name: String) throws -> (tokens: [[UInt8]], endOfText: Int?) {
        func refuse(_ what: String) -> UserError {
            UserError("\(name): \(what)", hint: "write it anew with train_tokenizer, or with llm.c's train_gpt2.py")
        }
        guard bytes.count >= headerBytes else { throw refuse("\(bytes.count) bytes are too few for the header") }
        let header = bytes.withUnsafeBytes { raw in
            (0..<4).map { Int(raw.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        }
        let (magic, version, count) = (header[0], header[1], header[2])
        guard magic == Int(binaryMagic) else { throw refuse("its first number is \(magic), not \(binaryMagic)") }
        guard version == 1 || version == 2 else { throw refuse("version \(version) is unknown") }
        // Two bytes per token at least.
        guard count > 0, count <= (bytes.count - headerBytes) / 2 else {
            throw refuse("\(count) tokens do not fit in its \(bytes.count) bytes")
        }
        guard version == 2 || count == 50257 else { throw refuse("version 1 has 50257 tokens, not \(count)") }
        let endOfText = version == 1 ? 50256 : header[3]
        guard (0..<count).contains(endOfText) else { throw refuse("the end-of-text id \(endOfText) is out of range") }
        var tokens: [[UInt8]] = []
        tokens.reserveCapacity(count)
        var position = headerBytes
        for id in 0..<count {
            let length = position < bytes.count ? Int(bytes[position]) : 0
            guard position < bytes.count, position + 1 + length <= bytes.count else {
                throw refuse("it ends at token \(id) of \(count)")
            }
            guard length > 0 else { throw refuse("token \(id) is empty") }
            tokens.append(Array(bytes[position + 1..<position + 1 + length]))
            position += 1 + length
        }
        guard position == bytes.count else { throw refuse("\(bytes.count - position) bytes follow its last token") }
        return (tokens, endOfText)
    }
}

// MARK: - a directory

extension Tokenizer {
    /// Writes tokenizer.json and what belongs to it into `directory`: tokenizer.bin, and for people and for Hugging
    /// Face's transformers vocab.txt, tokenizer_config.json and special_tokens_map.json.
    package func write(to directory: String) throws {
        try createDirectory(directory)
        let set = DurableFiles()
        let stale = try writeAll(to: directory, in: set)
        try set.commit(removing: stale)
    }

    /// The same, to last only with the other files of `set`.
    /// - Returns: the path that must go, if any.
    package func writeAll(to directory: String, in set: DurableFiles) throws -> [String] {
        let stale = try write(to: directory, in: set)
        for (name, contents) in [
            ("vocab.txt", readableVocabulary()), ("tokenizer_config.json", configuration().text() + [10]),
            ("special_tokens_map.json", JSON.object(namedTokens()).text() + [10]),
        ] {
            let file = try set.create("\(directory)/\(name)")
            try file.write(contents)
            try set.finish(file)
        }
        return stale
    }

    /// The id of the token that transformers takes for a role, such as `pad_token`.
    package func id(ofRole role: String) -> Int? {
        guard case .string(let content)? = JSON.object(namedTokens())[role] else { return nil }
        return addedTokens.first { $0.isSpecial && $0.content == content }.map { Int($0.id) }
    }

    /// Writes tokenizer.json and tokenizer.bin, to last only with the other files of `set`. If a token is too long for tokenizer.bin, that file is left
    /// out, and an older one must go, so that the two never disagree.
    /// - Returns: the path that must go, if any.
    package func write(to directory: String, in set: DurableFiles) throws -> [String] {
        let text = try set.create("\(directory)/tokenizer.json")
        try text.write(json())
        try set.finish(text)
        let path = "\(directory)/tokenizer.bin"
        guard let bytes = binary() else {
            note("note: a token is longer than 255 bytes, which llm.c's format has no room for: no tokenizer.bin")
            return [path]
        }
        let file = try set.create(path)
        try file.write(bytes)
        try set.finish(file)
        return []
    }

    /// One token a line, in the order of the ids: as it reads in a text, with escapes for what would not show.
    private func readableVocabulary() -> [UInt8] {
        var text: [UInt8] = []
        for id in 0..<vocabularySize { text += Array(readableToken(id).utf8) + [UInt8(ascii: "\n")] }
        return text
    }

    /// The names that transformers has for some special tokens.
    private func namedTokens() -> [(key: [UInt8], value: JSON)] {
        let names = [
            ("bos_token", ["<|endoftext|>", "<s>", "<bos>", "[BOS]", "<|begin_of_text|>"]),
            ("cls_token", ["[CLS]", "<cls>"]), ("eos_token", ["<|endoftext|>", "</s>", "<eos>", "[EOS]"]),
            ("mask_token", ["[MASK]", "<mask>"]), ("pad_token", ["[PAD]", "<pad>"]), ("sep_token", ["[SEP]", "<sep>"]),
            ("unk_token", ["[UNK]", "<unk>"]),
        ]
        let special = addedTokens.filter(\.isSpecial)
        var result: [(key: [UInt8], value: JSON)] = []
        for (name, contents) in names {
            var content = contents.map { Array($0.utf8) }.first { known in special.contains { $0.content == known } }
            if name == "unk_token", let unknown { content = spellings[Int(unknown)] }
            if let content { result.append((Array(name.utf8), .string(content))) }
        }
        return result
    }

    /// tokenizer_config.json: the keys sorted, as transformers writes them.
    private func configuration() -> JSON {
        let added = JSON.object(
            addedTokens.map { token in
                let flags: JSON = [
                    "content": .string(token.content), "lstrip": .bool(token.stripsLeft),
                    "normalized": .bool(token.isNormalized), "rstrip": .bool(token.stripsRight),
                    "single_word": .bool(token.isSingleWord), "special": .bool(token.isSpecial),
                ]
                return (Array("\(token.id)".utf8), flags)
            })
        var members: [(key: [UInt8], value: JSON)] = [
            (Array("added_tokens_decoder".utf8), added), (Array("clean_up_tokenization_spaces".utf8), false),
            // transformers' way to say that there is no limit.
            (Array("model_max_length".utf8), .number(1e30)),
            (Array("tokenizer_class".utf8), "PreTrainedTokenizerFast"),
        ]
        members += namedTokens()
        return .object(members.sorted { $0.key.lexicographicallyPrecedes($1.key) })
    }
}

/// `token` as text on one line: what is no UTF-8, and control characters, as `\\x0A`.
package func readable(_ token: [UInt8]) -> String {
    var text = ""
    token.withUnsafeBufferPointer { token in
        var position = 0
        while position < token.count {
            let next = scalar(at: position, in: token)
            let isHidden = next.value < 0x20 || (0x7F..<0xA0).contains(next.value) || next.value == 0x2028
            if (next.value == 0xFFFD && next.length == 1) || isHidden || next.value == 0x2029 {
                for byte in token[position..<position + next.length] {
                    text += byte < 16 ? "\\x0" : "\\x"
                    text += String(byte, radix: 16, uppercase: true)
                }
            } else if let scalar = Unicode.Scalar(next.value) {
                text.unicodeScalars.append(scalar)
            }
            position += next.length
        }
    }
    return text
}
