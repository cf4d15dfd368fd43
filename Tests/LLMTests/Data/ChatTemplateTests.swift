// Templates against transformers (dev/reference/chat_template_check.py): the texts of conversations with anything in
// them, and the template in Jinja that transformers made them with.

import LLM
import Testing

/// A template, and conversations as transformers renders and encodes them.
struct ChatTemplateCases {
    struct Case {
        let messages: [ChatMessage]
        let text: [UInt8]
        /// Of all messages but the last.
        let prompt: [UInt8]
        let ids: [Int32]
        let isAnswer: [Bool]
    }

    let template: ChatTemplate
    let jinja: String
    let cases: [Case]

    static func all() throws -> [ChatTemplateCases] {
        func bytes(_ json: JSON, _ key: String) throws -> [UInt8] {
            guard case .string(let bytes)? = json[key] else { throw UserError("no \(key)", hint: "write it again") }
            return bytes
        }
        func list(_ json: JSON, _ key: String) throws -> [JSON] {
            guard case .array(let values)? = json[key] else { throw UserError("no \(key)", hint: "write it again") }
            return values
        }
        let path = try fixture("chat_templates.json")
        let json: JSON = ["all": try JSON(try contents(of: path), name: path)]
        return try list(json, "all").map { json in
            let own = json["template"] ?? .null
            let name = json["name"]?.text ?? ""
            let cases = try list(json, "cases").map { json in
                let messages = try list(json, "messages").map { message in
                    let role: ChatMessage.Role? = message["role"]?.text.flatMap { .init(rawValue: $0) }
                    return ChatMessage(try #require(role), try bytes(message, "content"))
                }
                return Case(
                    messages: messages, text: try bytes(json, "text"), prompt: try bytes(json, "prompt"),
                    ids: try list(json, "ids").compactMap { $0.int.map { Int32($0) } },
                    isAnswer: try list(json, "mask").map { $0.int == 1 })
            }
            return ChatTemplateCases(
                template: own.isNull ? try ChatTemplate(name) : try ChatTemplate(own, name: name),
                jinja: json["jinja"]?.text ?? "", cases: cases)
        }
    }
}

private let endOfText = Array("<|endoftext|>".utf8)

@Test func `a conversation's text is the one that transformers renders`() throws {
    var count = 0
    for cases in try ChatTemplateCases.all() {
        for one in cases.cases {
            let text = try cases.template.text(of: one.messages, addingAnswerPrompt: false, endOfText: endOfText)
            #expect(text == one.text)
            let asked = Array(one.messages.dropLast())
            #expect(try cases.template.text(of: asked, addingAnswerPrompt: true, endOfText: endOfText) == one.prompt)
            count += 1
        }
    }
    #expect(count > 30)
}

@Test func `the template in Jinja is the one that was compared`() throws {
    for cases in try ChatTemplateCases.all() { #expect(cases.template.jinja == cases.jinja) }
}

private func text(_ name: String, _ messages: [ChatMessage], prompt: Bool = false) throws -> String {
    let template = try ChatTemplate(name)
    return String(
        decoding: try template.text(of: messages, addingAnswerPrompt: prompt, endOfText: endOfText), as: UTF8.self)
}

@Test func `the built-in templates say what their models expect`() throws {
    let question = ChatMessage(.user, Array(" 안녕?\n".utf8))
    let about = ChatMessage(.user, Array("Sum up {input}.".utf8), input: Array("A text of {instruction}.\n".utf8))
    let answer = ChatMessage(.assistant, Array("네.".utf8))
    #expect(ChatTemplate.names == ["korean", "chatml", "alpaca"])
    #expect(
        try text("korean", [question, answer, question], prompt: true)
            == "### 질문:\n안녕?\n\n### 답변:\n네.<|endoftext|>### 질문:\n안녕?\n\n### 답변:\n")
    #expect(
        try text("korean", [about, answer])
            == "### 질문:\nSum up {input}.\n\n### 맥락:\nA text of {instruction}.\n\n### 답변:\n네.<|endoftext|>")
    #expect(
        try text("chatml", [ChatMessage(.system, Array("Be kind.".utf8)), question, answer])
            == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n안녕?<|im_end|>\n<|im_start|>assistant\n네.<|im_end|>\n"
    )
    let task = "Below is an instruction that describes a task"
    let request = "Write a response that appropriately completes the request.\n\n### Instruction:\n"
    #expect(
        try text("alpaca", [question], prompt: true) == "\(task). \(request)안녕?\n\n### Response:\n")
    #expect(
        try text("alpaca", [about, answer])
            == "\(task), paired with an input that provides further context. \(request)Sum up {input}.\n\n"
            + "### Input:\nA text of {instruction}.\n\n### Response:\n네.<|endoftext|>")
    #expect(
        try text("alpaca", [ChatMessage(.system, Array("S".utf8)), question, answer])
            == "S\n\n### Instruction:\n안녕?\n\n### Response:\n네.<|endoftext|>")
    #expect(throws: UserError.self) { try text("korean", [question, question]) }
    let plain = try ChatTemplate(["user": "Q {content}\n", "assistant": "A {content}\n"], name: "plain")
    let system = userError {
        _ = try plain.turns(of: [ChatMessage(.system, [97]), question, answer], endOfText: endOfText)
    }
    #expect(system?.message == "the template plain has no place for a system message")
}

@Test func `a template's special tokens and the end of an answer`() throws {
    func names(_ template: ChatTemplate) -> [String] {
        template.specialTokens.map { String(decoding: $0, as: UTF8.self) }
    }
    #expect(try names(ChatTemplate("chatml")) == ["<|im_start|>", "<|im_end|>"])
    #expect(try names(ChatTemplate("korean")).isEmpty)
    for (assistant, end) in [
        ("{content}{eos}", "{eos}"), ("<|a|>{content} .<|b|>{eos}", "<|b|>"), ("{content}\n{eos}<|b|>", "{eos}"),
        ("{content}\n\n", nil), ("{content}<|not one|> <|> a |>\n", nil),
    ] {
        let template = try ChatTemplate(
            ["user": "{content}", "assistant": .string(Array(assistant.utf8))], name: "own")
        #expect(template.endMark == end.map { Array($0.utf8) }, "\(assistant)")
    }
}
