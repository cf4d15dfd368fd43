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
        settings.longest = 500
        #expect(try SentenceEncoder(model, tokenizer, settings).longest == 12)
    }
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

@Test func `NumPy's header is a multiple of 64 bytes`() {
    for (rows, columns) in [(1, 1), (123_456_789, 768), (0, 8)] {
        let header = NumPyFile.header(rows: rows, columns: columns)
        #expect(header.count % 64 == 0 && header.last == 10)
        #expect(Array(header[..<8]) == [0x93, 78, 85, 77, 80, 89, 1, 0])
        #expect(Int(header[8]) + 256 * Int(header[9]) == header.count - 10)
        let text = String(decoding: header[10...], as: UTF8.self)
        #expect(text.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows), \(columns)), }"))
    }
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
        let header = NumPyFile.header(rows: 4, columns: 8)
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
            ("a\n", "line 1"), ("a\tb\tx\n", "line 1"), ("a\tb\tnan\n", "line 1"), ("a\tb\tinf\n", "line 1"),
            ("a\tb\t1\na\tb\n", "1 of 2 pairs"), ("\n", "no pairs"),
        ] {
            try write(Array(text.utf8), to: "\(folder)/bad.tsv")
            try expectRefusal(words, of: "embed", ["--model", "bert", "--pairs", "bad.tsv"], in: folder)
        }
        try expectRefusal("nothing to embed", of: "embed", ["--model", "bert"], in: folder, status: 2)
        try expectRefusal("no lines", of: "embed", ["--model", "bert", "-q", "a"], in: folder, status: 2)
        try expectRefusal(
            "no kind", of: "embed", ["--model", "bert", "-i", "lines.txt", "-o", "v.csv"], in: folder, status: 2)
    }
}
