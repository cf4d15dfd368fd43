// What a tokenizer makes of --loss-on.

import LLM
import Testing

@Test func `answers need a tokenizer and a mark, texts a tokenizer with an end of text`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    let mark = try tokenizer.encode(Array("=".utf8))
    for mark in ["=", "", nil] {
        #expect(try LossOn.all.targets(tokenizer, answerMark: mark) == .all)
        #expect(try LossOn.all.targets(nil, answerMark: mark) == .all)
        #expect(try LossOn.text.targets(tokenizer, answerMark: mark) == .text(endOfText: 0))
    }
    #expect(try LossOn.answer.targets(tokenizer, answerMark: "=") == .answers(mark: mark, endOfText: 0))
    let bare = try Tokenizer(
        model: try #require(tokenizer.model), spellings: tokenizer.spellings, addedTokens: [],
        components: tokenizer.components)
    for lossOn in [LossOn.text, .answer] {
        for other in [nil, bare] {
            let error = userError { _ = try lossOn.targets(other, answerMark: "=") }
            #expect(error?.message.hasPrefix("--loss-on \(lossOn) needs the tokenizer") == true)
        }
    }
    for mark in ["", nil] {
        expectUserError("no mark") { _ = try LossOn.answer.targets(tokenizer, answerMark: mark) }
    }
}
