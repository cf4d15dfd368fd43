// The cache of keys and values.
//
// To predict a token, all tokens before it are needed, but only through their keys and values. These do not change as
// the text grows, so they are kept. A step then computes one row, the new token's, and its attention reads the cache. A
// model of L layers and C channels keeps 2·L·C floats for every token: 74 kB for GPT-2 124M.
//
// Several samples of one prompt share what the cache holds of it.

import Kernels

/// The keys and values of sequences that a model continues.
package final class KVCache {
    /// Tokens of one sequence that go through the model in one pass.
    package struct Segment {
        /// The number of the sequence, or `KVCache.sharedPlace`.
        package let sequence: Int
        /// The place of its first token in the sequence.
        package let position: Int
        /// The number of tokens.
        package let count: Int

        package init(sequence: Int, position: Int, count: Int) {
            (self.sequence, self.position, self.count) = (sequence, position, count)
        }

        /// Whether these are a sequence's first tokens, and enough of them for training's attention, which does not
        /// look into the cache, to be faster.
        package var isPrompt: Bool { position == 0 && count >= 8 }
    }

    /// How many sequences there are.
    package let sequences: Int
    /// Tokens that a sequence has room for.
    package let capacity: Int
    private let L, C, NH: Int
    /// The model's weights for passes of a few rows, where several sequences continue together; nil takes the
    /// parameters as they lie.
    package var packed: PackedWeights?

    /// (L, sequences + 1, NH, capacity, HSp) each, HSp the head size rounded up to whole vectors. The last place is for
    /// a prompt that all sequences share.
    private let keys: UnsafeMutablePointer<Float>
    private let values: UnsafeMutablePointer<Float>
    /// Of each sequence, how many of its first tokens are read from the shared prompt.
    private var shared: [Int]

    /// What goes through the model now.
    private var segments: [Segment] = []
    /// The rows of the pass at its beginning, which are all tokens of the segments in order, and their places in their
    /// sequences.
    package private(set) var rows = 0
    package private(set) var positions: [Int32] = []

    package init(L: Int, C: Int, NH: Int, sequences: Int, capacity: Int) {
        precondition(sequences > 0 && capacity > 0)
        (self.L, self.C, self.NH, self.sequences, self.capacity) = (L, C, NH, sequences, capacity)
        shared = [Int](repeating: 0, count: sequences)
        let count = KVCache.count(L: L, C: C, NH: NH, sequences: sequences, capacity: capacity)
        keys = allocateFloats(count)
        values = allocateFloats(count)
    }

    deinit {
        let count = KVCache.count(L: L, C: C, NH: NH, sequences: sequences, capacity: capacity)
        freeFloats(keys, count: count)
        freeFloats(values, count: count)
    }

    /// Floats of all keys.
    private static func count(L: Int, C: Int, NH: Int, sequences: Int, capacity: Int) -> Int {
        [L, sequences + 1, capacity].reduce(cacheRowWidth(C: C, NH: NH), saturatingProduct)
    }

    /// The memory a cache takes, in bytes; a Double, because the sizes may not be checked yet.
    package static func bytes(L: Int, C: Int, NH: Int, sequences: Int, capacity: Int) -> Double {
        2 * 4 * Double(count(L: L, C: C, NH: NH, sequences: sequences, capacity: capacity))
    }

    /// The number under which a prompt is kept that all sequences share.
    package var sharedPlace: Int { sequences }

    /// Lets every sequence begin with the first `count` tokens of the shared prompt.
    package func sharePrompt(_ count: Int) {
        for i in 0..<sequences { shared[i] = count }
    }

    /// Forgets a sequence; its next tokens will be its first.
    package func clear(_ sequence: Int) { keep(0, of: sequence) }

    /// Forgets all but the first `count` tokens of a sequence.
    package func keep(_ count: Int, of sequence: Int) { shared[sequence] = min(shared[sequence], count) }

    // MARK: - a pass

    /// Begins a pass of these tokens through the layers. Prompts come first: the attention has two ways.
    package func begin(_ segments: [Segment]) {
        precondition(segments.drop { $0.isPrompt }.allSatisfy { !$0.isPrompt })
        self.segments = segments
        positions = segments.flatMap { segment in (0..<segment.count).map { Int32(segment.position + $0) } }
        rows = positions.count
    }

    /// Keeps the keys and values of one layer, the last two thirds of qkv (rows,3C).
    package func store(_ qkv: UnsafePointer<Float>, layer l: Int) {
        var row = 0
        for segment in segments {
            let memory = memory(layer: l, of: segment.sequence)
            storeKeysAndValues(
                keys: memory.keys, values: memory.values, qkv: qkv + row * 3 * C, count: segment.count,
                position: segment.position, T: capacity, C: C, NH: NH)
            row += segment.count
        }
    }

    /// Moves the last token of each segment to the front of some buffers. The pass continues with these tokens only.
    /// - Parameters:
    ///   - buffers: (rows, width) each, and their widths.
    /// - Returns: the rows that are left, one for each segment.
    package func keepLastTokens(_ buffers: (start: UnsafeMutablePointer<Float>, width: Int)...) -> Int {
        var row = 0
        for (i, segment) in segments.enumerated() {
            row += segment.count
            for (start, width) in buffers { (start + i * width).update(from: start + (row - 1) * width, count: width) }
        }
        segments = segments.map {
            Segment(sequence: $0.sequence, position: $0.position + $0.count - 1, count: 1)
        }
        return segments.count
    }

    /// out (N,C): the attention of the pass's tokens in one layer, whose own keys and values are stored by now.
    /// - Parameters:
    ///   - lse: (N,NH), for the attention of prompts to work with.
    ///   - qkv: (N,3C).
    package func attention(
        out: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>, qkv: UnsafePointer<Float>, layer l: Int
    ) {
        let prompts = segments.prefix { $0.isPrompt }.map(\.count)
        attentionForward(out: out, lse: lse, qkv: qkv, lengths: prompts, C: C, NH: NH)
        // The rows from here on have queries that look into the cache.
        let first = prompts.reduce(0, +)
        var memories: [CachedSequence] = []
        var places: [Int] = []
        for segment in segments.dropFirst(prompts.count) {
            let memory = memory(layer: l, of: segment.sequence)
            for t in 0..<segment.count {
                memories.append(memory)
                places.append(segment.position + t)
            }
        }
        attentionToCache(
            out: out + first * C, qkv: qkv + first * 3 * C, sequences: memories, positions: places,
            rows: memories.count, T: capacity, C: C, NH: NH)
    }

    /// Where a layer's keys and values of a sequence lie, or of the shared prompt.
    private func memory(layer l: Int, of sequence: Int) -> CachedSequence {
        let stride = capacity * cacheRowWidth(C: C, NH: NH)
        let own = (l * (sequences + 1) + sequence) * stride
        let common = (l * (sequences + 1) + sharedPlace) * stride
        return CachedSequence(
            keys: keys + own, values: values + own, sharedKeys: keys + common, sharedValues: values + common,
            shared: sequence == sharedPlace ? 0 : shared[sequence])
    }
}
