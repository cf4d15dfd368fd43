/// The id of each first symbol.
struct SymbolTable {
    let isByteLevel: Bool
    /// By byte, or by scalar.
    var ids: [Int32]
    /// By scalar, inside a word.
    var insideIDs: [Int32] = []

    init(isByteLevel: Bool) {
        self.isByteLevel = isByteLevel
        ids = [Int32](repeating: -1, count: 256)
    }

    /// The characters of all words, which get their ids here.
    init(
        _ words: WordCounts, _ spellings: inout ByteStringTable, prefix: [UInt8], limit: Int?, insideOrder: Vocabulary?
    ) {
        isByteLevel = false
        var counts = [Int64](repeating: 0, count: 0x110000)
        var isInside = [Bool](repeating: false, count: 0x110000)
        words.forEach { word, count in
            var position = 0
            while position < word.count {
                let next = scalar(at: position, in: word)
                counts[Int(next.value)] += count
                if position > 0 { isInside[Int(next.value)] = true }
                position += next.length
            }
        }
        var kept = counts.indices.filter { counts[$0] > 0 }
        if let limit, kept.count > limit {
            kept.sort { counts[$0] != counts[$1] ? counts[$0] > counts[$1] : $0 < $1 }
            kept = kept[..<limit].sorted()
        }
        ids = [Int32](repeating: -1, count: 0x110000)
        func spelling(_ scalar: Int, _ prefix: [UInt8]) -> [UInt8] {
            var bytes = prefix
            appendUTF8(UInt32(scalar), to: &bytes)
            return bytes
        }
        for scalar in kept { ids[scalar] = Int32(spellings.insert(spelling(scalar, []))) }
        insideIDs = ids
        guard !prefix.isEmpty else { return }
        var inside = kept.filter { isInside[$0] }
        if let insideOrder {
            let order = inside.map { insideOrder.id(of: spelling($0, prefix)) ?? .max }
            inside = zip(order, inside).sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1)
        }
        for scalar in inside { insideIDs[scalar] = Int32(spellings.insert(spelling(scalar, prefix))) }
    }
}
