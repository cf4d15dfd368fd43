// Whether bytes are text, at several bytes a cycle. From character to character it takes six times as long, because the
// processor cannot predict how long each one is.

/// The number of bytes that `textEnd` looks back.
package let textLookBehind = 3

/// The end of what is certainly text (UTF-8 without NUL) from `start` on, in steps of a chunk. If it is not within a
/// chunk of `count`, a wrong byte is in the chunk that follows, or a character before it is not complete.
///
/// - Parameters:
///   - bytes: `count` bytes, which are text up to `start`.
///   - start: at least `textLookBehind`.
package func textEnd(in bytes: UnsafePointer<UInt8>, from start: Int, count: Int) -> Int {
    let chunk = 256
    var end = start
    while end + chunk <= count {
        // The highest bit of `wrong` is the answer; shifts bring others there. No branch depends on the bytes, so the
        // compiler makes vectors of the loop.
        var wrong: UInt8 = 0
        for i in end..<end + chunk {
            let byte = bytes[i]
            let (before, second, third) = (bytes[i - 1], bytes[i - 2], bytes[i - 3])
            // 10xxxxxx is where a lead byte asks for it: 11xxxxxx one, 1110xxxx two, 11110xxx three places before.
            let isTail = byte & ~(byte &<< 1)
            let isAsked =
                before & before &<< 1 | second & second &<< 1 & second &<< 2
                | third & third &<< 1 & third &<< 2 & third &<< 3
            wrong |= isTail ^ isAsked
            // NUL; overlong forms (C0, C1; E0 before 100xxxxx; F0 before 1000xxxx); surrogates (ED before 101xxxxx);
            // what is above 10FFFF (F4 before 1001xxxx and 101xxxxx; F5 and more).
            wrong |= isEqual(byte, 0) | isEqual(byte & 0xFE, 0xC0) | (byte >= 0xF5 ? 0x80 : 0)
            wrong |= isEqual(before, 0xE0) & ~(byte &<< 2) | isEqual(before, 0xED) & byte &<< 2
            let isHigh = byte &<< 2 | byte &<< 3
            wrong |= isEqual(before, 0xF0) & ~isHigh | isEqual(before, 0xF4) & isHigh
        }
        if wrong & 0x80 != 0 { break }
        end += chunk
    }
    return end
}

@inline(__always)
private func isEqual(_ a: UInt8, _ b: UInt8) -> UInt8 { a == b ? 0x80 : 0 }
