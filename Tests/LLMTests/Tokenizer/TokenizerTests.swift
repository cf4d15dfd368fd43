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
    try withTemporaryDirectory { directory in
        try larger.write(to: directory)
        #expect(try Tokenizer(directory: directory).json() == larger.json())
    }
}
