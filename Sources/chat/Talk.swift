import Foundation
import LLM

/// A conversation with a person, who types messages and commands.
final class Talk {
    let session: ChatSession
    let isGreedy: Bool
    /// nil where plain lines are read.
    private let terminal = Terminal()
    private var lines = InputLines()
    private let isTyped = isatty(STDIN_FILENO) == 1
    private let isShown = isatty(STDOUT_FILENO) == 1
    /// Whether a person knows that turns are left out of the prompt.
    var hasToldOfLimit = false

    init(_ session: ChatSession, isGreedy: Bool) { (self.session, self.isGreedy) = (session, isGreedy) }

    func run() throws {
        if isTyped { note("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends") }
        // An error in what is typed is one of that line.
        while true {
            do {
                guard let text = try readMessage() else { break }
                if text.allSatisfy(\.isWhitespace) { continue }
                if text.hasPrefix("/"), !text.hasPrefix("//") {
                    guard try perform(text) else { break }
                } else {
                    let question = text.hasPrefix("//") ? String(text.dropFirst()) : text
                    try answer { try session.answer(Array(question.utf8), $0) }
                }
            } catch let error as UserError {
                note("error: \(error.message)\nhint: \(error.hint)")
            }
        }
        if isTyped, terminal == nil { printNow("\n") }
    }

    /// Shows an answer as it comes.
    func answer(_ ask: ((String) throws -> Bool) throws -> ChatAnswer) throws {
        Interrupt.listen(endsReading: false)
        let answer = try ask { [isShown] new in
            printNow(isShown ? harmless(new) : new)
            return !Interrupt.take()
        }
        printNow("\n")
        if answer.messagesLeftOut > 0, !hasToldOfLimit {
            note("note: the conversation has outgrown what the model can read; its oldest turns are left out")
            hasToldOfLimit = true
        }
        switch answer.end {
        case .length: note("note: cut off after \(grouped(answer.tokens)) tokens (--max-new-tokens)")
        case .interrupted: note("note: interrupted")
        case .stop: break
        }
        if answer.isEmpty { note("note: the answer is empty, and not kept; /retry asks again") }
    }

    // MARK: - what is typed

    /// A line, and those that a \ at its end adds; nil at the end of input.
    private func readMessage() throws -> String? {
        guard var text = try readLine("> ") else { return nil }
        while text.hasSuffix("\\") {
            text = String(text.dropLast()) + "\n"
            text += try readLine("… ") ?? ""
        }
        return text
    }

    private func readLine(_ prompt: String) throws -> String? {
        if let terminal { return terminal.readLine(prompt: prompt) }
        Interrupt.listen(endsReading: true)
        var wasInterrupted = false
        while true {
            if isTyped { printNow(prompt) }
            switch lines.next() {
            case nil: return nil
            case .interrupted where Interrupt.take():
                // The terminal itself has cleared the line.
                guard isTyped else { exit(128 + SIGINT) }
                if wasInterrupted { return nil }
                wasInterrupted = true
                printNow("\n")
            case .interrupted: break
            case .bytes(let bytes):
                guard let line = String(validating: bytes, as: UTF8.self) else {
                    throw UserError("the line is not UTF-8: \(readable(bytes))", hint: "set your terminal to UTF-8")
                }
                return line
            }
        }
    }
}
