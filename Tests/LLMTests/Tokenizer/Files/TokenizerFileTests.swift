// tokenizer.json and tokenizer.bin: whole, odd and damaged.

import Foundation
import LLM
import Testing

private let endOfText = Array("<|endoftext|>".utf8)

@Test func `Hugging Face's file gives Hugging Face's ids`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    #expect(tokenizer.vocabularySize == 600)
    #expect(tokenizer.endOfText == 0)
    for hard in try TokenizerCase.all() {
        #expect(try tokenizer.encode(hard.text) == hard.ids)
        #expect(tokenizer.decode(hard.ids) == hard.text)
    }
}

@Test func `a file read and written is the same file`() throws {
    let path = try fixture("tokenizer_600.json")
    #expect(try Tokenizer(path: path).json() == contents(of: path))
}

@Test func `tokenizer.bin holds the bytes and the end of text`() throws {
    try withTemporaryDirectory { directory in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        try tokenizer.write(to: directory)
        let binary = try Tokenizer(path: directory + "/tokenizer.bin")
        #expect(binary.vocabularySize == 600 && binary.endOfText == 0)
        for id in 0..<600 { #expect(binary.bytes(of: id) == tokenizer.bytes(of: id)) }
        #expect(binary.bytes(of: 600).isEmpty && binary.bytes(of: -1).isEmpty)
        #expect(throws: UserError.self) { try binary.encode([97]) }
        #expect(try Tokenizer(directory: directory).model != nil)
    }
}

@Test func `damaged tokenizer.bin files are refused`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/tokenizer.bin"
        let whole = try #require(try Tokenizer(path: fixture("tokenizer_600.json")).binary())
        func changed(_ offset: Int, _ value: Int32) -> [UInt8] {
            var bytes = whole
            withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(offset..<offset + 4, with: $0) }
            return bytes
        }
        let damaged = [
            [], Array(whole[..<1000]), Array(whole.dropLast()), whole + [0], changed(0, 1), changed(4, 3),
            changed(4, 1),
            changed(8, 0), changed(8, -1), changed(8, .max), changed(8, 601), changed(8, 599), changed(12, 600),
            changed(12, -1), changed(1024, 0),
        ]
        for (index, bytes) in damaged.enumerated() {
            try write(bytes, to: path)
            #expect(userError { _ = try Tokenizer(path: path) }?.message.hasPrefix(path) == true, "\(index)")
        }
    }
}

@Test func `a token too long for tokenizer.bin leaves no older one behind`() throws {
    try withTemporaryDirectory { directory in
        try write([1], to: directory + "/tokenizer.bin")
        let whole = try Tokenizer(path: fixture("tokenizer_600.json"))
        try whole.adding([[UInt8](repeating: 97, count: 256)]).write(to: directory)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory).sorted() == [
                "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
            ])
    }
}

@Test func `damaged tokenizer.json files are refused, and say what is wrong`() throws {
    let whole = String(decoding: try contents(of: fixture("tokenizer_600.json")), as: UTF8.self)
    func changed(_ old: String, _ new: String) throws -> String {
        let range = try #require(whole.range(of: old), "\(old)")
        return whole.replacingCharacters(in: range, with: new)
    }
    let deep = String(repeating: "[", count: 1_000_000)
    let cases: [(String, String)] = [
        ("", "ends too early"), ("{}", "no \"model\""), ("[]", "no \"model\""), ("nul", "ends too early"),
        (String(whole.dropLast(5)), "ends too early"), (whole + "x", "continues after"), (deep, "deeper"),
        ("\u{FEFF}" + whole, "byte order mark"),
        (try changed("\"BPE\"", "\"WordPiece\""), "unk_token"), (try changed("\"BPE\"", "7"), "neither BPE"),
        (try changed("\"BPE\"", "\"Unigram\""), "Unigram"),
        (try changed("\"type\": \"ByteLevel\"", "\"type\": \"UnicodeScripts\""), "UnicodeScripts"),
        (try changed("\"normalizer\": null", "\"normalizer\": {\"type\": \"Precompiled\"}"), "Precompiled"),
        (
            try changed(
                "\"normalizer\": null", "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"}}"),
            "Replace"
        ),
        (try changed("\"post_processor\": null", "\"post_processor\": {\"type\": \"Odd\"}"), "Odd"),
        (try changed("\"dropout\": null", "\"dropout\": 0.1"), "dropout"),
        (try changed("\"unk_token\": null", "\"unk_token\": \"none\""), "none"),
        (try changed("\"byte_fallback\": false", "\"byte_fallback\": true"), "byte_fallback"),
        (try changed("\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\""), "prefix"),
        (try changed("\"!\": 1", "\"!\": 2"), "id 2"), (try changed("\"!\": 1", "\"!\": -1"), "\"!\""),
        (try changed("\"!\": 1", "\"!\": 1.5"), "\"!\""), (try changed("\"!\": 1", "\"!\": 1e99"), "\"!\""),
        (try changed("\"!\": 1", "\"!\": \"1\""), "\"!\""), (try changed("\"!\": 1", "\"!\": 600"), "id 600"),
        (try changed("\"!\": 1,", "\"#\": 1,"), "occurs twice"), (try changed("\"!\": 1,", "\"\": 1,"), "empty"),
        (try changed("\"!\": 1,", ""), "out of range"),
        (try changed("\"id\": 0", "\"id\": 5"), "as added token"),
        (
            try changed(
                "\"added_tokens\": [",
                "\"added_tokens\": [{\"id\": 600, \"content\": \"\(String(repeating: "ab", count: 1 << 21))c\"},"),
            "more than 4,194,304 bytes"
        ),
        (try changed("\"merges\": [", "\"merges\": [[\"가\", \"b\"],"), "not in the vocabulary"),
        (try changed("\"merges\": [", "\"merges\": [[\"a\"],"), "not a pair"),
        (try changed("\"merges\": [", "\"merges\": [7,"), "not a pair"),
        (try changed("\"vocab\": {", "\"vocab\": 1, \"x\": {"), "model.vocab"),
        ("{\"a\": \"\\ud800\"}", "surrogate"), ("{\"a\": \"\u{1}\"}", "control"), ("{\"a\" 1}", "colon"),
    ]
    try withTemporaryDirectory { directory in
        let path = directory + "/tokenizer.json"
        for (text, what) in cases {
            try write(Array(text.utf8), to: path)
            let message = userError { _ = try Tokenizer(path: path) }?.message ?? "no error"
            #expect(message.contains(what) && message.hasPrefix(path), "\(what): \(message)")
        }
        try write([0x22, 0xFF, 0x22], to: path)
        #expect(userError { _ = try Tokenizer(path: path) }?.message.contains("UTF-8") == true)
        #expect(userError { _ = try Tokenizer(directory: directory + "/none") } != nil)
    }
}

@Test func `numbers that mean nothing are refused, or count as none`() throws {
    let whole = String(decoding: try contents(of: fixture("tokenizer_600.json")), as: UTF8.self)
    let wordPiece = """
        {"model": {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": SIZE,
        "vocab": {"[UNK]": 0, "a": 1, "##a": 2}}}
        """
    try withTemporaryDirectory { directory in
        let path = directory + "/tokenizer.json"
        for number in ["1000000000000", "-1", "9223372036854775808", "1e300", "0.5", "NaN", "\"1\""] {
            for old in ["\"!\": 1", "\"id\": 0"] {
                let name = old.split(separator: ":")[0]
                try write(Array(whole.replacing(old, with: "\(name): \(number)", maxReplacements: 1).utf8), to: path)
                #expect(userError { _ = try Tokenizer(path: path) } != nil, "\(old) \(number)")
            }
            try write(Array(wordPiece.replacing("SIZE", with: number).utf8), to: path)
            var ids: [Int32] = []
            let error = userError { ids = try Tokenizer(path: path).encode(Array("aaa".utf8)) }
            #expect(number == "1000000000000" ? ids == [1, 2, 2] : error != nil, "\(number)")
        }
        // tiktoken's ranks.
        for rank in ["1000000000000", "-1", "9223372036854775808", "1e300", "0.5", "nan", "2"] {
            try write(Array("IQ== 0\nIg== \(rank)\n".utf8), to: directory + "/x.tiktoken")
            #expect(userError { _ = try Tokenizer(path: directory + "/x.tiktoken") } != nil, "\(rank)")
        }
    }
}

@Test func `a template asks for no more tokens than there is memory`() throws {
    func tokenizer(pieces: Int, ids: Int, nested: Int = 1) throws -> Tokenizer {
        let piece: JSON = ["SpecialToken": ["id": "x", "type_id": 0]]
        let template: JSON = [
            "type": "TemplateProcessing",
            "single": .array([JSON](repeating: piece, count: pieces) + [["Sequence": ["id": "A", "type_id": 0]]]),
            "special_tokens": ["x": ["id": "x", "ids": .array([JSON](repeating: 1, count: ids)), "tokens": ["x"]]],
        ]
        let whole = try Tokenizer(path: fixture("tokenizer_600.json"))
        var components = whole.components
        components.postProcessor = [
            "type": "Sequence", "processors": .array([JSON](repeating: template, count: nested)),
        ]
        return try Tokenizer(
            model: try #require(whole.model), spellings: whole.spellings, addedTokens: whole.addedTokens,
            components: components)
    }
    #expect(try tokenizer(pieces: 3, ids: 2, nested: 2).encode([]).count == 12)
    #expect(try tokenizer(pieces: 256, ids: 256).encode([]).count == 65_536)
    for (pieces, ids, nested) in [(257, 256, 1), (1, 65_537, 1), (100_000, 100_000, 1), (256, 256, 2)] {
        let error = userError { _ = try tokenizer(pieces: pieces, ids: ids, nested: nested) }
        #expect(error?.message.contains("more than 65,536 tokens") == true)
    }
}

@Test func `merges as older files wrote them are read`() throws {
    let whole = String(decoding: try contents(of: fixture("tokenizer_600.json")), as: UTF8.self)
    let first = try #require(whole.range(of: "\"merges\": ["))
    let tail = whole[first.upperBound...].replacingOccurrences(of: "\",\n        \"", with: " ")
        .replacingOccurrences(of: "[\n        \"", with: "\"").replacingOccurrences(of: "\"\n      ]", with: "\"")
    try withTemporaryDirectory { directory in
        let path = directory + "/tokenizer.json"
        try write(Array((whole[..<first.upperBound] + tail).utf8), to: path)
        #expect(try Tokenizer(path: path).json() == contents(of: fixture("tokenizer_600.json")))
    }
}

@Test func `special tokens that would be something else are refused`() {
    for contents in [["<|a|>", "<|a|>"], [""], ["a"], ["Ġthe"]] {
        #expect(throws: UserError.self) { try Tokenizer.checkSpecialTokens(contents.map { Array($0.utf8) }) }
    }
    #expect(throws: Never.self) { try Tokenizer.checkSpecialTokens([endOfText, Array("<|끝 |>".utf8)]) }
}

@Test func `ignore_merges is read and written`() throws {
    let whole = String(decoding: try contents(of: fixture("tokenizer_600.json")), as: UTF8.self)
    let changed = whole.replacingOccurrences(of: "\"ignore_merges\": false", with: "\"ignore_merges\": true")
    #expect(changed != whole)
    try withTemporaryDirectory { directory in
        try write(Array(changed.utf8), to: directory + "/tokenizer.json")
        #expect(try Tokenizer(directory: directory).json() == Array(changed.utf8))
    }
}

@Test func `transformers is told what a model takes besides ids`() throws {
    try withTemporaryDirectory { directory in
        func inputs(_ tokenizer: Tokenizer) throws -> [String] {
            try tokenizer.write(to: directory)
            let path = directory + "/tokenizer_config.json"
            guard case .array(let names)? = try JSON(contents(of: path), name: path)["model_input_names"] else {
                return []
            }
            return names.compactMap(\.text)
        }
        #expect(try inputs(Tokenizer(path: fixture("tokenizer_600.json"))) == ["input_ids", "attention_mask"])
        #expect(try inputs(codeGenTokenizer()) == ["input_ids", "attention_mask"])
        let words = Array("[UNK]\n[CLS]\n[SEP]\na\n".utf8)
        try write(words, to: directory + "/bert.txt")
        #expect(
            try inputs(Tokenizer(path: directory + "/bert.txt")) == ["input_ids", "token_type_ids", "attention_mask"])
        // A vocabulary with BERT's tokens that are not put around a text.
        try write(Array("[UNK]\n[CLS]\na\n".utf8), to: directory + "/other.txt")
        #expect(try inputs(Tokenizer(path: directory + "/other.txt")) == ["input_ids", "attention_mask"])
    }
}

@Test func `the vocab.txt that is written beside a tokenizer.json is not read instead of it`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_prefix.json"))
    try withTemporaryDirectory { directory in
        let set = DurableFiles()
        try tokenizer.writeAll(to: directory, in: set)
        try set.commit()
        #expect(Tokenizer.file(in: directory) == directory + "/tokenizer.json")
        try FileManager.default.removeItem(atPath: directory + "/tokenizer.json")
        #expect(Tokenizer.file(in: directory) == directory + "/tokenizer.bin")
        try FileManager.default.removeItem(atPath: directory + "/tokenizer.bin")
        #expect(Tokenizer.file(in: directory) == nil)
        let error = userError { _ = try Tokenizer(at: directory) }
        #expect(error?.message == "no tokenizer.json in \(directory), and its vocab.txt is only to look at")
        // BERT's is.
        try write(Array("{\"tokenizer_class\": \"BertTokenizer\"}".utf8), to: directory + "/tokenizer_config.json")
        #expect(Tokenizer.file(in: directory) == directory + "/vocab.txt")
    }
}
