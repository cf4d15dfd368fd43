// The decoders of Hugging Face's tokenizer.json: tokens back to text.
//
// A decoder takes the spellings of the tokens in order and returns strings, which are then joined. The result is bytes:
// the byte-level decoder returns exactly what was encoded, whether it is valid UTF-8 or not.

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
    case strip(content: UInt32, start: Int, stop: Int)
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
            return .metaspace(replacement: try bytes("replacement"), prepends: !never)
        case "BPEDecoder": return .bytePair(suffix: try bytes("suffix", default: "</w>"))
        case "ByteFallback": return .byteFallback
        case "Fuse": return .fuse
        case "Strip":
            let content = scalars(of: try bytes("content"))
            guard content.count == 1, let start = json["start"]?.int, let stop = json["stop"]?.int, start >= 0,
                stop >= 0
            else { throw refuse("its decoder Strip has no content, start and stop") }
            return .strip(content: content[0], start: start, stop: stop)
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

    package func callAsFunction(_ tokens: [[UInt8]]) -> [[UInt8]] {
        switch self {
        case .sequence(let steps): return steps.reduce(tokens) { $1($0) }
        case .byteLevel: return [tokens.flatMap { ByteAlphabet.bytes(for: $0) ?? $0 }]
        case .wordPiece(let prefix, let cleansUp):
            return tokens.enumerated().map { index, token in
                var text = token
                if index > 0 {
                    text =
                        token.starts(with: prefix)
                        ? Array(token.dropFirst(prefix.count)) : [UInt8(ascii: " ")] + token
                }
                return cleansUp ? Decoder.cleanedUp(text) : text
            }
        case .metaspace(let replacement, let prepends):
            return tokens.enumerated().map { index, token in
                replacing(replacement, by: index == 0 && prepends ? [] : [UInt8(ascii: " ")], in: token)
            }
        case .bytePair(let suffix):
            return tokens.enumerated().map { index, token in
                replacing(suffix, by: index == tokens.count - 1 ? [] : [UInt8(ascii: " ")], in: token)
            }
        case .byteFallback: return Decoder.joiningBytes(tokens)
        case .fuse: return [tokens.flatMap { $0 }]
        case .strip(let content, let start, let stop):
            return tokens.map { token in
                var text = scalars(of: token)[...]
                for _ in 0..<start where text.first == content { text.removeFirst() }
                for _ in 0..<stop where text.last == content { text.removeLast() }
                var result: [UInt8] = []
                for scalar in text { appendUTF8(scalar, to: &result) }
                return result
            }
        case .replace(let pattern, let content): return tokens.map { replacing(pattern, by: content, in: $0) }
        }
    }

    /// The byte that a token such as `<0xEA>` stands for; nil for other tokens.
    static func byte(of token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">") else {
            return nil
        }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }

    private static func joiningBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var run: [UInt8] = []
        func finish() {
            guard !run.isEmpty else { return }
            if run.withUnsafeBufferPointer({ firstInvalidUTF8(in: $0) }) == nil {
                result.append(run)
            } else {
                result += run.map { _ in [0xEF, 0xBF, 0xBD] }
            }
            run = []
        }
        for token in tokens {
            if let byte = byte(of: token) {
                run.append(byte)
            } else {
                finish()
                result.append(token)
            }
        }
        finish()
        return result
    }

    private static let cleanUps: [([UInt8], [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    private static func cleanedUp(_ text: [UInt8]) -> [UInt8] {
        cleanUps.reduce(text) { replacing($1.0, by: $1.1, in: $0) }
    }
}
