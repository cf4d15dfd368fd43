/// A decoding that goes token by token: text comes as soon as no later token can change it, and together it is the text
/// of all the tokens. Bytes may end anywhere in a character.
package struct DecodeStream {
    private let tokenizer: Tokenizer
    /// nil if the tokens' bytes do not depend on each other, or there is no decoder.
    private var steps: DecoderSteps?
    private var isFirst = true
    /// What the caller has of the context's text and has not yet come out again.
    private var known: ArraySlice<UInt8> = []

    /// - Parameter context: the tokens before the first one. What comes out is what the others add to its text. Where
    ///   they change that, as bytes do that make a run of bytes no UTF-8, the changed part of it comes, too.
    package init(_ tokenizer: Tokenizer, after context: [Int32] = []) {
        self.tokenizer = tokenizer
        if tokenizer.bytesOfTokens == nil { steps = tokenizer.decoder.map { DecoderSteps($0) } }
        for id in context { _ = decoded(id) }
        var ended = steps
        known = (ended?.finish() ?? [])[...]
    }

    /// - Returns: the text that is certain by now and was not before; empty for an id outside the vocabulary.
    package mutating func add(_ id: Int32) -> [UInt8] { dropKnown(decoded(id)) }

    /// The text that was held back when no more tokens come.
    package mutating func finish() -> [UInt8] { dropKnown(steps?.finish() ?? []) }

    private mutating func decoded(_ id: Int32) -> [UInt8] {
        guard tokenizer.spellings.indices.contains(Int(id)) else { return [] }
        if let bytes = tokenizer.bytesOfTokens { return bytes[Int(id)] }
        let spelling = tokenizer.decodedSpellings[Int(id)]
        defer { isFirst = false }
        if steps != nil { return steps?.add(spelling) ?? [] }
        return isFirst ? spelling : [UInt8(ascii: " ")] + spelling
    }

    private mutating func dropKnown(_ bytes: [UInt8]) -> [UInt8] {
        let common = zip(bytes, known).prefix { $0 == $1 }.count
        known = common == bytes.count ? known.dropFirst(common) : []
        return Array(bytes.dropFirst(common))
    }
}
