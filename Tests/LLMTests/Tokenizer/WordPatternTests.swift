// The patterns' scanners, compared with the words of tiktoken's and Hugging Face's expressions, and with a textbook regular
// expression on random text.

import Foundation
import LLM
import Testing

/// A regular expression in the textbook's way: alternatives, each a sequence of items, tried from the left with
/// backtracking.
private struct TextbookExpression {
    enum Item {
        /// As many of these characters as possible, fewer if the rest does not match otherwise.
        case some((Unicode.Scalar) -> Bool, ClosedRange<Int>)
        /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, or with `?`.
        case contraction(isOptional: Bool)
        case atEnd
        /// `(?!\S)`
        case notBeforeOthers
    }

    let alternatives: [[Item]]

    init(_ pattern: WordPattern) {
        func L(_ c: Unicode.Scalar) -> Bool { capital(c) || small(c) || both(c) && !mark(c) }
        func N(_ c: Unicode.Scalar) -> Bool { [.decimalNumber, .letterNumber, .otherNumber].contains(category(c)) }
        func S(_ c: Unicode.Scalar) -> Bool { c.properties.isWhitespace }
        func other(_ c: Unicode.Scalar) -> Bool { !S(c) && !L(c) && !N(c) }
        func front(_ c: Unicode.Scalar) -> Bool { c != "\r" && c != "\n" && !L(c) && !N(c) }
        func lineEnd(_ c: Unicode.Scalar) -> Bool { c == "\r" || c == "\n" }
        func lineEndOrSlash(_ c: Unicode.Scalar) -> Bool { lineEnd(c) || c == "/" }
        func space(_ c: Unicode.Scalar) -> Bool { c == " " }
        func category(_ c: Unicode.Scalar) -> Unicode.GeneralCategory { c.properties.generalCategory }
        func capital(_ c: Unicode.Scalar) -> Bool { [.uppercaseLetter, .titlecaseLetter].contains(category(c)) }
        func small(_ c: Unicode.Scalar) -> Bool { category(c) == .lowercaseLetter }
        func mark(_ c: Unicode.Scalar) -> Bool {
            [.nonspacingMark, .spacingMark, .enclosingMark].contains(category(c))
        }
        func both(_ c: Unicode.Scalar) -> Bool { [.modifierLetter, .otherLetter].contains(category(c)) || mark(c) }
        func one(_ set: @escaping (Unicode.Scalar) -> Bool) -> Item { .some(set, 0...1) }
        func any(_ set: @escaping (Unicode.Scalar) -> Bool, _ least: Int) -> Item { .some(set, least...1000) }
        let white: [[Item]] = [[any(S, 0), any(lineEnd, 1)], [any(S, 1), .notBeforeOthers], [any(S, 1)]]
        let numbers: [Item] = [.some(N, 1...(pattern == .qwen ? 1 : 3))]
        switch pattern {
        case .gpt2: alternatives = []
        case .cl100k, .llama3, .qwen:
            alternatives =
                [
                    [.contraction(isOptional: false)], [one(front), any(L, 1)], numbers,
                    [one(space), any(other, 1), any(lineEnd, 0)],
                ] + (pattern == .cl100k ? [[any(S, 1), .atEnd]] : []) + white
        case .o200k:
            let (first, last) = ({ capital($0) || both($0) }, { small($0) || both($0) })
            alternatives =
                [
                    [one(front), any(first, 0), any(last, 1), .contraction(isOptional: true)],
                    [one(front), any(first, 1), any(last, 0), .contraction(isOptional: true)], numbers,
                    [one(space), any(other, 1), any(lineEndOrSlash, 0)],
                ] + white
        }
    }

    /// The end of the match of `items` at `start`; nil if there is none.
    private func end(of items: ArraySlice<Item>, _ text: [Unicode.Scalar], _ start: Int) -> Int? {
        guard let item = items.first else { return start }
        let rest = items.dropFirst()
        switch item {
        case .some(let set, let range):
            let most = text[start...].prefix(range.upperBound).prefix { set($0) }.count
            guard most >= range.lowerBound else { return nil }
            for count in (range.lowerBound...most).reversed() {
                if let found = end(of: rest, text, start + count) { return found }
            }
            return nil
        case .contraction(let isOptional):
            let next = String(String.UnicodeScalarView(text[start...].prefix(3))).lowercased().unicodeScalars
            let words = ["'s", "'\u{17F}", "'t", "'re", "'ve", "'m", "'ll", "'d"]
            for word in words where next.starts(with: word.unicodeScalars) {
                if let found = end(of: rest, text, start + word.unicodeScalars.count) { return found }
            }
            return isOptional ? end(of: rest, text, start) : nil
        case .atEnd: return start == text.count ? end(of: rest, text, start) : nil
        case .notBeforeOthers:
            return start == text.count || text[start].properties.isWhitespace ? end(of: rest, text, start) : nil
        }
    }

    /// The words of `text`; bytes that are not UTF-8 are characters of their own.
    func words(_ text: [UInt8]) -> [[UInt8]] {
        var characters: [Unicode.Scalar] = []
        var ends = [0]
        text.withUnsafeBufferPointer { text in
            while ends[ends.count - 1] < text.count {
                let next = scalar(at: ends[ends.count - 1], in: text)
                characters.append(Unicode.Scalar(next.value) ?? "\u{FFFD}")
                ends.append(ends[ends.count - 1] + next.length)
            }
        }
        var words: [[UInt8]] = []
        var start = 0
        while start < characters.count {
            let end = alternatives.lazy.compactMap { self.end(of: $0[...], characters, start) }.first ?? start + 1
            words.append(Array(text[ends[start]..<ends[end]]))
            start = end
        }
        return words
    }
}

private func words(_ text: [UInt8], _ pattern: WordPattern) -> [[UInt8]] {
    var words: [[UInt8]] = []
    text.withUnsafeBufferPointer { pattern.forEachWord(in: $0) { words.append(Array($0)) } }
    return words
}

/// Random text of all that the patterns distinguish.
private func patternText(_ random: inout Xorshift, length: Int, invalid: Bool) -> [UInt8] {
    var parts = ["a", "the", "Z", "ABC", "aB", "é", "É", "안", "ㅋ", "日", "ǅ", "ʰ", "\u{301}", "\u{17F}"]
    parts += ["1", "42", "½", "٣", "'s", "'S", "'ll", "'lL", "'Re", "'r", "'", "'\u{17F}"]
    parts += ["!", "...", "/", "\n/", "😀", "\0", "(", "\u{200B}"]
    parts += [" ", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u{A0}", "\u{3000}", "\u{85}", " \n"]
    var text: [UInt8] = []
    for _ in 0..<length {
        if invalid, random.below(8) == 0 {
            text += [[0x80], [0xFF], [0xC3], [0xEA, 0xB0], [0xED, 0xA0, 0x80]][random.below(5)]
        } else {
            text += Array(parts[random.below(parts.count)].utf8)
        }
    }
    return text
}

@Test(arguments: WordPattern.allCases)
func `words and ids of hard strings are tiktoken's and Hugging Face's`(pattern: WordPattern) throws {
    let path = try fixture("tokenizer_patterns.json")
    let json = try JSON(try contents(of: path), name: path)
    guard case .string(let ranks)? = json["ranks"], case .array(let rows)? = json["patterns"]?["\(pattern)"] else {
        throw UserError("the fixture is incomplete", hint: "run dev/reference/tiktoken_fixtures.py")
    }
    let tokenizer = try smallTiktoken(ranks, pattern)
    try withTemporaryDirectory { directory in
        try write(tokenizer.json(), to: directory + "/tokenizer.json")
        let again = try Tokenizer(path: directory + "/tokenizer.json")
        #expect(again.json() == tokenizer.json())
        #expect(rows.count > 100)
        for row in rows {
            guard case .array(let row) = row, row.count == 3, case .string(let text) = row[0],
                case .array(let expected) = row[1], case .array(let ids) = row[2]
            else { throw UserError("a row is incomplete", hint: "run dev/reference/tiktoken_fixtures.py") }
            let shown = String(decoding: text, as: UTF8.self).debugDescription
            let split = expected.map { word -> [UInt8] in
                if case .string(let bytes) = word { return bytes }
                return []
            }
            #expect(words(text, pattern) == split, "\(shown)")
            #expect(try tokenizer.encode(text).map { Int($0) } == ids.compactMap(\.int), "\(shown)")
            #expect(try again.encode(text).map { Int($0) } == ids.compactMap(\.int), "\(shown)")
            #expect(tokenizer.decode(try tokenizer.encode(text)) == text, "\(shown)")
        }
    }
}

@Test(arguments: [.cl100k, .llama3, .qwen, .o200k] as [WordPattern])
func `the scanners agree with the textbook on random text, valid or not`(pattern: WordPattern) {
    let textbook = TextbookExpression(pattern)
    var random = Xorshift(seed: 5)
    for round in 0..<4000 {
        let text = patternText(&random, length: 1 + random.below(12), invalid: round % 3 == 1)
        let shown = String(decoding: text, as: UTF8.self).debugDescription
        #expect(words(text, pattern) == textbook.words(text), "\(shown)")
    }
}

/// The end of a block may be anywhere, also inside a character.
@Test(arguments: WordPattern.allCases)
func `a safe cut changes no word of any pattern`(pattern: WordPattern) {
    var random = Xorshift(seed: 6)
    var cuts = 0
    for round in 0..<3000 {
        let text = patternText(&random, length: 2 + random.below(12), invalid: round % 3 == 1)
        let whole = words(text, pattern)
        for end in 1...text.count {
            guard let cut = text[..<end].withUnsafeBufferPointer({ pattern.safeCut(in: $0) }) else { continue }
            cuts += 1
            #expect(
                words(Array(text[..<cut]), pattern) + words(Array(text[cut...]), pattern) == whole,
                "\(String(decoding: text, as: UTF8.self).debugDescription), \(cut)")
        }
    }
    #expect(cuts > 10_000)
}

@Test func `a pattern is known by its expression`() {
    for pattern in WordPattern.allCases { #expect(WordPattern(regex: Array(pattern.regex.utf8)) == pattern) }
    #expect(WordPattern(regex: Array(#"\w+|[^\w\s]+"#.utf8)) == nil)
}

@Test(arguments: [.cl100k, .qwen, .o200k] as [WordPattern])
func `sections of a text have the ids of the whole`(pattern: WordPattern) throws {
    let path = try fixture("tokenizer_patterns.json")
    guard case .string(let ranks)? = try JSON(try contents(of: path), name: path)["ranks"] else { return }
    let small = try smallTiktoken(ranks, pattern)
    var components = small.components
    if pattern == .qwen { components.normalizer = ["type": "NFC"] }
    let tokenizer = try Tokenizer(
        model: try #require(small.model), spellings: small.spellings, addedTokens: small.addedTokens,
        components: components)
    var random = Xorshift(seed: 7)
    for added in [[], [" the", "B"], ["a the", "\n\na"]] {
        let tokenizer = try tokenizer.adding(added.map { Array($0.utf8) })
        // A cut may be inside a token of two words.
        #expect((tokenizer.cut == .nowhere) == added.contains("a the"))
        var encoder = try tokenizer.makeEncoder()
        var sections = 0
        for round in 0..<400 {
            let text = patternText(&random, length: 60, invalid: round % 4 == 1)
            text.withUnsafeBufferPointer { text in
                let ranges = tokenizer.cut.sections(of: text, count: 5)
                sections += ranges.count
                var (whole, joined): ([Int32], [Int32]) = ([], [])
                encoder.encode(text, to: &whole)
                for range in ranges { encoder.encode(UnsafeBufferPointer(rebasing: text[range]), to: &joined) }
                #expect(joined == whole, "\(String(decoding: text, as: UTF8.self).debugDescription)")
            }
        }
        #expect(added.contains("a the") || sections > 1200)
    }
}
