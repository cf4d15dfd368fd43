// Vocabularies in the files of their first programs: BERT's vocab.txt, GPT-2's encoder.json with vocab.bpe (elsewhere
// called vocab.json and merges.txt), and tiktoken's rank files. What those programs know by heart is put here.

import Foundation

extension Tokenizer {
    // MARK: - BERT

    /// A token a line, its id the line's number from 0. Whether the text is lower-cased says the tokenizer_config.json
    /// beside it (`do_lower_case`); without one, a vocabulary that has a capital letter is for text as it is.
    static func readWordPieces(_ bytes: [UInt8], name: String) throws -> Tokenizer {
        func refuse(_ what: String) -> UserError {
            UserError("\(name): \(what)", hint: "is it a vocab.txt of BERT's kind, one token a line with [UNK]?")
        }
        guard bytes.withUnsafeBufferPointer({ firstInvalidUTF8(in: $0) }) == nil else { throw refuse("is not UTF-8") }
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        if lines.last?.isEmpty ?? false { lines.removeLast() }
        var vocabulary = Vocabulary()
        var spellings: [[UInt8]] = []
        for (index, line) in lines.enumerated() {
            // White space at the end goes, as Hugging Face's library has it.
            let token = Normalizer.strip(left: false, right: true)(Array(line))
            guard !token.isEmpty, vocabulary.insert(token, Int32(index)) else {
                let shown = String(decoding: token, as: UTF8.self)
                throw refuse("line \(index + 1), \"\(shown)\", is empty or stands there twice")
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

    /// `[CLS] text [SEP]`, if the vocabulary has both.
    private static func template(_ vocabulary: Vocabulary) -> JSON {
        guard let cls = vocabulary.id(of: Array("[CLS]".utf8)), let sep = vocabulary.id(of: Array("[SEP]".utf8)) else {
            return .null
        }
        func piece(_ kind: String, _ id: JSON, _ type: Int) -> JSON {
            .object([(Array(kind.utf8), ["id": id, "type_id": JSON(integerLiteral: type)])])
        }
        func token(_ name: JSON, _ id: Int32) -> JSON {
            ["id": name, "ids": [JSON(integerLiteral: Int(id))], "tokens": [name]]
        }
        return [
            "type": "TemplateProcessing",
            "single": [
                piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0), piece("SpecialToken", "[SEP]", 0),
            ],
            "pair": [
                piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0), piece("SpecialToken", "[SEP]", 0),
                piece("Sequence", "B", 1), piece("SpecialToken", "[SEP]", 1),
            ],
            "special_tokens": ["[CLS]": token("[CLS]", cls), "[SEP]": token("[SEP]", sep)],
        ]
    }

    // MARK: - GPT-2

    /// `path` is one of the two files; the other lies beside it.
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
                "\(path) is one of two files, and the other is not beside it",
                hint: "GPT-2's vocabulary is encoder.json with vocab.bpe, or vocab.json with merges.txt")
        }
        func refuse(_ file: String) -> (String) -> UserError {
            { UserError("\(file): \($0)", hint: "the file is damaged, or no part of a vocabulary of GPT-2's kind") }
        }
        let spellings = try readVocabulary(try JSON(try contents(of: ids), name: ids), refuse: refuse(ids))
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() { _ = vocabulary.insert(spelling, Int32(id)) }
        var lines = try contents(of: merges).split(separator: UInt8(ascii: "\n"))
        if lines.first?.starts(with: Array("#version".utf8)) ?? false { lines.removeFirst() }
        let sides = try lines.enumerated().map { rank, line in
            var line = line
            if line.last == UInt8(ascii: "\r") { line.removeLast() }
            guard let pair = self.sides(of: line) else { throw refuse(merges)("merge \(rank) is no pair of tokens") }
            return pair
        }
        let list = try self.merges(sides, vocabulary, prefix: [], refuse: refuse(merges))
        let added = ["<|endoftext|>"].compactMap { name in
            vocabulary.id(of: Array(name.utf8)).map {
                AddedToken(id: $0, content: Array(name.utf8), isNormalized: true)
            }
        }
        return try Tokenizer(
            model: .bytePair(byteLevelModel(spellings, merges: list, addedTokens: added)), spellings: spellings,
            addedTokens: added, components: .byteLevel, refuse: refuse(ids))
    }

    // MARK: - tiktoken

    /// A line for each token: its bytes in base64, and its rank, which is its id. Pairs are merged by the rank of what
    /// they become, and a word that is a token is taken whole. The file says nothing of special tokens nor of words:
    /// GPT-2's 50,256 ranks get <|endoftext|> and GPT-2's words, and so does any other number but those of
    /// vocabularies that are known to cut words in another way, which are refused.
    static func readRanks(_ bytes: [UInt8], name: String) throws -> Tokenizer {
        func refuse(_ what: String) -> UserError {
            UserError("\(name): \(what)", hint: "is it a rank file of tiktoken's, such as r50k_base.tiktoken?")
        }
        var tokens: [[UInt8]] = []
        var vocabulary = Vocabulary()
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
            let words = line.split(separator: UInt8(ascii: " "))
            guard words.count == 2, let data = Data(base64Encoded: Data(words[0])), !data.isEmpty,
                let rank = Int(String(decoding: words[1], as: UTF8.self).trimmingCharacters(in: .whitespaces))
            else { throw refuse("line \(index + 1) is no token in base64 with its rank") }
            guard rank == tokens.count else { throw refuse("line \(index + 1) has rank \(rank), not \(tokens.count)") }
            guard vocabulary.insert(Array(data), Int32(rank)) else { throw refuse("rank \(rank) occurs twice") }
            tokens.append(Array(data))
        }
        guard !tokens.isEmpty else { throw refuse("it is empty") }
        let known = [100_256: "cl100k_base", 199_998: "o200k_base"]
        if let other = known[tokens.count] {
            throw refuse(
                "it has the \(tokens.count) ranks of \(other), whose words are cut by a pattern not known here")
        }
        // Every way to cut a token in two tokens is a merge, of the token's rank.
        var merges: [Merge] = []
        var ranks: [Int] = []
        for (rank, token) in tokens.enumerated() {
            var ways: [Merge] = []
            for cut in 1..<max(1, token.count) {
                guard let left = vocabulary.id(of: Array(token[..<cut])),
                    let right = vocabulary.id(of: Array(token[cut...]))
                else { continue }
                ways.append(Merge(left: left, right: right, result: Int32(rank)))
            }
            merges += ways.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
            ranks += ways.map { _ in rank }
        }
        var spellings = tokens.map { ByteAlphabet.characters(for: $0) }
        let end = Array("<|endoftext|>".utf8)
        let added = [AddedToken(id: Int32(spellings.count), content: end)]
        spellings.append(end)
        let model = byteLevelModel(
            spellings, merges: merges, addedTokens: added, ignoresMerges: true, ranks: ranks)
        return try Tokenizer(
            model: .bytePair(model), spellings: spellings, addedTokens: added, components: .byteLevel, refuse: refuse)
    }
}
