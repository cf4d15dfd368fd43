/// An encoder of text to ids, which caches the words it has encoded. It belongs to one thread.
package struct TextEncoder {
    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    /// The finders of added tokens in the text, and in the normalized text.
    private let finders: (AddedTokenFinder, AddedTokenFinder)
    private var words: WordEncoder

    /// - Parameter recognizesSpecialTokens: whether a special token in the text becomes its id; if not, it is ordinary
    ///   text.
    init(_ tokenizer: Tokenizer, _ model: TokenModel, recognizesSpecialTokens: Bool) {
        normalizer = tokenizer.normalizer
        preTokenizer = tokenizer.preTokenizer
        words = WordEncoder(model)
        let added = tokenizer.addedTokens.filter { recognizesSpecialTokens || !$0.isSpecial }
        let normalizer = normalizer
        finders = (
            AddedTokenFinder(added.filter { !$0.isNormalized }.map { ($0, $0.content) }),
            AddedTokenFinder(added.filter(\.isNormalized).map { ($0, normalizer?($0.content) ?? $0.content) })
        )
    }

    /// Appends the ids of `text`.
    /// - Parameter isStart: whether `text` is the beginning of a document.
    package mutating func encode(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool = true, to output: inout [Int32]
    ) {
        guard !finders.0.isEmpty else {
            encodeUnmarked(text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.0
        finder.forEachSpan(in: text) { range, token in
            if let token { output.append(token.id) }
            guard let range else { return }
            encodeUnmarked(
                UnsafeBufferPointer(rebasing: text[range]), isStart: isStart && range.lowerBound == 0, to: &output)
        }
    }

    /// Appends the ids of text between the added tokens that are found before normalization.
    private mutating func encodeUnmarked(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        if let normalizer {
            normalizer(Array(text)).withUnsafeBufferPointer { encodeNormalized($0, isStart: isStart, to: &output) }
        } else {
            encodeNormalized(text, isStart: isStart, to: &output)
        }
    }

    mutating func encodeNormalized(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        guard !finders.1.isEmpty else {
            encodeWords(of: text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.1
        finder.forEachSpan(in: text) { range, token in
            if let token { output.append(token.id) }
            guard let range else { return }
            encodeWords(
                of: UnsafeBufferPointer(rebasing: text[range]), isStart: isStart && range.lowerBound == 0, to: &output)
        }
    }

    private mutating func encodeWords(
        of text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        guard let preTokenizer else {
            if !text.isEmpty { words.encode(text, to: &output) }
            return
        }
        if let pattern = preTokenizer.pattern {
            words.encode(text, wordsOf: pattern, to: &output)
            return
        }
        preTokenizer.forEachWord(in: text, isStart: isStart) { words.encode($0, to: &output) }
    }
}
