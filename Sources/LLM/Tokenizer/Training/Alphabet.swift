/// What words are made of at first.
package enum Alphabet: Sendable {
    /// All 256 bytes, written in the byte alphabet.
    case bytes
    /// The characters that occur, or the most frequent `limit` of them (of equally frequent ones those of smaller code
    /// points); the others are dropped from the words. Inside a word they are written behind `prefix`, as symbols of
    /// their own, in the order of their ids in `insideOrder` if that is given.
    case characters(prefix: [UInt8] = [], limit: Int? = nil, insideOrder: Vocabulary? = nil)
}
