// JSON (RFC 8259): its values, and how they are written. JSONParser reads them.
//
// Foundation's JSONSerialization gives dictionaries keyed by String, in which two spellings of one character in
// different Unicode normal forms are one key, and which have lost their order and their duplicates. A vocabulary needs
// all three, so strings are bytes here and an object is a list.

/// A JSON value, with strings as UTF-8 and objects as lists in their order.
package enum JSON {
    case null
    case bool(Bool)
    case number(Double)
    /// UTF-8.
    case string([UInt8])
    case array([JSON])
    case object([(key: [UInt8], value: JSON)])

    /// Parses a whole file.
    /// - Parameters:
    ///   - name: the file, for the message.
    ///   - allowsDuplicateKeys: whether an object may have a key twice. RFC 8259 leaves that open; safetensors forbids
    ///     it.
    ///   - mostValues: strings, numbers, arrays and so on in it at most. A value takes some 50 bytes of memory, and two
    ///     bytes of a file can be one. 2²³ is as many as the largest tokenizer.json has that can be read.
    ///   - line: the number of the first line, for the message.
    package init(
        _ bytes: [UInt8], name: String, allowsDuplicateKeys: Bool = true, mostValues: Int = 1 << 23, line: Int = 1
    ) throws {
        self = try bytes.withUnsafeBufferPointer { buffer in
            var parser = try JSONParser(
                bytes: buffer, name: name, allowsDuplicateKeys: allowsDuplicateKeys, mostValues: mostValues,
                firstLine: line)
            let value = try parser.value(depth: 0)
            try parser.end()
            return value
        }
    }

    /// Calls `body` with each element of a file that is one array, and with the line that it begins in.
    package static func forEachElement(
        of bytes: [UInt8], name: String, allowsDuplicateKeys: Bool = true,
        _ body: (_ element: JSON, _ line: Int) throws -> Void
    ) throws {
        try bytes.withUnsafeBufferPointer { buffer in
            var parser = try JSONParser(bytes: buffer, name: name, allowsDuplicateKeys: allowsDuplicateKeys)
            try parser.forEachElement(body)
            try parser.end()
        }
    }

    /// The value of `key` in an object; nil if it is absent or this is not an object.
    package subscript(key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.elementsEqual(key.utf8) }?.value
    }

    package var isNull: Bool {
        if case .null = self { return true }
        return false
    }

    package var text: String? {
        if case .string(let bytes) = self { return String(decoding: bytes, as: UTF8.self) }
        return nil
    }

    /// The values of an array.
    package var elements: [JSON]? {
        if case .array(let values) = self { return values }
        return nil
    }

    /// A whole number, if it is one.
    package var int: Int? {
        if case .number(let value) = self { return Int(exactly: value) }
        return nil
    }

    /// The value of a number.
    package var number: Double? {
        if case .number(let value) = self { return value }
        return nil
    }

    package var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    /// `text` (UTF-8) as a JSON string with its quotes: raw but for quotes, backslashes and control characters.
    package static func quoted(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = [UInt8(ascii: "\"")]
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""): result += Array("\\\"".utf8)
            case UInt8(ascii: "\\"): result += Array("\\\\".utf8)
            case 0x08: result += Array("\\b".utf8)
            case 0x09: result += Array("\\t".utf8)
            case 0x0A: result += Array("\\n".utf8)
            case 0x0C: result += Array("\\f".utf8)
            case 0x0D: result += Array("\\r".utf8)
            case 0..<0x20: result += Array((byte < 16 ? "\\u000" : "\\u00").utf8) + Array(String(byte, radix: 16).utf8)
            default: result.append(byte)
            }
        }
        result.append(UInt8(ascii: "\""))
        return result
    }

    /// `text` (UTF-8) for a message: in quotes, on one line, and not too long.
    package static func shown(_ text: [UInt8]) -> String {
        let most = 100
        return String(decoding: quoted(Array(text.prefix(most))), as: UTF8.self) + (text.count > most ? "…" : "")
    }
}

// The parts of a tokenizer are written in the source as they stand in its file.
extension JSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(Array(value.utf8)) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int) { self = .number(Double(value)) }
    package init(arrayLiteral values: JSON...) { self = .array(values) }
    package init(dictionaryLiteral members: (String, JSON)...) {
        self = .object(members.map { (Array($0.0.utf8), $0.1) })
    }

    /// In Hugging Face's layout: two spaces, raw UTF-8, no newline at the end.
    /// - Parameter depth: of the value in the file.
    package func text(depth: Int = 0) -> [UInt8] {
        let newline = [UInt8(ascii: "\n")] + [UInt8](repeating: UInt8(ascii: " "), count: 2 * depth)
        let inner = newline + Array("  ".utf8)
        switch self {
        case .null: return Array("null".utf8)
        case .bool(let value): return Array((value ? "true" : "false").utf8)
        case .number(let value):
            return Array((Int(exactly: value).map { String($0) } ?? "\(value)").utf8)
        case .string(let bytes): return JSON.quoted(bytes)
        case .array(let values):
            var text = Array("[".utf8)
            for (index, value) in values.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                text += inner + value.text(depth: depth + 1)
            }
            return text + (values.isEmpty ? [] : newline) + Array("]".utf8)
        case .object(let members):
            var text = Array("{".utf8)
            for (index, member) in members.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                text += inner + JSON.quoted(member.key) + Array(": ".utf8) + member.value.text(depth: depth + 1)
            }
            return text + (members.isEmpty ? [] : newline) + Array("}".utf8)
        }
    }
}
