// What happens to a text before it is cut into words: Unicode's normal forms, BERT's cleaning, replacements.
//
// The parts are those of Hugging Face's tokenizer.json, by their names there, and give the same text. They work on
// Unicode scalars (a Swift Character is a grapheme: it would join a jamo to the syllable before it).
//
// The normal forms are Unicode's annex 15. To decompose: replace each character by its full decomposition, then order
// each run of marks by their combining class. To compose: walk over the result and join a mark, or a letter, to the last
// starter wherever the pair has a composite and no mark of the same or a higher class stands between. Hangul syllables
// follow a formula: leading consonant, vowel and final consonant are the digits of the syllable's number.

package indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    case normalForm(NormalForm)
    case lowercase
    case stripAccents
    case strip(left: Bool, right: Bool)
    case replace(pattern: [UInt8], content: [UInt8])
    case prepend([UInt8])
    case bert(cleans: Bool, padsIdeographs: Bool, stripsAccents: Bool, lowercases: Bool)

    /// The part of a tokenizer.json; nil for `null`.
    /// - Parameter refuse: makes the error that names what is not known here.
    static func read(_ json: JSON?, refuse: (String) -> UserError) throws -> Normalizer? {
        guard let json, !json.isNull else { return nil }
        let type = json["type"]?.text ?? "without a type"
        func bytes(_ key: String) throws -> [UInt8] {
            guard case .string(let bytes)? = json[key] else { throw refuse("its normalizer \(type) has no \(key)") }
            return bytes
        }
        switch type {
        case "Sequence":
            guard case .array(let parts)? = json["normalizers"] else {
                throw refuse("its normalizer Sequence has no normalizers")
            }
            return .sequence(try parts.compactMap { try read($0, refuse: refuse) })
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
                throw refuse("its normalizer Replace has a pattern that is no plain String")
            }
            return .replace(pattern: pattern, content: try bytes("content"))
        case "BertNormalizer":
            let lowercases = json["lowercase"]?.bool ?? true
            return .bert(
                cleans: json["clean_text"]?.bool ?? true, padsIdeographs: json["handle_chinese_chars"]?.bool ?? true,
                stripsAccents: json["strip_accents"]?.bool ?? lowercases, lowercases: lowercases)
        default: throw refuse("it has a normalizer \(type)")
        }
    }

    /// - Parameter text: UTF-8; bytes that are none become U+FFFD.
    package func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch self {
        case .sequence(let parts): return parts.reduce(text) { $1($0) }
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

    /// Whether `text` would come out as it is, seen without work: for NFC that is most text.
    func isCertainlyNothing(for text: UnsafeBufferPointer<UInt8>) -> Bool {
        switch self {
        case .sequence(let parts): return parts.allSatisfy { $0.isCertainlyNothing(for: text) }
        case .normalForm(let form): return form.isCertainly(text)
        case .replace(let pattern, _):
            return !text.indices.contains { text[$0] == pattern[0] && text[$0...].starts(with: pattern) }
        default: return false
        }
    }

    /// Whether the text may be normalised line by line: no part looks over a line end.
    var worksByLine: Bool {
        switch self {
        case .sequence(let parts): return parts.allSatisfy(\.worksByLine)
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
                // The dropped ones have tab and line ends among them for some, but not here: those are spaces.
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

    /// CJK ideographs in BERT's ranges; neither kana nor Hangul.
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

private func encoded<Scalars: Sequence<UInt32>>(_ scalars: Scalars) -> [UInt8] {
    var result: [UInt8] = []
    for scalar in scalars { appendUTF8(scalar, to: &result) }
    return result
}

/// Every `pattern` in `text`, from the left and without overlap, becomes `content`.
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

// MARK: - letter case

/// Lower case, scalar by scalar: the context (a final sigma, a Turkish i) does not count.
struct LetterCase: Sendable {
    static let shared = LetterCase()
    private var lower: [UInt32: [UInt32]] = [:]

    private init() {
        for entry in lowerCaseMap.split(separator: " ") {
            if let equals = entry.firstIndex(of: "="), let scalar = UInt32(entry[..<equals], radix: 16) {
                lower[scalar] = hexadecimals(entry[entry.index(after: equals)...])
                continue
            }
            // first-last/2:difference
            let parts = entry.split(separator: ":")
            guard parts.count == 2, let difference = Int(parts[1]) else { continue }
            let span = parts[0].split(separator: "/")
            let ends = span[0].split(separator: "-").compactMap { Int($0, radix: 16) }
            guard let first = ends.first, let last = ends.last else { continue }
            for scalar in stride(from: first, through: last, by: span.count == 2 ? 2 : 1) {
                lower[UInt32(scalar)] = [UInt32(scalar + difference)]
            }
        }
    }

    @inline(__always)
    func appendLower(_ scalar: UInt32, to result: inout [UInt32]) {
        if scalar < 0x80 {
            result.append(scalar >= 0x41 && scalar <= 0x5A ? scalar + 0x20 : scalar)
        } else if scalar >= 0xAC00 && scalar <= 0xD7A3 {
            result.append(scalar)
        } else if let lower = lower[scalar] {
            result += lower
        } else {
            result.append(scalar)
        }
    }
}

private func hexadecimals(_ text: Substring) -> [UInt32] {
    text.split(separator: ".").compactMap { UInt32($0, radix: 16) }
}

// MARK: - normal forms

package enum NormalForm: Sendable {
    case nfc, nfd, nfkc, nfkd

    /// Whether `text` is in this form for certain, seen without decomposing it. For NFC that is most text.
    func isCertainly(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let bit: UInt8
        switch self {
        case .nfc: bit = NormalizationTables.mayChangeInNFC
        case .nfd: bit = NormalizationTables.decomposes | NormalizationTables.isCombining
        case .nfkc: bit = NormalizationTables.mayChangeInNFC | NormalizationTables.decomposesCompatibly
        case .nfkd:
            bit =
                NormalizationTables.decomposes | NormalizationTables.decomposesCompatibly
                | NormalizationTables.isCombining
        }
        let tables = NormalizationTables.shared
        var position = 0
        while position < text.count {
            let next = scalar(at: position, in: text)
            // An ill-formed byte reads as U+FFFD of length 1, and is to become that.
            if next.value >= 0x80, tables.flags[next.value] & bit != 0 || next.length == 1 { return false }
            position += next.length
        }
        return true
    }

    func callAsFunction(_ text: [UInt32]) -> [UInt32] {
        let tables = NormalizationTables.shared
        switch self {
        case .nfd: return tables.decompose(text, compatibly: false)
        case .nfkd: return tables.decompose(text, compatibly: true)
        case .nfc: return tables.compose(tables.decompose(text, compatibly: false))
        case .nfkc: return tables.compose(tables.decompose(text, compatibly: true))
        }
    }
}

/// Whether `text` has Hangul letters that NFC would join to syllables, as a Mac types and stores them.
package func hasDecomposedHangul(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    // U+1161 … U+1175 are E1 85 A1 … E1 85 B5.
    guard text.count > 2 else { return false }
    for i in 0..<text.count - 2
    where text[i] == 0xE1 && text[i + 1] == 0x85 && text[i + 2] >= 0xA1 && text[i + 2] <= 0xB5 { return true }
    return false
}

private struct NormalizationTables: Sendable {
    static let shared = NormalizationTables()
    static let decomposes: UInt8 = 1
    static let decomposesCompatibly: UInt8 = 2
    static let isCombining: UInt8 = 4
    static let mayChangeInNFC: UInt8 = 8

    let flags: CodePointTable
    private var canonical: [UInt32: [UInt32]] = [:]
    private var compatible: [UInt32: [UInt32]] = [:]
    private var combiningClass: [UInt32: UInt8] = [:]
    private var composites: [UInt64: UInt32] = [:]

    private init() {
        var bits = [UInt8](repeating: 0, count: 0x110000)
        var primary: [[UInt32]: UInt32] = [:]
        for entry in decompositionMap.split(separator: " ") {
            guard let mark = entry.firstIndex(where: { "=!~".contains($0) }),
                let scalar = UInt32(entry[..<mark], radix: 16)
            else { continue }
            let parts = hexadecimals(entry[entry.index(after: mark)...])
            if entry[mark] == "~" {
                compatible[scalar] = parts
                bits[Int(scalar)] |= NormalizationTables.decomposesCompatibly
                continue
            }
            canonical[scalar] = parts
            bits[Int(scalar)] |= NormalizationTables.decomposes
            if entry[mark] == "=" { primary[parts] = scalar } else { bits[Int(scalar)] |= Self.mayChangeInNFC }
        }
        // The table has full decompositions; composition needs them one step at a time: all but the last part is a
        // character of its own, or the decomposition of one.
        for (parts, scalar) in primary where parts.count > 1 {
            let head = Array(parts.dropLast())
            guard let first = head.count == 1 ? head[0] : primary[head], let last = parts.last else { continue }
            composites[UInt64(first) << 32 | UInt64(last)] = scalar
            bits[Int(last)] |= Self.mayChangeInNFC
        }
        for entry in combiningClasses.split(separator: " ") {
            let parts = entry.split(separator: ":")
            let ends = parts[0].split(separator: "-").compactMap { UInt32($0, radix: 16) }
            guard parts.count == 2, let number = UInt8(parts[1]), let first = ends.first, let last = ends.last else {
                continue
            }
            for scalar in first...last {
                combiningClass[scalar] = number
                bits[Int(scalar)] |= Self.isCombining | Self.mayChangeInNFC
            }
        }
        for scalar in Hangul.first...Hangul.last { bits[Int(scalar)] |= Self.decomposes }
        for scalar in 0x1161...0x1175 { bits[scalar] |= Self.mayChangeInNFC }
        for scalar in 0x11A8...0x11C2 { bits[scalar] |= Self.mayChangeInNFC }
        flags = CodePointTable(bits)
    }

    private enum Hangul {
        static let first: UInt32 = 0xAC00
        static let last: UInt32 = 0xD7A3
        static let leading: UInt32 = 0x1100
        static let vowel: UInt32 = 0x1161
        /// One before the first final consonant: 0 means none.
        static let final: UInt32 = 0x11A7
    }

    func decompose(_ text: [UInt32], compatibly: Bool) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(text.count)
        let changes = compatibly ? Self.decomposes | Self.decomposesCompatibly : Self.decomposes
        for scalar in text {
            if flags[scalar] & changes == 0 {
                result.append(scalar)
            } else if scalar >= Hangul.first && scalar <= Hangul.last {
                let index = scalar - Hangul.first
                result.append(Hangul.leading + index / 588)
                result.append(Hangul.vowel + index % 588 / 28)
                if index % 28 > 0 { result.append(Hangul.final + index % 28) }
            } else if compatibly, let parts = compatible[scalar] {
                result += parts
            } else {
                result += canonical[scalar] ?? [scalar]
            }
        }
        // Marks in the order of their classes; a stable sort of each run.
        var start = 0
        while start < result.count {
            guard flags[result[start]] & Self.isCombining != 0 else {
                start += 1
                continue
            }
            var end = start + 1
            while end < result.count, flags[result[end]] & Self.isCombining != 0 { end += 1 }
            if end - start > 1 {
                let run = result[start..<end].enumerated().sorted {
                    let (a, b) = (combiningClass[$0.element] ?? 0, combiningClass[$1.element] ?? 0)
                    return a != b ? a < b : $0.offset < $1.offset
                }
                result.replaceSubrange(start..<end, with: run.map(\.element))
            }
            start = end
        }
        return result
    }

    func compose(_ text: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(text.count)
        var starter: Int?
        // The class of the last mark that stayed behind the starter.
        var blocking: UInt8 = 0
        for scalar in text {
            let number = flags[scalar] & Self.isCombining != 0 ? combiningClass[scalar] ?? 0 : 0
            if let at = starter, blocking == 0 ? result.count == at + 1 : blocking < number,
                let composite = composite(result[at], scalar)
            {
                result[at] = composite
                continue
            }
            if number == 0 {
                starter = result.count
                blocking = 0
            } else {
                blocking = number
            }
            result.append(scalar)
        }
        return result
    }

    private func composite(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if first >= Hangul.leading, first < Hangul.leading + 19, second >= Hangul.vowel, second < Hangul.vowel + 21 {
            return Hangul.first + ((first - Hangul.leading) * 21 + second - Hangul.vowel) * 28
        }
        if first >= Hangul.first, first <= Hangul.last, (first - Hangul.first) % 28 == 0, second > Hangul.final,
            second < Hangul.final + 28
        {
            return first + second - Hangul.final
        }
        return composites[UInt64(first) << 32 | UInt64(second)]
    }
}
