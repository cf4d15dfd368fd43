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

    /// The fingerprint of tokens, given by their bytes.
    init(of tokens: some Collection<[UInt8]>) {
        var all: [UInt8] = []
        for bytes in tokens {
            // The length keeps "a" "bc" apart from "ab" "c".
            withUnsafeBytes(of: UInt32(bytes.count).littleEndian) { all += $0 }
            all += bytes
        }
        var checksum = Checksum()
        all.withUnsafeBytes { checksum.update($0) }
        self.init(count: tokens.count, hash: checksum.value)
    }
}

extension Tokenizer {
    /// The fingerprint of the first `count` tokens, or of all. A tokenizer that has grown since has added tokens at the
    /// end, so that its beginning has the fingerprint it had.
    package func fingerprint(ofFirst count: Int = .max) -> TokenizerFingerprint {
        TokenizerFingerprint(of: (0..<min(count, vocabularySize)).map { bytes(of: $0) })
    }
}
