// tokenizer.json, Hugging Face's format (huggingface/tokenizers, version "1.0"). What is written here loads there with
// the same ids and the same decoding. Byte-pair encoding and WordPiece are read, with the components that Normalizer,
// PreTokenizer, PostProcessor and Decoder know. Anything else is refused by name, never half understood.

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
        for (name, component) in [
            ("added_tokens", added), ("normalizer", components.normalizer), ("pre_tokenizer", components.preTokenizer),
            ("post_processor", components.postProcessor), ("decoder", components.decoder),
        ] {
            put(",\n  \"\(name)\": ")
            text += component.text(depth: 1)
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

        // The vocabulary is long, so it is written without building a JSON value. Hugging Face's library numbers added
        // tokens that are not in it after the count of those that are. Where ids have gaps, that would be another number.
        func putVocabulary() {
            put(",\n    \"vocab\": {")
            let size = spellings.contains([]) ? vocabularySize : modelSize
            for id in 0..<size where !spellings[id].isEmpty {
                put(id == 0 ? "\n      " : ",\n      ")
                text += JSON.quoted(spellings[id])
                put(": \(id)")
            }
            put(size == 0 ? "}" : "\n    }")
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

// MARK: - reading

extension Tokenizer {
    /// The tokenizer that a tokenizer.json describes.
    static func readJSON(_ json: JSON, name: String) throws -> Tokenizer {
        func refuse(_ what: String) -> UserError {
            UserError(
                "\(name): \(what)",
                hint: "the file is damaged or not supported; tokenize --help lists the supported formats")
        }
        guard case .object = json, let model = json["model"], case .object = model else {
            throw refuse("it has no \"model\"; is it a tokenizer.json of Hugging Face's kind?")
        }
        for key in ["truncation", "padding"] {
            if let value = json[key], !value.isNull { note("note: \(name): its \(key) is ignored") }
        }
        let components = Components(
            normalizer: json["normalizer"] ?? .null, preTokenizer: json["pre_tokenizer"] ?? .null,
            postProcessor: json["post_processor"] ?? .null, decoder: json["decoder"] ?? .null)
        let isByteLevel = try PreTokenizer.read(components.preTokenizer, refuse: refuse)?.isByteLevel ?? false

        // GPT-2's own file is older than this key.
        let type = model["type"].map { $0.text ?? "of no known type" } ?? (model["merges"] == nil ? "WordPiece" : "BPE")
        guard ["BPE", "WordPiece"].contains(type) else {
            throw refuse("its model is \(type), neither BPE nor WordPiece")
        }
        let spellings = try readVocabulary(model["vocab"], added: json["added_tokens"], refuse: refuse)
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() where !spelling.isEmpty {
            _ = vocabulary.insert(spelling, Int32(id))
        }
        let added = try readAddedTokens(json["added_tokens"], vocabulary, refuse: refuse)

        func id(of token: JSON?, _ what: String) throws -> Int32? {
            guard let token, !token.isNull else { return nil }
            guard case .string(let content) = token else { throw refuse("its \(what) is not a string") }
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
                throw refuse("its model has a dropout, which is only for training")
            }
            var characters = BytePairModel.Characters()
            characters.unknown = try id(of: model["unk_token"], "unk_token")
            characters.fusesUnknown = model["fuse_unk"]?.bool ?? false
            characters.fallsBackToBytes = model["byte_fallback"]?.bool ?? false
            for (key, path) in [
                ("continuing_subword_prefix", \BytePairModel.Characters.prefix), ("end_of_word_suffix", \.suffix),
            ] {
                guard let value = model[key], !value.isNull else { continue }
                guard case .string(let affix) = value else { throw refuse("its \(key) is not a string") }
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
        return try Tokenizer(
            model: read, spellings: spellings, addedTokens: added, components: components, refuse: refuse)
    }

    /// A byte-pair model whose symbols are bytes.
    /// - Parameter spellings: the spellings of all tokens in the byte alphabet, by id.
    package static func byteLevelModel(
        _ spellings: [[UInt8]], merges: [Merge], addedTokens: [AddedToken], unknown: Int32? = nil,
        ignoresMerges: Bool = false
    ) -> BytePairModel {
        let added = Set(addedTokens.map(\.id))
        var byteIDs = [Int32](repeating: -1, count: 256)
        var vocabulary = Vocabulary()
        for (id, spelling) in spellings.enumerated() where !spelling.isEmpty {
            guard let bytes = ByteAlphabet.bytes(for: spelling) else { continue }
            if bytes.count == 1 { byteIDs[Int(bytes[0])] = Int32(id) }
            if !added.contains(Int32(id)) { _ = vocabulary.insert(bytes, Int32(id)) }
        }
        var characters = BytePairModel.Characters()
        characters.unknown = unknown
        return BytePairModel(
            vocabulary, merges: merges, byteIDs: byteIDs, characters: characters, ignoresMerges: ignoresMerges)
    }

    /// The most ids without a token that a vocabulary may have: cl100k_base has 16, o200k_base 19.
    private static let mostGaps = 1024

    /// The spellings of a vocabulary, by id; empty for an id without a token.
    /// - Parameter added: the added tokens. Those in the vocabulary may have ids behind a gap, as tiktoken's have.
    /// - Throws: unless the ids of the others are 0, 1, 2 …, each once.
    static func readVocabulary(
        _ json: JSON?, added: JSON? = nil, refuse: (String) -> UserError
    ) throws -> [[UInt8]] {
        guard case .object(let vocabulary)? = json else { throw refuse("model.vocab is not an object") }
        var isAdded: Set<[UInt8]> = []
        if case .array(let tokens)? = added {
            for case .string(let content)? in tokens.map({ $0["content"] }) { isAdded.insert(content) }
        }
        var spellings = [[UInt8]](repeating: [], count: vocabulary.count)
        var seen = ByteStringTable()
        for (index, (spelling, value)) in vocabulary.enumerated() {
            let shown = String(decoding: spelling, as: UTF8.self)
            guard let id = value.int, id >= 0, id <= Int(Int32.max) else {
                throw refuse("the id of \"\(shown)\" is not an integer from 0 to \(Int32.max)")
            }
            guard !spelling.isEmpty else { throw refuse("the token with id \(id) is empty") }
            guard seen.insert(spelling) == index else { throw refuse("the token \"\(shown)\" occurs twice") }
            guard id < vocabulary.count + (isAdded.contains(spelling) ? mostGaps : 0) else {
                throw refuse("id \(id) is out of range: there are \(vocabulary.count) tokens")
            }
            while spellings.count <= id { spellings.append([]) }
            guard spellings[id].isEmpty else { throw refuse("id \(id) is given to two tokens") }
            spellings[id] = spelling
        }
        if let gap = spellings.firstIndex(of: []),
            let next = spellings[gap...].firstIndex(where: { !$0.isEmpty && !isAdded.contains($0) })
        {
            throw refuse("id \(gap) has no token, and id \(next) has one")
        }
        return spellings
    }

    private static func readMerges(
        _ json: JSON?, _ vocabulary: Vocabulary, prefix: [UInt8], refuse: (String) -> UserError
    ) throws -> [Merge] {
        guard case .array(let list)? = json else { throw refuse("model.merges is not an array") }
        var pairs: [([UInt8], [UInt8])] = []
        pairs.reserveCapacity(list.count)
        for (rank, merge) in list.enumerated() {
            // The first line of a merges.txt. Older versions of Hugging Face's library skip it here, too.
            if rank == 0, case .string(let text) = merge, text.starts(with: Array("#version".utf8)) { continue }
            guard let pair = sides(of: merge) else { throw refuse("merge \(rank) is not a pair of tokens") }
            pairs.append(pair)
        }
        return try Tokenizer.merges(pairs, vocabulary, prefix: prefix, refuse: refuse)
    }

    /// The merges of pairs of spellings, in the order of their rank.
    /// - Throws: if a token is not in the vocabulary.
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
                throw refuse("merge \(rank) has \"\(shown)\" on its right, which lacks the prefix")
            }
            return Merge(
                left: try id(of: pair.0, rank: rank), right: try id(of: pair.1, rank: rank),
                result: try id(of: pair.0 + pair.1.dropFirst(prefix.count), rank: rank))
        }
    }

    /// The two sides of a merge: `["a", "b"]`, or `"a b"` as in files of Hugging Face's library before version 0.20.
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

    /// The two sides of a line `a b`; nil if it has another form.
    static func sides(of line: ArraySlice<UInt8>) -> ([UInt8], [UInt8])? {
        let components = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        return components.count == 2 ? (Array(components[0]), Array(components[1])) : nil
    }

    /// The added tokens of a list as in tokenizer.json.
    static func readAddedTokens(
        _ list: JSON?, _ vocabulary: Vocabulary, refuse: (String) -> UserError
    ) throws -> [AddedToken] {
        guard let list, !list.isNull else { return [] }
        guard case .array(let values) = list else { throw refuse("added_tokens is not an array") }
        var tokens: [AddedToken] = []
        var contents = ByteStringTable()
        var ids: Set<Int32> = []
        // The search for them takes some fifty bytes of memory for each of theirs.
        let mostBytes = 1 << 22
        for (index, value) in values.enumerated() {
            guard case .string(let content)? = value["content"], !content.isEmpty else {
                throw refuse("added token \(index) has no content")
            }
            let shown = String(decoding: content, as: UTF8.self)
            guard let id = value["id"]?.int, let id = Int32(exactly: id), id >= 0 else {
                throw refuse("the id of the added token \"\(shown)\" is not an integer from 0 to \(Int32.max)")
            }
            let known = vocabulary.id(of: content)
            guard known == nil ? Int(id) >= vocabulary.count : known == id else {
                throw refuse(
                    "\"\(shown)\" has id \(id) as added token and \(known.map { "\($0)" } ?? "none") in the vocabulary"
                )
            }
            guard contents.insert(content) == tokens.count, ids.insert(id).inserted else {
                throw refuse("the added token \"\(shown)\" or its id \(id) occurs twice")
            }
            guard contents.byteCount <= mostBytes else {
                throw refuse("its added tokens have more than \(grouped(mostBytes)) bytes")
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
