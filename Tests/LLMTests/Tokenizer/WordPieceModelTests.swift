// WordPiece: the longest token first, and its limits.

import Foundation
import LLM
import Testing

@Test func `a word is split greedily, up to the longest length`() throws {
    let json = """
        {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordPiece", "unk_token": "[UNK]",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 5,
        "vocab": {"[UNK]": 0, "a": 1, "ab": 2, "##b": 3, "##bé": 4, "##a": 5, "é": 6}}}
        """
    try withTemporaryDirectory { directory in
        try write(Array(json.utf8), to: directory + "/tokenizer.json")
        let tokenizer = try Tokenizer(directory: directory)
        for (word, ids) in [
            ("a", [1]), ("ab", [2]), ("abb", [2, 3]), ("abbé", [2, 4]), ("aabé", [1, 5, 4]), ("éb", [6, 3]),
            ("abé", [0]),
            ("ba", [0]), ("abc", [0]), ("aaaaa", [1, 5, 5, 5, 5]), ("abbbé", [2, 3, 4]), ("aaaaaa", [0]),
        ] as [(String, [Int32])] {
            #expect(try tokenizer.encode(Array(word.utf8)) == ids, "\(word)")
        }
    }
}
