// The scanner, compared with a textbook version of GPT-2's regular expression and with Hugging Face's words.

import LLM
import Testing

/// The regular expression alternative by alternative, character by character.
///
///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func naiveWords(_ text: [UInt8]) -> [[UInt8]] {
    // The characters with their classes.
    let characters: [(bytes: [UInt8], kind: CharacterClass)] = text.withUnsafeBufferPointer { text in
        var characters: [(bytes: [UInt8], kind: CharacterClass)] = []
        var position = 0
        while position < text.count {
            let next = CharacterClasses.shared.character(at: position, in: text)
            characters.append((Array(text[position..<position + next.length]), next.class))
            position += next.length
        }
        return characters
    }
    func match(at i: Int) -> Int {
        for contraction in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
            let bytes = Array(contraction.utf8)
            if characters[i...].prefix(bytes.count).flatMap(\.bytes) == bytes { return bytes.count }
        }
        let space = characters[i].bytes == [0x20] ? 1 : 0
        for kind in [CharacterClass.letter, .number, .other] {
            let run = characters[(i + space)...].prefix { $0.kind == kind }.count
            if run > 0 { return space + run }
        }
        let run = characters[i...].prefix { $0.kind == .space }.count
        if i + run < characters.count && run > 1 { return run - 1 }
        return run
    }
    var words: [[UInt8]] = []
    var i = 0
    while i < characters.count {
        let count = match(at: i)
        words.append(characters[i..<i + count].flatMap(\.bytes))
        i += count
    }
    return words
}

func scannedWords(_ text: [UInt8]) -> [[UInt8]] {
    text.withUnsafeBufferPointer { text in
        var words: [[UInt8]] = []
        GPT2Words().forEachWord(in: text) { words.append(Array($0)) }
        return words
    }
}

@Test func `the scanner splits hard strings as Hugging Face does`() throws {
    let cases = try TokenizerCase.all()
    #expect(cases.count > 50)
    for hard in cases where !hard.text.starts(with: Array("<|".utf8)) {
        #expect(scannedWords(hard.text) == hard.words)
        #expect(naiveWords(hard.text) == hard.words)
    }
}

@Test func `the scanner agrees with the textbook on random text, valid or not`() {
    var random = Xorshift(seed: 1)
    for round in 0..<3000 {
        let text = hardText(&random, length: 1 + random.below(20), invalid: round % 2 == 1)
        #expect(scannedWords(text) == naiveWords(text), "\(text)")
    }
}

@Test func `a word's bytes are kept, whatever they are`() {
    var random = Xorshift(seed: 2)
    for _ in 0..<300 {
        let text = (0..<random.below(60)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(scannedWords(text).flatMap { $0 } == text)
    }
}

@Test func `a safe cut changes no word`() {
    var random = Xorshift(seed: 3)
    var cuts = 0
    for round in 0..<5000 {
        let text = hardText(&random, length: 2 + random.below(12), invalid: round % 2 == 1)
        guard let cut = text.withUnsafeBufferPointer({ GPT2Words().safeCut(in: $0) }) else { continue }
        cuts += 1
        #expect(scannedWords(Array(text[..<cut])) + scannedWords(Array(text[cut...])) == scannedWords(text), "\(text)")
    }
    #expect(cuts > 2000)
}

@Test func `a text of one word has no safe cut`() {
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)
    #expect(text.withUnsafeBufferPointer { GPT2Words().safeCut(in: $0) } == nil)
}

/// The end of a block may be anywhere, also inside a character.
@Test func `a safe cut of a text's beginning changes no word of the text`() {
    var random = Xorshift(seed: 9)
    for round in 0..<1500 {
        let text = hardText(&random, length: 2 + random.below(12), invalid: round % 2 == 1)
        let words = scannedWords(text)
        for end in 1..<text.count {
            guard let cut = text[..<end].withUnsafeBufferPointer({ GPT2Words().safeCut(in: $0) }) else { continue }
            #expect(scannedWords(Array(text[..<cut])) + scannedWords(Array(text[cut...])) == words, "\(text), \(end)")
        }
    }
}
