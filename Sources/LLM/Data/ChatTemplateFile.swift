// Where templates come from: the built-in ones, a file of the user, or a model's directory.
//
// A template is a JSON object of strings:
//
//     user, assistant     the frames, each with one {content}; {eos} is the tokenizer's end of text
//     system              the same; without it the template has no place for a system message
//     default_system      the system message of a conversation that has none
//     with_input          how a question and its input are joined; {instruction}\n\n{input} unless given
//     system_with_input   the system message of a conversation that has none, if its question has an input

extension ChatTemplate {
    /// The built-in templates, as they would stand in a file. `korean` has the headings of KoAlpaca's prompt, `alpaca`
    /// the sentences of Stanford's, and `chatml` is OpenAI's ChatML. Where an answer ends with the end of text, nothing
    /// follows it: the next question begins as a text does.
    private static let builtIn: [(name: String, json: JSON)] = [
        (
            "korean",
            [
                "system": "{content}\n\n", "user": "### 질문:\n{content}\n\n", "assistant": "### 답변:\n{content}{eos}",
                "with_input": "{instruction}\n\n### 맥락:\n{input}",
            ]
        ),
        (
            "chatml",
            [
                "system": "<|im_start|>system\n{content}<|im_end|>\n",
                "user": "<|im_start|>user\n{content}<|im_end|>\n",
                "assistant": "<|im_start|>assistant\n{content}<|im_end|>\n",
            ]
        ),
        (
            "alpaca",
            [
                "system": "{content}\n\n", "user": "### Instruction:\n{content}\n\n",
                "assistant": "### Response:\n{content}{eos}",
                "default_system":
                    """
                Below is an instruction that describes a task. Write a response that appropriately completes the \
                request.
                """,
                "with_input": "{instruction}\n\n### Input:\n{input}",
                "system_with_input":
                    """
                Below is an instruction that describes a task, paired with an input that provides further \
                context. Write a response that appropriately completes the request.
                """,
            ]
        ),
    ]

    package static var names: [String] { builtIn.map(\.name) }

    /// The template of `--template`: a built-in one by its name, or a file.
    package init(_ nameOrFile: String) throws {
        if let (name, json) = ChatTemplate.builtIn.first(where: { $0.name == nameOrFile }) {
            try self.init(json, name: name)
            return
        }
        guard fileExists(nameOrFile) else {
            throw UserError(
                "no template \(nameOrFile)",
                hint: "there are \(ChatTemplate.names.joined(separator: ", ")), or give a file of your own")
        }
        try self.init(file: nameOrFile)
    }

    private init(file path: String) throws {
        let file = try InputFile(path, hint: "give the path of a template")
        guard file.size <= 1 << 20 else {
            throw UserError("\(path) is too long for a template", hint: ChatTemplate.example)
        }
        try self.init(try JSON(try TextFile(file).contents(), name: path, allowsDuplicateKeys: false), name: path)
    }

    private static let example =
        "a template is a JSON file: {\"user\": \"Q: {content}\\n\", \"assistant\": \"A: {content}{eos}\"}"

    /// - Parameter name: for messages.
    package init(_ json: JSON, name: String) throws {
        func refuse(_ what: String, hint: String = ChatTemplate.example) -> UserError {
            UserError("\(name): \(what)", hint: hint)
        }
        guard case .object(let members) = json else { throw refuse("not a template but another JSON value") }
        let keys = ["system", "user", "assistant", "default_system", "with_input", "system_with_input"]
        for (key, value) in members {
            let key = String(decoding: key, as: UTF8.self)
            guard keys.contains(key) else {
                let nearest = keys.min { Options.editDistance($0, key) < Options.editDistance($1, key) } ?? "user"
                throw refuse(
                    "unknown key \"\(key)\"",
                    hint: "did you mean \"\(nearest)\"? The keys are \(keys.joined(separator: ", "))")
            }
            guard case .string = value else { throw refuse("\"\(key)\" is not a string") }
        }
        func text(_ key: String) -> [UInt8]? {
            if case .string(let text)? = json[key] { return text }
            return nil
        }
        func frame(_ key: String, without what: String) throws -> Frame? {
            guard let text = text(key) else { return nil }
            let places = ChatTemplate.ranges(of: ChatTemplate.content, in: text)
            guard let place = places.first else {
                throw refuse(what, hint: "put {content} where it stands in \"\(key)\"")
            }
            guard places.count == 1 else {
                throw refuse("\"\(key)\" has {content} twice", hint: "a message stands in one place")
            }
            for name in ChatTemplate.placeholders(in: text) where !["content", "eos"].contains(name) {
                throw refuse(
                    "\"\(key)\" has {\(name)}, which stands for nothing", hint: "there are {content} and {eos}")
            }
            return Frame(before: Array(text[..<place.lowerBound]), after: Array(text[place.upperBound...]))
        }
        system = try frame("system", without: "a template without a place for the system message")
        guard let user = try frame("user", without: "a template without a place for the question") else {
            throw refuse("a template without \"user\"")
        }
        guard let assistant = try frame("assistant", without: "a template without a place for the answer") else {
            throw refuse("a template without \"assistant\"")
        }
        guard !assistant.after.isEmpty else {
            throw refuse(
                "nothing follows the answer, so the model would never learn to end",
                hint: "write {eos} after the {content} of \"assistant\"")
        }
        (self.user, self.assistant) = (user, assistant)
        (defaultSystem, defaultSystemWithInput) = (text("default_system"), text("system_with_input"))
        for key in ["default_system", "system_with_input"] where text(key) != nil && system == nil {
            throw refuse(
                "a \"\(key)\", and no place for it", hint: "add \"system\": \"{content}\\n\\n\" to the template")
        }
        withInput = text("with_input") ?? Array("{instruction}\n\n{input}".utf8)
        for place in [ChatTemplate.instruction, ChatTemplate.input]
        where ChatTemplate.ranges(of: place, in: withInput).count != 1 {
            throw refuse(
                "\"with_input\" needs one \(String(decoding: place, as: UTF8.self))",
                hint: "for example \"{instruction}\\n\\n{input}\"")
        }
        (self.name, self.json) = (name, json)
    }

    // MARK: - in a model's directory

    /// The file in a model's directory. transformers reads `chat_template.json`, so it has another name.
    static let fileName = "template.json"

    /// The template that a model was saved with; nil if it has none.
    /// - Throws: if the directory has only a template in Jinja, which cannot be run here.
    package static func saved(in directory: String) throws -> ChatTemplate? {
        try finishInterruptedWrites(in: directory)
        let path = "\(directory)/\(fileName)"
        if fileExists(path) { return try ChatTemplate(file: path) }
        let config = "\(directory)/tokenizer_config.json"
        let settings = fileExists(config) ? try JSON(try Tokenizer.contents(of: config), name: config) : .null
        let inConfig = settings["chat_template"].map { !$0.isNull } ?? false
        guard inConfig || fileExists("\(directory)/chat_template.jinja") else { return nil }
        throw UserError(
            "the chat template of \(directory) is in Jinja, and only templates like ours can be run here",
            hint: "give one: --template \(names.joined(separator: "|")), or a file with the same frames")
    }

    /// Writes the template for this project and for transformers, whose older versions read tokenizer_config.json
    /// instead (`Tokenizer.writeAll`).
    func write(to directory: String, in set: DurableFiles) throws {
        try set.write("\(directory)/\(ChatTemplate.fileName)") { try $0.write(json.text() + [10]) }
        try set.write("\(directory)/chat_template.jinja") { try $0.write(Array(jinja.utf8)) }
    }
}

extension ChatTemplate {
    /// The names in braces in a frame: `content` in `Q: {content}`.
    fileprivate static func placeholders(in text: [UInt8]) -> [String] {
        var names: [String] = []
        var start: Int?
        for (i, byte) in text.enumerated() {
            switch byte {
            case UInt8(ascii: "{"): start = i
            case UInt8(ascii: "}"):
                if let first = start, i > first + 1 {
                    names.append(String(decoding: text[first + 1..<i], as: UTF8.self))
                }
                start = nil
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): break
            default: start = nil
            }
        }
        return names
    }
}
