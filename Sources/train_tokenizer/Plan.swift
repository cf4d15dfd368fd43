// From train_tokenizer's options to what is trained.

import LLM

/// The plan that the options describe: the components of the tokenizer and the parameters of its training.
struct Plan {
    private var components = Tokenizer.Components()
    private var characters = BytePairModel.Characters()
    private let unknown: [UInt8]?
    let special: [[UInt8]]
    let alphabet: Alphabet
    let longestToken: Int
    let normalizes: Bool

    init(_ options: Options) throws {
        func refuse(_ what: String, _ hint: String) -> UserError { UserError(what, hint: hint, exitCode: 2) }
        let scheme = options.text("scheme") ?? "byte-level"
        let standard = ["byte-level": "byte-level", "prefix": "bert", "whitespace": "whitespace"][scheme]
        let words = options.text("pre-tokenizer") ?? standard ?? "byte-level"
        let isByteLevel = words == "byte-level"
        let prefix = Array((options.text("prefix") ?? (scheme == "prefix" ? "##" : "")).utf8)
        let unknownText = options.text("unk") ?? (isByteLevel ? "" : "[UNK]")
        guard !isByteLevel || (prefix.isEmpty && unknownText.isEmpty && !options.isGiven("limit-alphabet")) else {
            throw refuse(
                "byte-level words use all 256 bytes; --prefix, --unk and --limit-alphabet do not apply",
                "use --scheme prefix or --scheme whitespace")
        }
        guard scheme != "byte-level" || isByteLevel else {
            throw refuse(
                "--scheme byte-level has its own --pre-tokenizer", "use --scheme whitespace --pre-tokenizer \(words)")
        }
        unknown = unknownText.isEmpty ? nil : Array(unknownText.utf8)
        let given = options.texts("special").map { Array($0.utf8) }
        special = (unknown.map { given.contains($0) ? [] : [$0] } ?? []) + given
        try Tokenizer.checkSpecialTokens(special, byteLevel: isByteLevel)

        var order: Vocabulary?
        if let path = options.text("alphabet-order-from") {
            var vocabulary = Vocabulary()
            for (id, spelling) in try Tokenizer(path: path).spellings.enumerated() {
                _ = vocabulary.insert(spelling, Int32(id))
            }
            order = vocabulary
        }
        alphabet =
            isByteLevel
            ? .bytes
            : .characters(
                prefix: prefix, limit: options.isGiven("limit-alphabet") ? options.int("limit-alphabet") : nil,
                insideOrder: order)
        longestToken = options.isGiven("max-token-length") ? options.int("max-token-length") : .max
        characters.prefix = prefix

        var normalizers: [JSON] = options.flag("nfc") ? [["type": "NFC"]] : []
        for rule in options.texts("replace") {
            let sides = rule.utf8.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2, !sides[0].isEmpty else {
                throw refuse(
                    "--replace \"\(rule)\" is not of the form OLD=NEW", "for example: --replace \"new word=newword\"")
            }
            normalizers.append([
                "type": "Replace", "pattern": ["String": .string(Array(sides[0]))],
                "content": .string(Array(sides[1])),
            ])
        }
        normalizes = options.flag("nfc")
        switch words {
        case "byte-level": components = .byteLevel
        case "whitespace": components.preTokenizer = ["type": "Whitespace"]
        case "whitespace-split": components.preTokenizer = ["type": "WhitespaceSplit"]
        default:
            components.preTokenizer = [
                "type": "Sequence",
                "pretokenizers": [["type": "WhitespaceSplit"], ["type": "Punctuation", "behavior": "Isolated"]],
            ]
        }
        if !prefix.isEmpty {
            components.decoder = ["type": "WordPiece", "prefix": .string(prefix), "cleanup": true]
        }
        if normalizers.count == 1 { components.normalizer = normalizers[0] }
        if normalizers.count > 1 { components.normalizer = ["type": "Sequence", "normalizers": .array(normalizers)] }
    }

    func trainingSteps() throws -> (preTokenizer: PreTokenizer, normalizer: Normalizer?) {
        try components.trainingSteps()
    }

    func tokenizer(_ learnt: LearntBytePairs) throws -> Tokenizer {
        let added = special.enumerated().map { AddedToken(id: Int32($0), content: $1) }
        var characters = characters
        characters.unknown = unknown.flatMap { special.firstIndex(of: $0) }.map { Int32($0) }
        return try Tokenizer(learnt, characters: characters, addedTokens: added, components: components)
    }
}
