// The other side of dev/reference/chat_template_check.py:
//
//     fuzz conversations FILE                        the conversations of a file, as JSON Lines
//     fuzz chat TOKENIZER TEMPLATE FILE DIRECTORY    the same as a template renders and a tokenizer encodes them; tokenizer
//                                                    and template are written to DIRECTORY

import Foundation
import LLM

func printConversations(of path: String) throws {
    let file = try ConversationFile(try openTexts([path])[0])
    for conversation in file.conversations { try printLine(["messages": messages(conversation.messages)]) }
    note(file.summary)
}

func printChat(tokenizer place: String, template name: String, file path: String, directory: String) throws {
    let template = try ChatTemplate(name)
    let tokenizer = try Tokenizer(at: place).adding(template.specialTokens, special: true)
    try createDirectory(directory)
    let set = DurableFiles()
    try tokenizer.writeAll(to: directory, in: set, chatTemplate: template)
    try set.commit()
    let end = try template.endOfText(of: tokenizer)
    var encoder = try ConversationEncoder(tokenizer, template)
    for conversation in try ConversationFile(try openTexts([path])[0]).conversations {
        let all = conversation.messages
        let tokens = try encoder.encode(conversation)
        try printLine([
            "messages": messages(template.completed(all)),
            "text": .string(try template.text(of: all, addingAnswerPrompt: false, endOfText: end)),
            "prompt": .string(
                try template.text(of: Array(all.dropLast()), addingAnswerPrompt: true, endOfText: end)),
            "ids": .array(tokens.ids.map { JSON(integerLiteral: Int($0)) }),
            "mask": .array(tokens.isAnswer.map { $0 ? 1 : 0 }),
        ])
    }
}

private func messages(_ messages: [ChatMessage]) -> JSON {
    .array(
        messages.map {
            var members = [("role", JSON(stringLiteral: "\($0.role)")), ("content", JSON.string($0.content))]
            if let input = $0.input { members.append(("input", .string(input))) }
            return .object(members.map { (Array($0.0.utf8), $0.1) })
        })
}

private func printLine(_ json: JSON) throws {
    // The layout has no line end of its own inside a string.
    let line = json.text().filter { $0 != 10 }
    try FileHandle.standardOutput.write(contentsOf: Data(line + [10]))
}
