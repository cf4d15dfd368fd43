/// The choice of the documents for validation. Each is drawn from the seed and its index in the corpus, independently
/// of the others. Both splits get something of any text that can be divided.
struct ValidationChoice {
    var seed: UInt64
    var fraction: Double
    /// A document whose split is not drawn.
    var forced: (document: Int, isValidation: Bool)?
    /// Where a text of one document is divided in two; the second part is for validation.
    var dividesAt: Int?

    func isValidation(_ document: Int) -> Bool {
        if let forced, forced.document == document { return forced.isValidation }
        return drawn(document)
    }

    private func drawn(_ document: Int) -> Bool {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        var word = seed &+ UInt64(document + 1) &* 0x9e37_79b9_7f4a_7c15
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        word ^= word >> 31
        return Double(word >> 11) * 0x1p-53 < fraction
    }

    /// - Throws: if a file cannot be read, or, with a draw, is not text and `lossy` is false.
    init(
        files: [TextFile], mode: DocumentMode, fraction: Double, seed: UInt64, lossy: Bool, sectionSize: Int
    ) throws {
        self.seed = seed
        self.fraction = fraction
        guard fraction > 0 else { return }
        // Sections that stay in the cache from the reading on.
        let survey = try CorpusSurvey(files, mode: mode, lossy: lossy, sectionSize: min(sectionSize, 1 << 20))
        let validationCount = (0..<survey.documents).count { drawn($0) }
        if survey.documents == 1 {
            dividesAt = try ValidationChoice.cut(
                files[survey.only.file], survey.only.range, fraction: fraction)
            self.fraction = 0
            forced = (1, true)
        } else if validationCount == 0 {
            forced = (survey.documents - 1, true)
        } else if validationCount == survey.documents {
            forced = (0, false)
        }
    }

    /// The last offset between words that leaves at least `fraction` of the document after it; an offset between
    /// characters if there is no other; nil if the document cannot be divided.
    private static func cut(_ file: TextFile, _ document: Range<Int>, fraction: Double) throws -> Int? {
        let target =
            document.lowerBound + min(document.count - 1, Int(Double(document.count) * (1 - fraction)))
        let start = max(document.lowerBound, target - 1 << 20)
        // With the byte at the target, which shows whether a character begins there.
        let bytes = try file.file.read(target - start + 1, of: UInt8.self, at: start)
        var place = target - start
        if let word = bytes.dropLast().withUnsafeBufferPointer({ GPT2Words().safeCut(in: $0) }) {
            place = word
        } else {
            for _ in 0..<3 where place > 0 && bytes[place] & 0xC0 == 0x80 { place -= 1 }
        }
        return start + place > document.lowerBound ? start + place : nil
    }
}
