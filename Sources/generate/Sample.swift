import LLM

/// One text that is being written.
struct Sample {
    enum End: String {
        case endOfText = "end_of_text"
        case stopText = "stop"
        case length
    }
    var decoder: DecodeStream
    var stream: TextStream
    var tokens: [Int32] = []
    var text = ""
    /// Not yet shown.
    var waiting = ""
    var isBegun = false
    var end: End?

    mutating func add(_ token: Int32, isEndOfText: Bool, limit: Int) {
        tokens.append(token)
        var new = isEndOfText ? "" : stream.add(decoder.add(token))
        if isEndOfText { end = .endOfText } else if tokens.count == limit { end = .length }
        if end != nil { new += stream.add(decoder.finish()) }
        if stream.isStopped { end = .stopText }
        if end != nil { new += stream.finish() }
        text += new
        waiting += new
    }

    /// - Parameter name: of the adapter that is on the model, if there is one.
    func json(name: String?, index: Int, prompt: String, promptTokens: [Int32]) -> String {
        func list(_ ids: [Int32]) -> String { "[" + ids.map(String.init).joined(separator: ",") + "]" }
        func quoted(_ text: String) -> String {
            String(decoding: JSON.quoted(Array(text.utf8)), as: UTF8.self)
        }
        let named = name.map { "\"name\":\(quoted($0))," } ?? ""
        return "{\(named)\"sample\":\(index),\"prompt\":\(quoted(prompt)),\"prompt_tokens\":\(list(promptTokens)),"
            + "\"text\":\(quoted(text)),\"tokens\":\(list(tokens)),\"finish_reason\":\"\(end?.rawValue ?? "length")\"}"
    }
}
