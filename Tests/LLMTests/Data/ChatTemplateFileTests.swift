// Templates as files: what is refused, and how a model's directory keeps one.

import LLM
import Testing

private func refusal(_ json: String) throws -> UserError? {
    var error: UserError?
    try withTemporaryDirectory { directory in
        try write(Array(json.utf8), to: "\(directory)/t.json")
        error = userError { _ = try ChatTemplate("\(directory)/t.json") }.map {
            UserError($0.message.replacing(directory + "/", with: ""), hint: $0.hint)
        }
    }
    return error
}

@Test func `a template that cannot work is refused by name`() throws {
    #expect(try refusal(#"{"user": "Q{content}", "assistant": "A{content}{eos}"}"#) == nil)
    for (json, message, hint) in [
        ("[]", "not a template but another JSON value", "a template is a JSON file"),
        (#"{"user": "Q{content}"}"#, "a template without \"assistant\"", "for"),
        (#"{"assistant": "A{content}{eos}"}"#, "a template without \"user\"", "a template is"),
        (
            #"{"user": "Q{content}", "assistant": "A{eos}"}"#, "a template without a place for the answer",
            "put {content} where it stands in \"assistant\""
        ),
        (#"{"user": "Q", "assistant": "A{content}{eos}"}"#, "a template without a place for the question", "\"user\""),
        (
            #"{"system": "", "user": "{content}", "assistant": "{content}{eos}"}"#,
            "a template without a place for the system message", "\"system\""
        ),
        (
            #"{"user": "{content}{content}", "assistant": "{content}{eos}"}"#, "\"user\" has {content} twice",
            "one place"
        ),
        (
            #"{"user": "Q{content}", "assistant": "A{content}"}"#,
            "nothing follows the answer, so the model would never learn to end", "write {eos}"
        ),
        (
            #"{"user": "Q{content}", "asistant": "A{content}{eos}"}"#, "unknown key \"asistant\"",
            "did you mean \"assistant\"?"
        ),
        (#"{"user": ["Q{content}"], "assistant": "A{content}{eos}"}"#, "\"user\" is not a string", "a template is"),
        (
            #"{"user": "{content}", "assistant": "{content}{eos}", "default_system": "S"}"#,
            "a \"default_system\", and no place for it", "add \"system\""
        ),
        (
            #"{"user": "{content}", "assistant": "{content}{eos}", "with_input": "{instruction}"}"#,
            "\"with_input\" needs one {input}", "for example"
        ),
    ] {
        let error = try refusal(json)
        #expect(error?.message == "t.json: " + message)
        #expect(hint == "for" || error?.hint.contains(hint) == true)
    }
    #expect(try refusal("{\"user\": \"a\", \"user\": \"b\"}")?.message.contains("is there twice") == true)
    let missing = userError { _ = try ChatTemplate("chatlm") }
    #expect(missing?.message == "no template chatlm")
    #expect(missing?.hint == "there are korean, chatml, alpaca, or give a file of your own")
}

@Test func `a directory keeps its template, for us and for transformers`() throws {
    try withTemporaryDirectory { directory in
        let template = try ChatTemplate("alpaca")
        #expect(try ChatTemplate.saved(in: directory) == nil)
        let set = DurableFiles()
        try Tokenizer(path: fixture("tokenizer_600.json")).writeAll(to: directory, in: set, chatTemplate: template)
        try set.commit()
        let saved = try #require(try ChatTemplate.saved(in: directory))
        #expect(saved.json.text() == template.json.text() && saved.jinja == template.jinja)
        #expect(saved.name == directory + "/template.json")
        let config = try JSON(contents(of: directory + "/tokenizer_config.json"), name: "config")
        #expect(config["chat_template"]?.text == template.jinja)
        #expect(try contents(of: directory + "/chat_template.jinja") == Array(template.jinja.utf8))
    }
    try withTemporaryDirectory { directory in
        try Tokenizer(path: fixture("tokenizer_600.json")).write(to: directory)
        #expect(try ChatTemplate.saved(in: directory) == nil)
        try write(Array(#"{"chat_template": null}"#.utf8), to: directory + "/tokenizer_config.json")
        #expect(try ChatTemplate.saved(in: directory) == nil)
        try write(Array(#"{"chat_template": "{{ messages }}"}"#.utf8), to: directory + "/tokenizer_config.json")
        let foreign = userError { _ = try ChatTemplate.saved(in: directory) }
        #expect(
            foreign?.message
                == "the chat template of \(directory) is in Jinja, and only templates like ours can be run here")
        #expect(foreign?.hint == "give one: --template korean|chatml|alpaca, or a file with the same frames")
        try write(Array("{}".utf8), to: directory + "/tokenizer_config.json")
        try write(Array("{{ messages }}".utf8), to: directory + "/chat_template.jinja")
        expectUserError("a template in Jinja") { _ = try ChatTemplate.saved(in: directory) }
    }
}
