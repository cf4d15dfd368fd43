// A conversation: what the model is given to read, what becomes of its answers, and what is kept.

import Foundation
import Kernels
import LLM
import Testing

/// A model that says what it is told to, and remembers what it was given to read.
private final class ScriptedModel: CausalModel {
    let parameters: Parameters
    let V: Int
    let maxT: Int
    /// The next tokens, whatever it reads.
    var script: [Int32] = []
    /// The sequence so far, and how much of it the last passes have computed.
    private(set) var held: [Int32] = []
    var computed = 0
    private var rows = 0

    init(V: Int, maxT: Int) {
        (self.V, self.maxT) = (V, maxT)
        var table = TensorTable()
        _ = table.add("none", 1, 1, initialValues: .normal(deviation: 1), decays: false)
        parameters = Parameters(table, trains: false)
    }

    func makeCache(sequences: Int, capacity: Int) -> KVCache {
        KVCache(L: 1, C: 1, NH: 1, sequences: sequences, capacity: capacity)
    }

    func forward(inputs: UnsafePointer<Int32>, _ context: Context) {
        guard case .cache(let cache) = context else { return }
        held = Array(held.prefix(Int(cache.positions[0]))) + (0..<context.rows).map { inputs[$0] }
        computed += context.rows
    }

    func logits(into out: UnsafeMutablePointer<Float>, _ context: Context) {
        (out).update(repeating: 0, count: V)
        if !script.isEmpty { out[Int(script.removeFirst())] = 9 }
    }
}

private let frame: JSON = [
    "system": "S {content}\n", "user": "Q {content}\n", "assistant": "A {content}{eos}\n",
]

/// A session, its model, and what the model says.
private final class Stage {
    let tokenizer: Tokenizer
    let model: ScriptedModel
    let session: ChatSession

    init(template: JSON = frame, maxT: Int = 400, limit: Int = 50, seed: UInt64 = 1) throws {
        tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        model = ScriptedModel(V: tokenizer.vocabularySize, maxT: maxT)
        var sampler = Sampler()
        sampler.isGreedy = true
        session = ChatSession(
            model, [try ChatVoice("", tokenizer, ChatTemplate(template, name: "own"))], sampler, limit: limit,
            seed: seed)
    }

    /// What the model has read.
    var read: String { String(decoding: tokenizer.decode(model.held), as: UTF8.self) }

    /// What the answer to a question is, and its pieces.
    @discardableResult func ask(_ question: String, answer: String, end: Bool = true) throws -> (
        ChatAnswer, pieces: [String]
    ) {
        try model.script = tokenizer.encode(Array(answer.utf8)) + (end ? [0] : [])
        var pieces: [String] = []
        let answer = try session.answer(Array(question.utf8)) {
            pieces.append($0)
            return true
        }
        return (answer, pieces)
    }
}

@Test func `the whole conversation is the prompt, and only what is new is computed`() throws {
    let stage = try Stage()
    let (first, pieces) = try stage.ask("안녕?", answer: "  네, 안녕!")
    #expect(first.text == "네, 안녕!" && first.end == .stop && pieces.joined() == first.text)
    #expect(try first.promptTokens == stage.tokenizer.encode(Array("Q 안녕?\nA ".utf8)).count)
    #expect(try first.tokens == stage.tokenizer.encode(Array("  네, 안녕!".utf8)).count + 1)
    stage.model.computed = 0
    let (second, _) = try stage.ask("b", answer: "c")
    // The space before an answer is of no importance in a conversation.
    #expect(stage.read.hasPrefix("Q 안녕?\nA 네, 안녕!<|endoftext|>\nQ b\nA "))
    #expect(stage.model.computed < second.promptTokens + second.tokens - 5)
    #expect(stage.session.turns.map { String(decoding: $0.content, as: UTF8.self) } == ["안녕?", "네, 안녕!", "b", "c"])
    stage.session.reset()
    try stage.ask("d", answer: "e")
    #expect(stage.read.hasPrefix("Q d\nA ") && stage.session.turns.count == 2)
}

@Test func `an answer ends at the end of text, at a stop text, at the limit, or where it is interrupted`() throws {
    // A text that ends an answer is never shown, and what might be its beginning is held back.
    let named = try Stage(template: ["user": "Q {content}\n", "assistant": "A {content}\n\n"])
    let (answer, pieces) = try named.ask("q", answer: "one\ntwo\n\nQ three", end: false)
    #expect(answer.text == "one\ntwo" && answer.end == .stop && pieces.joined() == "one\ntwo")
    #expect(try named.ask("q", answer: "x").0.text == "x")
    let short = try Stage(limit: 3)
    let (cut, _) = try short.ask("q", answer: "abcdefghijkl안녕", end: false)
    #expect(cut.end == .length && cut.tokens == 3)
    short.model.script = try short.tokenizer.encode(Array("xyz".utf8))
    let interrupted = try short.session.answer(Array("q".utf8)) { _ in false }
    #expect(interrupted.end == .interrupted && interrupted.tokens == 1)
    #expect(short.session.turns.last?.content == Array(interrupted.text.utf8))
}

@Test func `bytes that are no UTF-8 are shown as such, and half a character never`() throws {
    let stage = try Stage(limit: 4)
    let syllable = try "안".utf8.map { byte in
        Int32(try #require(stage.tokenizer.spellings.indices.first { stage.tokenizer.bytes(of: $0) == [byte] }))
    }
    stage.model.script = [syllable[0], syllable[0], syllable[1], syllable[2], 0]
    var pieces: [String] = []
    let answer = try stage.session.answer(Array("q".utf8)) {
        pieces.append($0)
        return true
    }
    #expect(answer.text == "\u{FFFD}안" && pieces == ["", "\u{FFFD}", "", "안"])
}

@Test func `the oldest turns leave the prompt together, the system message stays`() throws {
    let stage = try Stage(maxT: 60, limit: 20)
    try stage.session.setSystem(Array("sys".utf8))
    var leftOut: [Int] = []
    for name in ["a", "b", "c", "d", "e", "f"] {
        leftOut.append(try stage.ask("\(name) 1 2 3", answer: "\(name) 4 5").0.messagesLeftOut)
        #expect(stage.read.hasPrefix("S sys\nQ "))
        #expect(stage.read.contains("Q \(name) 1 2 3\nA \(name) 4 5"))
        #expect(stage.model.held.count <= 60)
    }
    #expect(leftOut.first == 0 && leftOut.last ?? 0 > 0 && leftOut == leftOut.sorted())
    #expect(leftOut.allSatisfy { $0.isMultiple(of: 2) })
    #expect(stage.session.turns.count == 12)
    // As many as there is room for.
    let last = try #require(leftOut.last)
    var encoder = try ConversationEncoder(stage.tokenizer, ChatTemplate(frame, name: "own"))
    let longer = [stage.session.messages[0]] + stage.session.turns[(last - 2)..<11]
    #expect(try encoder.prompt(longer).count > 40 && encoder.prompt([longer[0]] + longer[3...]).count <= 40)
}

@Test func `a question that is too long is refused, and the conversation goes on`() throws {
    let stage = try Stage(maxT: 60, limit: 20)
    try stage.ask("q", answer: "a")
    let error = userError { try stage.ask(String(repeating: "한글 ", count: 1000), answer: "a") }
    #expect(error?.message.contains("the question is too long") == true)
    #expect(error?.message.contains("beside an answer of 20 the model has room for 40") == true)
    #expect(userError { try stage.ask(" \n", answer: "a") }?.message == "the question is empty")
    #expect(stage.session.turns.count == 2)
    try stage.ask("r", answer: "b")
    #expect(stage.read.hasPrefix("Q q\nA a<|endoftext|>\nQ r\nA "))
}

@Test func `again is in place of the last answer`() throws {
    let stage = try Stage()
    #expect(userError { _ = try stage.session.retry { _ in true } }?.message == "there is no answer to try again")
    try stage.ask("q", answer: "a")
    try stage.ask("r", answer: "b")
    stage.model.script = try stage.tokenizer.encode(Array("c".utf8)) + [0]
    stage.model.computed = 0
    _ = try stage.session.retry { _ in true }
    #expect(stage.session.turns.map(\.content) == ["q", "a", "r", "c"].map { Array($0.utf8) })
    #expect(stage.model.computed == 2)
    // An answer that cannot be shown leaves the one before.
    #expect(throws: CancellationError.self) { _ = try stage.session.retry { _ in throw CancellationError() } }
    #expect(stage.session.turns.map(\.content) == ["q", "a", "r", "c"].map { Array($0.utf8) })
    // Nothing can be learnt from an empty answer.
    #expect(try stage.ask("s", answer: " ").0.isEmpty && stage.session.turns.count == 4)
    stage.model.script = try stage.tokenizer.encode(Array("d".utf8)) + [0]
    #expect(try stage.session.retry { _ in true }.text == "d")
    #expect(stage.session.turns.suffix(2).map(\.content) == ["s", "d"].map { Array($0.utf8) })
}

@Test func `a retry draws other random numbers`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    let model = GPT2(GPT2Configuration(maxT: 60, V: tokenizer.vocabularySize, L: 1, NH: 1, C: 8), trains: false)
    model.parameters.initialize(seed: 1)
    func session(_ seed: UInt64) throws -> ChatSession {
        ChatSession(
            model, [try ChatVoice("", tokenizer, ChatTemplate(frame, name: "own"))], Sampler(), limit: 20, seed: seed)
    }
    let (one, same, other) = (try session(1), try session(1), try session(2))
    let question = Array("q".utf8)
    let answer = try one.answer(question) { _ in true }
    #expect(try same.answer(question) { _ in true } == answer)
    #expect(try other.answer(question) { _ in true } != answer)
    let again = try one.retry { _ in true }
    #expect(again != answer)
    #expect(try same.retry { _ in true } == again)
}

@Test func `a system message begins anew, where the template has a place for one`() throws {
    let stage = try Stage()
    try stage.ask("q", answer: "a")
    try stage.session.setSystem(Array("sys".utf8))
    #expect(stage.session.turns.isEmpty)
    try stage.ask("r", answer: "b")
    #expect(stage.read.hasPrefix("S sys\nQ r\nA "))
    let without = try Stage(template: ["user": "Q {content}\n", "assistant": "A {content}{eos}"])
    try without.ask("q", answer: "a")
    let error = userError { try without.session.setSystem(Array("sys".utf8)) }
    #expect(error?.message == "the template own has no place for a system message")
    #expect(without.session.turns.count == 2 && without.session.system == nil)
}

@Test func `a conversation of its own leaves the one that is kept`() throws {
    let stage = try Stage()
    try stage.ask("q", answer: "a")
    stage.model.script = try stage.tokenizer.encode(Array("z".utf8)) + [0]
    let messages = [ChatMessage(.system, Array("s".utf8)), ChatMessage(.user, Array("x".utf8))]
    #expect(try stage.session.answer(to: messages) { _ in true }.text == "z")
    #expect(stage.read.hasPrefix("S s\nQ x\nA ") && stage.session.turns.count == 2)
    for wrong in [[], [messages[0]], messages + [ChatMessage(.assistant, [0x61])], [messages[1], messages[1]]] {
        expectUserError("\(wrong.count) messages") { _ = try stage.session.answer(to: wrong) { _ in true } }
    }
}

@Test func `what is saved can be loaded, and learnt from`() throws {
    try withTemporaryDirectory { folder in
        let path = "\(folder)/chat.jsonl"
        let stage = try Stage()
        try stage.session.setSystem(Array("s\"\n".utf8))
        try stage.ask("q\n/ \\", answer: "안녕")
        try appendConversation(stage.session.messages, to: path)
        let other = try Stage()
        let saved = try ConversationFile(openTexts([path])[0]).conversations
        try other.session.load(try #require(saved.last))
        #expect(other.session.messages == stage.session.messages)
        try other.ask("r", answer: "b")
        #expect(other.read.hasPrefix("S s\"\nQ q\n/ \\\nA 안녕<|endoftext|>\nQ r\nA "))
        try other.session.setSystem([0x78])
        try other.session.load(try #require(saved.last), keepsSystem: true)
        #expect(other.session.system == [0x78] && other.session.turns.count == 2)
    }
}

@Test func `an adapter takes over, and what another has computed is forgotten`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    let model = GPT2(GPT2Configuration(maxT: 60, V: tokenizer.vocabularySize, L: 1, NH: 1, C: 8), trains: false)
    model.parameters.initialize(seed: 1)
    let template = try ChatTemplate(frame, name: "own")
    var voices = [try ChatVoice("one", tokenizer, template), try ChatVoice("two", tokenizer, template)]
    voices[1].adapter = try Adapter(LoRAConfiguration(), on: model.config)
    if let adapter = voices[1].adapter {
        var random = MersenneTwister(seed: 1)
        random.fillNormal(
            UnsafeMutableBufferPointer(start: adapter.values, count: adapter.table.count), deviation: 1)
    }
    var sampler = Sampler()
    sampler.isGreedy = true
    func answer(_ session: ChatSession) throws -> ChatAnswer { try session.answer([0x71]) { _ in true } }
    let fresh = ChatSession(model, [voices[1]], sampler, limit: 20, seed: 1)
    let expected = try answer(fresh)
    let session = ChatSession(model, voices, sampler, limit: 20, seed: 1)
    let plain = try answer(session)
    session.use(session.voices[1])
    session.reset()
    #expect(try answer(session) == expected && expected != plain)
    #expect(session.voice.name == "two")
}
