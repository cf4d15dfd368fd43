// The warning about what a vocabulary lacks.

import Foundation
import LLM
import Testing

@Test func `the characters that a vocabulary lacks are named, the most frequent first`() throws {
    for name in ["tokenizer_prefix.json", "tokenizer_whitespace.json"] {
        let tokenizer = try Tokenizer(path: fixture(name))
        try withTemporaryDirectory { directory in
            let text = String(repeating: "the \u{1F9EA}\u{1F9EA} \u{1F9EC} the\n", count: 2000)
            try write(Array(text.utf8), to: directory + "/text")
            let files = try openTexts([directory + "/text"])
            let warning = try tokenizer.unknownWarning(30, of: 1000, in: files)
            let expected =
                "warning: 3% of the tokens are unknown, for characters that the vocabulary lacks: \"\u{1F9EA}\" "
                + "\"\u{1F9EC}\"; train the tokenizer on such text, or with --scheme byte-level"
            #expect(warning == expected)
            #expect(try tokenizer.unknownWarning(10, of: 1000, in: files) == nil)
        }
    }
}

@Test func `a character that a vocabulary has only at another place in a word is one that it lacks there`() throws {
    let json = """
        {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "MODEL", "unk_token": "[UNK]",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##b": 3}, "merges": []}}
        """
    for model in ["BPE", "WordPiece"] {
        try withTemporaryDirectory { directory in
            let path = directory + "/tokenizer.json"
            try write(Array(json.replacing("MODEL", with: model).utf8), to: path)
            try write(Array("ab ab ba b".utf8), to: directory + "/text")
            let warning = try Tokenizer(path: path).unknownWarning(1, of: 4, in: try openTexts([directory + "/text"]))
            #expect(warning?.contains("lacks: \"a\";") == true)
        }
    }
}
