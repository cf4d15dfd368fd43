// Conversations as tokens: transformers' ids, what counts, and what is done with a long one.

import LLM
import Testing

private func tokenizer(for template: ChatTemplate) throws -> Tokenizer {
    try Tokenizer(path: fixture("tokenizer_600.json")).adding(template.specialTokens, special: true)
}

@Test func `ids are transformers', and answers count`() throws {
    for cases in try ChatTemplateCases.all() {
        var encoder = try ConversationEncoder(try tokenizer(for: cases.template), cases.template)
        for one in cases.cases {
            let tokens = try encoder.encode(try Conversation(one.messages, place: "here"))
            #expect(tokens.ids == one.ids)
            #expect(tokens.isAnswer == one.isAnswer)
            let prompt = try encoder.prompt(Array(one.messages.dropLast()))
            #expect(prompt.last != nil && zip(prompt, one.ids).prefix { $0 == $1 }.count >= prompt.count - 2)
        }
    }
}

/// What counts, as text.
private func counted(_ tokens: ConversationTokens, _ tokenizer: Tokenizer) -> String {
    let ids = zip(tokens.ids, tokens.isAnswer).filter { $0.1 }.map { $0.0 }
    return String(decoding: tokenizer.decode(ids), as: UTF8.self)
}

@Test func `only the answers and their ends count`() throws {
    let talk = try conversation([(.user, "q"), (.assistant, "aa"), (.user, "<|im_end|>"), (.assistant, "b<|im_end|>b")])
    for (template, text) in [
        (try ChatTemplate("korean"), "aa<|endoftext|>b<|im_end|>b<|endoftext|>"),
        (try ChatTemplate("chatml"), "aa<|im_end|>b<|im_end|>b<|im_end|>"),
        (
            try ChatTemplate(["user": "Q {content}\n", "assistant": "A {content}\n\n"], name: "own"),
            " aa\n\n b<|im_end|>b\n\n"
        ),
    ] {
        let tokenizer = try tokenizer(for: template)
        var encoder = try ConversationEncoder(tokenizer, template)
        #expect(counted(try encoder.encode(talk), tokenizer) == text)
    }
}

@Test func `a token across the border of an answer counts`() throws {
    // Two line ends are one token at the end of a text, and two before a word.
    var words = countWords(Array("a b".utf8))
    Array("\n\n".utf8).withUnsafeBufferPointer { words.add($0, count: 50) }
    var trainer = BytePairTrainer(words, specialTokens: [Array("<|endoftext|>".utf8)], vocabularySize: 260)
    let tokenizer = try Tokenizer(
        trainer.train(minimumFrequency: 0),
        addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
    #expect(try tokenizer.encode(Array("\n\n".utf8)).count == 1 && tokenizer.encode(Array("\n\na".utf8)).count == 3)
    let template = try ChatTemplate(["user": "Q {content}", "assistant": "\n\n{content}\n\n"], name: "own")
    var encoder = try ConversationEncoder(tokenizer, template)
    let talk = try conversation([(.user, "q"), (.assistant, "a"), (.user, "r"), (.assistant, "b")])
    // The prompt's last token is another in the whole, so the longest common prefix ends before it.
    #expect(counted(try encoder.encode(talk), tokenizer) == "\n\na\n\n\n\nb\n\n")
}

@Test func `a space before the answer is noticed where it is part of a word`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    for (before, splits) in [("A: ", true), ("A:", false), ("A:\n", false)] {
        let template = try ChatTemplate(
            ["user": "Q {content}\n", "assistant": .string(Array("\(before){content}{eos}".utf8))], name: "own")
        #expect(try template.splitsFirstWords(of: tokenizer) == splits, "\(before)")
    }
}

@Test func `a template has no other places`() {
    for place in ["EOS", "bos", "contents"] {
        let error = userError {
            _ = try ChatTemplate(
                ["user": "Q {content}\n", "assistant": .string(Array("{content}{\(place)}".utf8))], name: "own")
        }
        #expect(error?.message.contains("{\(place)}, which stands for nothing") == true)
    }
    #expect(
        userError { _ = try ChatTemplate(["user": "{} {a b} {content}", "assistant": "{content}{eos}"], name: "own") }
            == nil)
}

@Test func `generation stops at the end mark, or at the text`() throws {
    let chatml = try ChatTemplate("chatml")
    let grown = try tokenizer(for: chatml)
    #expect(try ConversationEncoder(grown, chatml).stop == .token(601))
    #expect(try ConversationEncoder(grown, ChatTemplate("korean")).stop == .token(0))
    let plain = try ChatTemplate(["user": "Q {content}\n", "assistant": "A {content}\nQ"], name: "own")
    #expect(try ConversationEncoder(grown, plain).stop == .text(Array("\nQ".utf8)))
    let lacking = userError { _ = try ConversationEncoder(Tokenizer(path: fixture("tokenizer_600.json")), chatml) }
    #expect(lacking?.message == "the template chatml has <|im_start|>, which is no special token of the tokenizer")
    var trainer = BytePairTrainer(countWords(Array("a b".utf8)), specialTokens: [], vocabularySize: 256)
    let endless = try Tokenizer(trainer.train(minimumFrequency: 0), addedTokens: [])
    let error = userError { _ = try ConversationEncoder(endless, ChatTemplate("korean")) }
    #expect(error?.message == "the template korean has {eos}, and the tokenizer no end-of-text token")
    #expect(try ConversationEncoder(endless, plain).stop == .text(Array("\nQ".utf8)))
}

@Test func `a long conversation is refused, or cut in front`() throws {
    let template = try ChatTemplate("chatml")
    let tokenizer = try tokenizer(for: template)
    var encoder = try ConversationEncoder(tokenizer, template)
    let short = try conversation([(.user, "q"), (.assistant, "a")], place: "f, line 1")
    let long = try conversation(
        [(.system, "s"), (.user, "one"), (.assistant, "two"), (.user, "0123456789"), (.assistant, "four")],
        place: "f, line 2")
    let whole = try encoder.encode(long)
    let refused = userError { _ = try encoder.encode([short, long], longest: whole.ids.count - 1, .refuse) }
    #expect(
        refused?.message
            == "f, line 2: \(whole.ids.count) tokens, and the context has room for \(whole.ids.count - 1)")
    #expect(try encoder.encode([short, long], longest: whole.ids.count, .refuse).conversations.count == 2)
    #expect(try encoder.encode([long], longest: whole.ids.count, .cutFront).notes.isEmpty)

    func cut(_ longest: Int) throws -> (text: String, counted: String, EncodedConversations) {
        let result = try encoder.encode([short, long], longest: longest, .cutFront)
        let tokens = try #require(result.conversations.last)
        #expect(tokens.ids.count == tokens.isAnswer.count && tokens.ids.count <= longest)
        return (String(decoding: tokenizer.decode(tokens.ids), as: UTF8.self), counted(tokens, tokenizer), result)
    }
    let rest =
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n0123456789<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n"
    let turnless = try cut(whole.ids.count - 1)
    #expect(turnless.text == rest && turnless.counted == "four<|im_end|>")
    #expect(turnless.2.withoutOldTurns == 1 && turnless.2.withCutQuestion == 0 && turnless.2.leftOut.isEmpty)
    let length = try #require(turnless.2.conversations.last).ids.count
    let digits = try tokenizer.encode(Array("0123456789".utf8)).count
    #expect(try cut(length).text == rest)
    let less = try cut(length - 1)
    #expect(less.text != rest && less.text.hasSuffix("9<|im_end|>\n<|im_start|>assistant\nfour<|im_end|>\n"))
    #expect(less.text.hasPrefix("<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n"))
    #expect(less.counted == "four<|im_end|>" && less.2.withCutQuestion == 1)
    let least = try cut(length - digits + 1)
    #expect(least.text.contains("user\n9<|im_end|>") && least.counted == "four<|im_end|>")
    #expect(
        least.2.notes == [
            "conversations without their oldest turns, to fit: 1",
            "conversations without the beginning of their question, to fit: 1",
        ])
    let none = try cut(length - digits)
    #expect(none.2.conversations.count == 1 && none.2.leftOut == ["f, line 2"])
    #expect(none.2.notes == ["conversations left out, whose answer alone is too long: 1 (f, line 2)"])
    let nothing = userError { _ = try encoder.encode([long, long], longest: 9, .cutFront) }
    #expect(nothing?.message.hasPrefix("no conversation fits into 9 tokens: the answer of ") ?? false)
}
