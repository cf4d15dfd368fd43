// Vocabularies in the formats of their first programs: BERT's vocab.txt, and GPT-2's encoder.json with vocab.bpe
// (elsewhere named vocab.json and merges.txt). What those programs have in their code is supplied here.

import Foundation

extension Tokenizer {
    // MARK: - BERT

    /// Reads BERT's vocab.txt: one token per line; the id is the line number, counted from 0. The tokenizer_config.json
    /// next to it says whether text is lower-cased (`do_lower_case`). Without that file, text is lower-cased unless the
    /// vocabulary contains a capital letter.
    static func readWordPieces(_ bytes: [UInt8], name: String) throws -> Tokenizer {
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(name): \(what)",
                hint: "BERT's vocab.txt has one token per line and an [UNK]; train_tokenizer's is only to look at, "
                    + "and its tokenizer.json is read")
        }
        guard bytes.withUnsafeBufferPointer({ firstInvalidUTF8(in: $0) }) == nil else { throw refuse("is not UTF-8") }
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty ?? false { lines.removeLast() }
        var vocabulary = Vocabulary()
        var spellings: [[UInt8]] = []
        for (index, line) in lines.enumerated() {
            // Like Hugging Face's library, this strips trailing white space.
            let token = Normalizer.strip(left: false, right: true)(Array(line))
            guard !token.isEmpty, vocabulary.insert(token, Int32(index)) else {
                let shown = String(decoding: token, as: UTF8.self)
                throw refuse("line \(index + 1), \"\(shown)\", is empty or occurs twice")
            }
            spellings.append(token)
        }
        guard let unknown = vocabulary.id(of: Array("[UNK]".utf8)) else { throw refuse("it has no [UNK]") }
        let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].compactMap { name in
            vocabulary.id(of: Array(name.utf8)).map { AddedToken(id: $0, content: Array(name.utf8)) }
        }
        let isSpecial = Set(special.map(\.id))
        let hasCapitals = spellings.enumerated().contains { id, token in
            !isSpecial.contains(Int32(id)) && token.first != UInt8(ascii: "[")
                && token.contains { (65...90).contains($0) }
        }
        let config = folder(of: name) + "/tokenizer_config.json"
        let settings = fileExists(config) ? try JSON(try contents(of: config), name: config) : nil
        let lowercases = settings?["do_lower_case"]?.bool ?? !hasCapitals
        let components = Components(
            normalizer: [
                "type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": .bool(settings?["tokenize_chinese_chars"]?.bool ?? true),
                "strip_accents": settings?["strip_accents"] ?? .null, "lowercase": .bool(lowercases),
            ],
            preTokenizer: ["type": "BertPreTokenizer"],
            postProcessor: template(vocabulary),
            decoder: ["type": "WordPiece", "prefix": "##", "cleanup": true])
        return try Tokenizer(
            model: .wordPiece(
                WordPieceModel(vocabulary, unknown: unknown, prefix: Array("##".utf8), longestWord: 100)),
            spellings: spellings, addedTokens: special, components: components, refuse: refuse)
    }

    /// The post-processor for `[CLS] text [SEP]`; `null` unless the vocabulary has both tokens.
    private static func template(_ vocabulary: Vocabulary) -> JSON {
        guard let cls = vocabulary.id(of: Array("[CLS]".utf8)), let sep = vocabulary.id(of: Array("[SEP]".utf8)) else {
            return .null
        }
        func item(_ kind: String, _ id: JSON, _ type: Int) -> JSON {
            .object([(Array(kind.utf8), ["id": id, "type_id": JSON(integerLiteral: type)])])
        }
        func token(_ name: JSON, _ id: Int32) -> JSON {
            ["id": name, "ids": [JSON(integerLiteral: Int(id))], "tokens": [name]]
        }
        return [
            "type": "TemplateProcessing",
            "single": [
                item("SpecialToken", "[CLS]", 0), item("Sequence", "A", 0), item("SpecialToken", "[SEP]", 0),
            ],
            "pair": [
                item("SpecialToken", "[CLS]", 0), item("Sequence", "A", 0), item("SpecialToken", "[SEP]", 0),
                item("Sequence", "B", 1), item("SpecialToken", "[SEP]", 1),
            ],
            "special_tokens": ["[CLS]": token("[CLS]", cls), "[SEP]": token("[SEP]", sep)],
        ]
    }

    // MARK: - GPT-2

    /// Reads GPT-2's vocabulary. `path` is one of its two files; the other is in the same directory, and so may be the
    /// files in which transformers keeps added tokens.
    static func readGPT2Files(beside path: String) throws -> Tokenizer {
        let directory = folder(of: path)
        let pairs = [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")].map {
            ("\(directory)/\($0.0)", "\(directory)/\($0.1)")
        }
        guard
            let (ids, merges) = pairs.first(where: {
                [$0.0, $0.1].contains(path) || "./\(path)" == $0.0 || "./\(path)" == $0.1
            }),
            fileExists(ids), fileExists(merges)
        else {
            throw UserError(
                "\(path) is one of two files, and the other is not in its directory",
                hint: "GPT-2's vocabulary is encoder.json with vocab.bpe, or vocab.json with merges.txt")
        }
        func refuse(_ file: String) -> (String) -> UserError {
            { UserError("\(file): \($0)", hint: "the file is damaged or does not belong to a vocabulary like GPT-2's") }
        }
        let spellings = try readVocabulary(try JSON(try contents(of: ids), name: ids), refuse: refuse(ids))
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() { _ = vocabulary.insert(spelling, Int32(id)) }
        var lines = try contents(of: merges).split(separator: UInt8(ascii: "\n"))
        if lines.first?.starts(with: Array("#version".utf8)) ?? false { lines.removeFirst() }
        let sides = try lines.enumerated().map { rank, line in
            var line = line
            if line.last == UInt8(ascii: "\r") { line.removeLast() }
            guard let pair = self.sides(of: line) else { throw refuse(merges)("merge \(rank) is not a pair of tokens") }
            return pair
        }
        let list = try self.merges(sides, vocabulary, prefix: [], refuse: refuse(merges))
        let settings = try readSettings("tokenizer_config.json", in: directory)
        let (file, tokens) = try addedTokens(in: directory, settings)
        var added = try readAddedTokens(.array(tokens), vocabulary, refuse: refuse(file))
        let endOfText = Array("<|endoftext|>".utf8)
        if let id = vocabulary.id(of: endOfText), !added.contains(where: { $0.id == id }) {
            added.append(AddedToken(id: id, content: endOfText, isNormalized: true))
        }
        var components = Components.byteLevel
        if settings?["add_prefix_space"]?.bool == true {
            components.preTokenizer = ["type": "ByteLevel", "add_prefix_space": true, "use_regex": true]
        }
        return try Tokenizer(
            model: .bytePair(byteLevelModel(spellings, merges: list, addedTokens: added)), spellings: spellings,
            addedTokens: added, components: components, refuse: refuse(file))
    }

    /// The contents of one of transformers' files; nil if it is not in the directory.
    private static func readSettings(_ name: String, in directory: String) throws -> JSON? {
        let path = "\(directory)/\(name)"
        return fileExists(path) ? try JSON(try contents(of: path), name: path) : nil
    }

    /// The added tokens that transformers keeps beside GPT-2's files, as a tokenizer.json lists them, and the file they
    /// are from: tokenizer_config.json; or, before version 4.34, added_tokens.json, which has only their ids, while
    /// special_tokens_map.json says which of them are special.
    private static func addedTokens(in directory: String, _ settings: JSON?) throws -> (file: String, tokens: [JSON]) {
        /// The tokens in a special_tokens_map.json: strings, objects with a content, and lists of these.
        func contents(in json: JSON?) -> [[UInt8]] {
            switch json {
            case .string(let content)?: return [content]
            case .array(let values)?: return values.flatMap { contents(in: $0) }
            case .object(let members)?:
                return json?["content"].map { contents(in: $0) } ?? members.flatMap { contents(in: $0.value) }
            default: return []
            }
        }
        if case .object(let tokens)? = settings?["added_tokens_decoder"] {
            let list = tokens.map { key, token -> JSON in
                guard case .object(let members) = token else { return token }
                let id = Int(String(decoding: key, as: UTF8.self)).map { JSON(integerLiteral: $0) }
                return .object([(Array("id".utf8), id ?? .null)] + members)
            }
            return ("\(directory)/tokenizer_config.json", list)
        }
        guard case .object(let ids)? = try readSettings("added_tokens.json", in: directory) else {
            return (directory, [])
        }
        let special = contents(in: [
            "<|endoftext|>", try readSettings("special_tokens_map.json", in: directory) ?? .null,
        ])
        let list = ids.map { content, id -> JSON in
            let isSpecial = special.contains(content)
            return [
                "id": id, "content": .string(content), "special": .bool(isSpecial), "normalized": .bool(!isSpecial),
            ]
        }
        return ("\(directory)/added_tokens.json", list)
    }
}
