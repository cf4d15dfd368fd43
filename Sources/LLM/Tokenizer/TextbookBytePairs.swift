// Byte-pair encoding as the textbook has it (Gage, 1994; Sennrich, Haddow and Birch, 2016), in a few lines of Swift.
//
// It is the specification: the tests check BytePairTrainer and BytePairModel against it. It is slow: training rescans
// all words for every merge, and encoding takes quadratic time in the length of a word.

/// The textbook algorithms of byte-pair encoding. A symbol is a byte string.
package enum TextbookBytePairs {
    /// The merges learnt from words and their counts. Each step merges the most frequent pair of adjacent symbols;
    /// ties go to the smallest left id, then the smallest right id. A symbol's id is its index in `vocabulary`, to
    /// which the new symbols are appended.
    package static func train(
        _ words: [[[UInt8]]: Int], vocabulary: inout [[UInt8]], vocabularySize: Int
    ) -> [[[UInt8]]] {
        var words = words.map { (symbols: $0.key, count: $0.value) }
        var merges: [[[UInt8]]] = []
        while vocabulary.count < vocabularySize {
            var totals: [[[UInt8]]: Int] = [:]
            for (symbols, count) in words {
                for (left, right) in zip(symbols, symbols.dropFirst()) { totals[[left, right], default: 0] += count }
            }
            let ids = Dictionary(uniqueKeysWithValues: zip(vocabulary, 0...))
            let best = totals.min { a, b in
                (-a.value, ids[a.key[0]] ?? 0, ids[a.key[1]] ?? 0) < (-b.value, ids[b.key[0]] ?? 0, ids[b.key[1]] ?? 0)
            }
            guard let pair = best?.key else { break }
            merges.append(pair)
            if ids[pair[0] + pair[1]] == nil { vocabulary.append(pair[0] + pair[1]) }
            words = words.map { (replacing(pair, in: $0.symbols), $0.count) }
        }
        return merges
    }

    /// The symbols that `merges` leave. Each step merges the adjacent pair that was learnt first, at its leftmost
    /// place, until no adjacent pair is a merge.
    package static func encode(_ symbols: [[UInt8]], _ merges: [[[UInt8]]]) -> [[UInt8]] {
        var symbols = symbols
        while true {
            let ranks = zip(symbols, symbols.dropFirst()).map { merges.firstIndex(of: [$0, $1]) ?? .max }
            guard let best = ranks.min(), best != .max, let at = ranks.firstIndex(of: best) else { return symbols }
            symbols.replaceSubrange(at...at + 1, with: [symbols[at] + symbols[at + 1]])
        }
    }

    private static func replacing(_ pair: [[UInt8]], in symbols: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var i = 0
        while i < symbols.count {
            let isPair = i + 1 < symbols.count && symbols[i] == pair[0] && symbols[i + 1] == pair[1]
            result.append(isPair ? pair[0] + pair[1] : symbols[i])
            i += isPair ? 2 : 1
        }
        return result
    }
}
