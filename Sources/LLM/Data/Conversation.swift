// Conversations, of which a model learns to answer.

/// A message of a conversation.
package struct ChatMessage: Equatable, Sendable {
    package enum Role: String, Sendable {
        case system, user, assistant

        /// - Parameter name: as in chat templates, or as ShareGPT has it.
        init?(named name: [UInt8]) {
            switch String(decoding: name, as: UTF8.self) {
            case "system": self = .system
            case "user", "human": self = .user
            case "assistant", "gpt": self = .assistant
            default: return nil
            }
        }
    }

    package var role: Role
    /// UTF-8. White space at its ends does not count.
    package var content: [UInt8]
    /// What the content, an instruction, is about, if that is a text of its own (Alpaca's `input`). Templates join them.
    package var input: [UInt8]?

    package init(_ role: Role, _ content: [UInt8], input: [UInt8]? = nil) {
        (self.role, self.content, self.input) = (role, content, input)
    }

    /// What is wrong with the order of `messages`, which is: a system message or none, then user and assistant in turn;
    /// nil if nothing is.
    static func wrongOrder(in messages: [ChatMessage]) -> String? {
        let first = messages.first?.role == .system ? 1 : 0
        for (index, message) in messages.enumerated().dropFirst(first) {
            if message.role == .system { return "message \(index + 1) is from system, which only the first may be" }
            let turn: Role = (index - first).isMultiple(of: 2) ? .user : .assistant
            guard message.role == turn else {
                return "message \(index + 1) is from \(message.role), where it is the turn of \(turn)"
            }
        }
        return nil
    }
}

/// A conversation to learn from: a system message or none, then questions of the user and answers of the assistant in
/// turn. The last message is an answer.
package struct Conversation: Sendable {
    package let messages: [ChatMessage]
    /// Where it comes from, for messages: a file and the line in which it begins, `chat.jsonl, line 12`.
    package let place: String

    /// - Throws: if it is none to learn from.
    package init(_ messages: [ChatMessage], place: String) throws {
        func refuse(_ what: String, hint: String) -> UserError { UserError("\(place): \(what)", hint: hint) }
        guard messages.contains(where: { $0.role == .assistant }) else {
            throw refuse("a conversation without an answer", hint: "add a message from assistant, or take it out")
        }
        if let what = ChatMessage.wrongOrder(in: messages) {
            throw refuse(
                what, hint: "user and assistant take turns, user first; join messages of one that follow each other")
        }
        for (index, message) in messages.enumerated()
        where message.role != .system && trimmed(message.content).isEmpty {
            throw refuse(
                "the \(message.role == .user ? "question" : "answer") is empty"
                    + (messages.count > 2 ? " (message \(index + 1))" : ""),
                hint: "complete it, or take the conversation out")
        }
        guard messages.last?.role == .assistant else {
            throw refuse(
                "the last message is from user, and has no answer", hint: "add the answer, or take the message out")
        }
        (self.messages, self.place) = (messages, place)
    }
}

/// `text` without the white space at its ends, which is what Python's `strip`, and with it Jinja's `trim`, takes for it.
package func trimmed(_ text: [UInt8]) -> [UInt8] {
    text.withUnsafeBufferPointer { bytes in
        // The separators of ASCII are white space in Python only.
        func isSpace(_ character: (class: CharacterClass, length: Int), _ byte: UInt8) -> Bool {
            character.class == .space || (0x1C...0x1F).contains(byte)
        }
        var (start, end) = (0, bytes.count)
        while start < end {
            let character = CharacterClasses.shared.character(at: start, in: bytes)
            guard isSpace(character, bytes[start]) else { break }
            start += character.length
        }
        while start < end {
            let character = CharacterClasses.shared.character(before: end, in: bytes)
            guard isSpace(character, bytes[end - 1]) else { break }
            end -= character.length
        }
        return Array(bytes[start..<end])
    }
}
