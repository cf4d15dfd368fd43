/// `token` as text on one line, with escapes such as `\\x0A` for control characters and bytes that are not UTF-8.
package func readable(_ token: [UInt8]) -> String {
    var text = ""
    token.withUnsafeBufferPointer { token in
        var position = 0
        while position < token.count {
            let next = scalar(at: position, in: token)
            let isHidden = next.value < 0x20 || (0x7F..<0xA0).contains(next.value) || next.value == 0x2028
            if (next.value == 0xFFFD && next.length == 1) || isHidden || next.value == 0x2029 {
                for byte in token[position..<position + next.length] {
                    text += byte < 16 ? "\\x0" : "\\x"
                    text += String(byte, radix: 16, uppercase: true)
                }
            } else if let scalar = Unicode.Scalar(next.value) {
                text.unicodeScalars.append(scalar)
            }
            position += next.length
        }
    }
    return text
}

/// `token` as it stands beside others, on one line: as `readable` has it, but a line feed, a carriage return and a tab as
/// `\n`, `\r` and `\t`, and a space, which would not be seen at an end, as `␣`.
package func tokenLabel(_ token: [UInt8]) -> String {
    let names: [UInt8: String] = [0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x20: "␣", 0x5C: "\\\\"]
    var label = ""
    // None of these bytes is a part of another character.
    var rest: [UInt8] = []
    for byte in token {
        guard let name = names[byte] else {
            rest.append(byte)
            continue
        }
        label += readable(rest) + name
        rest = []
    }
    return label + readable(rest)
}
