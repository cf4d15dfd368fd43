/// The tables of the Unicode normal forms, and the algorithms on them.
struct NormalizationTables: Sendable {
    static let shared = NormalizationTables()
    static let decomposes: UInt8 = 1
    static let decomposesCompatibly: UInt8 = 2
    static let isCombining: UInt8 = 4
    static let mayChangeInNFC: UInt8 = 8

    let flags: CodePointTable
    private var canonical: [UInt32: [UInt32]] = [:]
    private var compatible: [UInt32: [UInt32]] = [:]
    private var combiningClass: [UInt32: UInt8] = [:]
    private var composites: [UInt64: UInt32] = [:]

    private init() {
        var bits = [UInt8](repeating: 0, count: 0x110000)
        var primary: [[UInt32]: UInt32] = [:]
        for entry in decompositionMap.split(separator: " ") {
            guard let mark = entry.firstIndex(where: { "=!~".contains($0) }),
                let scalar = UInt32(entry[..<mark], radix: 16)
            else { continue }
            let decomposition = hexadecimals(entry[entry.index(after: mark)...])
            if entry[mark] == "~" {
                compatible[scalar] = decomposition
                bits[Int(scalar)] |= NormalizationTables.decomposesCompatibly
                continue
            }
            canonical[scalar] = decomposition
            bits[Int(scalar)] |= NormalizationTables.decomposes
            if entry[mark] == "=" { primary[decomposition] = scalar } else { bits[Int(scalar)] |= Self.mayChangeInNFC }
        }
        // The table has full decompositions, but composition needs single steps: all of a decomposition but its last
        // character is a character, or the decomposition of one.
        for (decomposition, scalar) in primary where decomposition.count > 1 {
            let head = Array(decomposition.dropLast())
            guard let first = head.count == 1 ? head[0] : primary[head], let last = decomposition.last else { continue }
            composites[UInt64(first) << 32 | UInt64(last)] = scalar
            bits[Int(last)] |= Self.mayChangeInNFC
        }
        for entry in combiningClasses.split(separator: " ") {
            let fields = entry.split(separator: ":")
            let ends = fields[0].split(separator: "-").compactMap { UInt32($0, radix: 16) }
            guard fields.count == 2, let number = UInt8(fields[1]), let first = ends.first, let last = ends.last else {
                continue
            }
            for scalar in first...last {
                combiningClass[scalar] = number
                bits[Int(scalar)] |= Self.isCombining | Self.mayChangeInNFC
            }
        }
        for scalar in Hangul.first...Hangul.last { bits[Int(scalar)] |= Self.decomposes }
        for scalar in 0x1161...0x1175 { bits[scalar] |= Self.mayChangeInNFC }
        for scalar in 0x11A8...0x11C2 { bits[scalar] |= Self.mayChangeInNFC }
        flags = CodePointTable(bits)
    }

    private enum Hangul {
        static let first: UInt32 = 0xAC00
        static let last: UInt32 = 0xD7A3
        static let leading: UInt32 = 0x1100
        static let vowel: UInt32 = 0x1161
        /// One before the first final consonant, because 0 means none.
        static let final: UInt32 = 0x11A7
    }

    /// The full canonical decomposition of `text`, or its compatibility decomposition.
    func decompose(_ text: [UInt32], compatibly: Bool) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(text.count)
        let changes = compatibly ? Self.decomposes | Self.decomposesCompatibly : Self.decomposes
        for scalar in text {
            if flags[scalar] & changes == 0 {
                result.append(scalar)
            } else if scalar >= Hangul.first && scalar <= Hangul.last {
                let index = scalar - Hangul.first
                result.append(Hangul.leading + index / 588)
                result.append(Hangul.vowel + index % 588 / 28)
                if index % 28 > 0 { result.append(Hangul.final + index % 28) }
            } else if compatibly, let decomposition = compatible[scalar] {
                result += decomposition
            } else {
                result += canonical[scalar] ?? [scalar]
            }
        }
        // Sort each run of marks by class; the sort is stable.
        var start = 0
        while start < result.count {
            guard flags[result[start]] & Self.isCombining != 0 else {
                start += 1
                continue
            }
            var end = start + 1
            while end < result.count, flags[result[end]] & Self.isCombining != 0 { end += 1 }
            if end - start > 1 {
                let run = result[start..<end].enumerated().sorted {
                    let (a, b) = (combiningClass[$0.element] ?? 0, combiningClass[$1.element] ?? 0)
                    return a != b ? a < b : $0.offset < $1.offset
                }
                result.replaceSubrange(start..<end, with: run.map(\.element))
            }
            start = end
        }
        return result
    }

    /// The canonical composition of decomposed text.
    func compose(_ text: [UInt32]) -> [UInt32] {
        var result: [UInt32] = []
        result.reserveCapacity(text.count)
        var starter: Int?
        // The class of the last mark after the starter that was not combined with it.
        var blocking: UInt8 = 0
        for scalar in text {
            let number = flags[scalar] & Self.isCombining != 0 ? combiningClass[scalar] ?? 0 : 0
            if let at = starter, blocking == 0 ? result.count == at + 1 : blocking < number,
                let composite = composite(result[at], scalar)
            {
                result[at] = composite
                continue
            }
            if number == 0 {
                starter = result.count
                blocking = 0
            } else {
                blocking = number
            }
            result.append(scalar)
        }
        return result
    }

    /// The character that combines the two; nil if there is none.
    private func composite(_ first: UInt32, _ second: UInt32) -> UInt32? {
        if first >= Hangul.leading, first < Hangul.leading + 19, second >= Hangul.vowel, second < Hangul.vowel + 21 {
            return Hangul.first + ((first - Hangul.leading) * 21 + second - Hangul.vowel) * 28
        }
        if first >= Hangul.first, first <= Hangul.last, (first - Hangul.first) % 28 == 0, second > Hangul.final,
            second < Hangul.final + 28
        {
            return first + second - Hangul.final
        }
        return composites[UInt64(first) << 32 | UInt64(second)]
    }
}

/// The numbers of a list such as `41.300`.
func hexadecimals(_ text: Substring) -> [UInt32] {
    text.split(separator: ".").compactMap { UInt32($0, radix: 16) }
}
