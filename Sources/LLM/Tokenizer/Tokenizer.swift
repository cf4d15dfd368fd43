// Text to ids and back, through the steps of Hugging Face's tokenizers library:
//
//   added tokens → normalizer → normalized added tokens → pre-tokenizer → model → post-processor          decoder
//
// Each step has its own file: AddedToken, Normalizer, PreTokenizer (WordPattern), BytePairModel or WordPieceModel,
// PostProcessor, Decoder. TextEncoder runs them, and DecodeStream the last. Files/ reads tokenizers from disk and writes them.

/// A tokenizer: decodes ids to text, and encodes text to ids if it has a model.
package struct Tokenizer: Sendable {
    /// The components other than the model, as tokenizer.json describes them; they are written back as they were read.
    package struct Components: Sendable {
        package var normalizer: JSON
        package var preTokenizer: JSON
        package var postProcessor: JSON
        package var decoder: JSON

        package init(
            normalizer: JSON = .null, preTokenizer: JSON = .null, postProcessor: JSON = .null, decoder: JSON = .null
        ) {
            self.normalizer = normalizer
            self.preTokenizer = preTokenizer
            self.postProcessor = postProcessor
            self.decoder = decoder
        }

        /// GPT-2's components.
        package static let byteLevel = forWords(of: .gpt2)

        /// The components of a vocabulary of bytes, as GPT-2, Llama 3 and others have them.
        static func forWords(of pattern: WordPattern) -> Components {
            let isGPT2 = pattern == .gpt2
            let bytes: JSON = [
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(isGPT2),
            ]
            let words: JSON = [
                "type": "Split", "pattern": ["Regex": .string(Array(pattern.regex.utf8))], "behavior": "Isolated",
                "invert": false,
            ]
            return Components(
                preTokenizer: isGPT2 ? bytes : ["type": "Sequence", "pretokenizers": [words, bytes]],
                decoder: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true])
        }

        /// The steps that training counts words with.
        package func trainingSteps() throws -> (preTokenizer: PreTokenizer, normalizer: Normalizer?) {
            func refuse(_ what: String) -> UserError { UserError(what, hint: "choose a supported component") }
            guard let words = try PreTokenizer.read(preTokenizer, refuse: refuse) else {
                throw refuse("there is no pre_tokenizer")
            }
            return (words, try Normalizer.read(normalizer, refuse: refuse))
        }
    }

    /// The model; nil if the tokenizer was read from a tokenizer.bin.
    package let model: TokenModel?
    package let components: Components
    /// The added tokens, in the order of their ids.
    package let addedTokens: [AddedToken]
    /// The text of each token, by id, as the vocabulary or the added tokens spell it; empty for an id without a token.
    package let spellings: [[UInt8]]
    /// The number of tokens in the model's vocabulary. Later ids are added tokens that the model lacks.
    package let modelSize: Int
    let normalizer: Normalizer?
    let preTokenizer: PreTokenizer?
    let decoder: Decoder?
    private let postProcessor: PostProcessor
    /// The spellings that the decoder sees: those of normalized added tokens are in their normalized form.
    let decodedSpellings: [[UInt8]]
    /// The bytes of each token, by id, if the decoder is GPT-2's.
    let bytesOfTokens: [[UInt8]]?
    /// The id of the token that separates documents: <|endoftext|>, else another usual one, else the first special
    /// token.
    package let endOfText: Int?

    package var vocabularySize: Int { spellings.count }

    /// - Parameters:
    ///   - spellings: the model's tokens, by id.
    ///   - addedTokens: their ids are in the model's vocabulary or follow it without a gap.
    ///   - refuse: makes the error that says what is unsupported or malformed.
    package init(
        model: TokenModel, spellings: [[UInt8]], addedTokens: [AddedToken], components: Components,
        refuse: (String) -> UserError = { UserError($0, hint: "choose supported components") }
    ) throws {
        self.model = model
        self.components = components
        self.addedTokens = addedTokens.sorted { $0.id < $1.id }
        modelSize = spellings.count
        var all = spellings
        for token in self.addedTokens {
            guard token.id >= 0, token.id <= all.count else {
                throw refuse("the id \(token.id) of an added token is out of range: there are \(all.count) tokens")
            }
            if Int(token.id) == all.count { all.append(token.content) }
        }
        self.spellings = all
        normalizer = try Normalizer.read(components.normalizer, refuse: refuse)
        preTokenizer = try PreTokenizer.read(components.preTokenizer, refuse: refuse)
        decoder = try Decoder.read(components.decoder, refuse: refuse)
        postProcessor = try PostProcessor.read(
            components.postProcessor, vocabularySize: all.count, refuse: refuse)
        if case .bytePair(let model) = model, (preTokenizer?.isByteLevel ?? false) != (model.byteIDs != nil) {
            throw refuse("its model and its pre_tokenizer disagree on whether symbols are bytes")
        }
        var decoded = all
        for token in self.addedTokens where token.isNormalized {
            if let normalizer { decoded[Int(token.id)] = normalizer(token.content) }
        }
        decodedSpellings = decoded
        if case .byteLevel? = decoder {
            bytesOfTokens = decoded.map { ByteAlphabet.bytes(for: $0) ?? $0 }
        } else {
            bytesOfTokens = nil
        }
        endOfText = Tokenizer.separator(of: self.addedTokens)
    }

    /// A tokenizer from the result of training.
    /// - Parameters:
    ///   - characters: ignored if the symbols are bytes.
    ///   - components: the ones that the words were counted with.
    package init(
        _ learnt: LearntBytePairs, characters: BytePairModel.Characters = BytePairModel.Characters(),
        addedTokens: [AddedToken], components: Components = .byteLevel
    ) throws {
        let isByteLevel = try components.trainingSteps().preTokenizer.isByteLevel
        var vocabulary = Vocabulary()
        for (id, spelling) in learnt.spellings.enumerated() where !isByteLevel {
            _ = vocabulary.insert(spelling, Int32(id))
        }
        let model =
            isByteLevel
            ? Tokenizer.byteLevelModel(learnt.spellings, merges: learnt.merges, addedTokens: addedTokens)
            : BytePairModel(vocabulary, merges: learnt.merges, byteIDs: nil, characters: characters)
        try self.init(
            model: .bytePair(model), spellings: learnt.spellings, addedTokens: addedTokens, components: components)
    }

    /// A tokenizer that can only decode.
    init(tokens: [[UInt8]], endOfText: Int?) {
        model = nil
        components = Components()
        addedTokens = []
        spellings = tokens
        modelSize = tokens.count
        normalizer = nil
        preTokenizer = nil
        decoder = .byteLevel
        postProcessor = PostProcessor()
        decodedSpellings = tokens
        bytesOfTokens = tokens
        self.endOfText = endOfText
    }

    private static func separator(of added: [AddedToken]) -> Int? {
        let special = added.filter(\.isSpecial)
        for name in ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]"] {
            if let token = special.first(where: { $0.content == Array(name.utf8) }) { return Int(token.id) }
        }
        return special.first.map { Int($0.id) }
    }

    // MARK: - Encoding and decoding

    /// The bytes that a token adds to a text in the middle of other tokens; empty for an id outside the vocabulary,
    /// such as the padding of a model's vocabulary. A byte-level token may be only part of a character.
    package func bytes(of id: Int) -> [UInt8] {
        guard spellings.indices.contains(id) else { return [] }
        if let bytesOfTokens { return bytesOfTokens[id] }
        let spelling = decodedSpellings[id]
        guard let decoder else { return [UInt8(ascii: " ")] + spelling }
        if decoder.hasByteFallback, let byte = Decoder.byte(of: spelling) { return [byte] }
        let a: [UInt8] = [UInt8(ascii: "a")]
        return Array(decoder([a, spelling, a]).dropFirst().dropLast(decoder([a, a]).count - 1))
    }

    /// The text of `ids`, decoded as by Hugging Face's library, except that incomplete characters keep their bytes
    /// instead of becoming U+FFFD.
    package func decode(_ ids: [Int32], skippingSpecialTokens: Bool = false) -> [UInt8] {
        var ids = ids
        if skippingSpecialTokens {
            let special = Set(addedTokens.filter(\.isSpecial).map(\.content))
            ids.removeAll { spellings.indices.contains(Int($0)) && special.contains(decodedSpellings[Int($0)]) }
        }
        return decode(ids, after: [])
    }

    /// What `ids` add to the text of `context`.
    package func decode(_ ids: [Int32], after context: [Int32]) -> [UInt8] {
        var stream = DecodeStream(self, after: context)
        return ids.flatMap { stream.add($0) } + stream.finish()
    }

    /// The number of bytes (of 256) without a token, for vocabularies made elsewhere; nil if none is missing.
    package var missingBytes: Int? {
        guard case .bytePair(let model)? = model, let byteIDs = model.byteIDs else { return nil }
        let missing = byteIDs.count { $0 < 0 }
        return missing > 0 ? missing : nil
    }

    /// The id of the unknown token, which stands for whatever the vocabulary lacks; nil if there is none.
    package var unknown: Int32? {
        switch model {
        case .bytePair(let model)?: return model.byteIDs == nil ? model.characters.unknown : nil
        case .wordPiece(let model)?: return model.unknown
        case nil: return nil
        }
    }

    /// The ids of `text`. Added tokens in it are recognized.
    /// - Parameter usingTemplate: whether the post-processor adds its tokens, such as `[CLS]` and `[SEP]`.
    package func encode(_ text: [UInt8], usingTemplate: Bool = true) throws -> [Int32] {
        var encoder = try makeEncoder(recognizesSpecialTokens: true)
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        return usingTemplate ? puttingTemplate(around: ids) : ids
    }

    /// `ids` with the tokens that the post-processor adds, such as `[CLS]` and `[SEP]`.
    package func puttingTemplate(around ids: [Int32]) -> [Int32] { postProcessor(ids) }

    /// A new encoder, which caches the words it has encoded.
    /// - Parameter recognizesSpecialTokens: false for a corpus, in which a special token is ordinary text.
    package func makeEncoder(recognizesSpecialTokens: Bool = false) throws -> TextEncoder {
        guard let model else {
            throw UserError(
                "a tokenizer.bin can decode but not encode: it has no merges",
                hint: "use a directory with a tokenizer.json")
        }
        return TextEncoder(self, model, recognizesSpecialTokens: recognizesSpecialTokens)
    }

    /// Where a corpus may be cut so that its sections, encoded separately, give the ids of the whole.
    package var cut: TextCut {
        let added = addedTokens.filter { !$0.isSpecial }
        let pattern = preTokenizer?.pattern
        if normalizer == nil, added.isEmpty, let pattern { return .betweenWords(pattern) }
        if let pattern, pattern != .gpt2 {
            // Cuts are before a space and after a line end, so none is in a token that has them at its beginning at most.
            let addedByWord = added.allSatisfy { token in
                !token.content.dropFirst().contains(UInt8(ascii: " ")) && !token.content.contains { isLineEnd($0) }
                    && !token.stripsLeft && !token.stripsRight && !token.isSingleWord
            }
            return (normalizer?.isNFC ?? true) && addedByWord ? .betweenWords(pattern) : .nowhere
        }
        let byLine = (normalizer?.worksByLine ?? true) && (preTokenizer?.worksByLine ?? false)
        let newline = UInt8(ascii: "\n")
        let addedByLine = added.allSatisfy { token in
            // White space at its end, after other characters, would be cut off.
            let text = token.content + [newline]
            let cut = text.withUnsafeBufferPointer { TextCut.beforeLineEnds.last(in: $0) }
            return (cut ?? token.content.count) == token.content.count && !token.content.contains(newline)
                && !token.stripsLeft && !token.stripsRight
        }
        return byLine && addedByLine ? .beforeLineEnds : .nowhere
    }

    /// The text of a token for display: as it appears in a text, with escapes for invisible characters.
    package func readableToken(_ id: Int) -> String { readable(bytesOfTokens?[id] ?? spellings[id]) }

    /// The first id of each spelling.
    package var idsBySpelling: [[UInt8]: Int32] {
        Dictionary(spellings.enumerated().map { ($1, Int32($0)) }) { first, _ in first }
    }

    /// The tokenizer with more added tokens, each of which is one token from then on. Their ids follow the highest id
    /// in use; a token of the vocabulary keeps its id, and a token that was added before stays as it is.
    /// - Parameter special: whether they are special tokens; one that was added before becomes one, too.
    package func adding(_ contents: [[UInt8]], special: Bool = false) throws -> Tokenizer {
        guard let model else {
            throw UserError("tokens cannot be added to a tokenizer.bin", hint: "use a directory with a tokenizer.json")
        }
        guard contents.allSatisfy({ !$0.isEmpty }) else {
            throw UserError("a token to add is empty", hint: "write --add-token WORD, in quotes if it contains a space")
        }
        var added = addedTokens
        var places: [[UInt8]: Int] = [:]
        for (place, token) in added.enumerated() where places[token.content] == nil { places[token.content] = place }
        let ids = idsBySpelling
        var next = Int32(spellings.count)
        for content in contents {
            let place = places[content]
            if let place, !special || added[place].isSpecial { continue }
            let known = place.map { added[$0].id } ?? ids[content]
            let token = AddedToken(id: known ?? next, content: content, isSpecial: special, isNormalized: !special)
            if let place {
                added[place] = token
            } else {
                places[content] = added.count
                added.append(token)
            }
            if known == nil { next += 1 }
        }
        return try Tokenizer(
            model: model, spellings: Array(spellings[..<modelSize]), addedTokens: added, components: components)
    }

    /// The tokenizer without the added tokens from an id on, as it was before it grew; nil where those are not added
    /// tokens only.
    package func before(_ id: Int) throws -> Tokenizer? {
        guard let model, id >= modelSize else { return nil }
        return try Tokenizer(
            model: model, spellings: Array(spellings[..<modelSize]), addedTokens: addedTokens.filter { $0.id < id },
            components: components)
    }
}

extension Tokenizer {
    /// What the spelling of a piece inside a word begins with, such as `##`; nil where nothing tells it apart.
    package var continuationPrefix: [UInt8]? {
        switch model {
        case .wordPiece(let model)?: model.prefix
        case .bytePair(let model)? where !model.characters.prefix.isEmpty: model.characters.prefix
        default: nil
        }
    }
}
