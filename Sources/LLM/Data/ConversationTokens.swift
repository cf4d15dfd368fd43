// Conversations as tokens. The ids are those of transformers' apply_chat_template: the whole text is encoded at once,
// and special tokens are recognized everywhere in it, also in what somebody wrote. Only the answers and their ends are
// learnt.

/// A conversation as a model reads it.
package struct ConversationTokens: Sendable {
    package fileprivate(set) var ids: [Int32]
    /// For each id, whether it belongs to an answer or ends one.
    package fileprivate(set) var isAnswer: [Bool]

    package init(ids: [Int32], isAnswer: [Bool]) {
        precondition(ids.count == isAnswer.count)
        (self.ids, self.isAnswer) = (ids, isAnswer)
    }
}

/// Conversations as tokens, none longer than a context, and what that took.
package struct EncodedConversations: Sendable {
    package fileprivate(set) var conversations: [ConversationTokens] = []
    /// Those that lost their oldest turns.
    package fileprivate(set) var withoutOldTurns = 0
    /// Those that lost the beginning of their question, too.
    package fileprivate(set) var withCutQuestion = 0
    /// The places of those that are left out, because their last answer alone is too long.
    package fileprivate(set) var leftOut: [String] = []

    /// What a user should know, a line each.
    package var notes: [String] {
        var notes: [String] = []
        if withoutOldTurns > 0 {
            notes.append("conversations without their oldest turns, to fit: \(grouped(withoutOldTurns))")
        }
        if withCutQuestion > 0 {
            notes.append("conversations without the beginning of their question, to fit: \(grouped(withCutQuestion))")
        }
        if let first = leftOut.first {
            let others = leftOut.count > 1 ? ", …" : ""
            notes.append(
                "conversations left out, whose answer alone is too long: \(grouped(leftOut.count)) (\(first)\(others))")
        }
        return notes
    }
}

/// An encoder of conversations in one template.
package struct ConversationEncoder {
    /// What to do with a conversation that is too long.
    package enum TooLong: String, CaseIterable, Sendable {
        case refuse
        /// The oldest turns go first, then tokens from the front of the question. The answer and the template stay.
        case cutFront = "cut"
    }

    /// By what a generated answer ends.
    package enum Stop: Equatable, Sendable {
        case token(Int32)
        case text([UInt8])
    }

    package let template: ChatTemplate
    package let stop: Stop
    private let tokenizer: Tokenizer
    private let endOfText: [UInt8]
    private var encoder: TextEncoder

    /// - Throws: if the tokenizer lacks one of the template's tokens.
    package init(_ tokenizer: Tokenizer, _ template: ChatTemplate) throws {
        (self.tokenizer, self.template) = (tokenizer, template)
        encoder = try tokenizer.makeEncoder(recognizesSpecialTokens: true)
        let endOfText = try template.endOfText(of: tokenizer)
        self.endOfText = endOfText
        func id(_ content: [UInt8]) -> Int32? {
            tokenizer.addedTokens.first { $0.isSpecial && $0.content == content }?.id
        }
        for token in template.specialTokens where id(token) == nil {
            throw UserError(
                "the template \(template.name) has \(String(decoding: token, as: UTF8.self)), "
                    + "which is no special token of the tokenizer",
                hint: "choose the template that the model was tuned with, or tune it with this one first")
        }
        let mark = template.endMark.map { $0 == ChatTemplate.endOfText ? endOfText : $0 }
        stop = mark.flatMap { id($0) }.map { .token($0) } ?? .text(mark ?? template.answerEnd)
    }

    /// The ids that an answer follows.
    package mutating func prompt(_ messages: [ChatMessage]) throws -> [Int32] {
        encode(try template.text(of: messages, addingAnswerPrompt: true, endOfText: endOfText))
    }

    package mutating func encode(_ conversation: Conversation) throws -> ConversationTokens {
        try at(conversation) { try encode(template.turns(of: conversation.messages, endOfText: endOfText)) }
    }

    /// - Parameter longest: ids of a conversation at most.
    /// - Throws: at the first that is longer, unless it may be cut.
    package mutating func encode(
        _ conversations: [Conversation], longest: Int, _ tooLong: TooLong
    ) throws -> EncodedConversations {
        var result = EncodedConversations()
        for conversation in conversations {
            let tokens = try encode(conversation)
            if tokens.ids.count <= longest {
                result.conversations.append(tokens)
            } else if tooLong == .refuse {
                throw UserError(
                    "\(conversation.place): \(grouped(tokens.ids.count)) tokens, and the context has room for "
                        + grouped(longest), hint: "take it out, shorten it, or have it cut: --too-long cut")
            } else {
                try at(conversation) { try cut(conversation, longest, &result) }
            }
        }
        guard !result.conversations.isEmpty else {
            throw UserError(
                "no conversation fits into \(grouped(longest)) tokens"
                    + (result.leftOut.first.map { ": the answer of \($0) alone is longer" } ?? ""),
                hint: "shorten the answers, or choose a model with a longer context")
        }
        return result
    }

    private mutating func cut(
        _ conversation: Conversation, _ longest: Int, _ result: inout EncodedConversations
    ) throws {
        var turns = try template.turns(of: conversation.messages, endOfText: endOfText)
        let first = turns[0].role == .system ? 1 : 0
        let all = turns.count
        var count = Int.max
        repeat {
            guard turns.count > first + 2 else { break }
            turns.removeSubrange(first..<first + 2)
            count = encode(turns.flatMap(\.text)).count
        } while count > longest
        var tokens = encode(turns)
        let excess = tokens.ids.count - longest
        if excess > 0 {
            let before = turns[..<first].flatMap(\.text) + turns[first].before
            let question = covering(before, tokens.ids)..<covering(before + turns[first].content, tokens.ids)
            guard excess < question.count else { return result.leftOut.append(conversation.place) }
            tokens.ids.removeSubrange(question.prefix(excess).indices)
            tokens.isAnswer.removeSubrange(question.prefix(excess).indices)
            result.withCutQuestion += 1
        }
        if turns.count < all { result.withoutOldTurns += 1 }
        result.conversations.append(tokens)
    }

    private mutating func encode(_ text: [UInt8]) -> [Int32] {
        var ids: [Int32] = []
        text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        return ids
    }

    /// An answer begins where the ids of what a generator would be given and the ids of the whole part, as in trl, and
    /// goes to the token that its end is in.
    private mutating func encode(_ turns: [ChatTemplate.Turn]) -> ConversationTokens {
        let ids = encode(turns.flatMap(\.text))
        var isAnswer = [Bool](repeating: false, count: ids.count)
        var text: [UInt8] = []
        for turn in turns {
            if turn.role == .assistant {
                let start = commonPrefix(encode(text + turn.before), ids)
                let end = covering(text + turn.before + turn.content + turn.end, ids)
                for position in start..<max(start, end) { isAnswer[position] = true }
            }
            text += turn.text
        }
        return ConversationTokens(ids: ids, isAnswer: isAnswer)
    }

    /// How many of `ids` it takes to cover `beginning`, with which their text begins.
    private mutating func covering(_ beginning: [UInt8], _ ids: [Int32]) -> Int {
        let own = encode(beginning)
        var count = commonPrefix(own, ids)
        guard count < own.count else { return count }
        // A token may reach beyond the beginning, and take other tokens before it with it.
        let length = tokenizer.decode(own).count
        while count < ids.count, tokenizer.decode(Array(ids[..<count])).count < length { count += 1 }
        return count
    }
}

/// Adds to errors where they are.
private func at<Result>(_ conversation: Conversation, _ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as UserError {
        throw UserError("\(conversation.place): \(error.message)", hint: error.hint)
    }
}

/// The length of the longest common prefix.
private func commonPrefix(_ a: [Int32], _ b: [Int32]) -> Int {
    zip(a, b).prefix { $0 == $1 }.count
}
