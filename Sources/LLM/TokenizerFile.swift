// A tokenizer on disk, and in use.
//
// tokenizer.json is Hugging Face's format (huggingface/tokenizers, version "1.0"): what is written here loads there with
// the same ids and the same decoding. Of the many tokenizers that format can describe, those of GPT-2's kind are read:
// byte-level byte-pair encoding without a normalizer. Anything else is refused by name, never half understood.
//
// tokenizer.bin is llm.c's format: 256 int32 (20240328, version, number of tokens, the end-of-text id; version 1 has
// no such field and is GPT-2's), then per token a length byte, 1 to 255, and the bytes. It can decode only: it has no
// merges. llm.c's programs read it, and so does `Tokenizer`, for people who have nothing else.

import Foundation

/// Ids to text, and text to ids where the file has the merges.
package struct Tokenizer: Sendable {
    /// A token that stands for itself wherever it appears in a text, such as <|endoftext|>.
    package struct AddedToken: Equatable, Sendable {
        package let id: Int32
        /// UTF-8.
        package let content: [UInt8]
        /// Whether it is left out of a text meant for people, and never part of one.
        package let isSpecial: Bool
        /// Hugging Face looks for tokens with `normalized: true` after all others.
        let isNormalized: Bool

        package init(id: Int32, content: [UInt8], isSpecial: Bool = true, isNormalized: Bool = false) {
            self.id = id
            self.content = content
            self.isSpecial = isSpecial
            self.isNormalized = isNormalized
        }
    }

    /// nil if the tokenizer was read from a tokenizer.bin.
    package let model: BytePairModel?
    package let addedTokens: [AddedToken]
    /// The bytes of each id.
    private let tokens: [[UInt8]]
    /// The id that separates documents: <|endoftext|>, or if there is none the first special token.
    package let endOfText: Int?

    package var vocabularySize: Int { tokens.count }

    /// - Parameter addedTokens: with ids of `model.tokens`.
    package init(model: BytePairModel, addedTokens: [AddedToken]) {
        self.model = model
        self.addedTokens = addedTokens
        tokens = model.tokens
        let special = addedTokens.filter(\.isSpecial)
        let named = special.first { $0.content == Array("<|endoftext|>".utf8) }
        endOfText = (named ?? special.first).map { Int($0.id) }
    }

    /// Reads a tokenizer from a directory, or from a file.
    package init(at path: String) throws {
        self = fileExists(path) && !isDirectory(path) ? try Tokenizer(path: path) : try Tokenizer(directory: path)
    }

    /// Reads tokenizer.json in `directory`, or tokenizer.bin if there is no other.
    package init(directory: String) throws {
        let names = ["tokenizer.json", "tokenizer.bin"].map { "\(directory)/\($0)" }
        guard let path = names.first(where: { fileExists($0) }) else {
            throw UserError(
                "no tokenizer.json in \(directory)",
                hint: "make one: train_tokenizer --input text.txt --output \(directory)")
        }
        try self.init(path: path)
    }

    /// Reads a tokenizer.json, or a tokenizer.bin if the name ends so.
    package init(path: String) throws {
        let file = try InputFile(path, hint: "make one: train_tokenizer --input text.txt --output DIR")
        guard file.size <= Tokenizer.largestFile else {
            throw UserError("\(path) has \(file.size) bytes, too many for a tokenizer", hint: "is it the right file?")
        }
        let bytes = try file.read(file.size, of: UInt8.self, at: 0)
        if path.hasSuffix(".bin") {
            (tokens, endOfText) = try Tokenizer.readBinary(bytes, name: path)
            model = nil
            addedTokens = []
        } else {
            self = try Tokenizer.readJSON(try JSON(bytes, name: path), name: path)
        }
    }

    private static let largestFile = 1 << 27

    /// Whether tokens of these contents can be trained with.
    package static func checkSpecialTokens(_ contents: [[UInt8]]) throws {
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
            guard ByteAlphabet.bytes(for: content).map({ $0 == content }) ?? true else {
                throw UserError(
                    "the special token \"\(shown)\" is written like other bytes in the byte alphabet", hint: hint,
                    exitCode: 2)
            }
        }
    }

    // MARK: - use

    /// The bytes of one token; none for an id outside the vocabulary, such as a model's padding.
    package func bytes(of id: Int) -> [UInt8] { tokens.indices.contains(id) ? tokens[id] : [] }

    package func decode(_ ids: [Int32]) -> [UInt8] { ids.flatMap { bytes(of: Int($0)) } }

    /// How many of the 256 bytes have no token, in a vocabulary made elsewhere; nil if none is missing.
    package var missingBytes: Int? {
        let missing = model?.byteIDs.count { $0 < 0 } ?? 0
        return missing > 0 ? missing : nil
    }

    /// The ids of `text`, in which added tokens are recognised, as Hugging Face's library does: the leftmost, of those
    /// the longest. (A corpus is encoded with `BytePairEncoder` instead, for which they are text like any other.)
    package func encode(_ text: [UInt8]) throws -> [Int32] {
        var encoder = try makeEncoder()
        var ids: [Int32] = []
        let passes = [addedTokens.filter { !$0.isNormalized }, addedTokens.filter(\.isNormalized)]
        text.withUnsafeBufferPointer { text in
            for piece in split(text[...], by: passes[0]) {
                guard case .text(let text) = piece else {
                    piece.appendID(to: &ids)
                    continue
                }
                for piece in split(text, by: passes[1]) {
                    if case .text(let text) = piece {
                        encoder.encode(UnsafeBufferPointer(rebasing: text), to: &ids)
                    } else {
                        piece.appendID(to: &ids)
                    }
                }
            }
        }
        return ids
    }

    /// An encoder for plain text, with a memory of the words it has met.
    package func makeEncoder() throws -> BytePairEncoder {
        guard let model else {
            throw UserError(
                "a tokenizer.bin can decode but not encode: it has no merges",
                hint: "give a directory with a tokenizer.json")
        }
        return BytePairEncoder(model)
    }

    private enum Piece {
        case text(Slice<UnsafeBufferPointer<UInt8>>)
        case token(Int32)

        func appendID(to ids: inout [Int32]) {
            if case .token(let id) = self { ids.append(id) }
        }
    }

    private func split(_ text: Slice<UnsafeBufferPointer<UInt8>>, by added: [AddedToken]) -> [Piece] {
        let candidates = added.sorted { $0.content.count > $1.content.count }
        let firstBytes = Set(candidates.compactMap(\.content.first))
        var pieces: [Piece] = []
        var start = text.startIndex
        var position = start
        while position < text.endIndex {
            if firstBytes.contains(text[position]),
                let found = candidates.first(where: { text[position...].starts(with: $0.content) })
            {
                if start < position { pieces.append(.text(text[start..<position])) }
                pieces.append(.token(found.id))
                position += found.content.count
                start = position
            } else {
                position += 1
            }
        }
        if start < position { pieces.append(.text(text[start..<position])) }
        return pieces
    }
}

// MARK: - tokenizer.json

extension Tokenizer {
    /// The contents of a tokenizer.json, in Hugging Face's own layout: two spaces, no newline at the end.
    /// - Precondition: the tokenizer has its merges.
    package func json() -> [UInt8] {
        guard let model else { preconditionFailure("a tokenizer without merges has no tokenizer.json") }
        let added = addedTokens.sorted { $0.id < $1.id }
        var text: [UInt8] = []
        func put(_ words: String) { text += Array(words.utf8) }
        let spelling = spellings()

        put("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
        for (index, token) in added.enumerated() {
            put("\(index == 0 ? "" : ",")\n    {\n      \"id\": \(token.id),\n      \"content\": ")
            text += JSON.quoted(token.content)
            put(",\n      \"single_word\": false,\n      \"lstrip\": false,\n      \"rstrip\": false")
            put(",\n      \"normalized\": \(token.isNormalized),\n      \"special\": \(token.isSpecial)\n    }")
        }
        put(added.isEmpty ? "],\n" : "\n  ],\n")
        put("  \"normalizer\": null,\n")
        put("  \"pre_tokenizer\": {\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": false,\n")
        put("    \"trim_offsets\": true,\n    \"use_regex\": true\n  },\n")
        put("  \"post_processor\": null,\n")
        put("  \"decoder\": {\n    \"type\": \"ByteLevel\",\n    \"add_prefix_space\": true,\n")
        put("    \"trim_offsets\": true,\n    \"use_regex\": true\n  },\n")
        put("  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n")
        put("    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n")
        put("    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n")
        put("    \"vocab\": {")
        for (id, spelling) in spelling.enumerated() {
            put(id == 0 ? "\n      " : ",\n      ")
            text += JSON.quoted(spelling)
            put(": \(id)")
        }
        put(spelling.isEmpty ? "},\n" : "\n    },\n")
        put("    \"merges\": [")
        for (rank, merge) in model.merges.enumerated() {
            put(rank == 0 ? "\n      [\n        " : ",\n      [\n        ")
            text += JSON.quoted(spelling[Int(merge.left)])
            put(",\n        ")
            text += JSON.quoted(spelling[Int(merge.right)])
            put("\n      ]")
        }
        put(model.merges.isEmpty ? "]\n  }\n}" : "\n    ]\n  }\n}")
        return text
    }

    /// How each token stands in the vocabulary: added tokens as they are, others in the byte alphabet.
    private func spellings() -> [[UInt8]] {
        var spellings = tokens.map { ByteAlphabet.characters(for: $0) }
        for token in addedTokens { spellings[Int(token.id)] = token.content }
        return spellings
    }

    fileprivate static func readJSON(_ json: JSON, name: String) throws -> Tokenizer {
        func refuse(_ what: String, _ hint: String = "the file is damaged, or made by a program with a mistake")
            -> UserError
        { UserError("\(name): \(what)", hint: hint) }
        let scope = "this program reads byte-level BPE tokenizers as train_tokenizer writes them, or GPT-2's"

        guard case .object = json, let model = json["model"], case .object = model else {
            throw refuse("it has no \"model\"", "is it a tokenizer.json of Hugging Face's kind? \(scope)")
        }
        // The parts whose presence would change the ids.
        try checkParts(json, model, refuse: { refuse($0, scope) })

        guard case .object(let vocabulary)? = model["vocab"] else { throw refuse("model.vocab is no object") }
        guard case .array(let mergeList)? = model["merges"] else { throw refuse("model.merges is no array") }
        let added = try readAddedTokens(json["added_tokens"], refuse: { refuse($0) })

        // Ids: every number from 0 up, each once.
        var idOf = ByteStringTable()
        var ids: [Int] = []
        func insert(_ spelling: [UInt8], _ id: Int?) throws {
            let shown = String(decoding: spelling, as: UTF8.self)
            guard let id, id >= 0, id <= Int(Int32.max) else {
                throw refuse("the id of \"\(shown)\" is no whole number from 0 to \(Int32.max)")
            }
            guard !spelling.isEmpty else { throw refuse("the token with id \(id) is empty") }
            guard idOf.insert(spelling) == ids.count else { throw refuse("the token \"\(shown)\" occurs twice") }
            ids.append(id)
        }
        for (spelling, id) in vocabulary { try insert(spelling, id.int) }
        for token in added {
            if let index = idOf.index(of: token.content) {
                guard ids[index] == Int(token.id) else {
                    let shown = String(decoding: token.content, as: UTF8.self)
                    throw refuse("\"\(shown)\" has id \(ids[index]) in the vocabulary and \(token.id) as added token")
                }
            } else {
                try insert(token.content, Int(token.id))
            }
        }
        let isAdded = Set(added.map(\.id))
        var tokens = [[UInt8]](repeating: [], count: ids.count)
        for (index, id) in ids.enumerated() {
            let spelling = Array(idOf[index])
            guard id < ids.count else { throw refuse("id \(id) is out of range: there are \(ids.count) tokens") }
            guard tokens[id].isEmpty else { throw refuse("id \(id) is given to two tokens") }
            if isAdded.contains(Int32(id)) {
                tokens[id] = spelling
            } else if let bytes = ByteAlphabet.bytes(for: spelling) {
                tokens[id] = bytes
            } else {
                let shown = String(decoding: spelling, as: UTF8.self)
                throw refuse("the token \"\(shown)\" is neither written in the byte alphabet nor an added token", scope)
            }
        }

        func id(of spelling: [UInt8], rank: Int) throws -> Int32 {
            guard let index = idOf.index(of: spelling) else {
                let shown = String(decoding: spelling, as: UTF8.self)
                throw refuse("merge \(rank) names \"\(shown)\", which is not in the vocabulary")
            }
            return Int32(ids[index])
        }
        var merges: [Merge] = []
        merges.reserveCapacity(mergeList.count)
        for (rank, merge) in mergeList.enumerated() {
            guard let (left, right) = sides(of: merge) else { throw refuse("merge \(rank) is no pair of tokens") }
            merges.append(
                Merge(
                    left: try id(of: left, rank: rank), right: try id(of: right, rank: rank),
                    result: try id(of: left + right, rank: rank)))
        }
        let byteIDs = (0..<256).map { byte in
            idOf.index(of: ByteAlphabet.characters(for: [UInt8(byte)])).map { Int32(ids[$0]) } ?? -1
        }
        return Tokenizer(model: BytePairModel(tokens: tokens, merges: merges, byteIDs: byteIDs), addedTokens: added)
    }

    /// `["a", "b"]`, or `"a b"` as files had it before version 0.20 of Hugging Face's library.
    private static func sides(of merge: JSON) -> ([UInt8], [UInt8])? {
        switch merge {
        case .array(let pair):
            guard pair.count == 2, case .string(let left) = pair[0], case .string(let right) = pair[1] else {
                return nil
            }
            return (left, right)
        case .string(let text):
            let parts = text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            return parts.count == 2 ? (Array(parts[0]), Array(parts[1])) : nil
        default: return nil
        }
    }

    private static func checkParts(_ json: JSON, _ model: JSON, refuse: (String) -> UserError) throws {
        func type(_ part: JSON?) -> String { part?["type"]?.text ?? "without a type" }
        // GPT-2's own file is older than the type.
        if let kind = model["type"], kind.text != "BPE" {
            throw refuse("its model is \(kind.text ?? "of no known type"), not BPE")
        }
        guard let preTokenizer = json["pre_tokenizer"], type(preTokenizer) == "ByteLevel" else {
            throw refuse("its pre_tokenizer is \(type(json["pre_tokenizer"])), not ByteLevel")
        }
        guard preTokenizer["add_prefix_space"]?.bool == false else {
            throw refuse("its pre_tokenizer has add_prefix_space, so a text would not survive the round trip")
        }
        guard preTokenizer["use_regex"]?.bool ?? true else { throw refuse("its pre_tokenizer has use_regex false") }
        for (part, allowed) in [("normalizer", []), ("post_processor", ["ByteLevel"]), ("decoder", ["ByteLevel"])] {
            guard let value = json[part], !value.isNull else { continue }
            guard allowed.contains(type(value)) else { throw refuse("it has a \(part) (\(type(value)))") }
        }
        guard let decoder = json["decoder"], !decoder.isNull else { throw refuse("its decoder is not ByteLevel") }
        if let truncation = json["truncation"], !truncation.isNull { throw refuse("it truncates") }
        for flag in ["byte_fallback", "ignore_merges"] {
            if let value = model[flag], !value.isNull, value.bool != false { throw refuse("model.\(flag) is set") }
        }
        if let dropout = model["dropout"], !dropout.isNull, dropout.int != 0 { throw refuse("model.dropout is set") }
        for affix in ["continuing_subword_prefix", "end_of_word_suffix", "unk_token"] {
            // Of the unknown token nothing is ever seen: all bytes are known.
            if let value = model[affix], !value.isNull, value.text != "", affix != "unk_token" {
                throw refuse("model.\(affix) is set")
            }
        }
    }

    private static func readAddedTokens(_ list: JSON?, refuse: (String) -> UserError) throws -> [AddedToken] {
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
            if let flag = ["single_word", "lstrip", "rstrip"].first(where: { value[$0]?.bool ?? false }) {
                throw refuse("the added token \"\(shown)\" has \(flag), which this program does not know")
            }
            guard contents.insert(content) == tokens.count, ids.insert(id).inserted else {
                throw refuse("the added token \"\(shown)\" or its id \(id) occurs twice")
            }
            tokens.append(
                AddedToken(
                    id: id, content: content, isSpecial: value["special"]?.bool ?? false,
                    isNormalized: value["normalized"]?.bool ?? false))
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
        header[2] = Int32(tokens.count)
        header[3] = Int32(endOfText ?? 0)
        var bytes = header.withUnsafeBytes { Array($0) }
        for token in tokens {
            guard (1...255).contains(token.count) else { return nil }
            bytes.append(UInt8(token.count))
            bytes += token
        }
        return bytes
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

    /// Writes tokenizer.json and tokenizer.bin into `directory`.
    package func write(to directory: String) throws {
        try createDirectory(directory)
        let set = DurableFiles()
        try set.commit(removing: try write(to: directory, in: set))
    }

    /// The same, to last only with the other files of `set`. If a token is too long for tokenizer.bin, that file is left
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
}
