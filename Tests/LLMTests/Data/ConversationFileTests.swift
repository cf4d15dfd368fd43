// Files of conversations: every form, and what an error says about a bad record.

import LLM
import Testing

/// A file with these bytes, read.
private func read(
    _ bytes: [UInt8], name: String = "chat.txt", question: String? = nil, answer: String? = nil
) throws -> (messages: [[String]], places: [String], summary: String) {
    var result: (messages: [[String]], places: [String], summary: String) = ([], [], "")
    try withTemporaryDirectory { directory in
        let path = "\(directory)/\(name)"
        try write(bytes, to: path)
        func short(_ text: String) -> String { text.replacing(directory + "/", with: "") }
        do {
            let file = try ConversationFile(try openTexts([path])[0], question: question, answer: answer)
            for conversation in file.conversations {
                result.places.append(short(conversation.place))
                result.messages.append(
                    conversation.messages.map { message in
                        let input = message.input.map { " | " + String(decoding: $0, as: UTF8.self) } ?? ""
                        return "\(message.role): \(String(decoding: message.content, as: UTF8.self))\(input)"
                    })
            }
            result.summary = file.summary
        } catch let error as UserError {
            throw UserError(short(error.message), hint: short(error.hint), exitCode: error.exitCode)
        }
    }
    return result
}

private func read(_ text: String) throws -> (messages: [[String]], places: [String], summary: String) {
    try read(Array(text.utf8))
}

private func refusal(_ text: String) -> UserError? { userError { _ = try read(text) } }

@Test func `every form of JSON is read`() throws {
    for (record, messages, keys) in [
        (
            #"{"id": 1, "messages": [{"role": "system", "content": "s"}, {"content": " q ", "name": 3, "role": "user"}, {"role": "assistant", "content": "a"}]}"#,
            ["system: s", "user:  q ", "assistant: a"], "messages"
        ),
        (
            #"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "\uac00\"\n"}], "text": null}"#,
            ["user: q", "assistant: 가\"\n"], "conversations"
        ),
        (#"{"completion": "a", "prompt": "q"}"#, ["user: q", "assistant: a"], "prompt and completion"),
        (
            #"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
            ["system: s", "user: q", "assistant: a"], "prompt and completion"
        ),
        (#"{"instruction": "q", "output": "a", "url": ""}"#, ["user: q", "assistant: a"], "instruction and output"),
        (#"{"instruction": "q", "input": " ", "output": "a"}"#, ["user: q", "assistant: a"], "instruction and output"),
        (
            #"{"instruction": "q", "input": null, "output": "a"}"#, ["user: q", "assistant: a"],
            "instruction and output"
        ),
        (
            #"{"instruction": "q", "input": "i", "output": "a"}"#, ["user: q | i", "assistant: a"],
            "instruction, input and output"
        ),
    ] {
        let one = try read(record)
        #expect(one.messages == [messages] && one.places == ["chat.txt, line 1"])
        #expect(one.summary == "1 conversation, keys \(keys)")
        let lines = try read("\u{FEFF}\n\(record)\r\n\n\(record)\n")
        #expect(lines.messages == [messages, messages] && lines.places == ["chat.txt, line 2", "chat.txt, line 4"])
        let array = try read(" [\(record),\n\n\(record)\n]\n")
        #expect(array.messages == [messages, messages] && array.places == ["chat.txt, line 1", "chat.txt, line 3"])
        #expect(array.summary == "2 conversations, keys \(keys)")
    }
}

@Test func `columns of a table are found by their names`() throws {
    for (header, columns) in [
        ("Q,A,label", "Q and A"), ("id,answer,Question", "Question and answer"),
        ("prompt,completion", "prompt and completion"),
        ("질문,답변", "질문 and 답변"), (" 답 ,질문", "질문 and 답"), ("a,q,x", "q and a"), ("A\tx\tQ", "Q and A"),
        // 질문 as macOS may store it.
        (
            "\u{110C}\u{1175}\u{11AF}\u{1106}\u{116E}\u{11AB},답",
            "\u{110C}\u{1175}\u{11AF}\u{1106}\u{116E}\u{11AB} and 답"
        ),
    ] {
        let isTSV = header.contains("\t")
        let names = header.split(separator: isTSV ? "\t" : ",").map(String.init)
        func field(_ name: String) -> String {
            let name = name.filter { $0 != " " }.lowercased()
            return ["q", "question", "prompt", "질문"].contains(name)
                ? "\"문,\n1\"" : ["label", "id", "x"].contains(name) ? "0" : "답1"
        }
        let row = names.map(field).joined(separator: isTSV ? "\t" : ",")
        let table = try read("\u{FEFF}\(header)\r\n\(row)\r\n\(row)\r\n")
        #expect(table.messages == [["user: 문,\n1", "assistant: 답1"], ["user: 문,\n1", "assistant: 답1"]])
        #expect(table.places == ["chat.txt, line 2", "chat.txt, line 4"])
        #expect(table.summary == "2 conversations, columns \(columns)")
    }
    let alpaca = try read("output,input,instruction\na,i,q\nb, ,r\n")
    #expect(alpaca.messages == [["user: q | i", "assistant: a"], ["user: r", "assistant: b"]])
    #expect(alpaca.summary == "2 conversations, columns instruction, input and output")
    let given = try read(Array("ask,reply,Q,A\n1,2,3,4\n".utf8), question: "ask", answer: "Reply")
    #expect(
        given.messages == [["user: 1", "assistant: 2"]] && given.summary == "1 conversation, columns ask and reply")
}

@Test func `a table without known columns names those it has`() throws {
    let unknown = refusal("\n말,\"대답, 둘\",x\n1,2,3\n")
    #expect(
        unknown?.message
            == "chat.txt, line 2: no columns of questions and answers; the columns are \"말\", \"대답, 둘\", \"x\"")
    #expect(unknown?.hint == "name them: --question COLUMN --answer COLUMN; or give JSON with messages")
    let wrong = userError { _ = try read(Array("Q,A\n1,2\n".utf8), question: "Q", answer: "B") }
    #expect(wrong?.message == "chat.txt, line 1: no columns Q and B; the columns are \"Q\", \"A\"")
    let half = userError { _ = try read(Array("Q,A\n1,2\n".utf8), question: "Q") }
    #expect(half?.message == "only one of --question and --answer is given" && half?.exitCode == 2)
    #expect(refusal("Q,A,A\n1,2,3\n")?.message == "chat.txt, line 1: two columns are named A")
    #expect(refusal("Q,A\n1,2\n\n1,2,3\n")?.message == "chat.txt, line 4: fields: 3, where the first line has 2")
    #expect(refusal("Q,A\n1,2\n1\n")?.message == "chat.txt, line 3: fields: 1, where the first line has 2")
    #expect(refusal("Q,A\n1,2\n3,\" \"\n")?.message == "chat.txt, line 3: the answer is empty")
    #expect(refusal("Q,A\n,2\n")?.message == "chat.txt, line 2: the question is empty")
}

@Test func `a bad record is named with its line and its fault`() {
    let good = #"{"prompt": "q", "completion": "a"}"#
    for (record, message) in [
        (#"{"prompt": "q", "completion": "a""#, ", byte 33: it ends too early"),
        (#"{"prompt": "q" "completion": "a"}"#, ", byte 15: a comma or } is missing"),
        (#"{'prompt': 'q'}"#, ", byte 1: a key in quotes is missing"),
        (good + good, ", byte 34: continues after its end"),
        (#"{"prompt": "q", "completion": "a", "prompt": "r"}"#, ", byte 35: the key \"prompt\" is there twice"),
        ("\"text\"", ": not an object but another JSON value"), ("{}", ": an object without keys"),
        (#"{"text": "q", "id": 1}"#, #": no question and answer: its keys are "text", "id""#),
        (#"{"prompt": "q"}"#, ": the key \"completion\" is missing"),
        (#"{"output": "q"}"#, ": the key \"instruction\" is missing"),
        (#"{"prompt": "q", "completion": 3}"#, ": \"completion\" is not a string"),
        (#"{"prompt": null, "completion": "a"}"#, ": \"prompt\" is not a string"),
        (#"{"instruction": "q", "input": ["i"], "output": "a"}"#, ": \"input\" is not a string"),
        (#"{"messages": {"role": "user"}}"#, ": \"messages\" is not a list of messages"),
        (#"{"messages": ["q", "a"]}"#, ": message 1 has no \"role\""),
        (#"{"messages": [{"role": "user", "text": "q"}]}"#, ": message 1 has no \"content\""),
        (
            #"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
            ": the \"content\" of message 1 is not a string"
        ),
        (
            #"{"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "t"}]}"#,
            ": message 2 is from \"tool\", which is unknown"
        ),
        (#"{"conversations": [{"from": "human", "value": "q"}]}"#, ": a conversation without an answer"),
        (#"{"messages": []}"#, ": a conversation without an answer"),
        (#"{"prompt": "q", "completion": ""}"#, ": the answer is empty"),
        (
            #"{"messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
            ": message 2 is from user, where it is the turn of assistant"
        ),
    ] {
        let error = refusal("\(good)\n\n\(record)\n\(good)\n")
        #expect(error?.message == "chat.txt, line 3" + message)
        #expect(error?.hint.isEmpty == false)
        // In an array the place of what is no JSON is counted from the beginning of the file.
        let place = message.hasPrefix(":") ? "chat.txt, line 3" + message : "chat.txt, line"
        #expect(refusal("[\(good),\n\n\(record),\n\(good)]")?.message.hasPrefix(place) == true, "\(record)")
    }
    #expect(refusal("{\n  \"prompt\": \"q\"\n}\n")?.hint.contains("jq -c") == true)
    #expect(refusal("[\(good)] x")?.message == "chat.txt, line 1, byte 37: continues after its end")
}

@Test func `a file without conversations or in another encoding is refused`() {
    for text in ["[]", "Q,A\n", "Q,A\r\n\r\n", "\n\n", "[ ]\n"] {
        #expect(refusal(text)?.message == "chat.txt has no conversations in it")
    }
    #expect(refusal("")?.message == "chat.txt is empty")
    // 안녕하세요
    let korean: [UInt8] = [0xBE, 0xC8, 0xB3, 0xE7, 0xC7, 0xCF, 0xBC, 0xBC, 0xBF, 0xE4]
    let cp949 = userError { _ = try read(Array("Q,A\n".utf8) + korean + [44] + korean, name: "chat.csv") }
    #expect(cp949?.message == "chat.csv, line 2, byte 1: not UTF-8 but, it seems, CP949 (EUC-KR)")
    #expect(cp949?.hint == "convert it: iconv -f CP949 -t UTF-8 chat.csv > chat-utf8.csv")
    let other = userError { _ = try read(Array("Q,A\ncaf".utf8) + [0xE9] + Array(",b\n".utf8)) }
    #expect(other?.message == "chat.txt, line 2, byte 4: not UTF-8")
    #expect(other?.hint == "convert it: iconv -f ENCODING -t UTF-8 chat.txt > chat-utf8.txt")
    let wide = Array("Q,A\n가,나\n".utf16).flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
    #expect(userError { _ = try read([0xFF, 0xFE] + wide) }?.message == "chat.txt is UTF-16, not UTF-8")
}

@Test func `no damage goes unnoticed as a trap`() throws {
    let whole = [
        #"[{"messages": [{"role": "user", "content": "q\u00e9"}, {"role": "assistant", "content": "가"}]}]"#,
        "{\"instruction\": \"q\", \"input\": \"i\", \"output\": \"a\"}\n{\"prompt\": \"q\", \"completion\": \"a\"}\n",
        "Q,A\r\n\"1,\"\"\n2\",가\r\n3,4\r\n", "",
    ].map { Array($0.utf8) }
    var random = Xorshift(seed: 3)
    for round in 0..<400 {
        var bytes = whole[round % 3]
        for _ in 0...random.below(3) {
            let place = random.below(bytes.count)
            switch random.below(3) {
            case 0: bytes.remove(at: place)
            case 1: bytes.insert(Array("\"{}[],:\n\r\\\t".utf8)[random.below(11)], at: place)
            default: bytes[place] = UInt8(random.below(256))
            }
        }
        do { _ = try read(bytes) } catch { #expect(error is UserError) }
    }
}

@Test func `a conversation is added to its like and to nothing else`() throws {
    try withTemporaryDirectory { folder in
        let path = "\(folder)/chat.jsonl"
        let talk = [ChatMessage(.user, Array("q \"\n".utf8)), ChatMessage(.assistant, Array("답".utf8))]
        let line =
            #"{"messages":[{"role":"user","content":"q \"\n"},{"role":"assistant","content":"답"}]}"# + "\n"
        for count in 1...3 {
            try appendConversation(talk, to: path)
            #expect(try bytes(path) == Array(String(repeating: line, count: count).utf8))
            let file = try ConversationFile(openTexts([path])[0])
            #expect(file.conversations.map(\.messages) == Array(repeating: talk, count: count))
        }
        // Another tool's file, whose last line has no end; an empty one.
        let other = #"{"prompt": "q", "completion": "a"}"#
        for (before, between) in [(other, "\n"), (other + "\n", ""), ("", "")] {
            try write(Array(before.utf8), to: path)
            try appendConversation(talk, to: path)
            #expect(try bytes(path) == Array((before + between + line).utf8))
        }
        for other in [
            "text\n", "{\"a\": 1}\n", "[]", "[" + line + "]", "Q,A\nq,a\n", "{\"messages\": [", "\u{FEFF}" + line,
        ] {
            try write(Array(other.utf8), to: path)
            let error = userError { try appendConversation(talk, to: path) }
            #expect(error?.message == "\(path) is there, and no file of conversations, one a line")
            #expect(try bytes(path) == Array(other.utf8))
        }
        expectUserError("a folder") { try appendConversation(talk, to: folder) }
        #expect(
            userError { try appendConversation(talk, to: "\(folder)/no/chat") }?.message
                == "there is no folder \(folder)/no")
    }
}

@Test func `conversations are written as they are read`() throws {
    let lines = [
        #"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q \"\n"},{"role":"assistant","content":"답"}]}"#,
        #"{"instruction":"q","input":"이것","output":"a"}"#,
    ]
    try withTemporaryDirectory { folder in
        let (path, copy) = ("\(folder)/chat.jsonl", "\(folder)/copy.jsonl")
        for lines in [lines, [lines[1]], [lines[0]]] {
            let text = Array(lines.map { $0 + "\n" }.joined().utf8)
            var conversations: [Conversation] = []
            for line in lines {
                try write(Array(line.utf8), to: path)
                conversations += try ConversationFile(openTexts([path])[0]).conversations
            }
            let files = DurableFiles()
            try writeConversations(conversations, to: copy, in: files)
            try files.commit()
            #expect(try bytes(copy) == text)
        }
    }
}
