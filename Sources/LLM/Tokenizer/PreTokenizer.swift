// The pre-tokenizers of Hugging Face's tokenizer.json: they split a text into words, and the model works inside a word.
//
// In a sequence each word is split further by the next pre-tokenizer. The patterns of vocabularies of bytes have scanners
// of their own (WordPattern.swift), because large corpora go through them.

/// A pre-tokenizer of tokenizer.json.
package indirect enum PreTokenizer: Sendable {
    case sequence([PreTokenizer])
    /// The words of a pattern, or the whole text if there is none. The model gets their bytes, not the characters that
    /// stand for bytes: see ByteAlphabet.
    case byteLevel(addsPrefixSpace: Bool, words: WordPattern?)
    case words(WordPattern)
    /// `\w+|[^\w\s]+`
    case whitespace
    case whitespaceSplit
    /// Splits at white space; each punctuation character is a word.
    case bert
    case punctuation(SplitBehavior)
    case digits(individual: Bool)
    /// Spaces become `replacement`, and each begins a word.
    case metaspace(replacement: [UInt8], prepends: PrependScheme, splits: Bool)
    case split(pattern: [UInt8], SplitBehavior, inverts: Bool)

    package enum PrependScheme: String, Sendable { case first, never, always }

    /// What happens to the matches of a pattern.
    package enum SplitBehavior: String, Sendable {
        case removed = "Removed"
        case isolated = "Isolated"
        case mergedWithPrevious = "MergedWithPrevious"
        case mergedWithNext = "MergedWithNext"
        case contiguous = "Contiguous"
    }

    /// The pre-tokenizer that `json` describes; nil for `null`.
    /// - Parameter refuse: makes the error that says what is unsupported or malformed.
    static func read(_ json: JSON?, refuse: (String) -> UserError) throws -> PreTokenizer? {
        guard let json, !json.isNull else { return nil }
        let type = json["type"]?.text ?? "without a type"
        func behavior(default standard: SplitBehavior?) throws -> SplitBehavior {
            guard let name = json["behavior"]?.text else {
                if let standard { return standard }
                throw refuse("its pre_tokenizer \(type) has no behavior")
            }
            guard let behavior = SplitBehavior(rawValue: name) else {
                throw refuse("its pre_tokenizer \(type) has an unsupported behavior, \(name)")
            }
            return behavior
        }
        switch type {
        case "Sequence":
            guard case .array(let steps)? = json["pretokenizers"] else {
                throw refuse("its pre_tokenizer Sequence has no pretokenizers")
            }
            let sequence = try steps.compactMap { try read($0, refuse: refuse) }
            for step in sequence.dropLast() where step.isByteLevel {
                throw refuse("its pre_tokenizer has ByteLevel before another one")
            }
            // BERT's, as Korean tutorials write it.
            if sequence.count == 2, case .whitespaceSplit = sequence[0],
                case .punctuation(.isolated) = sequence[1]
            {
                return .bert
            }
            // As Llama 3 and others have it.
            if sequence.count == 2, case .words(let pattern) = sequence[0],
                case .byteLevel(addsPrefixSpace: false, words: nil) = sequence[1]
            {
                return .byteLevel(addsPrefixSpace: false, words: pattern)
            }
            return sequence.count == 1 ? sequence[0] : .sequence(sequence)
        case "ByteLevel":
            return .byteLevel(
                addsPrefixSpace: json["add_prefix_space"]?.bool ?? true,
                words: json["use_regex"]?.bool ?? true ? .gpt2 : nil)
        case "Whitespace": return .whitespace
        case "WhitespaceSplit": return .whitespaceSplit
        case "BertPreTokenizer": return .bert
        case "Punctuation": return .punctuation(try behavior(default: .isolated))
        case "Digits": return .digits(individual: json["individual_digits"]?.bool ?? false)
        case "Metaspace":
            guard case .string(let replacement)? = json["replacement"],
                scalars(of: replacement).count == 1
            else { throw refuse("its pre_tokenizer Metaspace has no replacement of one character") }
            var scheme = PrependScheme.always
            if let name = json["prepend_scheme"]?.text {
                guard let known = PrependScheme(rawValue: name) else {
                    throw refuse("its pre_tokenizer Metaspace has an unsupported prepend_scheme, \(name)")
                }
                scheme = known
            }
            if json["add_prefix_space"]?.bool == false { scheme = .never }
            return .metaspace(
                replacement: replacement, prepends: scheme, splits: json["split"]?.bool ?? true)
        case "Split":
            let (behavior, inverts) = (try behavior(default: nil), json["invert"]?.bool ?? false)
            if case .string(let regex)? = json["pattern"]?["Regex"] {
                guard let words = WordPattern(regex: regex) else {
                    throw refuse(
                        "its pre_tokenizer Split has an unsupported pattern, \(String(decoding: regex, as: UTF8.self))")
                }
                // A word matches, and nothing else is between words.
                guard behavior == .isolated || (behavior == .removed && inverts) else {
                    throw refuse("its pre_tokenizer Split has words as pattern, and the behavior \(behavior.rawValue)")
                }
                return .words(words)
            }
            guard case .string(let pattern)? = json["pattern"]?["String"], !pattern.isEmpty else {
                throw refuse("its pre_tokenizer Split has a pattern that is neither a String nor a Regex")
            }
            return .split(pattern: pattern, behavior, inverts: inverts)
        default: throw refuse("it has an unsupported pre_tokenizer, \(type)")
        }
    }

    /// Whether the model sees bytes.
    package var isByteLevel: Bool {
        switch self {
        case .byteLevel: return true
        case .sequence(let steps): return steps.last?.isByteLevel ?? false
        default: return false
        }
    }

    /// The pattern, if the words are exactly those of one.
    var pattern: WordPattern? {
        switch self {
        case .byteLevel(addsPrefixSpace: false, words: let pattern?), .words(let pattern): return pattern
        default: return nil
        }
    }

    /// Whether a text can be cut before white space that contains a line end.
    var worksByLine: Bool {
        switch self {
        case .sequence(let steps): return steps.allSatisfy(\.worksByLine)
        case .byteLevel(let addsPrefixSpace, let words): return words == .gpt2 && !addsPrefixSpace
        case .words(let pattern): return pattern == .gpt2
        case .whitespace, .whitespaceSplit, .bert: return true
        case .punctuation, .digits, .metaspace, .split: return false
        }
    }

    /// Calls `body` with the words of `text`, none of which is empty.
    /// - Parameter isStart: whether `text` is the beginning of a document, not the text after an added token.
    @inline(__always)
    package func forEachWord(
        in text: UnsafeBufferPointer<UInt8>, isStart: Bool = true, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        switch self {
        case .byteLevel(addsPrefixSpace: false, words: let pattern?): pattern.forEachWord(in: text, body)
        case .bert: forEachWhitespaceWord(in: text, isolating: true, body)
        case .whitespace: forEachWhitespaceRegexWord(in: text, body)
        default: split(text, isStart: isStart, body)
        }
    }

    private func split(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        guard !text.isEmpty else { return }
        switch self {
        case .sequence(let steps):
            func run(_ index: Int, _ text: UnsafeBufferPointer<UInt8>, _ isStart: Bool) {
                guard index < steps.count else { return body(text) }
                let base = text.baseAddress
                steps[index].split(text, isStart: isStart) { run(index + 1, $0, isStart && $0.baseAddress == base) }
            }
            run(0, text, isStart)
        case .byteLevel(let addsPrefixSpace, let pattern):
            func words(_ text: UnsafeBufferPointer<UInt8>) {
                if let pattern { pattern.forEachWord(in: text, body) } else { body(text) }
            }
            if addsPrefixSpace, text[0] != UInt8(ascii: " ") {
                ([UInt8(ascii: " ")] + text).withUnsafeBufferPointer { words($0) }
            } else {
                words(text)
            }
        case .words(let pattern): pattern.forEachWord(in: text, body)
        case .whitespace: forEachWhitespaceRegexWord(in: text, body)
        case .whitespaceSplit: forEachWhitespaceWord(in: text, isolating: false, body)
        case .bert: forEachWhitespaceWord(in: text, isolating: true, body)
        case .punctuation(let behavior):
            cut(text, at: matches(of: CharacterFlag.punctuation, in: text), behavior, body)
        case .digits(let individual):
            cut(text, at: matches(of: CharacterFlag.numeric, in: text), individual ? .isolated : .contiguous, body)
        case .split(let pattern, let behavior, let inverts):
            let found = matches(of: pattern, in: text)
            cut(text, at: inverts ? found.map { ($0.range, !$0.isMatch) } : found, behavior, body)
        case .metaspace(let replacement, let prepends, let splits):
            var replaced = replacing([UInt8(ascii: " ")], by: replacement, in: Array(text))
            if prepends == .always || (prepends == .first && isStart), !replaced.starts(with: replacement) {
                replaced = replacement + replaced
            }
            replaced.withUnsafeBufferPointer { text in
                guard splits else { return body(text) }
                cut(text, at: matches(of: replacement, in: text), .mergedWithNext, body)
            }
        }
    }

    /// Calls `body` with the words between white space; if `isolating`, each punctuation character is a word.
    @inline(__always)
    private func forEachWhitespaceWord(
        in text: UnsafeBufferPointer<UInt8>, isolating: Bool, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        let classes = CharacterClasses.shared
        var start = 0
        var position = 0
        while true {
            position = plainLettersEnd(in: text, from: position)
            if position == text.count { break }
            let next = scalar(at: position, in: text)
            let flags = classes.flags(next.value)
            let isSpace = flags & 3 == CharacterClass.space.rawValue
            if isSpace || (isolating && flags & CharacterFlag.punctuation != 0) {
                if start < position { body(UnsafeBufferPointer(rebasing: text[start..<position])) }
                start = position + next.length
                if !isSpace { body(UnsafeBufferPointer(rebasing: text[position..<start])) }
            }
            position += next.length
        }
        if start < position { body(UnsafeBufferPointer(rebasing: text[start..<position])) }
    }

    /// Calls `body` with the matches of `\w+|[^\w\s]+`.
    @inline(__always)
    private func forEachWhitespaceRegexWord(
        in text: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        let classes = CharacterClasses.shared
        var start = 0
        var position = 0
        // 0 white space, 1 word, 2 other
        var kind = 0
        while true {
            if kind == 1 { position = plainLettersEnd(in: text, from: position) }
            if position == text.count { break }
            let next = scalar(at: position, in: text)
            let flags = classes.flags(next.value)
            let nextKind =
                flags & CharacterFlag.word != 0 ? 1 : flags & 3 == CharacterClass.space.rawValue ? 0 : 2
            if nextKind != kind {
                if kind != 0 { body(UnsafeBufferPointer(rebasing: text[start..<position])) }
                start = position
                kind = nextKind
            }
            position += next.length
        }
        if kind != 0 { body(UnsafeBufferPointer(rebasing: text[start..<position])) }
    }

    private typealias Match = (range: Range<Int>, isMatch: Bool)

    /// The characters with `flag`, each a match, and the text between them.
    private func matches(of flag: UInt8, in text: UnsafeBufferPointer<UInt8>) -> [Match] {
        var result: [Match] = []
        var start = 0
        var position = 0
        while position < text.count {
            let next = scalar(at: position, in: text)
            let end = position + next.length
            if CharacterClasses.shared.flags(next.value) & flag != 0 {
                if start < position { result.append((start..<position, false)) }
                result.append((position..<end, true))
                start = end
            }
            position = end
        }
        if start < position { result.append((start..<position, false)) }
        return result
    }

    private func matches(of pattern: [UInt8], in text: UnsafeBufferPointer<UInt8>) -> [Match] {
        var result: [Match] = []
        var start = 0
        var position = 0
        while position < text.count {
            if text[position] == pattern[0], text[position...].starts(with: pattern) {
                if start < position { result.append((start..<position, false)) }
                result.append((position..<position + pattern.count, true))
                position += pattern.count
                start = position
            } else {
                position += 1
            }
        }
        if start < position { result.append((start..<position, false)) }
        return result
    }

    private func cut(
        _ text: UnsafeBufferPointer<UInt8>, at matches: [Match], _ behavior: SplitBehavior,
        _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        var words: [Range<Int>] = []
        var previous = false
        switch behavior {
        case .isolated: words = matches.map(\.range)
        case .removed: words = matches.filter { !$0.isMatch }.map(\.range)
        case .contiguous:
            for match in matches {
                if match.isMatch == previous, let last = words.popLast() {
                    words.append(last.lowerBound..<match.range.upperBound)
                } else {
                    words.append(match.range)
                }
                previous = match.isMatch
            }
        case .mergedWithPrevious:
            for match in matches {
                if match.isMatch, !previous, let last = words.popLast() {
                    words.append(last.lowerBound..<match.range.upperBound)
                } else {
                    words.append(match.range)
                }
                previous = match.isMatch
            }
        case .mergedWithNext:
            // The mirror image of `mergedWithPrevious`, from the end.
            for match in matches.reversed() {
                if match.isMatch, !previous, let last = words.popLast() {
                    words.append(match.range.lowerBound..<last.upperBound)
                } else {
                    words.append(match.range)
                }
                previous = match.isMatch
            }
            words.reverse()
        }
        for word in words where !word.isEmpty { body(UnsafeBufferPointer(rebasing: text[word])) }
    }
}
