// A conversation with a model: messages → the prompt, by a template → the answer, token by token → a message more.
//
// The prompt is the whole conversation each time. What of it the model has read before is in the cache, and only the
// rest is computed. A conversation that has outgrown the model's context loses its oldest turns in the prompt; the
// session itself forgets nothing.

import Kernels

/// A way to answer: a model with an adapter or without, and the tokenizer and template that belong to it.
package struct ChatVoice {
    /// Of the adapter.
    package let name: String
    package var adapter: Adapter?
    let tokenizer: Tokenizer
    let encoder: ConversationEncoder

    package init(_ name: String, _ tokenizer: Tokenizer, _ template: ChatTemplate) throws {
        (self.name, self.tokenizer) = (name, tokenizer)
        encoder = try ConversationEncoder(tokenizer, template)
    }
}

/// An answer of a model.
package struct ChatAnswer: Equatable {
    package enum End: String {
        case stop, length, interrupted
    }
    /// Without what it ends with.
    package fileprivate(set) var text = ""
    package fileprivate(set) var end = End.length
    package let promptTokens: Int
    /// Tokens that were drawn, one of them for the end.
    package fileprivate(set) var tokens = 0
    /// Messages that the prompt had no room for.
    package let messagesLeftOut: Int

    /// Whether nothing can be learnt from it.
    package var isEmpty: Bool { trimmed(Array(text.utf8)).isEmpty }
}

/// A conversation, and the model that answers in it.
package final class ChatSession {
    package let voices: [ChatVoice]
    package private(set) var voice: ChatVoice
    /// The system message; nil leaves it to the template.
    package private(set) var system: [UInt8]?
    /// Questions and answers in turn. The last one is an answer.
    package private(set) var turns: [ChatMessage] = []
    /// The last question, if its answer was empty, so that neither is in the conversation.
    private var unanswered: [UInt8]?

    private let model: any CausalModel
    private let sampler: Sampler
    /// Tokens of an answer at most.
    private let limit: Int
    private var randoms: [Xorshift]
    /// nil until it is needed.
    private var generator: Generator?
    private let weights: WeightFormat

    /// - Parameters:
    ///   - voices: at least one; the first is the one that answers.
    ///   - limit: tokens of an answer at most, fewer than the model has positions for.
    package init(
        _ model: any CausalModel, _ voices: [ChatVoice], _ sampler: Sampler, limit: Int, seed: UInt64,
        weights: WeightFormat = .float32
    ) {
        precondition(limit > 0 && limit < model.maxT)
        (self.model, self.voices, self.sampler, self.limit) = (model, voices, sampler, limit)
        self.weights = weights
        voice = voices[0]
        randoms = [Xorshift(seed: seed)]
        use(voice)
    }

    /// The conversation: the system message, if there is one, and the turns.
    package var messages: [ChatMessage] { (system.map { [ChatMessage(.system, $0)] } ?? []) + turns }

    // MARK: - what is changed between answers

    /// Lets another voice answer from here on. The conversation goes on.
    package func use(_ voice: ChatVoice) {
        self.voice = voice
        model.parameters.put(voice.adapter)
        // What it holds was computed with another adapter. Its memory is to be free before there is a new one.
        generator = nil
    }

    /// Forgets the conversation; the system message stays.
    package func reset() { (turns, unanswered) = ([], nil) }

    /// Sets the system message and forgets the conversation.
    /// - Throws: if the template has no place for it.
    package func setSystem(_ text: [UInt8]) throws {
        _ = try prompt([ChatMessage(.system, text), ChatMessage(.user, Array("?".utf8))], checksLength: false)
        system = text
        reset()
    }

    /// Goes on with another conversation in place of this one.
    /// - Parameter keepsSystem: whether the system message stays the one that is set.
    /// - Throws: if it has a system message, and the template no place for one.
    package func load(_ conversation: Conversation, keepsSystem: Bool = false) throws {
        let messages = conversation.messages
        if !keepsSystem, let first = messages.first, first.role == .system { try setSystem(first.content) }
        reset()
        turns = messages.filter { $0.role != .system }
    }

    // MARK: - answers

    /// Answers a question. Both become part of the conversation, unless the answer is empty.
    /// - Parameter shown: is given what the answer goes on with, after each token and not before it is whole characters;
    ///   false interrupts it.
    /// - Throws: if the question is too long or nothing; the conversation is as before.
    package func answer(_ question: [UInt8], _ shown: (String) throws -> Bool) throws -> ChatAnswer {
        let question = ChatMessage(.user, question)
        let answer = try answer(to: messages + [question], shown)
        if answer.isEmpty {
            unanswered = question.content
        } else {
            turns += [question, ChatMessage(.assistant, Array(answer.text.utf8))]
            unanswered = nil
        }
        return answer
    }

    /// Answers the last question again, in place of the last answer, with other random numbers.
    package func retry(_ shown: (String) throws -> Bool) throws -> ChatAnswer {
        if let unanswered { return try answer(unanswered, shown) }
        guard let question = turns.dropLast().last else {
            throw UserError("there is no answer to try again", hint: "ask something first")
        }
        let before = turns
        turns.removeLast(2)
        do {
            return try answer(question.content, shown)
        } catch {
            turns = before
            throw error
        }
    }

    /// Answers the last of these messages, which are a conversation of their own.
    package func answer(to messages: [ChatMessage], _ shown: (String) throws -> Bool) throws -> ChatAnswer {
        let (prompt, leftOut) = try prompt(messages)
        let generator =
            generator
            ?? Generator(
                model, sequences: 1, capacity: model.maxT, vocabulary: voice.tokenizer.vocabularySize,
                weights: weights)
        self.generator = generator
        generator.continue(with: prompt)
        var answer = ChatAnswer(promptTokens: prompt.count, messagesLeftOut: leftOut)
        var decoder = DecodeStream(voice.tokenizer, after: prompt)
        var stream = TextStream(stops: voice.encoder.stop.texts, trimsStart: true)
        let ends = voice.encoder.stop.tokens + (voice.tokenizer.endOfText.map { [Int32($0)] } ?? [])
        try generator.generate(limit: limit, sampler: sampler, randoms: &randoms, endOfText: nil) { _, token in
            answer.tokens += 1
            var new = ends.contains(token) ? "" : stream.add(decoder.add(token))
            let isLast = ends.contains(token) || answer.tokens == limit
            if isLast { new += stream.add(decoder.finish()) }
            if ends.contains(token) || stream.isStopped { answer.end = .stop }
            if isLast { new += stream.finish() }
            answer.text += new
            let goesOn = try shown(new)
            if !goesOn, !isLast, answer.end != .stop {
                answer.end = .interrupted
            }
            return goesOn && answer.end != .stop
        }
        return answer
    }

    /// The ids of a prompt of as many of the last turns as there is room for beside an answer.
    private func prompt(
        _ messages: [ChatMessage], checksLength: Bool = true
    ) throws -> (ids: [Int32], leftOut: Int) {
        guard messages.last?.role == .user else {
            throw UserError("there is no question to answer", hint: "let the last message be one from user")
        }
        if let what = ChatMessage.wrongOrder(in: messages) {
            throw UserError(what, hint: "user and assistant take turns, user first")
        }
        for message in messages where message.role == .user && trimmed(message.content).isEmpty {
            throw UserError("the question is empty", hint: "ask something")
        }
        var encoder = voice.encoder
        let first = messages.first?.role == .system ? 1 : 0
        let room = model.maxT - limit
        // From the last turn on: how long all of it would be need not be known.
        var start = messages.count - 1
        var ids = try encoder.prompt(Array(messages[..<first] + messages[start...]))
        guard !ids.isEmpty else {
            throw UserError("the tokenizer leaves nothing of the question", hint: "write it in other characters")
        }
        guard ids.count <= room || !checksLength else {
            throw UserError(
                "the question is too long: with its frame it has \(grouped(ids.count)) tokens, and beside an answer of "
                    + "\(grouped(limit)) the model has room for \(grouped(room))",
                hint: "shorten it, or leave it more room: a smaller --max-new-tokens, a shorter system message")
        }
        while start > first {
            let longer = try encoder.prompt(Array(messages[..<first] + messages[(start - 2)...]))
            guard longer.count <= room else { break }
            (ids, start) = (longer, start - 2)
        }
        return (ids, start - first)
    }
}

extension ConversationEncoder.Stop {
    /// The token, or none.
    package var tokens: [Int32] { if case .token(let token) = self { [token] } else { [] } }
    /// The text, or none.
    package var texts: [[UInt8]] { if case .text(let text) = self { [text] } else { [] } }
}
