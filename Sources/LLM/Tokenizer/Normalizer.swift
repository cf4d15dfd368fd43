// The normalizers of Hugging Face's tokenizer.json: Unicode normal forms, BERT's cleaning, replacements. They run
// before the text is split into words.
//
// They work on Unicode scalars. (A Swift Character is a grapheme: it would join a jamo to the syllable before it.)

/// A normalizer of tokenizer.json.
package indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    case normalForm(NormalForm)
    case lowercase
    case stripAccents
    case strip(left: Bool, right: Bool)
    case replace(pattern: [UInt8], content: [UInt8])
    case prepend([UInt8])
    case bert(cleans: Bool, padsIdeographs: Bool, stripsAccents: Bool, lowercases: Bool)

    /// The normalizer that `json` describes; nil for `null`.
    /// - Parameter refuse: makes the error that says what is unsupported or malformed.
    static func read(_ json: JSON?, refuse: (String) -> UserError) throws -> Normalizer? {
        guard let json, !json.isNull else { return nil }
        let type = json["type"]?.text ?? "without a type"
        func bytes(_ key: String) throws -> [UInt8] {
            guard case .string(let bytes)? = json[key] else { throw refuse("its normalizer \(type) has no \(key)") }
            return bytes
        }
        switch type {
        case "Sequence":
            guard case .array(let steps)? = json["normalizers"] else {
                throw refuse("its normalizer Sequence has no normalizers")
            }
            return .sequence(try steps.compactMap { try read($0, refuse: refuse) })
        case "NFC": return .normalForm(.nfc)
        case "NFD": return .normalForm(.nfd)
        case "NFKC": return .normalForm(.nfkc)
        case "NFKD": return .normalForm(.nfkd)
        case "Lowercase": return .lowercase
        case "StripAccents": return .stripAccents
        case "Strip":
            return .strip(left: json["strip_left"]?.bool ?? true, right: json["strip_right"]?.bool ?? true)
        case "Prepend": return .prepend(try bytes("prepend"))
        case "Replace":
            guard case .string(let pattern)? = json["pattern"]?["String"], !pattern.isEmpty else {
                throw refuse("its normalizer Replace has a pattern that is not a plain String")
            }
            return .replace(pattern: pattern, content: try bytes("content"))
        case "BertNormalizer":
            let lowercases = json["lowercase"]?.bool ?? true
            return .bert(
                cleans: json["clean_text"]?.bool ?? true, padsIdeographs: json["handle_chinese_chars"]?.bool ?? true,
                stripsAccents: json["strip_accents"]?.bool ?? lowercases, lowercases: lowercases)
        default: throw refuse("it has an unsupported normalizer, \(type)")
        }
    }

    /// The normalized text.
    /// - Parameter text: UTF-8; bytes that are not UTF-8 may become U+FFFD.
    package func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch self {
        case .sequence(let steps): return steps.reduce(text) { $1($0) }
        case .normalForm(let form):
            return text.withUnsafeBufferPointer { form.isCertainly($0) } ? text : encoded(form(scalars(of: text)))
        case .lowercase:
            var result: [UInt32] = []
            for scalar in scalars(of: text) { LetterCase.shared.appendLower(scalar, to: &result) }
            return encoded(result)
        case .stripAccents:
            return encoded(scalars(of: text).filter { CharacterClasses.shared.flags($0) & CharacterFlag.mark == 0 })
        case .strip(let left, let right):
            var rest = scalars(of: text)[...]
            while left, let first = rest.first, CharacterClasses.shared(first) == .space { rest.removeFirst() }
            while right, let last = rest.last, CharacterClasses.shared(last) == .space { rest.removeLast() }
            return encoded(rest)
        case .replace(let pattern, let content): return replacing(pattern, by: content, in: text)
        case .prepend(let content): return text.isEmpty ? [] : content + text
        case .bert(let cleans, let padsIdeographs, let stripsAccents, let lowercases):
            return bert(text, cleans, padsIdeographs, stripsAccents, lowercases)
        }
    }

    /// Whether `text` certainly stays unchanged, by a quick check. With NFC this holds for most text.
    func isCertainlyIdentity(for text: UnsafeBufferPointer<UInt8>) -> Bool {
        switch self {
        case .sequence(let steps): return steps.allSatisfy { $0.isCertainlyIdentity(for: text) }
        case .normalForm(let form): return form.isCertainly(text)
        case .replace(let pattern, _):
            return !text.indices.contains { text[$0] == pattern[0] && text[$0...].starts(with: pattern) }
        default: return false
        }
    }

    var isNFC: Bool {
        if case .normalForm(.nfc) = self { return true }
        return false
    }

    /// Whether text can be normalized line by line: nothing depends on what is beyond a line end.
    var worksByLine: Bool {
        switch self {
        case .sequence(let steps): return steps.allSatisfy(\.worksByLine)
        case .strip, .prepend: return false
        case .replace(let pattern, let content): return !(pattern + content).contains(UInt8(ascii: "\n"))
        case .normalForm, .lowercase, .stripAccents, .bert: return true
        }
    }

    private func bert(
        _ text: [UInt8], _ cleans: Bool, _ padsIdeographs: Bool, _ stripsAccents: Bool, _ lowercases: Bool
    ) -> [UInt8] {
        let classes = CharacterClasses.shared
        var result: [UInt32] = []
        result.reserveCapacity(text.count)
        for scalar in scalars(of: text) {
            var scalar = scalar
            if cleans {
                // Tab and line ends are control characters too, but they count as spaces here.
                if scalar == 0 || scalar == 0xFFFD { continue }
                let flags = classes.flags(scalar)
                if flags & CharacterFlag.bertDropped != 0 { continue }
                if flags & 3 == CharacterClass.space.rawValue { scalar = 0x20 }
            }
            if padsIdeographs, isIdeograph(scalar) {
                result.append(0x20)
                result.append(scalar)
                result.append(0x20)
            } else {
                result.append(scalar)
            }
        }
        if stripsAccents {
            result = NormalForm.nfd(result).filter { classes.flags($0) & CharacterFlag.nonspacing == 0 }
        }
        if lowercases {
            var lower: [UInt32] = []
            lower.reserveCapacity(result.count)
            for scalar in result { LetterCase.shared.appendLower(scalar, to: &lower) }
            result = lower
        }
        return encoded(result)
    }

    /// Whether BERT counts a character as a CJK ideograph; kana and Hangul are not.
    private func isIdeograph(_ scalar: UInt32) -> Bool {
        guard scalar >= 0x3400 else { return false }
        switch scalar {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            return true
        default: return false
        }
    }
}

/// The UTF-8 of `scalars`.
private func encoded<Scalars: Sequence<UInt32>>(_ scalars: Scalars) -> [UInt8] {
    var result: [UInt8] = []
    for scalar in scalars { appendUTF8(scalar, to: &result) }
    return result
}

/// `text` with every `pattern`, from the left and without overlap, replaced by `content`.
func replacing(_ pattern: [UInt8], by content: [UInt8], in text: [UInt8]) -> [UInt8] {
    guard let first = pattern.first else { return text }
    var result: [UInt8] = []
    result.reserveCapacity(text.count)
    var position = 0
    while position < text.count {
        if text[position] == first, text[position...].starts(with: pattern) {
            result += content
            position += pattern.count
        } else {
            result.append(text[position])
            position += 1
        }
    }
    return result
}
