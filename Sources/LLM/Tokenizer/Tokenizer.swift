// A tokenizer in use: text to ids and back, through the steps that Hugging Face's library takes.
//
//   added tokens → normalizer → added tokens that want it → pre-tokenizer → model → template       decoder
//
// Each step stands in a file of its own: AddedTokens, Normalizer, PreTokenizer (GPT2Words), BytePairEncoding or
// WordPiece, Decoder; TextEncoder puts them together. How a tokenizer comes from a disk and goes there: TokenizerFile.

/// Ids to text, and text to ids where the file has a model.
package struct Tokenizer: Sendable {
    /// The components as tokenizer.json has them, which is how they are written again.
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

        /// GPT-2's.
        package static let byteLevel = Components(
            preTokenizer: ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true],
            decoder: ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true])

        /// What words are counted with.
        package func trainingSteps() throws -> (preTokenizer: PreTokenizer, normalizer: Normalizer?) {
            func refuse(_ what: String) -> UserError { UserError(what, hint: "choose other components") }
            guard let words = try PreTokenizer.read(preTokenizer, refuse: refuse) else {
                throw refuse("there is no pre_tokenizer")
            }
            return (words, try Normalizer.read(normalizer, refuse: refuse))
        }
    }

    /// nil if the tokenizer was read from a tokenizer.bin.
    package let model: TokenModel?
    package let components: Components
    /// By id.
    package let addedTokens: [AddedToken]
    /// How each id is written in the vocabulary or among the added tokens; empty where an id has no token.
    package let spellings: [[UInt8]]
    /// How many of the first ids are the model's own; the others are added tokens that it does not have.
    package let modelSize: Int
    let normalizer: Normalizer?
    let preTokenizer: PreTokenizer?
    let decoder: Decoder?
    /// What stands before and after the ids of a text: `[CLS]` and `[SEP]`.
    private let template: (before: [Int32], after: [Int32])
    /// What the decoder sees: an added token that is looked for in normalised text is decoded as it stands there.
    private let decodedSpellings: [[UInt8]]
    /// By id, if the decoder is GPT-2's: the bytes of each token.
    let bytesOfTokens: [[UInt8]]?
    /// The id that separates documents: <|endoftext|>, or another token that is meant for it, or the first special one.
    package let endOfText: Int?

    package var vocabularySize: Int { spellings.count }

    /// - Parameters:
    ///   - spellings: of the model's tokens, by id.
    ///   - addedTokens: with ids of the model's, or the ids after those.
    ///   - refuse: makes the error that names what is wrong or not known.
    package init(
        model: TokenModel, spellings: [[UInt8]], addedTokens: [AddedToken], components: Components,
        refuse: (String) -> UserError = { UserError($0, hint: "the components of a tokenizer must be known") }
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
        template = try Tokenizer.readTemplate(components.postProcessor, vocabularySize: all.count, refuse: refuse)
        if case .bytePair(let model) = model, (preTokenizer?.isByteLevel ?? false) != (model.byteIDs != nil) {
            throw refuse("its model and its pre_tokenizer do not agree about bytes")
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

    /// What a training run gave, as a tokenizer.
    /// - Parameters:
    ///   - characters: counts for nothing if the words are bytes.
    ///   - components: those that the words were counted with.
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

    /// One that can only decode.
    init(tokens: [[UInt8]], endOfText: Int?) {
        model = nil
        components = Components()
        addedTokens = []
        spellings = tokens
        modelSize = tokens.count
        normalizer = nil
        preTokenizer = nil
        decoder = .byteLevel
        template = ([], [])
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

    // MARK: - use

    /// What one token adds to a text when others stand around it; none for an id outside the vocabulary, such as a
    /// model's padding. A byte-level token may be half a character.
    package func bytes(of id: Int) -> [UInt8] {
        guard spellings.indices.contains(id) else { return [] }
        if let bytesOfTokens { return bytesOfTokens[id] }
        let spelling = decodedSpellings[id]
        guard let decoder else { return [UInt8(ascii: " ")] + spelling }
        if decoder.hasByteFallback, let byte = Decoder.byte(of: spelling) { return [byte] }
        let a: [UInt8] = [UInt8(ascii: "a")]
        let whole = decoder([a, spelling, a]).flatMap { $0 }
        let after = decoder([a, a]).flatMap { $0 }.dropFirst()
        return Array(whole.dropFirst().dropLast(after.count))
    }

    /// The text of `ids` as Hugging Face's library decodes it, but that bytes stay bytes: half a character is not
    /// replaced.
    package func decode(_ ids: [Int32], skippingSpecialTokens: Bool = false) -> [UInt8] {
        var ids = ids.filter { spellings.indices.contains(Int($0)) }
        if skippingSpecialTokens {
            let special = Set(addedTokens.filter(\.isSpecial).map(\.content))
            ids.removeAll { special.contains(decodedSpellings[Int($0)]) }
        }
        if let bytesOfTokens { return ids.flatMap { bytesOfTokens[Int($0)] } }
        let tokens = ids.map { decodedSpellings[Int($0)] }
        if let decoder { return tokens.isEmpty ? [] : decoder(tokens).flatMap { $0 } }
        return Array(tokens.joined(separator: [UInt8(ascii: " ")]))
    }

    /// How many of the 256 bytes have no token, in a vocabulary made elsewhere; nil if none is missing.
    package var missingBytes: Int? {
        guard case .bytePair(let model)? = model, let byteIDs = model.byteIDs else { return nil }
        let missing = byteIDs.count { $0 < 0 }
        return missing > 0 ? missing : nil
    }

    /// The id of the token for what the vocabulary lacks.
    package var unknown: Int32? {
        switch model {
        case .bytePair(let model)?: return model.byteIDs == nil ? model.characters.unknown : nil
        case .wordPiece(let model)?: return model.unknown
        case nil: return nil
        }
    }

    /// The ids of `text`, in which added tokens are recognised.
    /// - Parameter usingTemplate: whether `[CLS]`, `[SEP]` and the like, if the tokenizer has them, are put around it.
    package func encode(_ text: [UInt8], usingTemplate: Bool = true) throws -> [Int32] {
        var encoder = try makeEncoder(recognizesSpecialTokens: true)
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        return usingTemplate ? puttingTemplate(around: ids) : ids
    }

    /// The ids with `[CLS]`, `[SEP]` and the like, if the tokenizer has them.
    package func puttingTemplate(around ids: [Int32]) -> [Int32] { template.before + ids + template.after }

    /// An encoder with a memory of the words it has met.
    /// - Parameter recognizesSpecialTokens: in a corpus a special token is text like any other.
    package func makeEncoder(recognizesSpecialTokens: Bool = false) throws -> TextEncoder {
        guard let model else {
            throw UserError(
                "a tokenizer.bin can decode but not encode: it has no merges",
                hint: "give a directory with a tokenizer.json")
        }
        return TextEncoder(self, model, recognizesSpecialTokens: recognizesSpecialTokens)
    }

    /// Where a corpus may be cut so that its components, encoded one by one, give the ids of the whole.
    package var cut: TextCut {
        let added = addedTokens.filter { !$0.isSpecial }
        if normalizer == nil, added.isEmpty, preTokenizer?.isGPT2 ?? false { return .betweenWords }
        let byLine = (normalizer?.worksByLine ?? true) && (preTokenizer?.worksByLine ?? false)
        let addedByLine = added.allSatisfy {
            !$0.content.contains(UInt8(ascii: "\n")) && !$0.stripsLeft && !$0.stripsRight
        }
        return byLine && addedByLine ? .beforeLineEnds : .nowhere
    }

    /// One token for people: as it reads in a text, with escapes for what would not show.
    package func readableToken(_ id: Int) -> String { readable(bytesOfTokens?[id] ?? spellings[id]) }

    /// The tokenizer with more added tokens, which are one piece from then on wherever they stand. Their ids follow the
    /// highest there is; a token of the vocabulary keeps its id, and one that was added before stays as it is.
    package func adding(_ contents: [[UInt8]]) throws -> Tokenizer {
        guard let model else {
            throw UserError("a tokenizer.bin takes no tokens", hint: "give a directory with a tokenizer.json")
        }
        guard contents.allSatisfy({ !$0.isEmpty }) else {
            throw UserError("a token to add is empty", hint: "--add-token WORD, in quotes if it has a space")
        }
        var added = addedTokens
        var next = Int32(spellings.count)
        for content in contents where !added.contains(where: { $0.content == content }) {
            let known = spellings.firstIndex(of: content).map { Int32($0) }
            added.append(AddedToken(id: known ?? next, content: content, isSpecial: false, isNormalized: true))
            if known == nil { next += 1 }
        }
        return try Tokenizer(
            model: model, spellings: Array(spellings[..<modelSize]), addedTokens: added, components: components)
    }

    // MARK: - the template

    private static func readTemplate(
        _ json: JSON, vocabularySize: Int, refuse: (String) -> UserError
    ) throws -> (before: [Int32], after: [Int32]) {
        if json.isNull { return ([], []) }
        func id(_ json: JSON?) throws -> Int32 {
            guard let id = json?.int, (0..<vocabularySize).contains(id) else {
                throw refuse("its post_processor has an id that is out of range")
            }
            return Int32(id)
        }
        switch json["type"]?.text ?? "without a type" {
        case "ByteLevel": return ([], [])
        case "Sequence":
            guard case .array(let components)? = json["processors"] else {
                throw refuse("its post_processor Sequence has no processors")
            }
            var whole: (before: [Int32], after: [Int32]) = ([], [])
            for part in components {
                let inner = try readTemplate(part, vocabularySize: vocabularySize, refuse: refuse)
                whole = (inner.before + whole.before, whole.after + inner.after)
            }
            return whole
        case "BertProcessing", "RobertaProcessing":
            guard case .array(let cls)? = json["cls"], case .array(let sep)? = json["sep"] else {
                throw refuse("its post_processor has no cls and sep")
            }
            return ([try id(cls.last)], [try id(sep.last)])
        case "TemplateProcessing":
            guard case .array(let pieces)? = json["single"] else {
                throw refuse("its post_processor TemplateProcessing has no single")
            }
            var template: (before: [Int32], after: [Int32]) = ([], [])
            var seen = false
            for piece in pieces {
                if let sequence = piece["Sequence"] {
                    guard !seen, sequence["id"]?.text == "A" else {
                        throw refuse("its post_processor TemplateProcessing takes a text more than once")
                    }
                    seen = true
                    continue
                }
                guard let name = piece["SpecialToken"]?["id"]?.text,
                    case .array(let ids)? = json["special_tokens"]?[name]?["ids"]
                else { throw refuse("its post_processor TemplateProcessing names a token it does not define") }
                let known = try ids.map { try id($0) }
                if seen { template.after += known } else { template.before += known }
            }
            guard seen else { throw refuse("its post_processor TemplateProcessing has no text") }
            return template
        case let type: throw refuse("it has a post_processor \(type)")
        }
    }
}
