// The vocabularies of other programs.

import Foundation
import LLM
import Testing

@Test func `vocabularies of other programs are read`() throws {
    try withTemporaryDirectory { directory in
        try write(Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\nIfc\n".utf8), to: directory + "/vocab.txt")
        var tokenizer = try Tokenizer(directory: directory)
        #expect(try tokenizer.encode(Array("unaffable Ifc ifc".utf8)) == [2, 4, 5, 6, 7, 1, 3])
        try write(Array("{\"do_lower_case\": true}".utf8), to: directory + "/tokenizer_config.json")
        tokenizer = try Tokenizer(directory: directory)
        #expect(try tokenizer.encode(Array("UN".utf8)) == [2, 4, 3])

        // "b" "a" "ba" "aba": of the pairs in "aba", ba has the lower rank.
        try write(Array("Yg== 0\nYQ== 1\nYmE= 2\nYWJh 3\nYWI= 4\n".utf8), to: directory + "/x.tiktoken")
        tokenizer = try Tokenizer(path: directory + "/x.tiktoken")
        #expect(try tokenizer.encode(Array("aba".utf8)) == [3])
        #expect(try tokenizer.encode(Array("ababa".utf8)) == [3, 2])
        #expect(tokenizer.endOfText == 5)
        // A word long enough for the queue of pairs: ba comes before ab, although ab is on the left.
        try write(Array("Yg== 0\nYQ== 1\nYmE= 2\nYWI= 3\n".utf8), to: directory + "/y.tiktoken")
        tokenizer = try Tokenizer(path: directory + "/y.tiktoken")
        let long = [UInt8](repeatElement(Array("ab".utf8), count: 60).joined()) + [97]
        #expect(try tokenizer.encode(long) == [1] + [Int32](repeating: 2, count: 60))

        try write(Array("{\"a\": 0, \"b\": 1, \"ab\": 2, \"<|endoftext|>\": 3}".utf8), to: directory + "/encoder.json")
        #expect(
            userError { _ = try Tokenizer(path: directory + "/encoder.json") }?.message.contains("two files") == true)
        try write(Array("#version: 0.2\na b\n".utf8), to: directory + "/vocab.bpe")
        tokenizer = try Tokenizer(path: directory + "/vocab.bpe")
        #expect(try tokenizer.encode(Array("aba<|endoftext|>".utf8)) == [2, 0, 3])
        try write(Array("#version: 0.2\na c\n".utf8), to: directory + "/vocab.bpe")
        #expect(userError { _ = try Tokenizer(path: directory + "/vocab.bpe") }?.message.contains("\"c\"") == true)
    }
}
