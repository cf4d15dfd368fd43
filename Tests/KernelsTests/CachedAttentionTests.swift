// Attention of single tokens to a cache. Its reference is the last row of `naiveAttentionForward`.

import Kernels
import Naive
import Testing

/// The attention (C) of the last token of qkv (T,3C) to all of them.
private func naiveAttentionOfLast(qkv: [Float], C: Int, NH: Int) -> [Double] {
    let T = qkv.count / (3 * C)
    return Array(naiveAttentionForward(qkv: doubles(qkv), lengths: [T], C: C, NH: NH).suffix(C))
}

/// Three sequences of different lengths, of which the first two have a common beginning, and one token of each. Some
/// head sizes are less than a vector, some more than four.
@Test(arguments: [(8, 1), (24, 3), (25, 5), (64, 1), (128, 2), (300, 3)])
func `attentionToCache and storeKeysAndValues`(C: Int, NH: Int) {
    let T = 41
    let width = cacheRowWidth(C: C, NH: NH)
    let shared = 19
    let beginning = noise(shared * 3 * C, seed: 1)
    let lengths = [35, 20, 7]
    let texts = lengths.enumerated().map { i, length in
        (i < 2 ? beginning : []) + noise((length - (i < 2 ? shared : 0)) * 3 * C, seed: UInt64(i + 2))
    }
    // The fourth place is for the common beginning. What is not stored stays NaN.
    let (keys, values) = (Fenced(unwritten: 4 * T * width), Fenced(unwritten: 4 * T * width))
    func place(_ i: Int) -> Int { i * T * width }
    func store(_ qkv: [Float], at i: Int, position: Int) {
        storeKeysAndValues(
            keys: keys.pointer + place(i), values: values.pointer + place(i), qkv: qkv, count: qkv.count / (3 * C),
            position: position, T: T, C: C, NH: NH)
    }
    // From 16 tokens on, the heads are stored in parallel: 19 here, and fewer below.
    store(beginning, at: 3, position: 0)
    var sequences: [CachedSequence] = []
    var last: [Float] = []
    for (i, text) in texts.enumerated() {
        let already = i < 2 ? shared : 0
        let own = Array(text[(already * 3 * C)...])
        store(Array(own.dropLast(3 * C)), at: i, position: already)
        store(Array(own.suffix(3 * C)), at: i, position: lengths[i] - 1)
        last += text.suffix(3 * C)
        sequences.append(
            CachedSequence(
                keys: keys.pointer + place(i), values: values.pointer + place(i), sharedKeys: keys.pointer + place(3),
                sharedValues: values.pointer + place(3), shared: already))
    }
    let qkv = Fenced(last)
    let out = Fenced(unwritten: 3 * C)
    attentionToCache(
        out: out.pointer, qkv: qkv.pointer, sequences: sequences, positions: lengths.map { $0 - 1 }, rows: 3, T: T,
        C: C, NH: NH)
    for (i, text) in texts.enumerated() {
        expectClose(
            Array(out.values[i * C..<(i + 1) * C]), naiveAttentionOfLast(qkv: text, C: C, NH: NH), "sequence \(i)")
    }
    expectIntact(outputs: [out, keys, values], inputs: [qkv])

    // A token attends only to the tokens up to itself, even if the shared part is longer.
    // At positions 15 and 31 the scores fill whole vectors.
    for position in [0, 4, 15, shared - 1, shared, 30, 31] {
        let row = Fenced(Array(texts[0][position * 3 * C..<(position + 1) * 3 * C]))
        let early = Fenced(unwritten: C)
        attentionToCache(
            out: early.pointer, qkv: row.pointer, sequences: [sequences[0]], positions: [position], rows: 1, T: T,
            C: C, NH: NH)
        expectClose(
            early.values, naiveAttentionOfLast(qkv: Array(texts[0][..<((position + 1) * 3 * C)]), C: C, NH: NH),
            "position \(position)")
        expectIntact(outputs: [early], inputs: [row])
    }
}

@Test func `large scores in the cache do not overflow`() {
    let (C, NH, T) = (16, 2, 3)
    let width = cacheRowWidth(C: C, NH: NH)
    let qkv = noise(T * 3 * C, seed: 1, scale: 60)
    let memory = Fenced(unwritten: 2 * T * width)
    let (keys, values) = (memory.pointer, memory.pointer + T * width)
    storeKeysAndValues(keys: keys, values: values, qkv: qkv, count: T, position: 0, T: T, C: C, NH: NH)
    let out = Fenced(unwritten: C)
    let sequence = CachedSequence(keys: keys, values: values, sharedKeys: keys, sharedValues: values, shared: 0)
    attentionToCache(
        out: out.pointer, qkv: Array(qkv.suffix(3 * C)), sequences: [sequence], positions: [T - 1], rows: 1, T: T,
        C: C, NH: NH)
    expectClose(out.values, naiveAttentionOfLast(qkv: qkv, C: C, NH: NH), tolerance: 1e-4)
    expectIntact(outputs: [out, memory], inputs: [])
}
