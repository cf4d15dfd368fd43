import Foundation
import LLM

let aboutJSON =
    "With --json every line that comes in is an object of JSON, one of\n\n"
    + "  {\"messages\": [{\"role\": …, \"content\": …}, …]}    a whole conversation, which nothing is kept of\n"
    + "  {\"role\": \"user\", \"content\": \"…\"}               a question in the conversation that is kept here\n"
    + "  {\"command\": \"reset\"}                           forgets that conversation, and comes back as it is\n\n"
    + "and is answered by\n\n"
    + "  {\"delta\": \"…\"}                                 for each piece of the answer, and then\n"
    + "  {\"message\": {\"role\": \"assistant\", \"content\": \"…\"}, \"finish_reason\": \"stop\"|\"length\"|\"interrupted\",\n"
    + "   \"usage\": {\"prompt_tokens\": N, \"completion_tokens\": M}}\n\n"
    + "or, at any time, by the line {\"error\": {\"message\": \"…\", \"hint\": \"…\"}}. SIGINT interrupts an answer, and ends\n"
    + "the program where it waits for a line."

/// A conversation with a program, in lines of JSON.
func serve(_ session: ChatSession) {
    func quoted(_ text: String) -> String { String(decoding: JSON.quoted(Array(text.utf8)), as: UTF8.self) }
    var lines = InputLines()
    while true {
        Interrupt.listen(endsReading: true)
        guard let line = lines.next() else { return }
        guard case .bytes(let bytes) = line else {
            if Interrupt.take() { exit(128 + SIGINT) }
            continue
        }
        if bytes.allSatisfy({ [0x20, 0x09].contains($0) }) { continue }
        Interrupt.listen(endsReading: false)
        do {
            guard let answer = try reply(session, to: bytes) else {
                printNow("{\"command\":\"reset\"}\n")
                continue
            }
            let message = String(decoding: ChatMessage(.assistant, Array(answer.text.utf8)).json, as: UTF8.self)
            printNow(
                "{\"message\":\(message),\"finish_reason\":\"\(answer.end.rawValue)\",\"usage\":"
                    + "{\"prompt_tokens\":\(answer.promptTokens),\"completion_tokens\":\(answer.tokens)}}\n")
        } catch {
            let known = error as? UserError ?? UserError("\(error)", hint: "see chat --help")
            printNow("{\"error\":{\"message\":\(quoted(known.message)),\"hint\":\(quoted(known.hint))}}\n")
        }
    }

    /// nil where there is nothing to answer.
    func reply(_ session: ChatSession, to line: [UInt8]) throws -> ChatAnswer? {
        func refuse(_ what: String) -> UserError {
            UserError(
                what,
                hint: "each line is one object that has messages, or role and content, or a command; see chat --help")
        }
        func show(_ new: String) -> Bool {
            if !new.isEmpty { printNow("{\"delta\":\(quoted(new))}\n") }
            return !Interrupt.take()
        }
        let json: JSON
        do {
            json = try JSON(line, name: "the line", allowsDuplicateKeys: false)
        } catch let error as UserError {
            throw refuse(error.message)
        }
        if json["messages"] != nil {
            let messages = try ChatMessage.list(in: json, key: "messages") { UserError("the line: \($0)", hint: $1) }
            return try session.answer(to: messages, show)
        }
        if let command = json["command"] {
            guard command.text == "reset" else { throw refuse("the only command is \"reset\"") }
            session.reset()
            return nil
        }
        guard let role = json["role"], case .string(let content)? = json["content"] else {
            throw refuse("neither a message nor messages")
        }
        guard role.text == "user" else {
            throw refuse("only a message from \"user\" is answered; other roles belong into messages")
        }
        return try session.answer(content, show)
    }
}
