// o200k_base's pre-tokenization, tiktoken's for GPT-4o and later (openai_public.py). With U for [\p{Lu}\p{Lt}], l for
// \p{Ll}, and B for what is both, [\p{Lm}\p{Lo}\p{M}], which are letters without case, and marks:
//
//     [^\r\n\p{L}\p{N}]?[UB]*[lB]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//     [^\r\n\p{L}\p{N}]?[UB]+[lB]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//     \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// So a word of letters is split where a capital follows a small letter, and keeps its contraction. The rest is as in
// cl100k_base (CL100KWords.swift).

/// A scanner for the words of o200k_base.
package struct O200KWords: WordScanner {
    private let kinds = O200KWords.kinds

    package init() {}

    @inline(__always)
    package func wordEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        // The common case: an optional space, an optional capital, then small letters and Hangul, up to an ASCII
        // character that is not a letter and does not begin a contraction.
        let lead = bytes[start]
        var head = lead == UInt8(ascii: " ") ? start &+ 1 : start
        if head < bytes.count, bytes[head] &- 0x41 < 26 { head &+= 1 }
        let end = plainLettersEnd(in: bytes, from: head, capitals: false)
        if end > head, end < bytes.count, bytes[end] < 0x41, bytes[end] != UInt8(ascii: "'") { return end }
        let first = character(at: start, in: bytes)
        let position = start + first.length
        switch first.kind {
        case .number:
            var end = position
            for _ in 1..<3 where end < bytes.count {
                let next = character(at: end, in: bytes)
                if next.kind != .number { break }
                end += next.length
            }
            return end
        case .capital, .small, .caseless:
            return withContraction(in: bytes, (letters(in: bytes, from: start) ?? (position, true)).end)
        case .mark:
            // It is both a letter of the word and a character in front of it. Only small letters justify the latter.
            if let found = letters(in: bytes, from: position), found.endsSmall {
                return withContraction(in: bytes, found.end)
            }
            return withContraction(in: bytes, (letters(in: bytes, from: start) ?? (position, true)).end)
        case .other, .space:
            if position < bytes.count, !isLineEnd(lead) {
                if let found = letters(in: bytes, from: position) { return withContraction(in: bytes, found.end) }
                if lead == UInt8(ascii: " "), character(at: position, in: bytes).kind == .other {
                    return othersEnd(in: bytes, from: position)
                }
            }
            return first.kind == .other
                ? othersEnd(in: bytes, from: position) : whiteSpaceEnd(in: bytes, from: start)
        }
    }

    /// The end of `[UB]*[lB]+` at `start`, or else of `[UB]+`; nil if there is neither.
    /// - Returns: `endsSmall` for the former.
    @inline(__always)
    private func letters(
        in bytes: UnsafeBufferPointer<UInt8>, from start: Int
    ) -> (end: Int, endsSmall: Bool)? {
        var position = start
        // After the last letter without case, or mark: if no small letter follows the capitals, the word ends there.
        var bothEnd = start
        while position < bytes.count {
            let next = character(at: position, in: bytes)
            if next.kind == .small { return (smallEnd(in: bytes, from: position + next.length), true) }
            guard next.kind == .capital || next.kind == .caseless || next.kind == .mark else { break }
            position += next.length
            if next.kind != .capital { bothEnd = position }
        }
        if bothEnd > start { return (bothEnd, true) }
        return position > start ? (position, false) : nil
    }

    /// The end of `[lB]*` at `start`.
    @inline(__always)
    private func smallEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = plainLettersEnd(in: bytes, from: start, capitals: false)
        while position < bytes.count {
            let next = character(at: position, in: bytes)
            guard next.kind == .small || next.kind == .caseless || next.kind == .mark else { break }
            position += next.length
        }
        return position
    }

    @inline(__always)
    private func withContraction(in bytes: UnsafeBufferPointer<UInt8>, _ end: Int) -> Int {
        end + contractionLength(in: bytes, from: end)
    }

    @inline(__always)
    private func othersEnd(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var position = start
        while position < bytes.count {
            let next = character(at: position, in: bytes)
            guard next.kind == .other || next.kind == .mark else { break }
            position += next.length
        }
        while position < bytes.count, isLineEnd(bytes[position]) || bytes[position] == UInt8(ascii: "/") {
            position += 1
        }
        return position
    }

    // MARK: - the kinds of characters

    private enum Kind: UInt8 {
        case other
        /// `[\p{Lu}\p{Lt}]`
        case capital
        /// `\p{Ll}`
        case small
        /// `[\p{Lm}\p{Lo}]`
        case caseless
        /// `\p{M}`
        case mark
        /// `\p{N}`
        case number
        /// `\s`
        case space
    }

    private static let kinds: CodePointTable = {
        let kinds: [CharacterClass: Kind] = [.letter: .caseless, .number: .number, .space: .space]
        var flat = [UInt8](repeating: Kind.other.rawValue, count: 0x110000)
        for scalar in flat.indices {
            if let kind = kinds[CharacterClasses.shared(UInt32(scalar))] { flat[scalar] = kind.rawValue }
        }
        for (ranges, kind) in [(capitalRanges, Kind.capital), (smallRanges, .small), (markRanges, .mark)] {
            for scalar in codePoints(in: ranges) { flat[scalar] = kind.rawValue }
        }
        return CodePointTable(flat)
    }()

    @inline(__always)
    private func character(
        at position: Int, in bytes: UnsafeBufferPointer<UInt8>
    ) -> (kind: Kind, length: Int) {
        let lead = bytes[position]
        if lead < 0x80 { return (Kind(rawValue: kinds[UInt32(lead)]) ?? .other, 1) }
        let (scalar, length) = scalar(at: position, in: bytes)
        return length == 1 ? (.other, 1) : (Kind(rawValue: kinds[scalar]) ?? .other, length)
    }
}
