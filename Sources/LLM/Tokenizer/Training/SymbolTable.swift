/// The ids of the initial symbols: bytes or characters.
struct SymbolTable {
    let isByteLevel: Bool
    /// The ids by byte, or by scalar at the beginning of a word; -1 for none.
    var ids: [Int32]
    /// The ids by scalar inside a word; empty for bytes.
    var insideIDs: [Int32] = []

    init(isByteLevel: Bool) {
        self.isByteLevel = isByteLevel
        ids = [Int32](repeating: -1, count: 256)
    }

    /// A table of the characters of all words, whose spellings are inserted into `spellings`.
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
