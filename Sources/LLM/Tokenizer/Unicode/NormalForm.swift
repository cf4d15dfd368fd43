package enum NormalForm: Sendable {
    case nfc, nfd, nfkc, nfkd

    /// Whether `text` is in this form for certain, seen without decomposing it. For NFC that is most text.
    func isCertainly(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        let bit: UInt8
        switch self {
        case .nfc: bit = NormalizationTables.mayChangeInNFC
        case .nfd: bit = NormalizationTables.decomposes | NormalizationTables.isCombining
        case .nfkc: bit = NormalizationTables.mayChangeInNFC | NormalizationTables.decomposesCompatibly
        case .nfkd:
            bit =
                NormalizationTables.decomposes | NormalizationTables.decomposesCompatibly
                | NormalizationTables.isCombining
        }
        let tables = NormalizationTables.shared
        var position = 0
        while position < text.count {
            let next = scalar(at: position, in: text)
            // An ill-formed byte reads as U+FFFD of length 1, and is to become that.
            if next.value >= 0x80, tables.flags[next.value] & bit != 0 || next.length == 1 { return false }
            position += next.length
        }
        return true
    }

    func callAsFunction(_ text: [UInt32]) -> [UInt32] {
        let tables = NormalizationTables.shared
        switch self {
        case .nfd: return tables.decompose(text, compatibly: false)
        case .nfkd: return tables.decompose(text, compatibly: true)
        case .nfc: return tables.compose(tables.decompose(text, compatibly: false))
        case .nfkc: return tables.compose(tables.decompose(text, compatibly: true))
        }
    }
}

/// Whether `text` has Hangul letters that NFC would join to syllables, as a Mac types and stores them.
package func hasDecomposedHangul(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    // U+1161 … U+1175 are E1 85 A1 … E1 85 B5.
    guard text.count > 2 else { return false }
    for i in 0..<text.count - 2
    where text[i] == 0xE1 && text[i + 1] == 0x85 && text[i + 2] >= 0xA1 && text[i + 2] <= 0xB5 { return true }
    return false
}
