// The files of a tokenizer's directory, for llm.c, for people and for Hugging Face's transformers.

extension Tokenizer {
    /// Writes the tokenizer to `directory`: tokenizer.json and tokenizer.bin, vocab.txt for people, and for Hugging
    /// Face's transformers tokenizer_config.json and special_tokens_map.json.
    package func write(to directory: String) throws {
        try createDirectory(directory)
        let set = DurableFiles()
        try writeAll(to: directory, in: set)
        try set.commit()
    }

    /// Writes the same files as files of `set`, which the caller commits.
    /// - Parameters:
    ///   - longestText: tokens of a text at most, for transformers to warn about; nil for no limit.
    ///   - chatTemplate: the template of the conversations that a model learnt from, if it did.
    package func writeAll(
        to directory: String, in set: DurableFiles, longestText: Int? = nil, chatTemplate: ChatTemplate? = nil
    ) throws {
        try write(to: directory, in: set)
        let configuration = configuration(longestText, chatTemplate)
        for (name, contents) in [
            ("vocab.txt", readableVocabulary()), ("tokenizer_config.json", configuration.text() + [10]),
            ("special_tokens_map.json", JSON.object(namedTokens()).text() + [10]),
        ] {
            try set.write("\(directory)/\(name)") { try $0.write(contents) }
        }
        try chatTemplate?.write(to: directory, in: set)
    }

    /// The id of the special token that transformers has for a role, such as `pad_token`.
    package func id(ofRole role: String) -> Int? {
        guard case .string(let content)? = JSON.object(namedTokens())[role] else { return nil }
        return addedTokens.first { $0.isSpecial && $0.content == content }.map { Int($0.id) }
    }

    /// Writes tokenizer.json and tokenizer.bin as files of `set`, which the caller commits. If a token does not fit into
    /// tokenizer.bin, that file is not written, and an older one is removed, so that the two never disagree.
    package func write(to directory: String, in set: DurableFiles) throws {
        try set.write("\(directory)/tokenizer.json") { try $0.write(json()) }
        let path = "\(directory)/tokenizer.bin"
        guard let bytes = binary() else {
            let gap = spellings.firstIndex(of: [])
            let why = gap.map { "id \($0) has no token" } ?? "a token is longer than 255 bytes"
            note("note: no tokenizer.bin, because \(why), which llm.c's format does not allow")
            return set.remove([path])
        }
        try set.write(path) { try $0.write(bytes) }
    }

    /// The contents of vocab.txt: one readable token per line, in the order of the ids.
    private func readableVocabulary() -> [UInt8] {
        var text: [UInt8] = []
        for id in 0..<vocabularySize { text += Array(readableToken(id).utf8) + [UInt8(ascii: "\n")] }
        return text
    }

    /// The special tokens that transformers has names for.
    private func namedTokens() -> [(key: [UInt8], value: JSON)] {
        let names = [
            ("bos_token", ["<|endoftext|>", "<s>", "<bos>", "[BOS]", "<|begin_of_text|>"]),
            ("cls_token", ["[CLS]", "<cls>"]), ("eos_token", ["<|endoftext|>", "</s>", "<eos>", "[EOS]"]),
            ("mask_token", ["[MASK]", "<mask>"]), ("pad_token", ["[PAD]", "<pad>"]), ("sep_token", ["[SEP]", "<sep>"]),
            ("unk_token", ["[UNK]", "<unk>"]),
        ]
        let special = addedTokens.filter(\.isSpecial)
        var result: [(key: [UInt8], value: JSON)] = []
        for (name, contents) in names {
            var content = contents.map { Array($0.utf8) }.first { known in special.contains { $0.content == known } }
            if name == "unk_token", let unknown { content = spellings[Int(unknown)] }
            if let content { result.append((Array(name.utf8), .string(content))) }
        }
        return result
    }

    /// The contents of tokenizer_config.json, with sorted keys, as transformers writes it.
    private func configuration(_ longestText: Int?, _ chatTemplate: ChatTemplate?) -> JSON {
        let added = JSON.object(
            addedTokens.map { token in
                let flags: JSON = [
                    "content": .string(token.content), "lstrip": .bool(token.stripsLeft),
                    "normalized": .bool(token.isNormalized), "rstrip": .bool(token.stripsRight),
                    "single_word": .bool(token.isSingleWord), "special": .bool(token.isSpecial),
                ]
                return (Array("\(token.id)".utf8), flags)
            })
        // Unless told, transformers 4 also gives a model token_type_ids. GPT-2 takes them for tokens and adds their
        // embeddings to the text's; Phi refuses them. BERT, whose texts begin with [CLS], needs them.
        let isBERT = id(ofRole: "cls_token").map { Int32($0) == puttingTemplate(around: []).first } ?? false
        let inputs: JSON =
            isBERT ? ["input_ids", "token_type_ids", "attention_mask"] : ["input_ids", "attention_mask"]
        var members: [(key: [UInt8], value: JSON)] = [
            (Array("added_tokens_decoder".utf8), added), (Array("clean_up_tokenization_spaces".utf8), false),
            (Array("model_input_names".utf8), inputs),
            // In transformers, this means no limit.
            (Array("model_max_length".utf8), .number(longestText.map { Double($0) } ?? 1e30)),
            (Array("tokenizer_class".utf8), "PreTrainedTokenizerFast"),
        ]
        members += namedTokens()
        if let chatTemplate {
            members.append((Array("chat_template".utf8), .string(Array(chatTemplate.jinja.utf8))))
        }
        return .object(members.sorted { $0.key.lexicographicallyPrecedes($1.key) })
    }
}
