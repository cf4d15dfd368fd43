// A reader for JSON (RFC 8259) and a writer for its strings.
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
    package init(
        _ bytes: [UInt8], name: String, allowsDuplicateKeys: Bool = true, mostValues: Int = 1 << 23
    ) throws {
        self = try bytes.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(
                bytes: buffer, name: name, allowsDuplicateKeys: allowsDuplicateKeys, mostValues: mostValues)
            if let position = firstInvalidUTF8(in: buffer) {
                parser.position = position
                throw parser.error("is not UTF-8")
            }
            let value = try parser.value(depth: 0)
            parser.skipSpace()
            guard parser.position == buffer.count else { throw parser.error("continues after its end") }
            return value
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

private struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    let name: String
    let allowsDuplicateKeys: Bool
    let mostValues: Int
    var position = 0
    /// Values so far.
    private var values = 0

    init(bytes: UnsafeBufferPointer<UInt8>, name: String, allowsDuplicateKeys: Bool, mostValues: Int) {
        (self.bytes, self.name, self.allowsDuplicateKeys) = (bytes, name, allowsDuplicateKeys)
        self.mostValues = mostValues
    }

    /// A file that nests deeper is an attack on the stack, not a tokenizer.
    private static let deepest = 64

    func error(_ what: String) -> UserError {
        let line = bytes[..<min(position, bytes.count)].reduce(1) { $1 == UInt8(ascii: "\n") ? $0 + 1 : $0 }
        return UserError(
            "\(name), line \(line), byte \(position): \(what)",
            hint: "the file is damaged or was cut off; copy it again or write it again")
    }

    mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    private mutating func next() throws -> UInt8 {
        guard position < bytes.count else { throw error("the file ends too early") }
        position += 1
        return bytes[position - 1]
    }

    private mutating func expect(_ word: String) throws {
        for byte in word.utf8 where try next() != byte {
            position -= 1
            throw error("this is not a JSON value")
        }
    }

    mutating func value(depth: Int) throws -> JSON {
        guard depth < JSONParser.deepest else { throw error("it nests deeper than \(JSONParser.deepest) levels") }
        guard values < mostValues else { throw error("it has more than \(grouped(mostValues)) values") }
        values += 1
        skipSpace()
        switch try next() {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"):
            try expect("rue")
            return .bool(true)
        case UInt8(ascii: "f"):
            try expect("alse")
            return .bool(false)
        case UInt8(ascii: "n"):
            try expect("ull")
            return .null
        default:
            position -= 1
            return try number()
        }
    }

    /// After a value inside brackets: whether another follows.
    private mutating func anotherFollows(closing: Character) throws -> Bool {
        skipSpace()
        let byte = try next()
        if byte == UInt8(ascii: ",") { return true }
        if byte == closing.asciiValue { return false }
        position -= 1
        throw error("a comma or \(closing) is missing")
    }

    /// Skips `closing` if it stands right here: an empty array or object.
    private mutating func isEmpty(closing: UInt8) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == closing else { return false }
        position += 1
        return true
    }

    private mutating func array(depth: Int) throws -> JSON {
        var values: [JSON] = []
        if isEmpty(closing: UInt8(ascii: "]")) { return .array(values) }
        repeat { values.append(try value(depth: depth + 1)) } while try anotherFollows(closing: "]")
        return .array(values)
    }

    private mutating func object(depth: Int) throws -> JSON {
        var members: [(key: [UInt8], value: JSON)] = []
        var keys: Set<Key> = []
        if isEmpty(closing: UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipSpace()
            guard try next() == UInt8(ascii: "\"") else {
                position -= 1
                throw error("a key in quotes is missing")
            }
            let start = position - 1
            let key = try string()
            guard allowsDuplicateKeys || keys.insert(Key(bytes: key)).inserted else {
                position = start
                throw error("the key \(JSON.shown(key)) is there twice")
            }
            skipSpace()
            guard try next() == UInt8(ascii: ":") else {
                position -= 1
                throw error("a colon is missing")
            }
            members.append((key, try value(depth: depth + 1)))
        } while try anotherFollows(closing: "}")
        return .object(members)
    }

    private mutating func number() throws -> JSON {
        let start = position
        while position < bytes.count, "+-.0123456789eE".utf8.contains(bytes[position]) { position += 1 }
        // Most are short and whole.
        let digits = bytes[start..<position]
        if (1...15).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) {
            return .number(Double(digits.reduce(0) { 10 * $0 + Int($1) - 0x30 }))
        }
        let text = String(decoding: digits, as: UTF8.self)
        guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "."),
            let value = Double(text), value.isFinite
        else {
            position = start
            throw error("this is not a JSON value")
        }
        return .number(value)
    }

    /// The rest of a string whose opening quote has been read.
    private mutating func string() throws -> [UInt8] {
        var result: [UInt8] = []
        while true {
            let start = position
            while position < bytes.count, bytes[position] >= 0x20, bytes[position] != UInt8(ascii: "\""),
                bytes[position] != UInt8(ascii: "\\")
            { position += 1 }
            result += bytes[start..<position]
            switch try next() {
            case UInt8(ascii: "\""): return result
            case UInt8(ascii: "\\"): try escape(into: &result)
            default:
                position -= 1
                throw error("a string has a raw control character")
            }
        }
    }

    private mutating func escape(into result: inout [UInt8]) throws {
        switch try next() {
        case UInt8(ascii: "\""): result.append(UInt8(ascii: "\""))
        case UInt8(ascii: "\\"): result.append(UInt8(ascii: "\\"))
        case UInt8(ascii: "/"): result.append(UInt8(ascii: "/"))
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"):
            var unit = try hexadecimal()
            if (0xD800..<0xDC00).contains(unit) {
                let low: UInt32 =
                    try next() == UInt8(ascii: "\\") && next() == UInt8(ascii: "u") ? try hexadecimal() : 0
                guard (0xDC00..<0xE000).contains(low) else { throw error("half of a surrogate pair is missing") }
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw error("half of a surrogate pair is missing") }
            result += Array(String(Character(scalar)).utf8)
        default:
            position -= 1
            throw error("no such escape in a string")
        }
    }

    private mutating func hexadecimal() throws -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(try next())).hexDigitValue else {
                throw error("\\u needs four hexadecimal digits")
            }
            unit = unit << 4 | UInt32(digit)
        }
        return unit
    }
}

/// A key of an object, hashed in one piece: an array hashes byte by byte.
private struct Key: Hashable {
    let bytes: [UInt8]

    func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
}
