/// The characters that stand for bytes in GPT-2's vocabulary. Printable bytes stand for themselves; the others are
/// U+0100 and up, so that a vocabulary is readable text without white space.
package enum ByteAlphabet {
    /// The code point of each byte, 33 … 323.
    package static let scalars: [UInt32] = {
        var others: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) { return byte }
            others += 1
            return others - 1
        }
    }()

    /// The byte that each code point stands for; nil if none.
    private static let bytes: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar)] = UInt8(byte) }
        return bytes
    }()

    /// All bytes in the order of their characters, which is the order of their ids.
    package static let bytesInOrder: [UInt8] = bytes.compactMap { $0 }

    /// The characters, as UTF-8, that stand for `bytes`.
    package static func characters<Bytes: Sequence<UInt8>>(for bytes: Bytes) -> [UInt8] {
        var characters: [UInt8] = []
        for byte in bytes {
            let scalar = scalars[Int(byte)]
            if scalar < 0x80 {
                characters.append(UInt8(scalar))
            } else {
                characters.append(UInt8(0xC0 | scalar >> 6))
                characters.append(UInt8(0x80 | scalar & 0x3F))
            }
        }
        return characters
    }

    /// The bytes that `characters` (UTF-8) stand for; nil if a character does not stand for a byte.
    package static func bytes(for characters: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        for scalar in String(decoding: characters, as: UTF8.self).unicodeScalars {
            guard scalar.value < bytes.count, let byte = bytes[Int(scalar.value)] else { return nil }
            result.append(byte)
        }
        return result
    }
}
