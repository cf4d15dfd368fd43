/// A Unicode normal form (Unicode Standard Annex #15).
///
/// To decompose, replace each character by its full decomposition, then sort each run of marks by combining class. To
/// compose, walk over the result and combine a mark or letter with the last starter if the pair has a composite and no
/// mark of the same or a higher class is in between. Hangul syllables follow a formula: leading consonant, vowel and
/// final consonant are the digits of the syllable's number.
package enum NormalForm: Sendable {
    case nfc, nfd, nfkc, nfkd

    /// Whether `text` is certainly in this form, by a check that does not decompose it. With NFC this holds for most
    /// text.
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
            // An ill-formed byte reads as U+FFFD of length 1 and must be replaced by it.
            if next.value >= 0x80, tables.flags[next.value] & bit != 0 || next.length == 1 { return false }
            position += next.length
        }
        return true
    }

    /// `text` in this form.
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

/// Whether `text` contains Hangul in decomposed form (NFD), as macOS stores it in file names.
package func hasDecomposedHangul(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    // U+1161 … U+1175 are E1 85 A1 … E1 85 B5.
    guard text.count > 2 else { return false }
    for i in 0..<text.count - 2
    where text[i] == 0xE1 && text[i + 1] == 0x85 && text[i + 2] >= 0xA1 && text[i + 2] <= 0xB5 { return true }
    return false
}
