// A decoder at work: tokens go through its steps one by one, and text comes out as soon as no later token can change it.
//
// Hugging Face's library decodes a list of tokens: each step makes another list of it, and in the end the list is
// joined. Here the lists pass by. A step holds back what depends on tokens to come: the last word, whose suffix is no
// space at the end; a run of bytes, which is text only if all of it is UTF-8; what may be the beginning of a pattern.

/// The steps of a decoder, for one text.
struct DecoderSteps {
    private var steps: [DecoderStep]

    init(_ decoder: Decoder) { steps = decoder.flattened.map { DecoderStep($0) } }

    /// - Parameter token: its spelling.
    /// - Returns: the text that is certain by now and was not before.
    mutating func add(_ token: [UInt8]) -> [UInt8] {
        var pieces = [DecodedPiece(bytes: token)]
        for i in steps.indices { pieces = pieces.flatMap { steps[i].add($0) } }
        return pieces.flatMap(\.bytes)
    }

    /// The text that was held back when no more tokens come.
    mutating func finish() -> [UInt8] {
        var pieces: [DecodedPiece] = []
        for i in steps.indices { pieces = pieces.flatMap { steps[i].add($0) } + steps[i].finish() }
        return pieces.flatMap(\.bytes)
    }
}

/// A token on its way through the steps, or a part of one: behind `fuse` all text is one token.
private struct DecodedPiece {
    var bytes: [UInt8]
    var begins = true
    var ends = true
}

private struct DecoderStep {
    private let decoder: Decoder
    /// Tokens that have come, whole.
    private var count = 0
    /// Of the token that is coming, what has not been passed on.
    private var held: [UInt8] = []
    /// Of `fuse` and `byteLevel`: whether the one token has begun that all of them become.
    private var hasBegun = false
    /// Of `bytePair`: the token that may be the last.
    private var last: [UInt8]?
    /// Of `byteFallback`: the bytes of the tokens that came last.
    private var run: [UInt8] = []
    /// Of `strip`: how many characters may still be taken from the token's beginning.
    private var toTake = 0

    init(_ decoder: Decoder) { self.decoder = decoder }

    mutating func add(_ piece: DecodedPiece) -> [DecodedPiece] {
        held += piece.bytes
        if piece.ends { count += 1 }
        switch decoder {
        case .replace(let pattern, let content):
            return [DecodedPiece(bytes: replace(pattern, by: content, piece), begins: piece.begins, ends: piece.ends)]
        case .strip(let content, let start, let stop):
            if piece.begins { toTake = start }
            return [DecodedPiece(bytes: strip(content, stop: stop, piece), begins: piece.begins, ends: piece.ends)]
        case .fuse:
            defer { held = [] }
            return [fused(held)]
        default:
            guard piece.ends else { return [] }
            defer { held = [] }
            return add(whole: held)
        }
    }

    mutating func finish() -> [DecodedPiece] {
        switch decoder {
        case .fuse, .byteLevel: return [fused([], ends: true)]
        case .bytePair(let suffix): return last.map { [DecodedPiece(bytes: replacing(suffix, by: [], in: $0))] } ?? []
        case .byteFallback: return endRun()
        default: return []
        }
    }

    private mutating func add(whole token: [UInt8]) -> [DecodedPiece] {
        let space = UInt8(ascii: " ")
        switch decoder {
        case .byteLevel: return [fused(ByteAlphabet.bytes(for: token) ?? token)]
        case .wordPiece(let prefix, let cleansUp):
            var text = token
            if count > 1 { text = token.starts(with: prefix) ? Array(token.dropFirst(prefix.count)) : [space] + token }
            return [DecodedPiece(bytes: cleansUp ? Decoder.cleanedUp(text) : text)]
        case .metaspace(let replacement, let prepends):
            return [DecodedPiece(bytes: replacing(replacement, by: count == 1 && prepends ? [] : [space], in: token))]
        case .bytePair(let suffix):
            defer { last = token }
            return last.map { [DecodedPiece(bytes: replacing(suffix, by: [space], in: $0))] } ?? []
        case .byteFallback:
            if let byte = Decoder.byte(of: token) {
                run.append(byte)
                return []
            }
            return endRun() + [DecodedPiece(bytes: token)]
        case .replace, .strip, .fuse, .sequence: preconditionFailure("this step takes pieces")
        }
    }

    /// A part of the one token that all of them become.
    private mutating func fused(_ bytes: [UInt8], ends: Bool = false) -> DecodedPiece {
        defer { hasBegun = true }
        return DecodedPiece(bytes: bytes, begins: !hasBegun, ends: ends)
    }

    /// A run of bytes as text. If it is not UTF-8, each of its bytes becomes U+FFFD.
    private mutating func endRun() -> [DecodedPiece] {
        defer { run = [] }
        if run.isEmpty { return [] }
        if run.withUnsafeBufferPointer({ firstInvalidUTF8(in: $0) }) == nil { return [DecodedPiece(bytes: run)] }
        return run.map { _ in DecodedPiece(bytes: [0xEF, 0xBF, 0xBD]) }
    }

    /// What is held with every pattern replaced, up to where one may begin whose end has not come.
    private mutating func replace(_ pattern: [UInt8], by content: [UInt8], _ piece: DecodedPiece) -> [UInt8] {
        var result: [UInt8] = []
        var rest = held[...]
        while let first = rest.first {
            if first == pattern[0], rest.starts(with: pattern) {
                result += content
                rest = rest.dropFirst(pattern.count)
            } else if !piece.ends, first == pattern[0], pattern.starts(with: rest) {
                break
            } else {
                result.append(first)
                rest = rest.dropFirst()
            }
        }
        held = Array(rest)
        return result
    }

    /// What is held less the characters to take, up to where there may be some to take at the token's end.
    private mutating func strip(_ content: [UInt8], stop: Int, _ piece: DecodedPiece) -> [UInt8] {
        var rest = held[...]
        while toTake > 0, rest.starts(with: content) {
            rest = rest.dropFirst(content.count)
            toTake -= 1
        }
        if toTake > 0, !piece.ends, content.starts(with: rest) {
            held = Array(rest)
            return []
        }
        toTake = 0
        var end = rest.endIndex
        // A part of a character at the end of a piece may become one to take.
        if !piece.ends, stop > 0 {
            end -= (1..<content.count).last { rest.suffix($0).elementsEqual(content.prefix($0)) } ?? 0
        }
        var taken = 0
        while taken < stop, rest[..<end].suffix(content.count).elementsEqual(content) {
            end -= content.count
            taken += 1
        }
        held = piece.ends ? [] : Array(rest[end...])
        return Array(rest[..<end])
    }
}

extension Decoder {
    /// Its steps in order.
    fileprivate var flattened: [Decoder] {
        if case .sequence(let steps) = self { return steps.flatMap(\.flattened) }
        return [self]
    }
}
