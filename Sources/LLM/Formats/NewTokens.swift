// new_tokens.txt beside a model that has grown: which of its rows are new, so that they can be trained alone.

/// The list of the tokens that a model has grown by.
package enum NewTokens {
    package static let fileName = "new_tokens.txt"

    /// A line for each: the id, a tab, the token.
    package static func write(_ new: Range<Int>, _ tokenizer: Tokenizer, to directory: String, in files: DurableFiles)
        throws
    {
        let lines = new.map { "\($0)\t\(tokenizer.readableToken($0))\n" }.joined()
        try files.write("\(directory)/\(fileName)") { try $0.write(Array(lines.utf8)) }
    }

    /// Their ids.
    /// - Parameter V: the model's vocabulary.
    package static func read(from directory: String, V: Int) throws -> Range<Int> {
        let path = "\(directory)/\(fileName)"
        func refuse(_ what: String) -> UserError {
            UserError("\(path): \(what)", hint: "grow writes the file; or train all rows: --train embeddings")
        }
        guard fileExists(path) else {
            throw UserError(
                "\(directory) does not say which of its tokens are new: there is no \(fileName)",
                hint:
                    "grow writes it: grow --model DIR --tokenizer DIR --output DIR; or train all rows: --train embeddings"
            )
        }
        let file = try InputFile(path, hint: "grow writes it")
        guard file.size < 1 << 28 else { throw refuse("it is too long") }
        let ids = try file.read(file.size, of: UInt8.self, at: 0).split(separator: 10).map {
            Int(String(decoding: $0.prefix { $0 != 9 }, as: UTF8.self)) ?? -1
        }
        guard let first = ids.first, (1..<V).contains(first), ids.count <= V - first,
            ids == Array(first..<first + ids.count)
        else {
            throw refuse("its lines do not begin with ids, one after another, below \(grouped(V))")
        }
        return first..<first + ids.count
    }
}
