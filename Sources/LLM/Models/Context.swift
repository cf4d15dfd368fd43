// What a model's walk must know about its rows beside their tokens: which of them see each other.

import Kernels

/// The source of the keys and values that a token attends to: the only difference between training and generating.
package enum Context {
    /// Whole sequences of these lengths, one after another. A token sees itself and those before it in its sequence;
    /// nothing is kept. With a key, a model that has a rate of dropout drops.
    case batch(lengths: [Int], dropout: DropoutKey? = nil)
    /// Tokens that continue sequences, whose earlier keys and values the cache holds (`KVCache.begin` says which).
    case cache(KVCache)

    /// B sequences of T tokens each.
    package static func batch(B: Int, T: Int) -> Context { .batch(lengths: Array(repeating: T, count: B)) }

    /// Tokens in the pass.
    package var rows: Int {
        switch self {
        case .batch(let lengths, _): lengths.reduce(0, +)
        case .cache(let cache): cache.rows
        }
    }

    /// Each row's place in its sequence, from 0.
    package var positions: [Int32] {
        switch self {
        case .batch(let lengths, _): lengths.flatMap { 0..<Int32($0) }
        case .cache(let cache): cache.positions
        }
    }
}
