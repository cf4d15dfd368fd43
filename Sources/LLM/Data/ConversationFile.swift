// Files of conversations, in the forms in which instruction data is published. The form is known by the contents, not by
// the file's name:
//
//     [ or {   JSON: one array of objects, or JSON Lines, an object in each line; with these keys, and any others
//              {"messages": [{"role": …, "content": …}, …]}
//              {"conversations": [{"from": …, "value": …}, …]}          ShareGPT
//              {"prompt": …, "completion": …}                           texts, or lists of messages
//              {"instruction": …, "input": …, "output": …}              Alpaca; the input may be missing or empty
//     else     CSV or TSV, whose first line names the columns
//
// No record is left out: one that cannot be learnt from is an error.

/// The conversations of a file.
package struct ConversationFile {
    package private(set) var conversations: [Conversation] = []
    /// What was recognized: `11,823 conversations, columns Q and A`.
    package private(set) var summary = ""
    private let path: String
    /// The keys or columns that were used, in order of appearance.
    private var used: [String] = []

    /// - Parameters:
    ///   - question: a CSV file's column with the questions, if its name is not one of the usual.
    ///   - answer: the column with the answers.
    /// - Throws: if the file is not text, or a record is damaged, incomplete or of another kind.
    package init(_ file: TextFile, question: String? = nil, answer: String? = nil) throws {
        guard (question == nil) == (answer == nil) else {
            throw UserError(
                "only one of --question and --answer is given", hint: "name both columns: --question Q --answer A",
                exitCode: 2)
        }
        path = file.path
        let bytes = try file.contents()
        let first = bytes.first { ![0x20, 0x0A, 0x0D, 0x09].contains($0) }
        switch first {
        case UInt8(ascii: "["):
            try JSON.forEachElement(of: bytes, name: path, allowsDuplicateKeys: false) { try addRecord($0, line: $1) }
        case UInt8(ascii: "{"): try readJSONLines(bytes)
        default: try readTable(bytes, question.flatMap { question in answer.map { (question, $0) } })
        }
        guard !conversations.isEmpty else {
            throw UserError("\(path) has no conversations in it", hint: "give a file with questions and answers")
        }
        let count = conversations.count
        summary =
            "\(grouped(count)) \(count == 1 ? "conversation" : "conversations"), "
            + (first == UInt8(ascii: "[") || first == UInt8(ascii: "{") ? "keys" : "columns") + " " + listed(used)
    }

    private mutating func add(_ messages: [ChatMessage], line: Int, used names: [String]) throws {
        conversations.append(try Conversation(messages, place: "\(path), line \(line)"))
        for name in names where !used.contains(name) { used.append(name) }
    }

    // MARK: - JSON

    private mutating func readJSONLines(_ bytes: [UInt8]) throws {
        for (index, line) in bytes.split(separator: 10, omittingEmptySubsequences: false).enumerated() {
            // The reader of JSON takes the CR of a CR LF for the white space that it is.
            guard line.contains(where: { ![0x20, 0x0D, 0x09].contains($0) }) else { continue }
            let record: JSON
            do {
                record = try JSON(Array(line), name: path, allowsDuplicateKeys: false, line: index + 1)
            } catch let error as UserError {
                throw UserError(
                    error.message,
                    hint: "each line of JSON Lines is one whole object; jq -c . FILE > NEW makes such lines")
            }
            try addRecord(record, line: index + 1)
        }
    }

    private mutating func addRecord(_ record: JSON, line: Int) throws {
        func refuse(_ what: String, hint: String) -> UserError {
            UserError("\(path), line \(line): \(what)", hint: hint)
        }
        guard case .object(let members) = record else {
            throw refuse("not an object but another JSON value", hint: ConversationFile.forms)
        }
        func value(_ key: String) throws -> JSON {
            guard let value = record[key] else {
                throw refuse("the key \"\(key)\" is missing", hint: ConversationFile.forms)
            }
            return value
        }
        func text(_ key: String) throws -> [UInt8] {
            guard case .string(let text) = try value(key) else {
                throw refuse("\"\(key)\" is not a string", hint: "only texts can be learnt")
            }
            return text
        }
        func messages(_ key: String) throws -> [ChatMessage] {
            try ChatMessage.list(in: record, key: key) { refuse($0, hint: $1) }
        }
        func has(_ keys: String...) -> Bool { keys.contains { record[$0] != nil } }

        if has("messages") {
            try add(messages("messages"), line: line, used: ["messages"])
        } else if has("conversations") {
            try add(messages("conversations"), line: line, used: ["conversations"])
        } else if has("prompt", "completion") {
            func side(_ key: String, _ role: ChatMessage.Role) throws -> [ChatMessage] {
                if case .array = try value(key) { return try messages(key) }
                return [ChatMessage(role, try text(key))]
            }
            let all = try side("prompt", .user) + side("completion", .assistant)
            try add(all, line: line, used: ["prompt", "completion"])
        } else if has("instruction", "output") {
            var input: [UInt8]?
            if let value = record["input"], !value.isNull { input = try text("input") }
            let question = ChatMessage(
                .user, try text("instruction"), input: trimmed(input ?? []).isEmpty ? nil : input)
            let answer = ChatMessage(.assistant, try text("output"))
            let names = question.input == nil ? ["instruction", "output"] : ["instruction", "input", "output"]
            try add([question, answer], line: line, used: names)
        } else {
            let keys = members.map { JSON.shown($0.key) }.joined(separator: ", ")
            throw refuse(
                keys.isEmpty ? "an object without keys" : "no question and answer: its keys are \(keys)",
                hint: ConversationFile.forms)
        }
    }

    fileprivate static let forms =
        "an object has the key messages (a list of role and content), conversations (from and value), "
        + "or prompt and completion, or instruction and output"

    // MARK: - tables

    /// The names of columns that are recognized.
    private static let columns: [(question: String, answer: String, input: String?)] = [
        ("Q", "A", nil), ("question", "answer", nil), ("prompt", "completion", nil),
        ("instruction", "output", "input"), ("질문", "답변", nil), ("질문", "답", nil),
    ]

    private mutating func readTable(_ bytes: [UInt8], _ given: (question: String, answer: String)?) throws {
        var table = CSV(bytes, name: path)
        guard let header = try table.next() else { return }
        let names = header.fields.map { String(decoding: trimmed($0), as: UTF8.self) }
        // Strings are equal in any of Unicode's normal forms, as the names of columns should be.
        func column(_ name: String) -> Int? { names.firstIndex { $0.lowercased() == name.lowercased() } }
        var found: (q: Int, a: Int, i: Int?)?
        for (question, answer, input) in given.map({ [($0.question, $0.answer, nil)] }) ?? ConversationFile.columns {
            guard found == nil, let q = column(question), let a = column(answer) else { continue }
            found = (q, a, input.flatMap { column($0) })
        }
        guard let (q, a, i) = found else {
            let shown =
                names.prefix(10).map { JSON.shown(Array($0.utf8)) }.joined(separator: ", ")
                + (names.count > 10 ? ", …" : "")
            throw UserError(
                "\(path), line \(header.line): "
                    + (given.map { "no columns \($0.question) and \($0.answer)" }
                        ?? "no columns of questions and answers")
                    + "; the columns are \(shown)",
                hint: "name them: --question COLUMN --answer COLUMN; or give JSON with messages")
        }
        let columns = [q] + (i.map { [$0] } ?? []) + [a]
        for column in columns where names.count(where: { $0 == names[column] }) > 1 {
            throw UserError(
                "\(path), line \(header.line): two columns are named \(names[column])", hint: "give one another name")
        }
        while let (line, fields) = try table.next() {
            guard fields.count == names.count else {
                throw UserError(
                    "\(path), line \(line): fields: \(fields.count), where the first line has \(names.count)",
                    hint: "a field with a comma or a line end in it stands in quotes")
            }
            let input = i.map { fields[$0] }.flatMap { trimmed($0).isEmpty ? nil : $0 }
            let messages = [ChatMessage(.user, fields[q], input: input), ChatMessage(.assistant, fields[a])]
            try add(messages, line: line, used: columns.map { names[$0] })
        }
    }
}

extension ChatMessage {
    /// The messages under a key of an object.
    package static func list(
        in record: JSON, key: String, refuse: (_ what: String, _ hint: String) -> UserError
    ) throws -> [ChatMessage] {
        guard case .array(let values)? = record[key] else {
            throw refuse("\"\(key)\" is not a list of messages", ConversationFile.forms)
        }
        return try values.enumerated().map { index, value in
            func member(_ keys: [String]) throws -> [UInt8] {
                guard let key = keys.first(where: { value[$0] != nil }), let member = value[key] else {
                    throw refuse("message \(index + 1) has no \"\(keys[0])\"", ConversationFile.forms)
                }
                guard case .string(let text) = member else {
                    throw refuse("the \"\(key)\" of message \(index + 1) is not a string", "only texts can be learnt")
                }
                return text
            }
            let name = try member(["role", "from"])
            guard let role = Role(named: name) else {
                throw refuse(
                    "message \(index + 1) is from \(JSON.shown(name)), which is unknown",
                    "roles are system, user (or human) and assistant (or gpt)")
            }
            return ChatMessage(role, try member(["content", "value"]))
        }
    }

    /// As an object of JSON.
    package var json: [UInt8] {
        Array("{\"role\":\"\(role)\",\"content\":".utf8) + JSON.quoted(content) + Array("}".utf8)
    }
}

/// Adds a conversation to a file of JSON Lines; without one makes it.
/// - Throws: if what is there is anything else.
package func appendConversation(_ messages: [ChatMessage], to path: String) throws {
    guard isDirectory(folder(of: path)) else {
        throw UserError("there is no folder \(folder(of: path))", hint: "make it first, or name a file in another")
    }
    var text: [UInt8] = []
    if fileExists(path) {
        let file = try InputFile(path, hint: "name a file")
        text = try file.read(file.size, of: UInt8.self, at: 0)
        let isOne =
            text.isEmpty
            || text.first == UInt8(ascii: "{") && String(validating: text, as: UTF8.self) != nil
                && (try? ConversationFile(TextFile(file))) != nil
        guard isOne else {
            throw UserError(
                "\(path) is there, and no file of conversations, one a line", hint: "nothing was written: name another")
        }
        if let last = text.last, last != 10 { text.append(10) }
    }
    try writeDurably(path) { try $0.write(text + jsonLine(messages)) }
}

/// Writes conversations as JSON Lines, in place of what is there.
package func writeConversations(_ conversations: [Conversation], to path: String, in files: DurableFiles) throws {
    try files.write(path) { try $0.write(conversations.flatMap { jsonLine($0.messages) }) }
}

private func jsonLine(_ messages: [ChatMessage]) -> [UInt8] {
    if messages.count == 2, let input = messages[0].input {
        let texts = [("instruction", messages[0].content), ("input", input), ("output", messages[1].content)]
        let members = texts.map { Array("\"\($0)\":".utf8) + JSON.quoted($1) }
        return Array("{".utf8) + members.joined(separator: [UInt8(ascii: ",")]) + Array("}\n".utf8)
    }
    return Array("{\"messages\":[".utf8) + messages.map(\.json).joined(separator: [UInt8(ascii: ",")])
        + Array("]}\n".utf8)
}

/// `A`, `A and B`, `A, B and C`.
private func listed(_ words: [String]) -> String {
    words.count < 2 ? words.joined() : words.dropLast().joined(separator: ", ") + " and " + words[words.count - 1]
}
