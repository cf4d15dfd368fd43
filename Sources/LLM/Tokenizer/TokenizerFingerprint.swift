// How a model's file says which tokenizer the model was trained with.

/// What tells a tokenizer from others: how many tokens it has, and a hash of the bytes that each of them stands for.
/// The same vocabulary has the same fingerprint in whatever format it is read from.
package struct TokenizerFingerprint: Equatable, Sendable {
    package let count: Int
    package let hash: UInt64

    package init(count: Int, hash: UInt64) {
        self.count = count
        self.hash = hash
    }
}

extension Tokenizer {
    /// The fingerprint of the first `count` tokens, or of all. A tokenizer that has grown since has added tokens at the
    /// end, so that its beginning has the fingerprint it had.
    package func fingerprint(ofFirst count: Int = .max) -> TokenizerFingerprint {
        let count = min(count, vocabularySize)
        var all: [UInt8] = []
        for id in 0..<count {
            let bytes = bytes(of: id)
            // The length keeps "a" "bc" apart from "ab" "c".
            withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { all += $0 }
            all += bytes
        }
        var checksum = Checksum()
        all.withUnsafeBytes { checksum.update($0) }
        return TokenizerFingerprint(count: count, hash: checksum.value)
    }
}
