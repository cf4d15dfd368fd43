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

    init(files: [InputFile], mode: DocumentMode, fraction: Double, seed: UInt64, blockSize: Int) throws {
        self.seed = seed
        self.fraction = fraction
        guard fraction > 0 else { return }
        var count = 0
        var validationCount = 0
        for file in files {
            try forEachBlock(of: file, blockSize: blockSize, cut: .betweenWords) { block, offset in
                for _ in mode.starts(in: block, isFileStart: offset == 0) {
                    if drawn(count) { validationCount += 1 }
                    count += 1
                }
            }
        }
        if count == 1, let file = files.first {
            dividesAt = try ValidationChoice.cut(file, fraction: fraction)
            self.fraction = 0
            forced = (1, true)
        } else if validationCount == 0 {
            forced = (count - 1, true)
        } else if validationCount == count {
            forced = (0, false)
        }
    }

    /// The last offset between words that leaves at least `fraction` of the file after it; an offset inside a word if
    /// there is no other; nil if the file cannot be divided.
    private static func cut(_ file: InputFile, fraction: Double) throws -> Int? {
        let target = min(file.size - 1, Int(Double(file.size) * (1 - fraction)))
        let start = max(0, target - 1 << 20)
        let bytes = try file.read(target - start, of: UInt8.self, at: start)
        let place = bytes.withUnsafeBufferPointer { GPT2Words().safeCut(in: $0) } ?? target - start
        return start + place > 0 ? start + place : nil
    }
}
