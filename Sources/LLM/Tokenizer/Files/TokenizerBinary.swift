// tokenizer.bin, llm.c's format: 256 int32 (20240328, version, number of tokens, end-of-text id; version 1 is GPT-2's
// and lacks the last field), then for each token a length byte, 1 to 255, and its bytes. It has no merges, so it can
// only decode. llm.c's programs read it, and `Tokenizer` does if there is nothing else.

extension Tokenizer {
    private static let binaryMagic: Int32 = 20_240_328
    private static let headerBytes = 1024

    /// The contents of a tokenizer.bin, version 2; nil if a token does not have 1 to 255 bytes, as the format requires.
    package func binary() -> [UInt8]? {
        var header = [Int32](repeating: 0, count: 256)
        header[0] = Tokenizer.binaryMagic
        header[1] = 2
        header[2] = Int32(vocabularySize)
        header[3] = Int32(endOfText ?? 0)
        var result = header.withUnsafeBytes { Array($0) }
        for id in 0..<vocabularySize {
            let token = bytes(of: id)
            guard (1...255).contains(token.count) else { return nil }
            result.append(UInt8(token.count))
            result += token
        }
        return result
    }

    /// The tokens of a tokenizer.bin, by id, and the end-of-text id.
    static func readBinary(_ bytes: [UInt8], name: String) throws -> (tokens: [[UInt8]], endOfText: Int?) {
        func refuse(_ what: String) -> UserError {
            UserError("\(name): \(what)", hint: "write it again with train_tokenizer or with llm.c's train_gpt2.py")
        }
        guard bytes.count >= headerBytes else { throw refuse("\(bytes.count) bytes are too few for the header") }
        let header = bytes.withUnsafeBytes { raw in
            (0..<4).map { Int(raw.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
        }
        let (magic, version, count) = (header[0], header[1], header[2])
        guard magic == Int(binaryMagic) else { throw refuse("its first number is \(magic), not \(binaryMagic)") }
        guard version == 1 || version == 2 else { throw refuse("version \(version) is unknown") }
        // Every token takes at least two bytes.
        guard count > 0, count <= (bytes.count - headerBytes) / 2 else {
            throw refuse("\(count) tokens do not fit in its \(bytes.count) bytes")
        }
        guard version == 2 || count == 50257 else { throw refuse("version 1 has 50257 tokens, not \(count)") }
        let endOfText = version == 1 ? 50256 : header[3]
        guard (0..<count).contains(endOfText) else { throw refuse("the end-of-text id \(endOfText) is out of range") }
        var tokens: [[UInt8]] = []
        tokens.reserveCapacity(count)
        var position = headerBytes
        for id in 0..<count {
            let length = position < bytes.count ? Int(bytes[position]) : 0
            guard position < bytes.count, position + 1 + length <= bytes.count else {
                throw refuse("it ends at token \(id) of \(count)")
            }
            guard length > 0 else { throw refuse("token \(id) is empty") }
            tokens.append(Array(bytes[position + 1..<position + 1 + length]))
            position += 1 + length
        }
        guard position == bytes.count else { throw refuse("\(bytes.count - position) bytes follow its last token") }
        return (tokens, endOfText)
    }
}
