/// A post-processor of tokenizer.json: the ids to put before and after those of a text, such as `[CLS]` and `[SEP]`.
struct PostProcessor: Sendable {
    private var before: [Int32] = []
    private var after: [Int32] = []

    func callAsFunction(_ ids: [Int32]) -> [Int32] { before + ids + after }

    /// Tokens that may be added to a text: far more than any has.
    private static let mostTokens = 1 << 16

    /// The post-processor that `json` describes; for `null`, one that adds nothing.
    /// - Parameter refuse: makes the error that says what is unsupported or malformed.
    static func read(_ json: JSON, vocabularySize: Int, refuse: (String) -> UserError) throws -> PostProcessor {
        var result = PostProcessor()
        if json.isNull { return result }
        func id(_ json: JSON?) throws -> Int32 {
            guard let id = json?.int, (0..<vocabularySize).contains(id) else {
                throw refuse("its post_processor has an id that is out of range")
            }
            return Int32(id)
        }
        // A few short lines can ask for more than there is memory.
        func checkLength() throws {
            guard result.before.count + result.after.count <= mostTokens else {
                throw refuse("its post_processor adds more than \(grouped(mostTokens)) tokens to a text")
            }
        }
        switch json["type"]?.text ?? "without a type" {
        case "ByteLevel": break
        case "Sequence":
            guard case .array(let processors)? = json["processors"] else {
                throw refuse("its post_processor Sequence has no processors")
            }
            for processor in processors {
                let inner = try read(processor, vocabularySize: vocabularySize, refuse: refuse)
                result.before.insert(contentsOf: inner.before, at: 0)
                result.after += inner.after
                try checkLength()
            }
        case "BertProcessing", "RobertaProcessing":
            guard case .array(let cls)? = json["cls"], case .array(let sep)? = json["sep"] else {
                throw refuse("its post_processor has no cls and sep")
            }
            result.before = [try id(cls.last)]
            result.after = [try id(sep.last)]
        case "TemplateProcessing":
            guard case .array(let items)? = json["single"] else {
                throw refuse("its post_processor TemplateProcessing has no single")
            }
            var special: [[UInt8]: [JSON]] = [:]
            if case .object(let members)? = json["special_tokens"] {
                for (name, token) in members where special[name] == nil {
                    if case .array(let ids)? = token["ids"] { special[name] = ids }
                }
            }
            var hasText = false
            for item in items {
                if let sequence = item["Sequence"] {
                    guard !hasText, sequence["id"]?.text == "A" else {
                        throw refuse("its post_processor TemplateProcessing uses a text more than once")
                    }
                    hasText = true
                    continue
                }
                guard case .string(let name)? = item["SpecialToken"]?["id"], let ids = special[name] else {
                    throw refuse("its post_processor TemplateProcessing names a token it does not define")
                }
                let known = try ids.map { try id($0) }
                if hasText { result.after += known } else { result.before += known }
                try checkLength()
            }
            guard hasText else { throw refuse("its post_processor TemplateProcessing has no text") }
        case let type: throw refuse("it has an unsupported post_processor, \(type)")
        }
        return result
    }
}
