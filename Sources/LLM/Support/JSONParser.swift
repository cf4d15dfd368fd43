// Reading JSON (RFC 8259). Whatever is read is untrusted: depth and number of values are limited.

/// A reader of JSON, which stops at the first byte that is none.
struct JSONParser {
    let bytes: UnsafeBufferPointer<UInt8>
    let name: String
    let allowsDuplicateKeys: Bool
    let mostValues: Int
    let firstLine: Int
    private var position = 0
    /// Values so far.
    private var values = 0

    /// - Throws: if the file is not UTF-8.
    init(
        bytes: UnsafeBufferPointer<UInt8>, name: String, allowsDuplicateKeys: Bool, mostValues: Int = 1 << 23,
        firstLine: Int = 1
    ) throws {
        (self.bytes, self.name, self.allowsDuplicateKeys) = (bytes, name, allowsDuplicateKeys)
        (self.mostValues, self.firstLine) = (mostValues, firstLine)
        if let wrong = firstInvalidUTF8(in: bytes) {
            position = wrong
            throw error("is not UTF-8")
        }
    }

    /// A file that nests deeper is an attack on the stack, not a tokenizer.
    private static let deepest = 64

    private func error(_ what: String) -> UserError {
        let line = bytes[..<min(position, bytes.count)].reduce(firstLine) { $1 == UInt8(ascii: "\n") ? $0 + 1 : $0 }
        return UserError(
            "\(name), line \(line), byte \(position): \(what)",
            hint: "the file is damaged or was cut off; copy it again or write it again")
    }

    /// After the value: refuses anything but white space.
    mutating func end() throws {
        skipSpace()
        guard position == bytes.count else { throw error("continues after its end") }
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    private mutating func next() throws -> UInt8 {
        guard position < bytes.count else { throw error("it ends too early") }
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

    /// The elements of an array, one after the other, each with the line that it begins in.
    mutating func forEachElement(_ body: (JSON, Int) throws -> Void) throws {
        skipSpace()
        try expect("[")
        if isEmpty(closing: UInt8(ascii: "]")) { return }
        var (line, counted) = (firstLine, 0)
        repeat {
            skipSpace()
            line += bytes[counted..<position].count { $0 == UInt8(ascii: "\n") }
            counted = position
            values = 0
            try body(try value(depth: 1), line)
        } while try anotherFollows(closing: "]")
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
