// What a model's walk must know about its rows beside their tokens: which of them see each other.

/// The source of the keys and values that a token attends to: the only difference between training and generating.
package enum Context {
    /// B whole sequences of T tokens each. A token sees itself and those before it in its row; nothing is kept.
    case batch(B: Int, T: Int)
    /// Tokens that continue sequences, whose earlier keys and values the cache holds (`KVCache.begin` says which).
    case cache(KVCache)

    /// Tokens in the pass.
    package var rows: Int {
        switch self {
        case .batch(let B, let T): B * T
        case .cache(let cache): cache.rows
        }
    }

    /// Each row's place in its sequence, from 0.
    package var positions: [Int32] {
        switch self {
        case .batch(let B, let T): (0..<B * T).map { Int32($0 % T) }
        case .cache(let cache): cache.positions
        }
    }
}
