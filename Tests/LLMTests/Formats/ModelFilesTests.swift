// Which tokenizer belongs to which model.

import Foundation
import LLM
import Testing

private let endOfText = Array("<|endoftext|>".utf8)

/// A tokenizer of 300 tokens, and another of the same size.
private func twoTokenizers() throws -> (Tokenizer, Tokenizer) {
    let text = try contents(of: fixture("tokenizer_corpus.txt"))
    let one = try trainByteLevel(text, vocabularySize: 300)
    let other = try trainByteLevel(text.reversed(), vocabularySize: 300)
    try #require(one.vocabularySize == 300 && other.vocabularySize == 300)
    return (one, other)
}

private func model(V: Int, _ tokenizer: Tokenizer?) -> GPT2 {
    let model = GPT2(GPT2Configuration(maxT: 9, V: V, L: 1, NH: 1, C: 4), trains: false)
    model.tokenizer = tokenizer?.fingerprint()
    return model
}

/// Whether the tokenizer is taken for the model's; if not, the error names both and says what to do.
private func belongs(_ tokenizer: Tokenizer, to path: String) -> Bool {
    do {
        try checkTokenizer(tokenizer, from: "the/place", belongsTo: path)
        return true
    } catch {
        guard let error = error as? UserError else {
            Issue.record("\(error) is not a UserError")
            return false
        }
        #expect(error.message.contains("the/place") && error.message.contains(path), "\(error.message)")
        #expect(error.hint.contains("--tokenizer"))
        return false
    }
}

@Test func `a model that knows its tokenizer takes no other, whatever its size`() throws {
    try withTemporaryDirectory { directory in
        let (one, other) = try twoTokenizers()
        let path = directory + "/model.bin"
        let grown = try one.adding([Array("newword".utf8)])
        for (V, hasRoom) in [(300, false), (301, true), (512, true), (1324, true), (5300, true)] {
            try writeModel(model(V: V, one), to: path)
            #expect(try readGPT2(path, trains: false).tokenizer == one.fingerprint())
            #expect(belongs(one, to: path), "V \(V)")
            #expect(belongs(grown, to: path) == hasRoom, "V \(V)")
            #expect(!belongs(other, to: path), "V \(V)")
            #expect(!belongs(try other.adding([Array("newword".utf8)]), to: path), "V \(V)")
        }
        // What has learnt the tokens that were added needs them.
        try writeModel(model(V: 512, grown), to: path)
        #expect(belongs(grown, to: path) && !belongs(one, to: path))
    }
}

@Test func `a model that does not know its tokenizer takes one of its size, but for padding`() throws {
    try withTemporaryDirectory { directory in
        let (one, other) = try twoTokenizers()
        let path = directory + "/model.bin"
        for (V, fits) in [(299, false), (300, true), (512, true), (1323, true), (1324, false), (5300, false)] {
            try writeModel(model(V: V, nil), to: path)
            #expect(try readGPT2(path, trains: false).tokenizer == nil)
            #expect(belongs(one, to: path) == fits && belongs(other, to: path) == fits, "V \(V)")
        }
    }
}

@Test func `a Hugging Face directory's tokenizer is the one that lies in it`() throws {
    try withTemporaryDirectory { directory in
        let (one, other) = try twoTokenizers()
        let path = directory + "/gpt2"
        // Larger by more than padding.
        try HuggingFaceGPT2.write(model(V: 5300, one), one, to: path)
        #expect(belongs(one, to: path))
        #expect(belongs(try one.adding([Array("newword".utf8)]), to: path))
        #expect(!belongs(other, to: path))
        try checkTokenizer(one, from: path, belongsTo: path)
        // Without one, or with one that can't be read, the sizes decide.
        for name in ["vocab.txt", "tokenizer.bin"] { try FileManager.default.removeItem(atPath: "\(path)/\(name)") }
        try write(Array("{}".utf8), to: path + "/tokenizer.json")
        #expect(!belongs(one, to: path))
        try FileManager.default.removeItem(atPath: path + "/tokenizer.json")
        #expect(!belongs(one, to: path))
        try HuggingFaceGPT2.write(model(V: 512, one), one, to: path)
        for name in ["vocab.txt", "tokenizer.bin", "tokenizer.json"] {
            try FileManager.default.removeItem(atPath: "\(path)/\(name)")
        }
        #expect(belongs(one, to: path) && belongs(other, to: path))
    }
}

@Test func `of a run's folder the best model is named, or else the last`() throws {
    try withTemporaryDirectory { folder in
        func hint() -> String {
            do { _ = try modelKind(folder) } catch { return (error as? UserError)?.hint ?? "" }
            return ""
        }
        for (name, expected) in [
            ("checkpoint-80", "checkpoint-80"), ("checkpoint-100", "checkpoint-100"),
            ("checkpoint-900.tmp", "checkpoint-100"), ("best", "best"),
        ] {
            try createDirectory("\(folder)/\(name)")
            try writeDurably("\(folder)/\(name)/config.json") { try $0.write("{}") }
            #expect(hint() == "name one of its models, such as \(folder)/\(expected)")
        }
    }
}
