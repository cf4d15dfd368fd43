// What is a conversation to learn from.

import LLM
import Testing

private func refusal(_ messages: [(ChatMessage.Role, String)]) -> UserError? {
    userError { _ = try conversation(messages) }
}

/// A conversation of these messages.
func conversation(_ messages: [(ChatMessage.Role, String)], place: String = "chat.jsonl, line 7") throws -> Conversation
{
    try Conversation(messages.map { ChatMessage($0.0, Array($0.1.utf8)) }, place: place)
}

@Test func `user and assistant take turns, and the last message is an answer`() {
    #expect(refusal([(.user, "a"), (.assistant, "b")]) == nil)
    #expect(refusal([(.system, ""), (.user, "a"), (.assistant, "b"), (.user, "c"), (.assistant, "d")]) == nil)
    for (messages, message) in [
        ([], "a conversation without an answer"), ([(.user, "a")], "a conversation without an answer"),
        ([(.system, "a")], "a conversation without an answer"),
        ([(.assistant, "a")], "message 1 is from assistant, where it is the turn of user"),
        ([(.user, "a"), (.user, "b"), (.assistant, "c")], "message 2 is from user, where it is the turn of assistant"),
        (
            [(.system, "s"), (.user, "a"), (.assistant, "b"), (.assistant, "c")],
            "message 4 is from assistant, where it is the turn of user"
        ),
        ([(.user, "a"), (.system, "b"), (.assistant, "c")], "message 2 is from system, which only the first may be"),
        ([(.system, "a"), (.system, "b"), (.assistant, "c")], "message 2 is from system, which only the first may be"),
        ([(.user, "a"), (.assistant, "b"), (.user, "c")], "the last message is from user, and has no answer"),
        ([(.user, "a"), (.assistant, " \n\u{3000}")], "the answer is empty"),
        ([(.user, ""), (.assistant, "a")], "the question is empty"),
        ([(.user, "a"), (.assistant, ""), (.user, "a"), (.assistant, "b")], "the answer is empty (message 2)"),
    ] as [([(ChatMessage.Role, String)], String)] {
        let error = refusal(messages)
        #expect(error?.message == "chat.jsonl, line 7: " + message)
        #expect(error?.hint.isEmpty == false)
    }
}

@Test func `white space at the ends is what Python takes for it`() {
    // Every character for which str.isspace() is true.
    var spaces: [UInt32] = [9, 10, 11, 12, 13, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x85, 0xA0, 0x1680]
    spaces += Array(0x2000...0x200A) + [0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
    let all = String(String.UnicodeScalarView(spaces.compactMap { Unicode.Scalar($0) }))
    #expect(trimmed(Array((all + "가 나" + all).utf8)) == Array("가 나".utf8))
    #expect(trimmed(Array(all.utf8)).isEmpty && trimmed([]).isEmpty)
    for other in ["\u{FEFF}", "\u{200B}", "\0", "\u{180E}", "\u{1B}", "\u{7F}"] {
        #expect(trimmed(Array((" " + other + " ").utf8)) == Array(other.utf8))
    }
}
