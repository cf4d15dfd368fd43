import Kernels

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
        let (counts, isInside) = SymbolTable.characters(of: words)
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

    /// How often each scalar occurs, and whether it ever does inside a word.
    private static func characters(of words: WordCounts) -> (counts: [Int64], isInside: [Bool]) {
        let tables = words.tables
        let scalars = 0x110000
        // A part is 10 MB, and a few of them occupy as many cores as memory can feed.
        var parts = [(counts: [Int64], isInside: [Bool])](repeating: ([], []), count: min(8, tables.count))
        parts.withUnsafeMutableBufferPointer { parts in
            nonisolated(unsafe) let parts = parts
            parallelFor(parts.count) { part in
                var counts = [Int64](repeating: 0, count: scalars)
                var isInside = [Bool](repeating: false, count: scalars)
                for table in stride(from: part, to: tables.count, by: parts.count) {
                    tables[table].forEach { word, count in
                        var position = 0
                        while position < word.count {
                            let next = scalar(at: position, in: word)
                            counts[Int(next.value)] += count
                            if position > 0 { isInside[Int(next.value)] = true }
                            position += next.length
                        }
                    }
                }
                parts[part] = (counts, isInside)
            }
        }
        guard var sum = parts.popLast() else { return ([], []) }
        for part in parts {
            for scalar in 0..<scalars where part.counts[scalar] > 0 {
                sum.counts[scalar] += part.counts[scalar]
                if part.isInside[scalar] { sum.isInside[scalar] = true }
            }
        }
        return sum
    }
}
