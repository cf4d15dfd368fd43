// A tokenizer as a whole.

import Foundation
import LLM
import Testing

@Test func `added tokens take the next ids and are one piece`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_prefix.json"))
    let size = Int32(tokenizer.vocabularySize)
    let larger = try tokenizer.adding(["newword", "[newtoken]", "<|endoftext|>"].map { Array($0.utf8) })
    #expect(larger.vocabularySize == Int(size) + 2)
    #expect(try larger.encode(Array("newword[newtoken]".utf8)) == [size, size + 1])
    // Twice is once.
    let twice = try larger.adding(["x1x", "newword", "x1x"].map { Array($0.utf8) })
    #expect(twice.addedTokens == larger.addedTokens + twice.addedTokens.suffix(1))
    #expect(twice.addedTokens.last?.id == size + 2 && twice.idsBySpelling[Array("x1x".utf8)] == size + 2)
    try withTemporaryDirectory { directory in
        try larger.write(to: directory)
        #expect(try Tokenizer(directory: directory).json() == larger.json())
    }
}

@Test func `special tokens are added with the next ids`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    let names = ["<|im_start|>", "<|im_end|>"].map { Array($0.utf8) }
    let plain = try tokenizer.adding([names[1]])
    let grown = try plain.adding(names + [Array("<|endoftext|>".utf8)], special: true)
    #expect(grown.addedTokens.map(\.id) == [0, 600, 601] && grown.addedTokens.allSatisfy(\.isSpecial))
    #expect(grown.addedTokens.allSatisfy { !$0.isNormalized })
    #expect(grown.addedTokens.map(\.content) == [Array("<|endoftext|>".utf8), names[1], names[0]])
    #expect(try grown.encode(names[0] + names[1]) == [601, 600])
    #expect(grown.endOfText == 0)
}
