// tiktoken's rank files: the tokens of a vocabulary in the order in which they were learnt. A file has neither the pattern
// that splits text into words nor the special tokens; tiktoken has them in its code, for the vocabularies that it knows.
// So they are known here by their tokens.

import Foundation

extension Tokenizer {
    /// Reads tiktoken's rank file. Each line has a token's bytes in base64 and its rank, which is its id. A word that is
    /// a token becomes that token; in others, the pair that makes the token with the lowest rank is merged first.
    /// - Parameter known: the vocabularies that have a pattern and special tokens of their own. In any other, words are
    ///   GPT-2's, and <|endoftext|> is behind the last token.
    /// - Throws: if the file is damaged, or begins as a known vocabulary and is another one.
    package static func readRanks(
        _ bytes: [UInt8], name: String, known: [TiktokenVocabulary] = TiktokenVocabulary.known
    ) throws -> Tokenizer {
        func refuse(_ what: String, hint: String = "is it a rank file of tiktoken, such as r50k_base.tiktoken?")
            -> UserError
        { UserError("\(name): \(what)", hint: hint) }
        var tokens: [[UInt8]] = []
        var vocabulary = Vocabulary()
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
            let words = line.split(separator: UInt8(ascii: " "))
            guard words.count == 2, let data = Data(base64Encoded: Data(words[0])), !data.isEmpty,
                let rank = Int(String(decoding: words[1], as: UTF8.self).trimmingCharacters(in: .whitespaces))
            else { throw refuse("line \(index + 1) is not a token in base64 and its rank") }
            guard rank == tokens.count else { throw refuse("line \(index + 1) has rank \(rank), not \(tokens.count)") }
            guard vocabulary.insert(Array(data), Int32(rank)) else { throw refuse("rank \(rank) occurs twice") }
            tokens.append(Array(data))
        }
        guard !tokens.isEmpty else { throw refuse("it is empty") }
        let alike = known.first { $0.resembles(tokens) }
        if let alike, alike.fingerprint != TokenizerFingerprint(of: tokens) {
            throw refuse(
                "its \(grouped(tokens.count)) tokens begin as those of \(alike.name), which are "
                    + "\(grouped(alike.fingerprint.count)), but are others",
                hint: "if the file is damaged, copy it again; if it is another model's, use its tokenizer.json")
        }
        let described = alike ?? .other(count: tokens.count)

        var merges: [Merge] = []
        for (rank, token) in tokens.enumerated() {
            guard let (left, right) = lastPair(of: token, vocabulary) else { continue }
            merges.append(Merge(left: left, right: right, result: Int32(rank)))
        }
        var spellings = tokens.map { ByteAlphabet.characters(for: $0) }
        var added: [AddedToken] = []
        for (content, id) in described.specialTokens {
            while spellings.count <= id { spellings.append([]) }
            spellings[id] = Array(content.utf8)
            added.append(AddedToken(id: Int32(id), content: Array(content.utf8)))
        }
        let model = byteLevelModel(spellings, merges: merges, addedTokens: added, ignoresMerges: true)
        return try Tokenizer(
            model: .bytePair(model), spellings: spellings, addedTokens: added,
            components: .forWords(of: described.pattern), refuse: { refuse($0) })
    }

    /// The two tokens that `token` is merged from; nil if it is a byte, or merging its bytes does not lead to it. There
    /// is one such pair: wherever a text contains the token, its inside is merged as it would be alone, or a neighbour
    /// takes a part of it, and it does not come about.
    private static func lastPair(of token: [UInt8], _ vocabulary: Vocabulary) -> (Int32, Int32)? {
        token.withUnsafeBufferPointer { token in
            // The parts are between these.
            var ends = Array(0...token.count)
            func id(_ first: Int, _ last: Int) -> Int32? {
                vocabulary.id(of: UnsafeBufferPointer(rebasing: token[ends[first]..<ends[last]]))
            }
            while ends.count > 3 {
                var best: (rank: Int32, part: Int)?
                for part in 0..<ends.count - 2 {
                    guard let rank = id(part, part + 2), rank < best?.rank ?? .max else { continue }
                    best = (rank, part)
                }
                guard let best else { return nil }
                ends.remove(at: best.part + 1)
            }
            guard ends.count == 3, let left = id(0, 1), let right = id(1, 2) else { return nil }
            return (left, right)
        }
    }
}

/// What tiktoken's code says of a vocabulary (openai_public.py), and how the vocabulary is recognized.
package struct TiktokenVocabulary: Sendable {
    let name: String
    let pattern: WordPattern
    let specialTokens: [(content: String, id: Int)]
    let fingerprint: TokenizerFingerprint
    /// The hash of the first tokens.
    private let beginning: UInt64

    private static let beginningCount = 1000

    private init(
        _ name: String, _ pattern: WordPattern, _ specialTokens: [(content: String, id: Int)],
        _ fingerprint: TokenizerFingerprint, beginning: UInt64
    ) {
        self.name = name
        self.pattern = pattern
        self.specialTokens = specialTokens
        self.fingerprint = fingerprint
        self.beginning = beginning
    }

    /// A vocabulary of these tokens.
    package init(
        _ name: String, _ pattern: WordPattern, _ specialTokens: [(content: String, id: Int)], tokens: [[UInt8]]
    ) {
        let beginning = TokenizerFingerprint(of: tokens.prefix(TiktokenVocabulary.beginningCount)).hash
        self.init(name, pattern, specialTokens, TokenizerFingerprint(of: tokens), beginning: beginning)
    }

    /// A vocabulary that is not known, of so many tokens.
    static func other(count: Int) -> TiktokenVocabulary {
        TiktokenVocabulary(
            "", .gpt2, [("<|endoftext|>", count)], TokenizerFingerprint(count: count, hash: 0), beginning: 0)
    }

    /// Whether `tokens` are as many, or begin as this vocabulary. (Qwen's and Llama 3's begin as cl100k_base.)
    func resembles(_ tokens: [[UInt8]]) -> Bool {
        tokens.count == fingerprint.count
            || TokenizerFingerprint(of: tokens.prefix(TiktokenVocabulary.beginningCount)).hash == beginning
    }

    package static let known = [
        TiktokenVocabulary(
            "cl100k_base", .cl100k,
            [
                ("<|endoftext|>", 100_257), ("<|fim_prefix|>", 100_258), ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260), ("<|endofprompt|>", 100_276),
            ], TokenizerFingerprint(count: 100_256, hash: 0xc297_7976_00c7_cdb5),
            beginning: 0x8e51_33aa_13e3_0c9e),
        TiktokenVocabulary(
            "o200k_base", .o200k, [("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
            TokenizerFingerprint(count: 199_998, hash: 0xc748_5482_4f52_ffdf), beginning: 0xba06_6495_7600_d4bc),
    ]
}
