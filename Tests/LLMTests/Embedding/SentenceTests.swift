// Vectors of texts: pooling, cutting, batches, the files of sentence-transformers, ranks.

import Foundation
import Kernels
import LLM
import Testing

private let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

/// A small BERT of random weights with a vocabulary of its own, in bert/ of the folder.
private func withModel(_ body: (String, BERT, Tokenizer) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let words = special + ["좋은", "영화", "나쁜", "##를", "보다", "a", "b", "##b", "."]
        try write(Array(words.joined(separator: "\n").utf8 + [10]), to: "\(folder)/vocab.txt")
        // Without lower case, which would take Hangul apart.
        try write(Array(#"{"do_lower_case": false}"#.utf8), to: "\(folder)/tokenizer_config.json")
        let tokenizer = try Tokenizer(directory: folder)
        let config = BERTConfiguration(maxT: 12, V: words.count, L: 2, NH: 2, C: 8)
        let model = BERT(config, trains: false)
        var random = MersenneTwister(seed: 1)
        random.fillNormal(
            UnsafeMutableBufferPointer(start: model.parameters.values, count: model.parameters.table.count),
            deviation: 0.4)
        let files = DurableFiles()
        try HuggingFaceBERT.write(model, tokenizer, to: "\(folder)/bert", in: files)
        try files.commit()
        try body(folder, model, tokenizer)
    }
}

private func vectors(_ encoder: SentenceEncoder, _ texts: [[Int32]]) -> [[Float]] {
    let C = encoder.model.config.C
    let out = UnsafeMutablePointer<Float>.allocate(capacity: texts.count * C)
    defer { out.deallocate() }
    encoder.encode(texts, into: out)
    return texts.indices.map { Array(UnsafeBufferPointer(start: out + $0 * C, count: C)) }
}

@Test func `a text's vector is the mean of its hidden states, or the first`() throws {
    try withModel { _, model, tokenizer in
        let texts: [[Int32]] = [[2, 5, 6, 3], [2, 3], [2, 7, 6, 9, 13, 3], [2, 5, 3]]
        for pooling in SentenceSettings.Pooling.allCases {
            for normalizes in [false, true] {
                var settings = SentenceSettings()
                (settings.pooling, settings.normalizes) = (pooling, normalizes)
                let encoder = try SentenceEncoder(model, tokenizer, settings)
                let all = vectors(encoder, texts)
                for (text, vector) in zip(texts, all) {
                    // In a batch as alone, bit for bit.
                    #expect(vectors(encoder, [text]) == [vector])
                    model.forward(inputs: text, lengths: [text.count])
                    var wanted = (0..<8).map { c in
                        pooling == .cls
                            ? model.hidden[c]
                            : (0..<text.count).reduce(Float(0)) { $0 + model.hidden[$1 * 8 + c] } / Float(text.count)
                    }
                    if normalizes {
                        let length = wanted.reduce(0) { $0 + $1 * $1 }.squareRoot()
                        wanted = wanted.map { $0 / length }
                    }
                    #expect(relativeError(vector, wanted) < 1e-6)
                }
            }
        }
    }
}

@Test func `many texts come back in their order`() throws {
    try withModel { _, model, tokenizer in
        let encoder = try SentenceEncoder(model, tokenizer, SentenceSettings())
        var random = Xorshift(seed: 2)
        let texts = (0..<400).map { _ in [2] + (0..<random.below(10)).map { _ in Int32(5 + random.below(9)) } + [3] }
        let all = vectors(encoder, texts)
        for i in stride(from: 0, to: 400, by: 17) { #expect(vectors(encoder, [texts[i]])[0] == all[i]) }
    }
}

@Test func `a long text is cut before its end, and counted`() throws {
    try withModel { _, model, tokenizer in
        var settings = SentenceSettings()
        settings.longest = 5
        let encoder = try SentenceEncoder(model, tokenizer, settings)
        #expect(encoder.tokens(of: Array("좋은 영화 보다".utf8)) == [2, 5, 6, 9, 3] && encoder.cut == 0)
        #expect(encoder.tokens(of: Array("좋은 영화 보다 .".utf8)) == [2, 5, 6, 9, 3] && encoder.cut == 1)
        #expect(encoder.tokens(of: []) == [2, 3])
        // A special token in a text is that token.
        #expect(encoder.tokens(of: Array("[MASK] 영화".utf8)) == [2, 4, 6, 3])
        settings.longest = 2
        let error = userError { _ = try SentenceEncoder(model, tokenizer, settings) }
        #expect(error?.message.contains("texts have 2 tokens at most") == true)
        let larger = try tokenizer.adding([Array("[newtoken]".utf8)])
        let tooLarge = userError { _ = try SentenceEncoder(model, larger, SentenceSettings()) }
        #expect(tooLarge?.message.contains("the tokenizer has 15 tokens, and the model rows for 14") == true)
        settings.longest = 500
        #expect(try SentenceEncoder(model, tokenizer, settings).longest == 12)
    }
}

/// As train_tokenizer writes it: it has [CLS] and [SEP], but puts nothing around a text.
@Test func `a tokenizer without a template has its ends put around a text`() throws {
    try withTemporaryDirectory { folder in
        try write(Array("a b ab ba a b\n".utf8), to: "\(folder)/text")
        try expectSuccess(
            "train_tokenizer",
            ["--input", "text", "--scheme", "prefix", "--vocab-size", "20", "--output", "t", "--special"] + special,
            in: folder)
        let tokenizer = try Tokenizer(directory: "\(folder)/t")
        #expect(tokenizer.puttingTemplate(around: [7]) == [7])
        let model = BERT(BERTConfiguration(maxT: 4, V: 20, L: 1, NH: 2, C: 8), trains: false)
        let encoder = try SentenceEncoder(model, tokenizer, SentenceSettings())
        let ids = try tokenizer.encode(Array("a b a b".utf8))
        #expect(encoder.tokens(of: Array("a b".utf8)) == [2, ids[0], ids[1], 3] && encoder.cut == 0)
        #expect(encoder.tokens(of: Array("a b a b".utf8)) == [2, ids[0], ids[1], 3] && encoder.cut == 1)
    }
}

@Test func `an empty text is the zero vector, and near nothing`() throws {
    try withModel { _, model, tokenizer in
        for pooling in SentenceSettings.Pooling.allCases {
            for normalizes in [false, true] {
                var settings = SentenceSettings()
                (settings.pooling, settings.normalizes) = (pooling, normalizes)
                let all = vectors(try SentenceEncoder(model, tokenizer, settings), [[2, 5, 3], [], [2, 3]])
                #expect(all[1] == [Float](repeating: 0, count: 8) && !all[0].contains(0) && !all[2].contains(0))
                #expect(cosine(all[0], all[1], count: 8) == 0 && cosine(all[1], all[1], count: 8) == 0)
            }
        }
    }
    #expect(cosine([1, 2], [-2, -4], count: 2) == -1 && cosine([1, 2], [-2, 1], count: 2) == 0)
    #expect(abs(cosine([3, 4], [5, 0], count: 2) - 0.6) < 1e-12)
}

@Test func `sentence-transformers' files say how`() throws {
    try withModel { folder, _, _ in
        let directory = "\(folder)/bert"
        // Texts end where the tokenizer's settings say, as in transformers.
        var plain = SentenceSettings()
        plain.longest = 12
        #expect(try SentenceSettings(directory: directory, C: 8) == plain)
        for (limit, longest) in [("5", 5), ("1e30", nil), ("null", nil), ("0", nil)] as [(String, Int?)] {
            try write(Array("{\"model_max_length\": \(limit)}".utf8), to: "\(directory)/tokenizer_config.json")
            #expect(try SentenceSettings(directory: directory, C: 8).longest == longest)
        }
        let modules = """
            [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}%@]
            """
        let normalize = #", {"idx": 2, "name": "2", "path": "2_Normalize", "type": "x.Normalize"}"#
        func put(_ modules: String, _ pooling: String) throws {
            try createDirectory("\(directory)/1_Pooling")
            try write(Array(modules.utf8), to: "\(directory)/modules.json")
            try write(Array(pooling.utf8), to: "\(directory)/1_Pooling/config.json")
        }
        let mean =
            #"{"word_embedding_dimension": 8, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#
        try put(String(format: modules, ""), mean)
        #expect(try SentenceSettings(directory: directory, C: 8) == SentenceSettings())
        let cls = mean.replacing("cls_token\": false", with: "cls_token\": true")
        try put(String(format: modules, normalize), cls.replacing("mean_tokens\": true", with: "mean_tokens\": false"))
        try write(
            Array(#"{"max_seq_length": 7, "do_lower_case": false}"#.utf8), to: "\(directory)/sentence_bert_config.json")
        var wanted = SentenceSettings()
        (wanted.pooling, wanted.normalizes, wanted.longest) = (.cls, true, 7)
        #expect(try SentenceSettings(directory: directory, C: 8) == wanted)
        // Who names the pooling changes nothing else, and the file may say what it will of it.
        wanted.pooling = .mean
        #expect(try SentenceSettings(directory: directory, C: 8, pooling: .mean) == wanted)
        try put(String(format: modules, normalize), #"{"pooling_mode": "max"}"#)
        #expect(try SentenceSettings(directory: directory, C: 8, pooling: .mean) == wanted)
        // Another pooling changes nothing else, and does not mind the files'.
        wanted.pooling = .mean
        try put(String(format: modules, normalize), #"{"pooling_mode": "lasttoken"}"#)
        #expect(try SentenceSettings(directory: directory, C: 8, pooling: .mean) == wanted)
        try FileManager.default.removeItem(atPath: "\(directory)/modules.json")
        #expect(try SentenceSettings(directory: directory, C: 8).longest == 7)
        try put(String(format: modules, ""), #"{"pooling_mode": "cls"}"#)
        #expect(try SentenceSettings(directory: directory, C: 8).pooling == .cls)
        for (modules, pooling, words) in [
            (String(format: modules, ""), mean.replacing("8", with: "9"), "word_embedding_dimension is 9"),
            (
                String(format: modules, ""), #"{"embedding_dimension": 9, "pooling_mode": "cls"}"#,
                "embedding_dimension is 9"
            ),
            (String(format: modules, "").replacing("1_Pooling", with: "../bert/1_Pooling"), mean, "not a folder"),
            (String(format: modules, "").replacing("1_Pooling", with: ".."), mean, "not a folder"),
            (String(format: modules, ""), cls, "pooling_mode_cls_token and pooling_mode_mean_tokens"),
            (String(format: modules, ""), #"{"pooling_mode": "lasttoken"}"#, "\"lasttoken\""),
            (String(format: modules, ""), #"{"pooling_mode_max_tokens": true}"#, "pooling_mode_max_tokens"),
            (modules.replacing("Pooling\"}%@", with: "Dense\"}"), mean, "Dense"), ("{}", mean, "not a list"),
            (#"[{"path": ""}]"#, mean, "no type"),
        ] {
            try put(modules, pooling)
            let error = userError { _ = try SentenceSettings(directory: directory, C: 8) }
            #expect(error?.message.contains(words) == true, "\(error?.message ?? "nothing") \(words)")
        }
    }
}

@Test func `a model of lower case has a tokenizer of lower case`() throws {
    try withModel { folder, model, tokenizer in
        var settings = SentenceSettings()
        settings.lowercases = true
        let error = userError { _ = try SentenceEncoder(model, tokenizer, settings) }
        #expect(error?.message.contains("do_lower_case") == true && error?.hint.contains("lowercase") == true)
        try write(Array(#"{"do_lower_case": true}"#.utf8), to: "\(folder)/tokenizer_config.json")
        _ = try SentenceEncoder(model, try Tokenizer(directory: folder), settings)
        try write(Array(#"{"do_lower_case": true}"#.utf8), to: "\(folder)/bert/sentence_bert_config.json")
        #expect(try SentenceSettings(directory: "\(folder)/bert", C: 8).lowercases)
    }
}

@Test func `Spearman's correlation is that of the ranks`() {
    #expect(spearman([1, 2, 3, 4], [10, 20, 30, 400]) == 1)
    #expect(spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1)
    // numpy.corrcoef of the ranks
    #expect(abs(spearman([1, 2, 2, 3, 5], [2, 1, 4, 4, 4]) - 0.6308932681440449) < 1e-12)
    #expect(spearman([1, 1], [1, 2]).isNaN)
}

@Test func `embed shows tokens, writes vectors, finds neighbours and compares pairs`() throws {
    try withModel { folder, model, tokenizer in
        let shown = try run("embed", ["--model", "bert", "--text", "좋은 영화를"], in: folder)
        #expect(shown.status == 0, "\(shown.errors)")
        #expect(shown.output.contains("5 tokens, 8 channels") && shown.output.contains("##를"))
        let json = try run("embed", ["--model", "bert", "--text", "좋은", "--json"], in: folder)
        let object = try JSON(Array(json.output.utf8), name: "output", allowsDuplicateKeys: false)
        guard case .array(let ids)? = object["ids"] else { return #expect(Bool(false), "no ids") }
        #expect(ids.compactMap(\.int) == [2, 5, 3])
        guard case .array(let embeddings)? = object["embeddings"], case .array(let first) = embeddings[1] else {
            return #expect(Bool(false), "no embeddings")
        }
        #expect(first.count == 8)
        for (c, value) in first.enumerated() {
            guard case .number(let number) = value else { return #expect(Bool(false)) }
            #expect(Float(number) == (model.parameters.values + model.tensors.wte)[5 * 8 + c])
        }

        try write(Array("좋은 영화\r\n\n나쁜 영화를 보다\na b .\n".utf8), to: "\(folder)/lines.txt")
        let result = try run(
            "embed", ["--model", "bert", "-i", "lines.txt", "-o", "v.npy", "-q", "나쁜 영화를 보다", "--top", "2"], in: folder)
        #expect(result.status == 0, "\(result.errors)")
        let lines = result.output.split(separator: "\n")
        #expect(lines[0] == "v.npy: 4 vectors of 8 numbers" && lines[2] == "1.0000  line 3: 나쁜 영화를 보다")
        #expect(lines.count == 4 && result.errors.contains("1 line is empty; it has a vector"))
        let file = try bytes("\(folder)/v.npy")
        let header = NPY.header(shape: [4, 8])
        #expect(file.count == header.count + 4 * 4 * 8 && Array(file[..<header.count]) == header)
        let encoder = try SentenceEncoder(model, tokenizer, SentenceSettings())
        let wanted = vectors(encoder, [[2, 5, 6, 3], [2, 3], [2, 7, 6, 8, 9, 3], [2, 10, 11, 13, 3]])
        #expect(Array(file[header.count...]) == wanted.flatMap { $0.flatMap { withUnsafeBytes(of: $0) { Array($0) } } })
        for threads in 1...7 {
            let command = ["--model", "bert", "-i", "lines.txt", "-o", "t.npy", "--threads", String(threads)]
            try expectSuccess("embed", command, in: folder)
            #expect(try bytes("\(folder)/t.npy") == file, "\(threads) threads")
        }
        try expectSuccess("embed", ["--model", "bert", "-i", "lines.txt", "-o", "v.jsonl"], in: folder)
        #expect(try bytes("\(folder)/v.jsonl").split(separator: 10).count == 4)

        try write(Array("a\ta\t5\na b\t나쁜 영화\t1.5\n".utf8), to: "\(folder)/pairs.tsv")
        let pairs = try run("embed", ["--model", "bert", "--pairs", "pairs.tsv"], in: folder)
        #expect(pairs.output.hasPrefix("1.0000\ta\ta\n") && pairs.output.contains("scores: 1.0000"))
        try write(Array("a\ta\t5\n".utf8), to: "\(folder)/pairs.tsv")
        let pair = try run("embed", ["--model", "bert", "--pairs", "pairs.tsv"], in: folder)
        #expect(pair.output.contains("scores: undefined"), "\(pair.output)")
        for (text, words) in [
            ("a\n", "line 1"), ("a\tb\tx\n", "line 1"), ("a\tb\n\nc\n", "line 3"), ("a\tb\tnan\n", "line 1"),
            ("a\tb\tinf\n", "line 1"),
            ("a\tb\t1\na\tb\n", "1 of 2 pairs"), ("\n", "no pairs"),
        ] {
            try write(Array(text.utf8), to: "\(folder)/bad.tsv")
            try expectRefusal(words, of: "embed", ["--model", "bert", "--pairs", "bad.tsv"], in: folder)
        }
        try expectRefusal("nothing to embed", of: "embed", ["--model", "bert"], in: folder, status: 2)
        try expectRefusal(
            "nothing is wanted", of: "embed", ["--model", "bert", "-i", "lines.txt"], in: folder, status: 2)
        try expectRefusal("no lines", of: "embed", ["--model", "bert", "-q", "a"], in: folder, status: 2)
        try expectRefusal(
            "no kind", of: "embed", ["--model", "bert", "-i", "lines.txt", "-o", "v.csv"], in: folder, status: 2)
    }
}

/// Numbers of a line of JSON.
private func numbers(_ json: JSON?) -> [Float] {
    guard case .array(let values)? = json else { return [] }
    return values.compactMap { value in
        if case .number(let number) = value { return Float(number) }
        return nil
    }
}

private func parse(_ line: some StringProtocol) throws -> JSON {
    try JSON(Array(line.utf8), name: "output", allowsDuplicateKeys: false)
}

@Test func `embed's numbers are the encoder's, as its options say`() throws {
    try withModel { folder, model, tokenizer in
        func json(_ more: [String]) throws -> JSON {
            try parse(try run("embed", ["--model", "bert", "--text", "좋은 영화", "--json"] + more, in: folder).output)
        }
        for (more, pooling, normalizes) in [
            ([], .mean, false), (["--pooling", "cls"], .cls, false), (["--normalize"], .mean, true),
            (["--pooling", "cls", "--normalize", "1"], .cls, true),
        ] as [([String], SentenceSettings.Pooling, Bool)] {
            var settings = SentenceSettings()
            (settings.pooling, settings.normalizes) = (pooling, normalizes)
            let encoder = try SentenceEncoder(model, tokenizer, settings)
            let object = try json(more)
            #expect(numbers(object["vector"]) == vectors(encoder, [[2, 5, 6, 3]])[0], "\(more)")
            guard case .array(let hidden)? = object["hidden"] else { return #expect(Bool(false), "no states") }
            let states = hidden.flatMap { numbers($0) }
            model.forward(inputs: [2, 5, 6, 3], lengths: [4])
            #expect(states == Array(UnsafeBufferPointer(start: model.hidden, count: 32)))
        }
        // The length of the first token's embedding.
        let text = try run("embed", ["--model", "bert", "--text", "좋은"], in: folder).output
        let wte = model.parameters.values + model.tensors.wte
        let length = (16..<24).reduce(0.0) { $0 + Double(wte[$1]) * Double(wte[$1]) }.squareRoot()
        #expect(text.contains(String(format: "‖%.3f‖", length)))

        // Lines of JSON, and one that was cut.
        let lines = ["좋은 영화", "나쁜", "a b a b a b a b a b a b a b"]
        try write(Array(lines.joined(separator: "\n").utf8), to: "\(folder)/lines.txt")
        let result = try run("embed", ["--model", "bert", "-i", "lines.txt", "-o", "v.jsonl"], in: folder)
        #expect(result.errors.contains("note: 1 text was longer than 12 tokens, and was cut"), "\(result.errors)")
        let encoder = try SentenceEncoder(model, tokenizer, SentenceSettings())
        let wanted = vectors(encoder, lines.map { encoder.tokens(of: Array($0.utf8)) })
        let written = String(decoding: try bytes("\(folder)/v.jsonl"), as: UTF8.self).split(separator: "\n")
        #expect(try written.map { numbers(try parse($0)["vector"]) } == wanted)

        // The cosine of each pair is its own.
        try write(Array("좋은\t나쁜\n영화\ta b\n".utf8), to: "\(folder)/pairs.tsv")
        let pairs = try run("embed", ["--model", "bert", "--pairs", "pairs.tsv"], in: folder).output
        let four = vectors(encoder, [[2, 5, 3], [2, 7, 3], [2, 6, 3], [2, 10, 11, 3]])
        #expect(
            pairs
                == String(
                    format: "%.4f\t좋은\t나쁜\n%.4f\t영화\ta b\n",
                    cosine(four[0], four[1], count: 8), cosine(four[2], four[3], count: 8)))

        // The tokenizer is the one that is named, if it is the model's.
        try tokenizer.write(to: "\(folder)/own")
        try FileManager.default.removeItem(atPath: "\(folder)/bert/tokenizer.json")
        try FileManager.default.removeItem(atPath: "\(folder)/bert/tokenizer.bin")
        #expect(try numbers(json(["--tokenizer", "own"])["ids"]) == [2, 5, 6, 3])
        try tokenizer.write(to: "\(folder)/bert")
        try createDirectory("\(folder)/other")
        let other = special + ["x"] + (0..<8).map { "y\($0)" }
        try write(Array(other.joined(separator: "\n").utf8), to: "\(folder)/other/vocab.txt")
        try expectRefusal(
            "another tokenizer", of: "embed", ["--model", "bert", "--tokenizer", "other", "--text", "x"], in: folder)
    }
}
