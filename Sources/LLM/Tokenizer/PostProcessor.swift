/// A post-processor of tokenizer.json: the ids to put before and after those of a text, such as `[CLS]` and `[SEP]`.
struct PostProcessor: Sendable {
    private var before: [Int32] = []
    private var after: [Int32] = []

    func callAsFunction(_ ids: [Int32]) -> [Int32] { before + ids + after }

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
        switch json["type"]?.text ?? "without a type" {
        case "ByteLevel": break
        case "Sequence":
            guard case .array(let processors)? = json["processors"] else {
                throw refuse("its post_processor Sequence has no processors")
            }
            for processor in processors {
                let inner = try read(processor, vocabularySize: vocabularySize, refuse: refuse)
                result.before = inner.before + result.before
                result.after += inner.after
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
            var hasText = false
            for item in items {
                if let sequence = item["Sequence"] {
                    guard !hasText, sequence["id"]?.text == "A" else {
                        throw refuse("its post_processor TemplateProcessing uses a text more than once")
                    }
                    hasText = true
                    continue
                }
                guard let name = item["SpecialToken"]?["id"]?.text,
                    case .array(let ids)? = json["special_tokens"]?[name]?["ids"]
                else { throw refuse("its post_processor TemplateProcessing names a token it does not define") }
                let known = try ids.map { try id($0) }
                if hasText { result.after += known } else { result.before += known }
            }
            guard hasText else { throw refuse("its post_processor TemplateProcessing has no text") }
        case let type: throw refuse("it has an unsupported post_processor, \(type)")
        }
        return result
    }
}
