// How a conversation becomes the one text that a model learns from. A template frames each message by its role:
//
//     {"user": "### 질문:\n{content}\n\n", "assistant": "### 답변:\n{content}{eos}"}
//
// What a model answers to is the text up to the answer's {content}. ChatTemplateFile has the built-in templates and
// reads others; JinjaTemplate.swift writes the same for Hugging Face's transformers.

/// A template for conversations.
package struct ChatTemplate: Sendable {
    /// What stands before and after the content of a message. `{eos}` is the tokenizer's end of text.
    package struct Frame: Sendable {
        package let before: [UInt8]
        package let after: [UInt8]
    }

    /// A built-in template's name, or the file that it is from.
    package let name: String
    /// As it was read.
    package let json: JSON
    /// nil if the template has no place for a system message.
    let system: Frame?
    let user: Frame
    let assistant: Frame
    /// The system message of a conversation that has none.
    let defaultSystem: [UInt8]?
    /// The same, if the question has an input.
    let defaultSystemWithInput: [UInt8]?
    /// How a question and its input are joined.
    let withInput: [UInt8]

    static let content = Array("{content}".utf8)
    static let endOfText = Array("{eos}".utf8)

    /// The tokens of the form `<|…|>` in the template, in order of appearance. The tokenizer must have them as special
    /// tokens (`Tokenizer.adding`).
    package var specialTokens: [[UInt8]] {
        var tokens: [[UInt8]] = []
        for frame in [system, user, assistant] {
            for text in [frame?.before ?? [], frame?.after ?? []] {
                for range in ChatTemplate.specialTokens(in: text) where !tokens.contains(Array(text[range])) {
                    tokens.append(Array(text[range]))
                }
            }
        }
        return tokens
    }

    private static func specialTokens(in text: [UInt8]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start: Int?
        for position in text.indices.dropLast() {
            let pair = text[position...position + 1]
            if pair.elementsEqual("<|".utf8) {
                start = position
            } else if text[position] <= 0x20 {
                start = nil
            } else if let first = start, position > first + 1, pair.elementsEqual("|>".utf8) {
                ranges.append(first..<position + 2)
                start = nil
            }
        }
        return ranges
    }

    /// The token by which the model ends an answer, `{eos}` or of the form `<|…|>`: the first after the content.
    package var endMark: [UInt8]? { endRange.map { Array(assistant.after[$0]) } }

    /// What of the text after an answer belongs to it: up to the end mark; all, if there is none.
    var answerEnd: [UInt8] { Array(assistant.after[..<(endRange?.upperBound ?? assistant.after.count)]) }

    private var endRange: Range<Int>? {
        let end = ChatTemplate.ranges(of: ChatTemplate.endOfText, in: assistant.after).first
        let special = ChatTemplate.specialTokens(in: assistant.after).first
        return [end, special].compactMap { $0 }.min { $0.lowerBound < $1.lowerBound }
    }

    static func ranges(of word: [UInt8], in text: [UInt8]) -> [Range<Int>] {
        guard word.count <= text.count else { return [] }
        return (0...text.count - word.count).filter { text[$0...].starts(with: word) }.map { $0..<$0 + word.count }
    }

    static func replacing(_ word: [UInt8], with other: [UInt8], in text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var start = 0
        for range in ranges(of: word, in: text) where range.lowerBound >= start {
            result += text[start..<range.lowerBound] + other
            start = range.upperBound
        }
        return result + text[start...]
    }

    /// Whether what stands before an answer ends in a space that a tokenizer joins to the word after it. A model then
    /// learns other tokens than it is asked with.
    package func splitsFirstWords(of tokenizer: Tokenizer) throws -> Bool {
        guard assistant.before.last == 0x20 else { return false }
        let (frame, word) = (assistant.before, Array("the".utf8))
        return try tokenizer.encode(frame + word, usingTemplate: false)
            != tokenizer.encode(frame, usingTemplate: false) + tokenizer.encode(word, usingTemplate: false)
    }

    // MARK: - rendering

    /// A message in its frame.
    package struct Turn: Sendable {
        package let role: ChatMessage.Role
        package let before: [UInt8]
        package let content: [UInt8]
        /// Of an answer: what the model ends it with.
        package let end: [UInt8]
        package let after: [UInt8]

        package var text: [UInt8] { before + content + end + after }
    }

    /// `messages` with nothing left to the template: with a system message if it has one to give, and with each
    /// question joined with its input.
    package func completed(_ messages: [ChatMessage]) -> [ChatMessage] {
        var completed = messages.map { message in
            guard let input = message.input else { return message }
            // In one pass: a question may contain the other place's name.
            let content = ChatTemplate.instruction
            let parts = ChatTemplate.ranges(of: content, in: withInput).first.map {
                (withInput[..<$0.lowerBound], withInput[$0.upperBound...])
            }
            func fill(_ part: ArraySlice<UInt8>) -> [UInt8] {
                ChatTemplate.replacing(ChatTemplate.input, with: trimmed(input), in: Array(part))
            }
            let joined = parts.map { fill($0.0) + trimmed(message.content) + fill($0.1) } ?? message.content
            return ChatMessage(message.role, joined)
        }
        let hasInput = messages.contains { $0.input != nil }
        if messages.first?.role != .system,
            let standard = hasInput ? defaultSystemWithInput ?? defaultSystem : defaultSystem
        {
            completed.insert(ChatMessage(.system, standard), at: 0)
        }
        return completed
    }

    static let instruction = Array("{instruction}".utf8)
    static let input = Array("{input}".utf8)

    /// The messages in their frames.
    /// - Parameter endOfText: the tokenizer's, which `endOfText(of:)` gives.
    /// - Throws: if the messages are out of order, or there is no place for a system message.
    package func turns(of messages: [ChatMessage], endOfText: [UInt8]) throws -> [Turn] {
        let messages = completed(messages)
        if let what = ChatMessage.wrongOrder(in: messages) {
            throw UserError(what, hint: "user and assistant take turns, user first")
        }
        func filled(_ text: [UInt8]) -> [UInt8] {
            ChatTemplate.replacing(ChatTemplate.endOfText, with: endOfText, in: text)
        }
        return try messages.map { message in
            let content = trimmed(message.content)
            switch message.role {
            case .system:
                guard let system else {
                    throw UserError(
                        "the template \(name) has no place for a system message",
                        hint: "choose another, or give it a \"system\": \"{content}\\n\\n\"")
                }
                return Turn(
                    role: .system, before: filled(system.before), content: content, end: [], after: filled(system.after)
                )
            case .user:
                return Turn(
                    role: .user, before: filled(user.before), content: content, end: [], after: filled(user.after))
            case .assistant:
                return Turn(
                    role: .assistant, before: filled(assistant.before), content: content, end: filled(answerEnd),
                    after: filled(Array(assistant.after.dropFirst(answerEnd.count))))
            }
        }
    }

    /// The text of messages.
    /// - Parameter addingAnswerPrompt: whether the text goes on with what stands before an answer.
    package func text(
        of messages: [ChatMessage], addingAnswerPrompt: Bool, endOfText: [UInt8]
    ) throws -> [UInt8] {
        let text = try turns(of: messages, endOfText: endOfText).flatMap(\.text)
        guard addingAnswerPrompt else { return text }
        return text + ChatTemplate.replacing(ChatTemplate.endOfText, with: endOfText, in: assistant.before)
    }

    /// What `{eos}` is with a tokenizer: the token that transformers calls `eos_token`, too.
    /// - Throws: if the template needs it, and there is none.
    package func endOfText(of tokenizer: Tokenizer) throws -> [UInt8] {
        if let id = tokenizer.id(ofRole: "eos_token") { return tokenizer.spellings[id] }
        for frame in [system, user, assistant] {
            for text in [frame?.before ?? [], frame?.after ?? []]
            where !ChatTemplate.ranges(of: ChatTemplate.endOfText, in: text).isEmpty {
                throw UserError(
                    "the template \(name) has {eos}, and the tokenizer no end-of-text token",
                    hint: "make the tokenizer with one: train_tokenizer --special \"<|endoftext|>\"")
            }
        }
        return []
    }
}
