/// The initial symbols of words.
package enum Alphabet: Sendable {
    /// All 256 bytes, spelt in the byte alphabet.
    case bytes
    /// The characters that occur, or only the `limit` most frequent ones (ties go to the smaller code point); the
    /// others are dropped from the words. If there is a `prefix`, a character inside a word is a separate symbol, spelt
    /// with the prefix. These symbols are in the order of their ids in `insideOrder`, if given.
    case characters(prefix: [UInt8] = [], limit: Int? = nil, insideOrder: Vocabulary? = nil)
}
