// The decoders of Hugging Face's tokenizer.json: tokens back to text. How they work, token by token, is in
// DecoderSteps.swift.
//
// The result is bytes: the byte-level decoder returns exactly what was encoded, whether it is valid UTF-8 or not.

/// A decoder of tokenizer.json.
package indirect enum Decoder: Sendable {
    case sequence([Decoder])
    case byteLevel
    case wordPiece(prefix: [UInt8], cleansUp: Bool)
    case metaspace(replacement: [UInt8], prepends: Bool)
    /// Turns end-of-word suffixes into spaces.
    case bytePair(suffix: [UInt8])
    /// Turns tokens such as `<0xEA>` into bytes. If a run of them is not UTF-8, each becomes U+FFFD.
    case byteFallback
    case fuse
    /// Takes up to `start` times a character, UTF-8, from a token's beginning, and up to `stop` times from its end.
    case strip(content: [UInt8], start: Int, stop: Int)
    case replace(pattern: [UInt8], content: [UInt8])

    /// The decoder that `json` describes; nil for `null`.
    /// - Parameter refuse: makes the error that says what is unsupported or malformed.
    static func read(_ json: JSON?, refuse: (String) -> UserError) throws -> Decoder? {
        guard let json, !json.isNull else { return nil }
        let type = json["type"]?.text ?? "without a type"
        func bytes(_ key: String, default standard: String? = nil) throws -> [UInt8] {
            if case .string(let bytes)? = json[key] { return bytes }
            guard let standard else { throw refuse("its decoder \(type) has no \(key)") }
            return Array(standard.utf8)
        }
        switch type {
        case "Sequence":
            guard case .array(let steps)? = json["decoders"] else {
                throw refuse("its decoder Sequence has no decoders")
            }
            return .sequence(try steps.compactMap { try read($0, refuse: refuse) })
        case "ByteLevel": return .byteLevel
        case "WordPiece":
            return .wordPiece(
                prefix: try bytes("prefix", default: "##"), cleansUp: json["cleanup"]?.bool ?? true)
        case "Metaspace":
            let never = json["prepend_scheme"]?.text == "never" || json["add_prefix_space"]?.bool == false
            let replacement = try bytes("replacement")
            guard scalars(of: replacement).count == 1 else {
                throw refuse("its decoder Metaspace has a replacement that is not one character")
            }
            return .metaspace(replacement: replacement, prepends: !never)
        case "BPEDecoder":
            let suffix = try bytes("suffix", default: "</w>")
            guard !suffix.isEmpty else { throw refuse("its decoder BPEDecoder has an empty suffix") }
            return .bytePair(suffix: suffix)
        case "ByteFallback": return .byteFallback
        case "Fuse": return .fuse
        case "Strip":
            let content = try bytes("content")
            guard scalars(of: content).count == 1, let start = json["start"]?.int, let stop = json["stop"]?.int,
                start >= 0, stop >= 0
            else { throw refuse("its decoder Strip has no content, start and stop") }
            return .strip(content: content, start: start, stop: stop)
        case "Replace":
            guard case .string(let pattern)? = json["pattern"]?["String"], !pattern.isEmpty else {
                throw refuse("its decoder Replace has a pattern that is not a plain String")
            }
            return .replace(pattern: pattern, content: try bytes("content"))
        default: throw refuse("it has an unsupported decoder, \(type)")
        }
    }

    /// Whether tokens such as `<0xEA>` stand for bytes.
    var hasByteFallback: Bool {
        switch self {
        case .byteFallback: return true
        case .sequence(let steps): return steps.contains(where: \.hasByteFallback)
        default: return false
        }
    }

    /// The text of tokens.
    package func callAsFunction(_ tokens: [[UInt8]]) -> [UInt8] {
        var steps = DecoderSteps(self)
        return tokens.flatMap { steps.add($0) } + steps.finish()
    }

    /// The byte that a token such as `<0xEA>` stands for; nil for other tokens.
    static func byte(of token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">") else {
            return nil
        }
        // As in that library, a plus sign counts as a digit: <0x+A> is a line feed.
        guard token[3] != UInt8(ascii: "-") else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }

    private static let cleanUps: [([UInt8], [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    static func cleanedUp(_ text: [UInt8]) -> [UInt8] {
        // Most pieces of text have no space that one of these follows; ` do not` has the one before `not`.
        let seconds = Array(".?!,'n".utf8)
        guard zip(text, text.dropFirst()).contains(where: { $0 == UInt8(ascii: " ") && seconds.contains($1) }) else {
            return text
        }
        return cleanUps.reduce(text) { replacing($1.0, by: $1.1, in: $0) }
    }
}
