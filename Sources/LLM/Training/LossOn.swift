// Which tokens a model is to learn to predict: all, a text without its padding, or the answers alone.

/// The targets that count, as --loss-on names them.
package enum LossOn: String, CaseIterable {
    case all, text, answer

    /// The same, for the loader of the data.
    /// - Parameter answerMark: the text before an answer.
    /// - Throws: if the tokenizer is needed, and there is none or it has no end-of-text; or if the mark is nothing.
    package func targets(_ tokenizer: Tokenizer?, answerMark: String?) throws -> DataLoader.Targets {
        if self == .all { return .all }
        guard let tokenizer, let endOfText = tokenizer.endOfText else {
            throw UserError(
                "--loss-on \(self) needs the tokenizer, to find the \(self == .text ? "padding" : "answers")",
                hint: "give its folder with --tokenizer DIR")
        }
        if self == .text { return .text(endOfText: Int32(endOfText)) }
        let mark = try tokenizer.encode(Array((answerMark ?? "").utf8))
        guard !mark.isEmpty else { throw UserError("an empty --answer-mark", hint: "take a word", exitCode: 2) }
        return .answers(mark: mark, endOfText: Int32(endOfText))
    }
}
