import Foundation
import LLM

/// The commands, as a person types them, and what each does.
private let commands: [(name: String, argument: String, help: String)] = [
    ("/reset", "", "forget the conversation; the system message stays"),
    ("/system", "[TEXT]", "set the system message and forget the conversation; without TEXT show it"),
    ("/save", "FILE", "add the conversation to FILE, a line of JSON that finetune --data and --load read"),
    ("/adapter", "[NAME]", "let another adapter answer; without NAME list them"),
    ("/retry", "", "answer the last question again, with other random numbers"),
    ("/help", "", "this list"),
    ("/quit", "", "end; so does Ctrl-D"),
]

extension Talk {
    /// Does what a line with / says.
    /// - Returns: false to end.
    func perform(_ line: String) throws -> Bool {
        let name = String(line.prefix { !$0.isWhitespace })
        let argument = line.dropFirst(name.count).trimmingCharacters(in: .whitespacesAndNewlines)
        guard let command = commands.first(where: { $0.name == name }) else {
            let nearest = commands.map(\.name).min {
                Options.editDistance($0, name) < Options.editDistance($1, name)
            }
            throw UserError(
                "there is no command \(harmless(String(name.prefix(40))))",
                hint: "did you mean \(nearest ?? "/help")? A message that begins with / is typed with two: //")
        }
        guard argument.isEmpty || !command.argument.isEmpty else {
            throw UserError("\(name) takes nothing after it", hint: "\(name) \(command.help)")
        }
        switch name {
        case "/reset":
            session.reset()
            hasToldOfLimit = false
        case "/system": try system(argument)
        case "/save": try save(argument)
        case "/adapter": try useAdapter(argument)
        case "/retry":
            if isGreedy { note("note: with --greedy nothing is drawn, and the answer stays the same") }
            try answer { try session.retry($0) }
        case "/quit": return false
        default:
            for command in commands {
                let usage = "\(command.name) \(command.argument)".padding(toLength: 18, withPad: " ", startingAt: 0)
                note(usage + command.help)
            }
            note("//…".padding(toLength: 18, withPad: " ", startingAt: 0) + "a message that begins with /")
        }
        return true
    }

    private func system(_ text: String) throws {
        guard text.isEmpty else {
            try session.setSystem(Array(text.utf8))
            hasToldOfLimit = false
            return
        }
        note(session.system.map { harmless(String(decoding: $0, as: UTF8.self)) } ?? "there is no system message")
    }

    private func save(_ path: String) throws {
        guard !path.isEmpty else { throw UserError("/save takes the name of a file", hint: "/save chat.jsonl") }
        guard !session.turns.isEmpty else {
            throw UserError("there is nothing to save yet", hint: "ask something first")
        }
        let path = (path as NSString).expandingTildeInPath
        try appendConversation(session.messages, to: path)
        note("saved in \(path)")
    }

    private func useAdapter(_ name: String) throws {
        guard session.voices.contains(where: { !$0.name.isEmpty }) else {
            throw UserError("there are no adapters", hint: "start with them: chat --adapter one=DIR two=DIR")
        }
        guard !name.isEmpty else {
            for voice in session.voices { note("\(voice.name == session.voice.name ? "*" : " ") \(voice.name)") }
            return
        }
        guard let voice = session.voices.first(where: { $0.name == name }) else {
            throw UserError(
                "there is no adapter \(harmless(name))",
                hint: "there are \(session.voices.map(\.name).joined(separator: ", "))")
        }
        session.use(voice)
    }
}
