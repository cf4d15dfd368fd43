// grow, and training what has grown, as a person runs them.

import Foundation
import LLM
import Testing

/// A GPT-2 and a Phi of a tokenizer of 600 tokens, in gpt2/ and phi/; the tokenizer with two more in more/; shards of a
/// text with them in data/.
private func withModels(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        let V = tokenizer.vocabularySize
        let gpt2 = GPT2(GPT2Configuration(maxT: 32, V: V, L: 1, NH: 2, C: 8), trains: false)
        let phi = Phi(PhiConfiguration(maxT: 32, V: V, L: 1, NH: 2, C: 8, FC: 16, R: 4), trains: false)
        for model in [gpt2, phi] as [any LanguageModel] { model.parameters.initialize(seed: 3) }
        try HuggingFaceGPT2.write(gpt2, tokenizer, to: "\(folder)/gpt2")
        try HuggingFacePhi.write(phi, tokenizer, to: "\(folder)/phi")
        let more = try tokenizer.adding([Array("돌파구".utf8), Array("[newtoken]".utf8)])
        try more.write(to: "\(folder)/more")
        let ids = try more.encode(Array(String(repeating: "돌파구 [newtoken] 다시 한 번 ", count: 60).utf8))
        try createDirectory("\(folder)/data")
        try writeShard(ids, to: "\(folder)/data/train_0.bin")
        try more.write(to: "\(folder)/data")
        try body(folder)
    }
}

@Test(arguments: ["gpt2", "phi"]) func `a model grows with its tokenizer`(kind: String) throws {
    try withModels { folder in
        let old = try readModel("\(folder)/\(kind)")
        let command = ["--model", kind, "--tokenizer", "more"]
        let result = try run("grow", command + ["-o", "grown"], in: folder)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("2 rows more than \(kind)"))
        #expect(
            result.output.contains("checked     the rows of \(old.V) tokens") && result.output.contains("[newtoken]"))
        let grown = try readModel("\(folder)/grown")
        #expect(grown.V == old.V + 2)
        #expect(try NewTokens.read(from: "\(folder)/grown", V: grown.V) == old.V..<old.V + 2)
        // By default the mean of what the word was split into before.
        let pieces = try Tokenizer(directory: "\(folder)/\(kind)").encode(Array("[newtoken]".utf8))
        #expect(pieces.count > 1)
        let wte = grown.config.tokenTensors[0]
        for c in 0..<8 {
            let sum = pieces.reduce(0.0) { $0 + Double((old.parameters.values + wte)[Int($1) * 8 + c]) }
            #expect((grown.parameters.values + wte)[(old.V + 1) * 8 + c] == Float(sum / Double(pieces.count)))
        }
        try expectSuccess(
            "grow", command + ["-o", "padded", "--init", "like=<|endoftext|>", "--pad-to-multiple-of", "64"], in: folder
        )
        let padded = try readModel("\(folder)/padded")
        #expect(padded.V == (old.V + 2 + 63) / 64 * 64)
        try expectRefusal(
            "nothing to grow", hint: "--add-token", of: "grow",
            ["--model", "grown", "--tokenizer", "more", "-o", "x"], in: folder, status: 2)
        try expectRefusal(
            "--init sideways", hint: "mean-of-pieces", of: "grow",
            command + ["-o", "x", "--init", "sideways"], in: folder, status: 2)
        try expectRefusal(
            "\"nothere\" is not a token", hint: "vocab.txt", of: "grow",
            command + ["-o", "x", "--init", "like=nothere"], in: folder)
        try expectRefusal(
            "is the model that is to grow", of: "grow",
            command + ["-o", kind], in: folder, status: 2)
        try makeTokenizersAndData(folder)
        try expectRefusal(
            "another tokenizer", hint: "--add-token", of: "grow",
            ["--model", kind, "--tokenizer", "a", "-o", "x"], in: folder)
        #expect(!fileExists("\(folder)/x"))
    }
}

@Test(arguments: ["gpt2", "phi"]) func `new rows are trained alone, and resume`(kind: String) throws {
    try withModels { folder in
        let program = "train_\(kind)"
        try expectSuccess("grow", ["--model", kind, "--tokenizer", "more", "-o", "grown"], in: folder)
        let options = [
            "-i", "data/train_*.bin", "-e", "grown", "-b", "2", "-t", "16", "-l", "1e-2", "-v", "0", "-s", "0",
        ]
        func train(_ more: [String]) throws { try expectSuccess(program, options + more, in: folder) }
        try train(["--train", "new-rows", "-x", "4", "-n", "2", "-o", "whole"])
        try train(["--train", "new-rows", "-x", "4", "-n", "2", "-o", "parts"])
        for name in try FileManager.default.contentsOfDirectory(atPath: "\(folder)/parts")
        where name == "checkpoint-4" || name.contains("00000004") {
            try FileManager.default.removeItem(atPath: "\(folder)/parts/\(name)")
        }
        func path(_ run: String, _ step: Int) -> String {
            kind == "phi" ? "\(folder)/\(run)/checkpoint-\(step)" : "\(folder)/\(run)/model_0000000\(step).bin"
        }
        let (before, after) = (
            try readModel("\(folder)/grown"), try readModel(path("whole", 4))
        )
        for (a, b) in zip(before.parameters.table.tensors, after.parameters.table.tensors) {
            let (x, y) = (
                before.parameters.array(before.parameters.values, a), after.parameters.array(after.parameters.values, b)
            )
            let isVocabulary = before.config.vocabularyTensors.contains { $0.name == a.name }
            let kept = isVocabulary ? (before.V - 2) * a.rowCount : x.count
            #expect(Array(x[..<kept]) == Array(y[..<kept]), "\(a.name)")
            if isVocabulary { #expect((kept..<before.V * a.rowCount).allSatisfy { x[$0] != y[$0] }, "\(a.name)") }
        }
        // One that goes on after two steps has the same bytes.
        try expectSuccess(program, ["-o", "parts", "-y", "1"], in: folder)
        let (a, b) = (try readModel(path("whole", 4)), try readModel(path("parts", 4)))
        #expect(a.parameters.array(a.parameters.values) == b.parameters.array(b.parameters.values))
        try expectRefusal(
            "does not say which of its tokens are new", hint: "grow", of: program,
            ["-i", "data/train_*.bin", "-e", kind, "--train", "new-rows", "--tokenizer", kind], in: folder)
        try expectRefusal(
            "a new one is random", hint: "--model", of: program,
            ["-i", "data/train_*.bin", "--train", "embeddings"], in: folder, status: 2)
    }
}

/// The row of a model's embeddings.
private func embedding(_ model: any LanguageModel, _ id: Int) -> [Float] {
    let wte = model.config.tokenTensors[0]
    return (0..<wte.rowCount).map { (model.parameters.values + wte)[id * wte.rowCount + $0] }
}

@Test(arguments: ["gpt2", "phi"]) func `new rows begin as --init says`(kind: String) throws {
    try withModels { folder in
        let old = try readModel("\(folder)/\(kind)")
        let tokenizer = try Tokenizer(directory: "\(folder)/more")
        let V = old.V
        func grow(_ more: [String]) throws -> (model: any LanguageModel, output: String) {
            try? FileManager.default.removeItem(atPath: "\(folder)/x")
            let result = try run("grow", ["--model", kind, "--tokenizer", "more", "-o", "x"] + more, in: folder)
            #expect(result.status == 0, "\(more): \(result.errors)")
            return (try readModel("\(folder)/x"), result.output)
        }
        func expectSameBits(_ how: String, _ rows: NewRows, _ more: [String] = []) throws {
            let (got, wanted) = (try grow(["--init", how] + more).model, old.grown(to: V + 2, from: V, rows))
            #expect(got.parameters.bits(of: \.values) == wanted.parameters.bits(of: \.values), "\(how)")
        }
        try expectSameBits("mean", .mean)
        try expectSameBits("normal", .normal(seed: 42))
        try expectSameBits("normal", .normal(seed: 7), ["--seed", "7"])
        // A token by what it stands for, where its spelling is another.
        let spaced = try #require(
            (0..<V).first { id in
                let bytes = tokenizer.bytes(of: id)
                return bytes.count > 2 && bytes[0] == 32 && bytes.dropFirst().allSatisfy { 97...122 ~= $0 }
            })
        #expect(tokenizer.spellings[spaced] != tokenizer.bytes(of: spaced))
        try expectSameBits("like=" + String(decoding: tokenizer.bytes(of: spaced), as: UTF8.self), .like(spaced))

        // The nearest of the old tokens is the one that it is a copy of; a zero vector is near none.
        let like = try grow(["--init", "like=<|endoftext|>"])
        #expect(like.output.contains("[newtoken]   <|endoftext|> 1.00, "), "\(like.output)")
        let zero = try grow(["--init", "zero"])
        #expect(zero.output.contains("[newtoken]   zero") && embedding(zero.model, V + 1).allSatisfy { $0 == 0 })
        #expect(!zero.output.contains(" more\n"))
        try tokenizer.adding((0..<9).map { Array("<\($0)>".utf8) }).write(to: "\(folder)/more")
        #expect(try grow([]).output.contains("… and 1 more\n"))
    }
}

@Test(arguments: ["gpt2", "phi"]) func `rows that a model has room for are new rows`(kind: String) throws {
    try withModels { folder in
        let V = try readModel("\(folder)/\(kind)").V
        try expectSuccess(
            "grow", ["--model", kind, "--tokenizer", "more", "-o", "padded", "--pad-to-multiple-of", "64"], in: folder)
        let padded = try readModel("\(folder)/padded")
        try Tokenizer(directory: "\(folder)/more").adding([Array("돌파구를".utf8)]).write(to: "\(folder)/third")
        let result = try run("grow", ["--model", "padded", "--tokenizer", "third", "-o", "full"], in: folder)
        #expect(result.status == 0 && result.output.contains(" 0 rows more than padded"), "\(result.errors)")
        #expect(result.output.contains("checked     the rows of \(V + 2) tokens"))
        #expect(try NewTokens.read(from: "\(folder)/full", V: padded.V) == V + 2..<V + 3)
        let pieces = try Tokenizer(directory: "\(folder)/more").encode(Array("돌파구를".utf8))
        let wanted = padded.grown(to: padded.V, from: V + 2, .meanOfPieces([pieces]))
        let full = try readModel("\(folder)/full")
        #expect(full.parameters.bits(of: \.values) == wanted.parameters.bits(of: \.values))
    }
}

@Test func `grow keeps the chat template, and knows the pieces without the model's tokenizer`() throws {
    try withModels { folder in
        let command = ["--model", "phi", "--tokenizer", "more"]
        let template = try ChatTemplate("chatml")
        let set = DurableFiles()
        let tokenizer = try Tokenizer(directory: "\(folder)/phi")
        try tokenizer.writeAll(to: "\(folder)/phi", in: set, chatTemplate: template)
        try set.commit()
        try expectSuccess("grow", command + ["-o", "grown"], in: folder)
        #expect(try bytes("\(folder)/grown/template.json") == bytes("\(folder)/phi/template.json"))
        for name in names(in: "\(folder)/phi") where !["config.json", "model.safetensors"].contains(name) {
            try FileManager.default.removeItem(atPath: "\(folder)/phi/\(name)")
        }
        try expectSuccess("grow", command + ["-o", "alone"], in: folder)
        #expect(try bytes("\(folder)/alone/model.safetensors") == bytes("\(folder)/grown/model.safetensors"))
        // With the larger tokenizer beside it, it does not say what the words were before.
        try FileManager.default.copyItem(
            atPath: "\(folder)/more/tokenizer.json", toPath: "\(folder)/phi/tokenizer.json")
        try expectRefusal(
            "how the model's tokenizer splits the new words is not known", hint: "--init mean", of: "grow",
            command + ["-o", "x"], in: folder)
    }
}

@Test func `grow refuses what would be lost, and what cannot be written`() throws {
    try withModels { folder in
        let command = ["--model", "phi", "--tokenizer", "more", "-o"]
        try expectRefusal(
            "\"[newtoken]\" is not a token that the model knows", of: "grow",
            command + ["x", "--init", "like=[newtoken]"],
            in: folder)
        try write([1], to: "\(folder)/file")
        try expectRefusal("file is a file", of: "grow", command + ["file"], in: folder, status: 2)
        try expectRefusal("another tokenizer", of: "grow", command + ["gpt2"], in: folder)
        try expectRefusal(
            "a tokenizer.bin cannot be written", of: "grow",
            ["--model", "phi", "--tokenizer", "more/tokenizer.bin", "-o", "x"], in: folder)
        try expectSuccess("grow", command + ["grown"], in: folder)
        try expectSuccess(
            "train_phi",
            [
                "-i", "data/train_*.bin", "-e", "grown", "-b", "2", "-t", "16", "-v", "0", "-s", "0", "-x", "1", "-o",
                "run",
            ],
            in: folder)
        try expectRefusal(
            "run/checkpoint-1 is part of a run", hint: "--output", of: "grow", command + ["run/checkpoint-1"],
            in: folder)
        #expect(!fileExists("\(folder)/x"))
    }
}

/// A BERT of random weights, smaller than train_bert's new ones, in bert/; its tokenizer with two more words in more/;
/// shards of a text with them in data/.
private func withBERT(hasHead: Bool = true, _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##c", "."]
        try createDirectory("\(folder)/words")
        try write(Array(words.joined(separator: "\n").utf8 + [10]), to: "\(folder)/words/vocab.txt")
        let tokenizer = try Tokenizer(directory: "\(folder)/words")
        var config = BERTConfiguration(maxT: 32, V: words.count, L: 2, NH: 2, C: 8)
        config.hasHead = hasHead
        let model = BERT(config, trains: false)
        model.parameters.initialize(seed: 3)
        try HuggingFaceBERT.write(model, tokenizer, to: "\(folder)/bert")
        let more = try tokenizer.adding([Array("bcc".utf8), Array("[newtoken]".utf8)])
        try more.write(to: "\(folder)/more")
        try createDirectory("\(folder)/data")
        try writeShard(
            try more.encode(Array(String(repeating: "a bcc [newtoken] b. ", count: 80).utf8), usingTemplate: false),
            to: "\(folder)/data/train_0.bin")
        try more.write(to: "\(folder)/data")
        try expectSuccess("grow", ["--model", "bert", "--tokenizer", "more", "-o", "grown"], in: folder)
        try body(folder)
    }
}

private let trainBERT = [
    "-i", "data/train_*.bin", "-e", "grown", "-b", "2", "-t", "16", "-l", "1e-2", "-v", "0",
]

@Test(arguments: ["all", "embeddings", "new-rows"])
func `a BERT's run of any shape resumes by its output alone`(part: String) throws {
    try withBERT { folder in
        let options = trainBERT + ["--train", part, "-x", "4", "-n", "2"]
        try expectSuccess("train_bert", options + ["-o", "whole"], in: folder)
        try expectSuccess("train_bert", options + ["-o", "parts"], in: folder)
        try FileManager.default.removeItem(atPath: "\(folder)/parts/checkpoint-4")
        try expectSuccess("train_bert", ["-o", "parts", "-y", "1"], in: folder)
        let (whole, parts) = (
            try readBERT("\(folder)/whole/checkpoint-4", trains: false),
            try readBERT("\(folder)/parts/checkpoint-4", trains: false)
        )
        #expect(whole.parameters.bits(of: \.values) == parts.parameters.bits(of: \.values))
        try expectRefusal(
            "has 2 layers, not 3", of: "train_bert", ["-o", "parts", "-y", "1", "--layers", "3"], in: folder)
    }
}

@Test func `a BERT without a head is not trained in part`() throws {
    try withBERT(hasHead: false) { folder in
        for part in ["embeddings", "new-rows"] {
            try expectRefusal(
                "no head", hint: "--train all", of: "train_bert", trainBERT + ["--train", part, "-x", "1"], in: folder)
        }
        try expectSuccess("train_bert", trainBERT + ["-x", "1"], in: folder)
    }
}

@Test func `a BERT that grows keeps how its vectors are made`() throws {
    try withBERT { folder in
        #expect(!fileExists("\(folder)/grown/modules.json"))
        let modules = """
            [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}, {"path": "2_Normalize",
              "type": "x.Normalize"}]
            """
        try write(Array(modules.utf8), to: "\(folder)/bert/modules.json")
        try createDirectory("\(folder)/bert/1_Pooling")
        try write(Array(#"{"pooling_mode": "cls"}"#.utf8), to: "\(folder)/bert/1_Pooling/config.json")
        try write(Array(#"{"transformer_task": "x"}"#.utf8), to: "\(folder)/bert/sentence_bert_config.json")
        try write(Array(#"{"model_max_length": 7}"#.utf8), to: "\(folder)/bert/tokenizer_config.json")
        let old = try SentenceSettings(directory: "\(folder)/bert", C: 8)
        #expect(old.pooling == .cls && old.normalizes && old.longest == 7)
        try expectSuccess("grow", ["--model", "bert", "--tokenizer", "more", "-o", "larger"], in: folder)
        #expect(try SentenceSettings(directory: "\(folder)/larger", C: 8) == old)
        let text = ["--text", "a b c c b a c b a c"]
        let (before, after) = (
            try run("embed", ["--model", "bert"] + text, in: folder),
            try run("embed", ["--model", "larger"] + text, in: folder)
        )
        #expect(before.output.contains("7 tokens") && before.output.contains("(cls, normalized)"))
        #expect(before.output == after.output)
        let trained = try run("train_bert", trainBERT + ["-e", "larger", "-x", "1"], in: folder)
        #expect(trained.status == 0 && trained.errors.contains("larger/modules.json; tell embed"), "\(trained.errors)")
        // A step that is unknown would be lost.
        try write(Array(#"[{"path": "3_Dense", "type": "x.Dense"}]"#.utf8), to: "\(folder)/bert/modules.json")
        try expectRefusal(
            "a step x.Dense", of: "grow", ["--model", "bert", "--tokenizer", "more", "-o", "other"], in: folder)
        #expect(!fileExists("\(folder)/other/config.json"))
    }
}

@Test func `a file that may not be as long as it is leaves nothing behind`() throws {
    try withBERT { folder in
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The limit is the shell's, and grow's after it; the signal that tells of it must not be ignored before grow.
        #if os(Linux)
            let signal = "env --default-signal=XFSZ"
        #else
            let signal = ""
        #endif
        process.arguments = [
            "-c", "ulimit -f 4; exec \(signal) \"$0\" \"$@\"", executable("grow").path, "-e", "bert", "-k", "more",
            "-o", "x",
        ]
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        let errors = Pipe()
        (process.standardOutput, process.standardError) = (FileHandle.nullDevice, errors)
        try process.run()
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 1 && text.contains("error: cannot write x/model.safetensors"), "\(text)")
        #expect(names(in: "\(folder)/x") == [])
    }
}
