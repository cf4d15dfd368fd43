// Text to ids with a memory of the words it has met: one per thread.
//
// Most words of a text were met before: looking them up is what encoding mostly is. The table has fixed entries of
// half a cache line, a word of up to 15 bytes and up to four ids, so that a hit touches one line and allocates nothing;
// longer words, and words of more ids, point into a list beside it.

/// What cuts and merges: the part of a tokenizer after normalising.
package enum TokenModel: Sendable {
    case bytePair(BytePairModel)
    case wordPiece(WordPieceModel)

    /// Appends the ids of `word`, which is not empty.
    func encode(
        _ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32], _ scratch: inout BytePairModel.Scratch
    ) {
        switch self {
        case .bytePair(let model): model.encode(word, to: &ids, &scratch)
        case .wordPiece(let model): model.encode(word, to: &ids)
        }
    }
}

package struct TextEncoder {
    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let isPlainGPT2: Bool
    /// Looked for in the text, then in the normalised text.
    private let finders: (AddedTokenFinder, AddedTokenFinder)
    private var words: WordEncoder

    /// - Parameter recognizesSpecialTokens: else a special token written in a text is text like any other.
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
        isPlainGPT2 =
            normalizer == nil && (preTokenizer?.isGPT2 ?? false) && finders.0.isEmpty && finders.1.isEmpty
    }

    /// Appends the ids of `text`.
    /// - Parameter isStart: whether a document begins here.
    package mutating func encode(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool = true, to output: inout [Int32]
    ) {
        if isPlainGPT2 {
            words.encodeGPT2(text, to: &output)
            return
        }
        guard !finders.0.isEmpty else {
            encodeUnmarked(text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.0
        finder.forEachPiece(in: text) { range, token in
            if let token { output.append(token.id) }
            guard let range else { return }
            encodeUnmarked(
                UnsafeBufferPointer(rebasing: text[range]), isStart: isStart && range.lowerBound == 0, to: &output)
        }
    }

    /// What is left between the tokens that are looked for in the text as it is.
    private mutating func encodeUnmarked(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        if let normalizer {
            normalizer(Array(text)).withUnsafeBufferPointer { encodeNormalized($0, isStart: isStart, to: &output) }
        } else {
            encodeNormalized(text, isStart: isStart, to: &output)
        }
    }

    private mutating func encodeNormalized(
        _ text: UnsafeBufferPointer<UInt8>, isStart: Bool, to output: inout [Int32]
    ) {
        guard !finders.1.isEmpty else {
            encodeWords(of: text, isStart: isStart, to: &output)
            return
        }
        let finder = finders.1
        finder.forEachPiece(in: text) { range, token in
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
        preTokenizer.forEachWord(in: text, isStart: isStart) { words.encode($0, to: &output) }
    }
}

/// The ids of words, with the memory.
struct WordEncoder {
    private let model: TokenModel
    private var scratch = BytePairModel.Scratch()
    private var known = ByteStringTable()
    /// The ids of known word i lie in `knownIDs` from `knownStarts[i]` up to `knownStarts[i + 1]`.
    private var knownStarts = [0]
    private var knownIDs: [Int32] = []

    /// Words longer than this are seldom met twice.
    private static let longestKnownWord = 64
    /// Bytes of words; when they are full the memory starts anew, so it stays bounded. The ids stay the same.
    private static let knownBytes = 16 << 20

    init(_ model: TokenModel) { self.model = model }

    mutating func encodeGPT2(_ text: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        let words = GPT2Words()
        var start = 0
        while start < text.count {
            let end = words.wordEnd(in: text, from: start)
            encode(UnsafeBufferPointer(rebasing: text[start..<end]), to: &output)
            start = end
        }
    }

    /// Appends the ids of one word, which is not empty.
    mutating func encode(_ word: UnsafeBufferPointer<UInt8>, to output: inout [Int32]) {
        guard word.count <= WordEncoder.longestKnownWord else {
            model.encode(word, to: &output, &scratch)
            return
        }
        if known.byteCount > WordEncoder.knownBytes {
            known.removeAll()
            knownStarts = [0]
            knownIDs.removeAll(keepingCapacity: true)
        }
        let index = known.insert(word)
        if index + 1 == knownStarts.count {
            model.encode(word, to: &knownIDs, &scratch)
            knownStarts.append(knownIDs.count)
        }
        for i in knownStarts[index]..<knownStarts[index + 1] { output.append(knownIDs[i]) }
    }
}
