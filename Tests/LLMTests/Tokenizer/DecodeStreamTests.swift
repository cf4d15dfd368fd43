// Tokens back to text, one by one: what Hugging Face's library makes of all of them, and as soon as it is certain.

import Foundation
import LLM
import Testing

private func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }

/// That library replaces bytes that are not UTF-8.
private func lossy(_ bytes: [UInt8]) -> [UInt8] { Array(String(decoding: bytes, as: UTF8.self).utf8) }

@Test func `random ids decode to Hugging Face's texts, whole and in two parts`() throws {
    let (partsPath, path) = (try fixture("tokenizer_parts.json"), try fixture("tokenizer_decodings.json"))
    guard case .array(let parts) = try JSON(try contents(of: partsPath), name: partsPath),
        case .array(let rows) = try JSON(try contents(of: path), name: path)
    else { throw UserError("the rows are missing", hint: "write the fixtures again") }
    #expect(rows.count > 40)
    try withTemporaryDirectory { directory in
        for row in rows {
            let name = try #require(row["tokenizer"]?.text)
            guard case .object(var members)? = parts.first(where: { $0["name"]?.text == name })?["tokenizer"],
                case .array(let cases)? = row["texts"]
            else { throw UserError("a row is incomplete", hint: "write the fixtures again") }
            members.removeAll { $0.key == utf8("decoder") }
            members.append((utf8("decoder"), try #require(row["decoder"])))
            try write(JSON.object(members).text(), to: "\(directory)/tokenizer.json")
            let tokenizer = try Tokenizer(directory: directory)
            for one in cases {
                guard case .array(let pair) = one, case .array(let list) = pair[0], case .string(let text) = pair[1]
                else { throw UserError("a text is incomplete", hint: "write the fixtures again") }
                let ids = list.compactMap { $0.int.map { Int32($0) } }
                let whole = tokenizer.decode(ids)
                #expect(lossy(whole) == text, "\(name): \(ids)")
                for cut in 0...ids.count {
                    let first = tokenizer.decode(Array(ids[..<cut]))
                    // What a byte makes of the bytes before it cannot be unsaid.
                    guard whole.starts(with: first) else { continue }
                    #expect(first + tokenizer.decode(Array(ids[cut...]), after: Array(ids[..<cut])) == whole, "\(ids)")
                }
            }
        }
    }
}

// MARK: - step by step

/// A tokenizer of these tokens, which cannot encode.
private func tokenizer(_ tokens: [String], decoder: JSON) throws -> Tokenizer {
    var vocabulary = Vocabulary()
    for (id, token) in tokens.enumerated() { _ = vocabulary.insert(utf8(token), Int32(id)) }
    return try Tokenizer(
        model: .bytePair(BytePairModel(vocabulary, merges: [], byteIDs: nil)), spellings: tokens.map(utf8),
        addedTokens: [], components: Tokenizer.Components(decoder: decoder))
}

/// What comes after each token, and at the end.
private func shown(_ tokens: [String], _ decoder: JSON, after context: Int = 0) throws -> [String] {
    let tokenizer = try tokenizer(tokens, decoder: decoder)
    var stream = DecodeStream(tokenizer, after: Array(0..<Int32(context)))
    let pieces = (context..<tokens.count).map { stream.add(Int32($0)) } + [stream.finish()]
    return pieces.map { String(decoding: $0, as: UTF8.self) }
}

private let llama: JSON = [
    "type": "Sequence",
    "decoders": [
        ["type": "Replace", "pattern": ["String": "▁"], "content": " "], ["type": "ByteFallback"], ["type": "Fuse"],
        ["type": "Strip", "content": " ", "start": 1, "stop": 0],
    ],
]

@Test func `text comes as soon as no later token can change it`() throws {
    // The suffix of the last word is no space.
    #expect(try shown(["a</w>", "b", "c</w>"], ["type": "BPEDecoder", "suffix": "</w>"]) == ["", "a ", "b", "c"])
    // A run of bytes is text only if all of it is.
    let 가 = ["<0xEA>", "<0xB0>", "<0x80>"]
    #expect(try shown(["▁x"] + 가 + ["▁y", "z"], llama) == ["x", "", "", "", "가 y", "z", ""])
    #expect(
        try shown(["▁x"] + 가 + ["<0xFF>", "!"], llama) == [
            "x", "", "", "", "", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}!", "",
        ])
    #expect(try shown(["▁x", "<0xEA>", "<0xB0>"], llama) == ["x", "", "", "\u{FFFD}\u{FFFD}"])
    // Without a decoder, and with those that look at the first token.
    #expect(try shown(["a", "b"], .null) == ["a", " b", ""])
    #expect(try shown(["a", "##b", "c"], ["type": "WordPiece"]) == ["a", "b", " c", ""])
    #expect(try shown(["▁a", "▁b"], ["type": "Metaspace", "replacement": "▁"]) == ["a", " b", ""])
    // Where all text is one token, a pattern may lie across two, and what is stripped may not be at the end.
    let fuse: JSON = ["type": "Fuse"]
    let replace: JSON = ["type": "Replace", "pattern": ["String": "abac"], "content": "!"]
    #expect(
        try shown(["xa", "ba", "bac", "ab"], ["type": "Sequence", "decoders": [fuse, replace]]) == [
            "x", "", "ab!", "", "ab",
        ])
    let strip: JSON = ["type": "Strip", "content": "é", "start": 1, "stop": 2]
    #expect(
        try shown(["éé", "é", "é", "a", "éb", "é"], ["type": "Sequence", "decoders": [fuse, strip]]) == [
            "", "", "é", "ééa", "éb", "", "",
        ])
    // Its bytes may come one by one.
    let bytes: JSON = ["type": "Sequence", "decoders": [["type": "ByteLevel"], strip]]
    #expect(try shown(["Ã", "©", "x", "Ã", "©"], bytes) == ["", "", "x", "", "", ""])
}

@Test func `what follows a context adds to its text, and nothing of it comes again`() throws {
    let suffix: JSON = ["type": "BPEDecoder", "suffix": "</w>"]
    #expect(try shown(["a</w>", "b</w>", "c</w>", "d</w>"], suffix, after: 2) == [" ", "c ", "d"])
    #expect(try shown(["a</w>", "b</w>"], suffix, after: 2) == [""])
    #expect(try shown(["a", "b"], ["type": "WordPiece"], after: 1) == [" b", ""])
    #expect(try shown(["▁a", "▁b"], ["type": "Metaspace", "replacement": "▁"], after: 1) == [" b", ""])
    #expect(try shown(["a", "b"], .null, after: 1) == [" b", ""])
    #expect(try shown(["▁a", "▁b"], llama, after: 1) == [" b", ""])
    // A run of bytes goes on.
    let run = ["<0xEA>", "<0xB0>", "<0x80>"]
    #expect(try shown(run + run + ["x"], llama, after: 3) == ["", "", "", "가x", ""])
    // A byte that makes the run no text says it all again, because it changes all of it.
    #expect(
        try shown(["▁x"] + run + ["<0xFF>", "y"], llama, after: 4) == ["", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}y", ""])
    let tokenizer = try tokenizer(["a", "b"], decoder: .null)
    #expect(tokenizer.decode([7, 0, -1, 1]) == utf8("a b"))
}

@Test func `bytes are spelt as Hugging Face's library reads them`() throws {
    let fallback: JSON = ["type": "ByteFallback"]
    for (token, text) in [
        ("<0x41>", "A"), ("<0x0a>", "\n"), ("<0x+A>", "\n"), ("<0x-0>", "<0x-0>"), ("<0xé>", "<0xé>"),
        ("<0x 1>", "<0x 1>"), ("<0x041>", "<0x041>"), ("<0xG1>", "<0xG1>"),
    ] {
        #expect(try shown([token], fallback).joined() == text)
    }
}

// MARK: - the textbook's way

/// A decoder as Hugging Face's library has it: each step takes the list of all tokens and gives another.
private func naive(_ decoder: Decoder, _ tokens: [[UInt8]]) -> [[UInt8]] {
    func replacing(_ pattern: [UInt8], by content: [UInt8], in text: [UInt8]) -> [UInt8] {
        guard let at = text.indices.first(where: { text[$0...].starts(with: pattern) }) else { return text }
        return text[..<at] + content + replacing(pattern, by: content, in: Array(text[(at + pattern.count)...]))
    }
    let space = utf8(" ")
    switch decoder {
    case .sequence(let steps): return steps.reduce(tokens) { naive($1, $0) }
    case .byteLevel: return [tokens.flatMap { ByteAlphabet.bytes(for: $0) ?? $0 }]
    case .fuse: return [tokens.flatMap { $0 }]
    case .replace(let pattern, let content): return tokens.map { replacing(pattern, by: content, in: $0) }
    case .wordPiece(let prefix, _):
        return tokens.enumerated().map { i, token in
            i == 0 ? token : token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : space + token
        }
    case .metaspace(let replacement, let prepends):
        return tokens.enumerated().map { i, token in
            replacing(replacement, by: i == 0 && prepends ? [] : space, in: token)
        }
    case .bytePair(let suffix):
        return tokens.enumerated().map { i, token in
            replacing(suffix, by: i == tokens.count - 1 ? [] : space, in: token)
        }
    case .strip(let content, let start, let stop):
        return tokens.map { token in
            var rest = token[...]
            var taken = 0
            while taken < start, rest.starts(with: content) {
                (rest, taken) = (rest.dropFirst(content.count), taken + 1)
            }
            taken = 0
            while taken < stop, rest.suffix(content.count) == content[...] {
                (rest, taken) = (rest.dropLast(content.count), taken + 1)
            }
            return Array(rest)
        }
    case .byteFallback:
        var result: [[UInt8]] = []
        var run: [UInt8] = []
        for token in tokens + [[]] {
            let text = String(decoding: token, as: UTF8.self)
            if text.utf8.count == 6, text.hasPrefix("<0x"), text.hasSuffix(">") {
                run.append(UInt8(text.dropFirst(3).prefix(2), radix: 16) ?? 0)
                continue
            }
            let isText = String(validating: run, as: UTF8.self) != nil
            if !run.isEmpty { result += isText ? [run] : run.map { _ in utf8("\u{FFFD}") } }
            result.append(token)
            run = []
        }
        return result.dropLast()
    }
}

/// As tokenizers' decoders.WordPiece(cleanup=True).
@Test func `before marks and short forms there is no space`() {
    let decoder = Decoder.wordPiece(prefix: utf8("##"), cleansUp: true)
    let texts = [
        ".": "a.", "?": "a?", "!": "a!", ",": "a,", "' b": "a'b", "n't": "an't", "'m": "a'm", "do not": "a don't",
        "'s": "a's", "'ve": "a've", "'re": "a're", "d": "a d", "n": "a n", "'": "a '", "do  not": "a do  not",
        "a . b": "a a. b",
    ]
    for (token, text) in texts { #expect(decoder([utf8("a"), utf8(token)]) == utf8(text), "\(token)") }
}

@Test func `any steps in any order give what whole lists give`() {
    let steps: [Decoder] = [
        .byteLevel, .fuse, .byteFallback, .wordPiece(prefix: utf8("##"), cleansUp: false),
        .metaspace(replacement: utf8("▁"), prepends: true), .metaspace(replacement: utf8("▁"), prepends: false),
        .bytePair(suffix: utf8("e")), .replace(pattern: utf8("aab"), content: utf8("a▁")),
        .replace(pattern: utf8("▁"), content: utf8(" ")), .replace(pattern: utf8("a"), content: []),
        .strip(content: utf8(" "), start: 1, stop: 0), .strip(content: utf8("▁"), start: 1, stop: 2),
        .strip(content: utf8("a"), start: 0, stop: 1_000_000_000_000),
        .strip(content: utf8("é"), start: .max, stop: .max),
    ]
    let tokens = [
        "a", "aa", "ab", "▁a", "▁", "▁▁", "é", "éé", "##b", "Ġa", "Ã", "©", " ", "  e", "e", "<0xC3>", "<0xA9>",
        "<0x61>",
    ]
    var random = Xorshift(seed: 3)
    for _ in 0..<4000 {
        let decoder = Decoder.sequence((0..<1 + random.below(4)).map { _ in steps[random.below(steps.count)] })
        let list = (0..<1 + random.below(7)).map { _ in utf8(tokens[random.below(tokens.count)]) }
        #expect(decoder(list) == naive(decoder, list).flatMap { $0 }, "\(decoder) \(list)")
    }
}

@Test func `a size that means nothing takes no time`() throws {
    for size: JSON in [.number(1e12), .number(9.2e18), 0] {
        let strip: JSON = ["type": "Strip", "content": " ", "start": size, "stop": size]
        let text = try shown([" a ", " b "], strip).joined()
        #expect(text == (size.int == 0 ? " a  b " : "ab"))
    }
    for size: JSON in [.number(-1), .number(0.5), .number(1e300), .number(9_223_372_036_854_775_808), "1", .null] {
        for key in ["start", "stop"] {
            var members = [("type", "Strip" as JSON), ("content", " "), ("start", 1), ("stop", 1)]
            members = members.map { $0.0 == key ? (key, size) : $0 }
            let strip = JSON.object(members.map { (utf8($0.0), $0.1) })
            #expect(userError { _ = try tokenizer(["a"], decoder: strip) }?.message.contains("Strip") == true)
        }
    }
    for decoder: JSON in [
        ["type": "BPEDecoder", "suffix": ""], ["type": "Metaspace", "replacement": ""],
        ["type": "Metaspace", "replacement": "ab"],
    ] {
        #expect(throws: UserError.self) { try tokenizer(["a"], decoder: decoder) }
    }
}
