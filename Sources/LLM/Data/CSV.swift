// Tables as text: CSV (RFC 4180), and TSV by the same rules.

/// A reader of the records of a table. A field in quotes may contain separators, line ends, and quotes, which are
/// doubled. Lines end with LF, CR LF or CR; empty ones are no records.
package struct CSV {
    private let bytes: ArraySlice<UInt8>
    private let name: String
    private let separator: UInt8
    private var position: Int
    private var line = 1

    /// The separator is the tab if the first line has tabs and no commas.
    /// - Parameter name: the file, for messages.
    package init(_ bytes: [UInt8], name: String) {
        self.bytes = bytes[...]
        self.name = name
        let header = bytes.prefix { !CSV.isLineEnd($0) }
        let (comma, tab) = (UInt8(ascii: ","), UInt8(ascii: "\t"))
        separator = header.contains(tab) && !header.contains(comma) ? tab : comma
        position = 0
    }

    /// The next record, and the line that it begins in; nil if there is none.
    /// - Throws: if quotes do not match.
    package mutating func next() throws -> (line: Int, fields: [[UInt8]])? {
        while position < bytes.count, CSV.isLineEnd(bytes[position]) { _ = lineEnd() }
        guard position < bytes.count else { return nil }
        let first = line
        var fields = [try field()]
        while position < bytes.count, bytes[position] == separator {
            position += 1
            fields.append(try field())
        }
        if position < bytes.count { _ = lineEnd() }
        return (first, fields)
    }

    private static let quote = UInt8(ascii: "\"")

    private static func isLineEnd(_ byte: UInt8) -> Bool { byte == 10 || byte == 13 }

    /// Takes a line end.
    private mutating func lineEnd() -> ArraySlice<UInt8> {
        let start = position
        position += 1
        if bytes[start] == 13, position < bytes.count, bytes[position] == 10 { position += 1 }
        line += 1
        return bytes[start..<position]
    }

    private mutating func field() throws -> [UInt8] {
        guard position < bytes.count, bytes[position] == CSV.quote else {
            let field = bytes[position...].prefix { $0 != separator && !CSV.isLineEnd($0) }
            position = field.endIndex
            return Array(field)
        }
        let first = line
        position += 1
        var field: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            if CSV.isLineEnd(byte) {
                field += lineEnd()
                continue
            }
            position += 1
            if byte == CSV.quote {
                let after = position < bytes.count ? bytes[position] : separator
                if after == separator || CSV.isLineEnd(after) { return field }
                guard after == CSV.quote else {
                    throw UserError(
                        "\(name), line \(line): text after a field's closing quote",
                        hint: "a quote inside a field in quotes is written twice: \"she said \"\"yes\"\"\"")
                }
                position += 1
            }
            field.append(byte)
        }
        throw UserError(
            "\(name), line \(first): a field's closing quote is missing",
            hint: "add it; a quote inside a field in quotes is written twice")
    }
}
