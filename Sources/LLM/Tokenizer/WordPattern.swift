// The patterns by which vocabularies of bytes split text into words. tokenizer.json states a pattern as a regular
// expression. No engine runs it: the expressions that are known are recognized as text, and each has a scanner written
// by hand (GPT2Words, CL100KWords, O200KWords). Any other expression is refused.

/// A pattern that splits text into words, such as GPT-2's. Every byte belongs to exactly one word.
package enum WordPattern: Sendable, CaseIterable {
    case gpt2
    /// That of tiktoken's cl100k_base.
    case cl100k
    /// Llama 3's, which other programs also have for cl100k_base. It differs from tiktoken's in white space at the end
    /// of a text: what follows the last line end is a word of its own.
    case llama3
    /// That of Qwen 1 to 3: Llama 3's, with each digit a word.
    case qwen
    /// That of tiktoken's o200k_base.
    case o200k

    /// The pattern as a regular expression of Hugging Face's library, whose engine is Oniguruma. There `$` is the end of
    /// a line, so cl100k_base's `\s++$` is spelt without it; possessive quantifiers change nothing.
    package var regex: String {
        switch self {
        case .gpt2: #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        case .cl100k:
            #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
                + #"|\s+(?![\s\S])|\s*[\r\n]+|\s+(?!\S)|\s+"#
        case .llama3:
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
                + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
        case .qwen:
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"#
                + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
        case .o200k:
            #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
                + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"#
                + #"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        }
    }

    /// The pattern with this regular expression; nil if it is not known.
    package init?(regex: [UInt8]) {
        guard let known = WordPattern.allCases.first(where: { Array($0.regex.utf8) == regex }) else { return nil }
        self = known
    }

    /// Calls `body` with each word of `bytes` in order.
    @inline(__always)
    package func forEachWord(in bytes: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        switch self {
        case .gpt2: GPT2Words().forEachWord(in: bytes, body)
        case .cl100k, .llama3, .qwen: CL100KWords(self).forEachWord(in: bytes, body)
        case .o200k: O200KWords().forEachWord(in: bytes, body)
        }
    }

    /// The last position in `bytes`, other than 0, where the text can be cut so that both sides, scanned separately,
    /// give the words of the whole; nil if there is none. The last three bytes are excluded, because the character there
    /// may continue in text that has not been read yet.
    ///
    /// In all patterns but GPT-2's, a word ends with the last line end of white space, and with a letter or a number
    /// before a space. (o200k's words may go on with a slash.) Composing characters (NFC) changes neither.
    package func safeCut(in bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        if self == .gpt2 { return GPT2Words().safeCut(in: bytes) }
        let classes = CharacterClasses.shared
        for position in stride(from: bytes.count - 4, to: 0, by: -1) {
            switch (bytes[position - 1], bytes[position]) {
            case (UInt8(ascii: "\n"), UInt8(ascii: "/")), (UInt8(ascii: "\r"), UInt8(ascii: "/")): continue
            case (UInt8(ascii: "\n"), _), (UInt8(ascii: "\r"), _):
                if classes.character(at: position, in: bytes).class != .space { return position }
            case (_, UInt8(ascii: " ")):
                let previous = classes.character(before: position, in: bytes).class
                if previous == .letter || previous == .number { return position }
            default: continue
            }
        }
        return nil
    }
}
