// Texts as vectors: a BERT reads each, and its hidden states become one vector. Sequences lie one after another without
// padding, so short ones cost no more than they are long; those of a batch are of similar length only so that all threads
// have the same to do.

import Kernels

/// A model that turns texts into vectors.
package final class SentenceEncoder {
    package let model: BERT
    package let tokenizer: Tokenizer
    package let settings: SentenceSettings
    /// Tokens of a text at most.
    package let longest: Int
    /// Texts that were cut so far, because they were longer.
    package private(set) var cut = 0
    private let ends: (first: Int32, last: Int32)?
    private var encoder: TextEncoder

    /// Rows of a pass at most, unless one text has more: enough for the products' full speed, and few enough that the
    /// activations stay in the cache.
    private static let rows = 1024

    package init(_ model: BERT, _ tokenizer: Tokenizer, _ settings: SentenceSettings) throws {
        (self.model, self.tokenizer, self.settings) = (model, tokenizer, settings)
        guard tokenizer.vocabularySize <= model.V else {
            throw UserError(
                "the tokenizer has \(grouped(tokenizer.vocabularySize)) tokens, and the model rows for "
                    + grouped(model.V), hint: "grow the model: grow --model DIR --tokenizer DIR --output DIR")
        }
        if settings.lowercases, try tokenizer.encode([0x41]) != tokenizer.encode([0x61]) {
            throw UserError(
                "do_lower_case is true in sentence_bert_config.json, and the tokenizer keeps capital letters",
                hint: "give tokenizer.json a normalizer with \"lowercase\": true, or set do_lower_case to false")
        }
        longest = min(settings.longest ?? model.maxT, model.maxT)
        encoder = try tokenizer.makeEncoder(recognizesSpecialTokens: true)
        // A tokenizer without a template for its texts may still have the tokens that a BERT wants around them.
        if tokenizer.puttingTemplate(around: []).isEmpty, let first = tokenizer.id(ofRole: "cls_token"),
            let last = tokenizer.id(ofRole: "sep_token")
        {
            ends = (Int32(first), Int32(last))
        } else {
            ends = nil
        }
        guard longest > tokenizer.puttingTemplate(around: []).count else {
            throw UserError(
                "texts have \(longest) tokens at most, which leaves no room for a word", hint: "take another model")
        }
    }

    /// The ids of a text, with [CLS] and [SEP] around them. A longer text is cut, and counted.
    package func tokens(of text: [UInt8]) -> [Int32] {
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        ids = tokenizer.puttingTemplate(around: ids)
        if let ends { ids = [ends.first] + ids + [ends.last] }
        guard ids.count > longest else { return ids }
        cut += 1
        let end = ends == nil ? tokenizer.puttingTemplate(around: []).last : ends?.last
        return ids.prefix(end == nil ? longest : longest - 1) + (end.map { [$0] } ?? [])
    }

    /// The vectors (texts,C) of texts, each of some ids.
    /// - Parameter done: called with the number of texts that are done.
    package func encode(
        _ texts: [[Int32]], into out: UnsafeMutablePointer<Float>, progress done: (Int) -> Void = { _ in }
    ) {
        let C = model.config.C
        let order = texts.indices.sorted { (texts[$0].count, $0) < (texts[$1].count, $1) }
        var next = 0
        while next < order.count {
            var (batch, rows): ([Int], Int) = ([], 0)
            while next < order.count, batch.isEmpty || rows + texts[order[next]].count <= SentenceEncoder.rows {
                batch.append(order[next])
                rows += texts[order[next]].count
                next += 1
            }
            encode(batch.map { texts[$0] }) { i, vector in (out + batch[i] * C).update(from: vector, count: C) }
            done(next)
        }
    }

    /// One pass. An empty text, which a tokenizer without [CLS] makes of an empty line, has the zero vector.
    private func encode(_ texts: [[Int32]], _ store: (Int, UnsafePointer<Float>) -> Void) {
        let C = model.config.C
        let vector = allocateFloats(C)
        defer { freeFloats(vector, count: C) }
        let lengths = texts.map(\.count).filter { $0 > 0 }
        if !lengths.isEmpty { withThreadsAwake { model.forward(inputs: texts.flatMap { $0 }, lengths: lengths) } }
        var n = 0
        for (i, text) in texts.enumerated() {
            vector.update(repeating: 0, count: C)
            let hidden = model.hidden + n * C
            switch settings.pooling {
            case _ where text.isEmpty: break
            case .cls: vector.update(from: hidden, count: C)
            case .mean:
                for t in 0..<text.count { for c in 0..<C { vector[c] += hidden[t * C + c] } }
                for c in 0..<C { vector[c] /= Float(text.count) }
            }
            if settings.normalizes { normalize(vector, count: C) }
            store(i, vector)
            n += text.count
        }
    }
}

/// Divides a vector by its length; the zero vector stays.
package func normalize(_ vector: UnsafeMutablePointer<Float>, count: Int) {
    let length = (0..<count).reduce(0.0) { $0 + Double(vector[$1]) * Double(vector[$1]) }.squareRoot()
    for i in 0..<count { vector[i] /= Float(max(length, 1e-12)) }
}

/// The cosine of the angle between two vectors; 0 where one is zero.
package func cosine(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Double {
    var (dot, aa, bb) = (0.0, 0.0, 0.0)
    for i in 0..<count {
        let (x, y) = (Double(a[i]), Double(b[i]))
        dot += x * y
        aa += x * x
        bb += y * y
    }
    return dot / max((aa * bb).squareRoot(), 1e-24)
}

/// Spearman's correlation of two lists: that of the values' ranks, where equal values share the mean of theirs. NaN if one
/// has no two different values.
package func spearman(_ a: [Double], _ b: [Double]) -> Double {
    precondition(a.count == b.count)
    func ranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var result = [Double](repeating: 0, count: values.count)
        var i = 0
        while i < order.count {
            var j = i
            while j + 1 < order.count, values[order[j + 1]] == values[order[i]] { j += 1 }
            for k in i...j { result[order[k]] = Double(i + j) / 2 }
            i = j + 1
        }
        return result
    }
    let (x, y) = (ranks(a), ranks(b))
    let mean = Double(a.count - 1) / 2
    var (xy, xx, yy) = (0.0, 0.0, 0.0)
    for (u, v) in zip(x, y) {
        xy += (u - mean) * (v - mean)
        xx += (u - mean) * (u - mean)
        yy += (v - mean) * (v - mean)
    }
    return xy / (xx * yy).squareRoot()
}
