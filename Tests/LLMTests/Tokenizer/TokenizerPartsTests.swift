// Every part that a tokenizer.json can name, against what Hugging Face's library makes of hard strings.

import Foundation
import LLM
import Testing

@Test func `each part gives Hugging Face's ids and texts`() throws {
    let path = try fixture("tokenizer_parts.json")
    guard case .array(let rows) = try JSON(try contents(of: path), name: path) else {
        Issue.record("no rows")
        return
    }
    #expect(rows.count > 25)
    try inNewDirectory { directory in
        for row in rows {
            let name = try #require(row["name"]?.text)
            let file = "\(directory)/\(name).json"
            try write(try #require(row["tokenizer"]).text(), to: file)
            let tokenizer = try Tokenizer(path: file)
            // Written and read again, it is the same.
            let again = "\(directory)/again.json"
            try write(tokenizer.json(), to: again)
            #expect(try Tokenizer(path: again).json() == tokenizer.json(), "\(name)")
            guard case .array(let cases)? = row["cases"] else { continue }
            for hard in cases {
                guard case .array(let parts) = hard, parts.count == 4, case .string(let text) = parts[0],
                    case .array(let ids) = parts[1], case .string(let decoded) = parts[2],
                    case .string(let skipped) = parts[3]
                else {
                    Issue.record("\(name): a case is incomplete")
                    continue
                }
                let shown = String(decoding: text, as: UTF8.self)
                let expected = ids.compactMap { $0.int.map { Int32($0) } }
                #expect(try tokenizer.encode(text) == expected, "\(name): \(shown)")
                // That library replaces what is no UTF-8.
                func lossy(_ bytes: [UInt8]) -> [UInt8] { Array(String(decoding: bytes, as: UTF8.self).utf8) }
                #expect(lossy(tokenizer.decode(expected)) == decoded, "\(name): \(shown)")
                #expect(
                    lossy(tokenizer.decode(expected, skippingSpecialTokens: true)) == skipped, "\(name): \(shown)")
            }
        }
    }
}

private func learn(_ alphabet: Alphabet, _ words: PreTokenizer, size: Int, frequency: Int = 0, longest: Int = .max)
    throws
    -> LearntBytePairs
{
    let file = try InputFile(try fixture("tokenizer_corpus.txt"), hint: "")
    var trainer = BytePairTrainer(
        try WordCounts.counting(linesOf: [file], words).words, alphabet: alphabet,
        specialTokens: ["[UNK]", "<|endoftext|>"].map { Array($0.utf8) }, vocabularySize: size,
        longestToken: longest)
    return trainer.train(minimumFrequency: frequency)
}

private func check(_ learnt: LearntBytePairs, _ name: String, prefix: String) throws {
    let expected = try Tokenizer(path: fixture(name))
    var characters = BytePairModel.Characters()
    characters.unknown = 0
    characters.prefix = Array(prefix.utf8)
    let ours = try Tokenizer(
        learnt, characters: characters, addedTokens: expected.addedTokens, components: expected.components)
    #expect(ours.json() == (try contents(of: fixture(name))))
}

@Test func `the prefix scheme is Hugging Face's, in the order of its run`() throws {
    var order = Vocabulary()
    for (id, spelling) in try Tokenizer(path: fixture("tokenizer_prefix.json")).spellings.enumerated() {
        _ = order.insert(spelling, Int32(id))
    }
    let prefix = Array("##".utf8)
    try check(
        learn(.characters(prefix: prefix, insideOrder: order), .bert, size: 500), "tokenizer_prefix.json", prefix: "##")
    // Our own order is that of the code points.
    let own = try learn(.characters(prefix: prefix), .bert, size: 500)
    let inside = own.spellings.filter {
        $0.starts(with: prefix) && String(decoding: $0, as: UTF8.self).unicodeScalars.count == 3
    }
    #expect(inside == inside.sorted { $0.lexicographicallyPrecedes($1) } && !inside.isEmpty)
}

@Test func `the whitespace scheme is Hugging Face's, frequency and length included`() throws {
    try check(
        learn(.characters(limit: 10000), .whitespace, size: 300, frequency: 2, longest: 4), "tokenizer_whitespace.json",
        prefix: "")
}

@Test func `an alphabet can be limited to the most frequent characters`() throws {
    let learnt = try learn(.characters(limit: 5), .whitespace, size: 7)
    #expect(learnt.spellings.count == 7)
    #expect(learnt.spellings.dropFirst(2).allSatisfy { String(decoding: $0, as: UTF8.self).count == 1 })
}

@Test func `added tokens take the next ids and are one piece`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_prefix.json"))
    let size = Int32(tokenizer.vocabularySize)
    let larger = try tokenizer.adding(["newword", "[newtoken]", "<|endoftext|>"].map { Array($0.utf8) })
    #expect(larger.vocabularySize == Int(size) + 2)
    #expect(try larger.encode(Array("newword[newtoken]".utf8)) == [size, size + 1])
    try inNewDirectory { directory in
        try larger.write(to: directory)
        #expect(try Tokenizer(directory: directory).json() == larger.json())
    }
}

@Test func `vocabularies of other programs are read`() throws {
    try inNewDirectory { directory in
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

@Test func `composing and decomposing are each other's inverse on Hangul`() {
    for scalar in stride(from: UInt32(0xAC00), through: 0xD7A3, by: 7) {
        var text: [UInt8] = []
        for i in 0..<3 { text += Array(String(UnicodeScalar(min(0xD7A3, scalar + UInt32(i))) ?? " ").utf8) }
        let letters = Normalizer.normalForm(.nfd)(text)
        #expect(letters.count > text.count)
        #expect(Normalizer.normalForm(.nfc)(letters) == text)
        #expect(letters.withUnsafeBufferPointer { hasDecomposedHangul($0) })
        #expect(!text.withUnsafeBufferPointer { hasDecomposedHangul($0) })
    }
}

@Test func `bytes that are no UTF-8 are replaced when asked, and counted`() throws {
    try inNewDirectory { directory in
        try write([97, 0xFF, 98, 10], to: directory + "/a.txt")
        let files = try openTexts([directory])
        #expect(throws: UserError.self) { try WordCounts.counting(linesOf: files) }
        let (words, findings) = try WordCounts.counting(linesOf: files, lossy: true)
        #expect(findings.replaced == 1 && findings.bytes == 4)
        var seen: [[UInt8]] = []
        words.forEach { word, _ in seen.append(Array(word)) }
        #expect(Set(seen) == [[97], [0xEF, 0xBF, 0xBD], [98], [10]])
    }
}
