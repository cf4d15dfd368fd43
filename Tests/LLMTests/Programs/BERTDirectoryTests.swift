// A BERT from its training to its use, as a person runs train_bert and grow.

import Foundation
import LLM
import Testing

private let words =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "좋은", "영화", "나쁜"] + "abcdefgh".flatMap { ["\($0)", "##\($0)"] }
private let shape = ["--layers", "1", "--heads", "2", "--channels", "8"]

private func train(_ more: [String]) -> [String] {
    [
        "-i", "data/train_*.bin", "-j", "data/train_0.bin", "-o", "run", "-b", "2", "-t", "12", "-x", "2", "-n", "1",
        "-v", "0",
    ] + more
}

/// A tokenizer with ## and shards of its tokens in data/, and a run of two steps in run/.
private func withRun(_ more: [String] = [], _ body: (String, Tokenizer) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        try createDirectory("\(folder)/vocabulary")
        try write(Array(words.joined(separator: "\n").utf8 + [10]), to: "\(folder)/vocabulary/vocab.txt")
        try write(
            Array(#"{"do_lower_case": false}"#.utf8), to: "\(folder)/vocabulary/tokenizer_config.json")
        let tokenizer = try Tokenizer(directory: "\(folder)/vocabulary")
        try createDirectory("\(folder)/data")
        try tokenizer.write(to: "\(folder)/data")
        try writeShard(
            randomTokens(1200, below: words.count - 5, seed: 1).map { $0 + 5 }, to: "\(folder)/data/train_0.bin")
        try expectSuccess("train_bert", train(shape + more), in: folder)
        try body(folder, tokenizer)
    }
}

private func weights(_ path: String) throws -> [UInt8] { try bytes("\(path)/model.safetensors") }

@Test(arguments: [["--dropout", "0.2", "--masked", "0.3"], ["--architecture", "distilbert", "--seed", "7"]])
func `a BERT's run goes on to the same bytes`(options: [String]) throws {
    try withRun(options) { folder, _ in
        let isDistil = options[1] == "distilbert"
        let config = try readBERTConfiguration("\(folder)/run/checkpoint-2")
        #expect(config.isDistilBERT == isDistil && config.hasHead && config.maxT == 12 && config.V == words.count)
        let model = try readBERT("\(folder)/run/checkpoint-2", trains: false)
        #expect(model.dropout == (isDistil ? 0.1 : 0.2) && model.attentionDropout == model.dropout)

        let whole = try filesInside("\(folder)/run/checkpoint-2")
        try FileManager.default.removeItem(atPath: "\(folder)/run/checkpoint-2")
        try expectSuccess("train_bert", ["-o", "run", "-y", "1"], in: folder)
        expectSame(try filesInside("\(folder)/run/checkpoint-2"), whole, "resumed")
    }
}

/// Also where it has another shape than a new model has by default.
@Test func `a run that began with another's model goes on`() throws {
    try withRun { folder, _ in
        try expectSuccess("train_bert", train(["-o", "second", "-e", "run/checkpoint-2"]), in: folder)
        let whole = try filesInside("\(folder)/second/checkpoint-2")
        try FileManager.default.removeItem(atPath: "\(folder)/second/checkpoint-2")
        try expectSuccess("train_bert", ["-o", "second", "-y", "1"], in: folder)
        expectSame(try filesInside("\(folder)/second/checkpoint-2"), whole, "resumed")
    }
}

@Test func `train_bert does what its options say`() throws {
    try withRun { folder, _ in
        func told(_ more: [String]) throws -> String {
            let result = try run("train_bert", train(["-o", "other", "-y", "0"] + more), in: folder)
            #expect(result.status == 0, "\(more): \(result.errors)")
            return result.output + result.errors
        }
        #expect(try told(shape + ["--dry-run"]).contains("batches of 2 · 10, 15% of them asked for"))
        #expect(try told(shape + ["--dry-run", "--masked", "0.5"]).contains("50% of them asked for"))
        // A step of no size: what a new model begins with is the seed's.
        _ = try told(shape + ["--seed", "7", "-x", "1", "-l", "0"])
        let began = try readBERT("\(folder)/other/checkpoint-1", trains: false)
        let drawn = BERT(began.config, trains: false)
        drawn.parameters.initialize(seed: 7)
        #expect(began.parameters.bits(of: \.values) == drawn.parameters.bits(of: \.values))
        #expect(began.dropout == 0.1 && began.attentionDropout == 0.1)
        // What changes a step.
        let first = try weights("\(folder)/run/checkpoint-2")
        for more in [["--whole-words"], ["--masked", "0.6"], ["--dropout", "0.6"]] {
            _ = try told(shape + more)
            #expect(try weights("\(folder)/other/checkpoint-2") != first, "\(more)")
        }
        _ = try told(shape)
        #expect(try weights("\(folder)/other/checkpoint-2") == first)
        // The masks to validate with are the seed's, too.
        let losses = try ["7", "8"].map { seed in
            try told(["-e", "run/checkpoint-2", "-l", "0", "-x", "1", "-v", "1", "--seed", seed])
                .split(separator: "\n").first { $0.hasPrefix("val loss") }
        }
        #expect(losses[0] != nil && losses[0] != losses[1])
    }
}

@Test func `train_bert refuses what does not fit`() throws {
    try withRun { folder, _ in
        let from = ["-o", "x", "-e", "run/checkpoint-2"]
        for (words, arguments, status) in [
            ("a sequence of 2 has no room", shape + ["-o", "x", "-t", "2"], 2),
            ("9 channels are not a multiple of 2 heads", ["-o", "x", "--heads", "2", "--channels", "9"], 2),
            ("more than the vocabulary of 20", shape + ["-o", "x", "--vocab-size", "20"], 1),
            ("a new one is random", shape + ["-o", "x", "--train", "embeddings"], 2),
            ("has 1 layers, not 2", from + ["--layers", "2"], 1),
            ("run has 1 layers, not 2", ["-y", "1", "--layers", "2"], 1),
            ("is a bert, not a distilbert", from + ["--architecture", "distilbert"], 1),
            ("is a bert, not a distilbert", ["-y", "1", "--architecture", "distilbert"], 1),
        ] as [(String, [String], Int32)] {
            try expectRefusal(words, of: "train_bert", train(arguments), in: folder, status: status)
        }
        try makeTokenizersAndData("\(folder)")
        try expectRefusal("has no [CLS]", of: "train_bert", train(shape + ["-o", "x"]), in: folder)
        try FileManager.default.removeItem(atPath: "\(folder)/data/tokenizer.json")
        try FileManager.default.removeItem(atPath: "\(folder)/data/tokenizer.bin")
        try expectRefusal("no tokenizer with the shards", of: "train_bert", train(shape + ["-o", "x"]), in: folder)
    }
}

/// With batches of one row, a row of padding alone is a batch without a text.
@Test func `padding alone teaches nothing`() throws {
    try withRun { folder, _ in
        var ids = [Int32](repeating: 3, count: 200)
        for i in 100..<110 { ids[i] = 6 }
        try writeShard(ids, to: "\(folder)/data/train_0.bin")
        let options = shape + ["-o", "padding", "-b", "1", "-x", "3", "-v", "1", "--log-every", "1"]
        let result = try run("train_bert", train(options), in: folder)
        #expect(result.status == 0, "\(result.errors)")
        let told = losses(result.output + result.errors)
        #expect(told.count == 3 && told.allSatisfy { $0.isFinite })
    }
}

/// The losses of the steps that a run tells.
private func losses(_ text: String) -> [Double] {
    text.split(separator: "\n").filter { $0.hasPrefix("step ") }.map {
        let words = $0.split(separator: " ")
        return words.firstIndex(of: "loss").flatMap { Double(words[$0 + 1]) } ?? .nan
    }
}

// MARK: - grow

@Test func `a BERT grows with its tokenizer, and its new rows are trained alone`() throws {
    try withRun(["--dropout", "0.3"]) { folder, tokenizer in
        let old = try readBERT("\(folder)/run/checkpoint-2", trains: false)
        // Two pieces; one, for what is unknown is none; and what has none.
        let more = try tokenizer.adding(["좋은 영화", "나쁜 zzz", "zzz"].map { Array($0.utf8) })
        try more.write(to: "\(folder)/more")
        let result = try run(
            "grow", ["--model", "run/checkpoint-2", "--tokenizer", "more", "-o", "grown"], in: folder)
        #expect(result.status == 0 && result.output.contains("3 rows more"), "\(result.errors)")
        let V = words.count
        let grown = try readBERT("\(folder)/grown", trains: false)
        #expect(grown.dropout == 0.3 && grown.attentionDropout == 0.3)
        let wanted = old.grown(to: V + 3, from: V, .meanOfPieces([[5, 6], [7], []]))
        #expect(grown.parameters.bits(of: \.values) == wanted.parameters.bits(of: \.values))

        try more.write(to: "\(folder)/data")
        try writeShard(
            randomTokens(1200, below: V + 3 - 5, seed: 2).map { $0 + 5 }, to: "\(folder)/data/train_0.bin")
        try expectSuccess(
            "train_bert", train(["-e", "grown", "-o", "new", "-l", "1e-2", "--train", "new-rows"]), in: folder)
        let after = try readBERT("\(folder)/new/checkpoint-2", trains: false)
        for tensor in grown.parameters.table.tensors {
            let (x, y) = (
                grown.parameters.array(grown.parameters.values, tensor),
                after.parameters.array(after.parameters.values, tensor)
            )
            let isVocabulary = grown.config.vocabularyTensors.contains { $0.index == tensor.index }
            let kept = isVocabulary ? V * tensor.rowCount : x.count
            #expect(Array(x[..<kept]) == Array(y[..<kept]), "\(tensor.name)")
            if isVocabulary { #expect((kept..<x.count).allSatisfy { x[$0] != y[$0] }, "\(tensor.name)") }
        }

        // A BERT without a head is checked by its hidden states.
        try HuggingFaceBERT.write(
            try readBERT("\(folder)/run/checkpoint-2", trains: false, head: false), tokenizer, to: "\(folder)/body")
        try expectSuccess("grow", ["--model", "body", "--tokenizer", "more", "-o", "grown-body"], in: folder)
        #expect(try !readBERTConfiguration("\(folder)/grown-body").hasHead)
    }
}
