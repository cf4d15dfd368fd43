// The encoder with its cache of words, compared with new encoders.

import Foundation
import LLM
import Testing

@Test func `an encoder that remembers words gives the ids of one that does not`() throws {
    let tokenizer = try trainByteLevel(try contents(of: fixture("tokenizer_corpus.txt")), vocabularySize: 500)
    var encoder = try tokenizer.makeEncoder()
    var random = Xorshift(seed: 8)
    for _ in 0..<300 {
        let text = hardText(&random, length: 1 + random.below(60), invalid: true)
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        #expect(try ids == tokenizer.encode(text))
    }
}

/// Byte-level, with a merge of `a` and `b` and `padding` unused tokens before it.
private func tokenizer(padding: Int) throws -> Tokenizer {
    var spellings = ByteAlphabet.bytesInOrder.map { ByteAlphabet.characters(for: [$0]) }
    let bytes = ByteAlphabet.bytesInOrder
    let (a, b) = (bytes.firstIndex(of: 97) ?? 0, bytes.firstIndex(of: 98) ?? 0)
    spellings += (0..<padding).map { Array("unused\($0)".utf8) }
    spellings.append(Array("ab".utf8))
    let merge = Merge(left: Int32(a), right: Int32(b), result: Int32(spellings.count - 1))
    return try Tokenizer(LearntBytePairs(spellings: spellings, merges: [merge]), addedTokens: [])
}

/// Words of few and many ids, of 31 bytes and more, small ids and ids past 16 bits, met again and again.
@Test(arguments: [0, 70_000])
func `words of any length come out of the cache as they went in`(padding: Int) throws {
    let tokenizer = try tokenizer(padding: padding)
    var encoder = try tokenizer.makeEncoder()
    var random = Xorshift(seed: 22)
    let merged = Int32(256 + padding)
    for _ in 0..<300 {
        // A word is letters x and pairs ab.
        var (text, expected) = ([UInt8](), [Int32]())
        for _ in 0..<1 + random.below(80) {
            let isPair = random.below(3) > 0
            for _ in 0..<1 + random.below(random.below(4) == 0 ? 40 : 17) {
                text += isPair ? [97, 98] : [120]
                expected.append(isPair ? merged : 87)
            }
            text += [46]
            expected.append(13)
        }
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        try #require(ids == expected)
    }
}

@Test func `more words than the cache has entries keep their ids`() throws {
    let tokenizer = try trainByteLevel(try contents(of: fixture("tokenizer_corpus.txt")), vocabularySize: 500)
    var encoder = try tokenizer.makeEncoder()
    func encode(_ text: [UInt8]) -> [Int32] {
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        return ids
    }
    // 300,000 words for 262,144 entries, frequent ones in between.
    let text = Array((0..<300_000).map { $0 % 3 == 0 ? " the\($0 % 10)" : " \($0 &* 7919)" }.joined().utf8)
    let first = encode(text)
    #expect(tokenizer.decode(first) == text)
    #expect(encode(text) == first)
    #expect(try Array(first.prefix(20_000)) == Array(tokenizer.encode(Array(text.prefix(100_000))).prefix(20_000)))
}

@Test func `words one by one and in batches have the same ids`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    var components = tokenizer.components
    // A pattern that never matches: the words go one by one.
    let never: JSON = ["type": "Split", "pattern": ["String": "\u{1}never"], "behavior": "Isolated"]
    components.preTokenizer = ["type": "Sequence", "pretokenizers": [never, components.preTokenizer]]
    let slow = try Tokenizer(
        model: try #require(tokenizer.model), spellings: tokenizer.spellings, addedTokens: tokenizer.addedTokens,
        components: components)
    var (a, b) = (try tokenizer.makeEncoder(), try slow.makeEncoder())
    var random = Xorshift(seed: 23)
    for _ in 0..<40 {
        let text = hardText(&random, length: 400, invalid: true)
        var (batched, single) = ([Int32](), [Int32]())
        text.withUnsafeBufferPointer {
            a.encode($0, to: &batched)
            b.encode($0, to: &single)
        }
        #expect(batched == single && tokenizer.decode(batched) == text)
    }
}
