// What tells a tokenizer from others.

import Foundation
import LLM
import Testing

@Test func `a vocabulary has the same fingerprint in every format`() throws {
    try withTemporaryDirectory { directory in
        let path = try fixture("tokenizer_600.json")
        let tokenizer = try Tokenizer(path: path)
        // Computed by hand, in Python: files hold it, so it must never be another.
        #expect(tokenizer.fingerprint() == TokenizerFingerprint(count: 600, hash: 0x96fb_c65a_ad3d_d5b3))
        try tokenizer.write(to: directory)
        #expect(try Tokenizer(path: directory + "/tokenizer.json").fingerprint() == tokenizer.fingerprint())
        #expect(try Tokenizer(path: directory + "/tokenizer.bin").fingerprint() == tokenizer.fingerprint())

        try writeGPT2Files(tokenizer, to: directory)
        #expect(try Tokenizer(path: directory + "/vocab.json").fingerprint() == tokenizer.fingerprint())
    }
}

@Test func `a tokenizer that has grown keeps the fingerprint of its beginning`() throws {
    for name in ["600", "prefix", "whitespace"] {
        let tokenizer = try Tokenizer(path: fixture("tokenizer_\(name).json"))
        let size = tokenizer.vocabularySize
        let grown = try tokenizer.adding(["newword", "[newtoken]"].map { Array($0.utf8) })
        #expect(grown.fingerprint().count == size + 2)
        #expect(grown.fingerprint(ofFirst: size) == tokenizer.fingerprint())
        #expect(grown.fingerprint() != tokenizer.fingerprint())
        #expect(tokenizer.fingerprint(ofFirst: size + 2) == tokenizer.fingerprint())
    }
}

/// tokenizer.bin's tokens are what they say they are.
private func tokenizer(_ tokens: [String], in directory: String) throws -> Tokenizer {
    var bytes = [Int32](repeating: 0, count: 256)
    (bytes[0], bytes[1], bytes[2]) = (20_240_328, 2, Int32(tokens.count))
    var file = bytes.withUnsafeBytes { Array($0) }
    for token in tokens { file += [UInt8(token.utf8.count)] + Array(token.utf8) }
    try write(file, to: directory + "/tokenizer.bin")
    return try Tokenizer(path: directory + "/tokenizer.bin")
}

@Test func `other tokens have another fingerprint`() throws {
    try withTemporaryDirectory { directory in
        let all = try [
            ["<|end|>", "a", "bc", "d"], ["<|end|>", "ab", "c", "d"], ["<|end|>", "a", "d", "bc"],
            ["<|end|>", "a", "bc", "e"], ["<|end|>", "a", "bc"], ["<|end|>", "a", "bc", "d", "e"],
            ["<|end|>abcd"], ["<|end|>a", "b", "c", "d"],
        ].map { try tokenizer($0, in: directory).fingerprint().hash }
        #expect(Set(all).count == all.count)
    }
}
