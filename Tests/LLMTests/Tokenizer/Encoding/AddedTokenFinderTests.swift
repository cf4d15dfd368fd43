// Added tokens in a text, above all Phi's: CodeGenTokenizer has one for each run of 2 to 31 spaces and of 2 to 9 tabs,
// which begin as ordinary text does and of which most begin with others.

import Foundation
import LLM
import Testing

@Test func `runs of white space give Hugging Face's ids and texts`() throws {
    let path = try fixture("tokenizer_codegen_cases.json")
    guard case .array(let cases) = try JSON(try contents(of: path), name: path) else {
        throw UserError("there are no cases", hint: "write the fixture again")
    }
    let tokenizer = try codeGenTokenizer()
    #expect(tokenizer.vocabularySize == 320 + 38 && tokenizer.endOfText == 319)
    #expect(cases.count > 130)
    var encoder = try tokenizer.makeEncoder(recognizesSpecialTokens: true)
    for hard in cases {
        guard case .array(let parts) = hard, parts.count == 4, case .string(let text) = parts[0],
            case .array(let ids) = parts[1], case .string(let decoded) = parts[2], case .string(let skipped) = parts[3]
        else { throw UserError("a case is incomplete", hint: "write the fixture again") }
        let shown = String(decoding: JSON.quoted(text), as: UTF8.self)
        let expected = ids.compactMap { $0.int.map { Int32($0) } }
        #expect(try tokenizer.encode(text) == expected, "\(shown)")
        // The same encoder again and again.
        var encoded: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &encoded) }
        #expect(encoded == expected, "\(shown)")
        #expect(tokenizer.decode(expected) == decoded, "\(shown)")
        #expect(tokenizer.decode(expected, skippingSpecialTokens: true) == skipped, "\(shown)")
        // Token by token, and all of it at once: no token waits for the next one.
        var stream = DecodeStream(tokenizer)
        #expect(expected.flatMap { stream.add($0) } == decoded, "\(shown)")
        #expect(stream.finish().isEmpty)
    }
}

@Test func `the longest of two added tokens wins, and the leftmost before that`() throws {
    let whole = try Tokenizer(path: fixture("tokenizer_600.json"))
    let added = [(0, "<|endoftext|>"), (600, "ab"), (601, "abcd"), (602, "bcd")].map {
        AddedToken(id: Int32($0.0), content: Array($0.1.utf8))
    }
    let tokenizer = try Tokenizer(
        model: try #require(whole.model), spellings: whole.spellings, addedTokens: added, components: whole.components)
    let c = try whole.encode(Array("c".utf8))
    // "abc" goes beyond one token and does not reach the other.
    for (text, ids) in [
        ("abcdab<|endoftext|>", [601, 600, 0]), ("abbcd", [600, 602]), ("ababcd", [600, 601]), ("abc", [600] + c),
    ] {
        #expect(try tokenizer.encode(Array(text.utf8)) == ids, "\(text)")
    }
}

/// A corpus may contain <|endoftext|>, but not the token; runs of white space are tokens there, too.
@Test func `a corpus has no special tokens but all the others`() throws {
    let tokenizer = try codeGenTokenizer()
    var encoder = try tokenizer.makeEncoder()
    var ids: [Int32] = []
    Array("  <|endoftext|>\t\t".utf8).withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
    #expect(ids.first == 349 && ids.last == 357 && ids.count > 3 && !ids.contains(319))
}
