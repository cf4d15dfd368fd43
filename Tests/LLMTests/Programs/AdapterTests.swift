// Adapters as a person uses them: generate --adapter, convert --merge, lotto score --adapter.

import Foundation
import LLM
import Testing

/// A GPT-2 in base/ with a tokenizer, and adapters of it in one/ and two/; a third, grown/, has two new words and their
/// tokenizer.
private func withAdapters(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        try FileManager.default.copyItem(atPath: fixture("huggingface/float32"), toPath: "\(folder)/base")
        try smallTokenizer().write(to: "\(folder)/base")
        for (name, tag) in [("one", "default"), ("two", "all_linear"), ("grown", "grown_rows")] {
            try FileManager.default.copyItem(atPath: fixture("peft/gpt2/\(tag)"), toPath: "\(folder)/\(name)")
            try set("base_model_name_or_path", to: "base", in: "\(folder)/\(name)")
        }
        try grownTokenizer().write(to: "\(folder)/grown")
        try body(folder)
    }
}

private func grownTokenizer() throws -> Tokenizer {
    try smallTokenizer().adding([Array("<new>".utf8), Array("<word>".utf8)])
}

private let greedy = ["--greedy", "-n", "12"]

/// The lines of JSON that generate writes.
private func samples(_ arguments: [String], in folder: String) throws -> [[String: Any]] {
    let result = try run("generate", arguments + greedy + ["--json"], in: folder)
    try #require(result.status == 0, "\(result.errors)")
    return try result.output.split(separator: "\n").map {
        try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
}

@Test func `adapters write in turn what their merged models write`() throws {
    try withAdapters { folder in
        let base = try samples(["--model", "base"], in: folder)
        #expect(base[0]["name"] == nil)
        var texts = [try #require(base[0]["text"] as? String)]
        for name in ["one", "two", "grown"] {
            let merged = "merged-\(name)"
            try expectSuccess("convert", ["--merge", name, "--to", merged], in: folder)
            let expected = try samples(["--model", merged], in: folder)[0]["text"] as? String
            // Without --model it is the adapter's own.
            for arguments in [["--adapter", name], ["--model", "base", "--adapter", "a=\(name)"]] {
                let sample = try samples(arguments, in: folder)[0]
                #expect(sample["text"] as? String == expected, "\(arguments)")
                #expect(sample["name"] as? String == (arguments.count == 2 ? name : "a"))
            }
            texts.append(try #require(expected))
        }
        #expect(Set(texts).count == 4)
        let all = try samples(["--adapter", "x=one", "two", "--adapter", "grown/"], in: folder)
        #expect(all.map { $0["name"] as? String } == ["x", "two", "grown"])
        #expect(all.map { $0["text"] as? String } == Array(texts[1...]))
        let shown = try run("generate", ["--adapter", "one", "b=two"] + greedy, in: folder)
        #expect(shown.output == "=== one\n\(texts[1])\n=== b\n\(texts[2])\n", "\(shown.errors)")
        let single = try run("generate", ["--adapter", "one"] + greedy, in: folder)
        #expect(single.output == "\(texts[1])\n")
    }
}

@Test func `a directory with an equals sign in its name is taken as it is`() throws {
    try withAdapters { folder in
        let text = try samples(["--adapter", "one"], in: folder)[0]["text"] as? String
        try FileManager.default.moveItem(atPath: "\(folder)/one", toPath: "\(folder)/r=8")
        for (word, name) in [("r=8", "r=8"), ("x=r=8", "x"), ("\(folder)/r=8", "r=8")] {
            let sample = try samples(["--adapter", word], in: folder)[0]
            #expect(sample["name"] as? String == name && sample["text"] as? String == text, "\(word)")
        }
        try expectRefusal("there is no adapter 9", of: "generate", ["--adapter", "r=9"], in: folder)
    }
}

@Test func `what is no adapter, or none for this command, is refused`() throws {
    try withAdapters { folder in
        func refused(_ words: String, _ arguments: String..., hint: String, status: Int32 = 1) throws {
            try expectRefusal(words, hint: hint, of: "generate", arguments, in: folder, status: status)
        }
        try refused("there is no adapter nowhere", "--adapter", "nowhere", hint: "adapter_config.json")
        try refused("base is a whole model, not an adapter", "--adapter", "base", hint: "--model")
        try refused("is a file", "--adapter", "one/adapter_model.safetensors", hint: "name its directory: one")
        try refused(". is no adapter", "--adapter", ".", hint: "such as ./")
        try refused("two adapters are called one", "--adapter", "one", "one=two", hint: "--adapter one=DIR", status: 2)
        try refused("a conversation", "--adapter", "one", "two", "--interactive", hint: "--adapter", status: 2)
        try set("base_model_name_or_path", to: "microsoft/phi-1_5", in: "\(folder)/two")
        try refused("two is an adapter of microsoft/phi-1_5, which is not here", "--adapter", "two", hint: "--model")
        try refused(
            "one is an adapter of base, and two of microsoft/phi-1_5", "--adapter", "one", "two", hint: "--model")
        try set("base_model_name_or_path", to: nil, in: "\(folder)/two")
        try refused("there is no model data/model/model_best.bin", "--adapter", "two", hint: "--model")
        try expectSuccess("generate", ["--adapter", "one", "two", "-n", "2"], in: folder)
        // The tokenizer of another model, and one that has grown by more than the adapter.
        try smallTokenizer().adding([Array("<x>".utf8), Array("<y>".utf8), Array("<z>".utf8)]).write(
            to: "\(folder)/grown")
        try refused("the tokenizer in grown has 64 tokens, and base a vocabulary of 63", "--adapter", "grown", hint: "")
    }
}

@Test func `an adapter is not a model`() throws {
    try withAdapters { folder in
        let words = "one is an adapter, not a whole model"
        try makeTokenizersAndData(folder)
        for (program, arguments) in [
            ("generate", ["--model", "one"]), ("convert", ["--from", "one", "--to", "new"]),
            ("lotto", ["score", "--model", "one"]), ("train_gpt2", ["-e", "one"]), ("train_phi", ["-e", "one"]),
            ("test_gpt2", ["one", "state"]), ("test_phi", ["one", "reference"]),
        ] {
            try expectRefusal(words, hint: "convert --merge one", of: program, arguments, in: folder)
        }
    }
}

@Test func `an adapter of other weights says so`() throws {
    try withAdapters { folder in
        let (model, adapter) = try AdapterFixture("gpt2", "default").read()
        for (isSame, name) in [(true, "same"), (false, "other")] {
            if !isSame { model.parameters.values[0] += 1 }
            try write(adapter, on: model, to: "\(folder)/\(name)", base: "base")
            let result = try run("generate", ["--adapter", name] + greedy, in: folder)
            #expect(result.status == 0)
            let isSaid = result.errors.contains("warning: \(name) was trained on another model than this one, on base")
            #expect(isSaid == !isSame, "\(result.errors)")
        }
        // What counts is the model before it has grown.
        let base = try readModel("\(folder)/base")
        let (large, grown) = try AdapterFixture("gpt2", "grown_rows").read()
        large.parameters.put(grown)
        try write(grown, on: large, to: "\(folder)/grown", fingerprint: base.parameters.fingerprint)
        let result = try run("generate", ["--adapter", "grown"] + greedy, in: folder)
        #expect(result.status == 0 && !result.errors.contains("warning"), "\(result.errors)")
    }
}

// MARK: - convert --merge

@Test(arguments: ["default", "patterns", "saved", "bias_all", "tokens", "grown", "grown_rows"])
func `a merged GPT-2 has the adapter's logits`(tag: String) throws {
    let fixture = AdapterFixture("gpt2", tag)
    try withAdapters { folder in
        let own = tag.hasPrefix("grown") ? "grown" : "base"
        for (to, more) in [("new", ["--tokenizer", own]), ("new.bin", ["--tokenizer", own])] {
            try expectSuccess(
                "convert", ["--merge", try fixture.path(), "--from", "base", "--to", to] + more, in: folder)
            let model = try readModel("\(folder)/\(to)")
            #expect(relativeError(try fixture.logits(model), try fixture.expected()) < 1e-5, "\(to)")
        }
        #expect(try readGPT2("\(folder)/new.bin", trains: false).tokenizer?.count == (own == "base" ? 61 : 63))
    }
}

@Test(arguments: ["all_linear", "saved", "head", "grown", "grown_rows"])
func `a merged Phi has the adapter's logits`(tag: String) throws {
    let fixture = AdapterFixture("phi", tag)
    try withTemporaryDirectory { folder in
        try smallTokenizer(40).write(to: "\(folder)/words")
        let arguments = ["--merge", try fixture.path(), "--from", try fixture.base(), "--tokenizer", "words", "--to"]
        try expectSuccess("convert", arguments + ["new"], in: folder)
        let model = try readModel("\(folder)/new")
        #expect(relativeError(try fixture.logits(model), try fixture.expected()) < 1e-5)
        try expectRefusal("is a Phi", of: "convert", arguments + ["new.bin"], in: folder, status: 2)
    }
}

@Test func `a merged model takes the adapter's tokenizer, and no original is lost`() throws {
    try withAdapters { folder in
        try expectSuccess("convert", ["--merge", "grown", "--to", "new"], in: folder)
        #expect(try Tokenizer(directory: "\(folder)/new").fingerprint() == grownTokenizer().fingerprint())
        #expect(try readConfiguration("\(folder)/new").V == 63)
        // A file that says which tokenizer its model has says so of the larger one.
        try expectSuccess("convert", ["--from", "base", "--to", "file/model.bin"], in: folder)
        try expectSuccess(
            "convert", ["--merge", "grown", "--from", "file/model.bin", "--to", "new2/model.bin"], in: folder)
        #expect(try readGPT2("\(folder)/new2/model.bin", trains: false).tokenizer == grownTokenizer().fingerprint())
        for (to, words) in [("base", "merging into base"), ("one", "merging into one"), ("./one/", "merging into")] {
            try expectRefusal(words, of: "convert", ["--merge", "one", "--to", to], in: folder)
        }
        try expectRefusal("there is no adapter x", of: "convert", ["--merge", "x", "--to", "y"], in: folder)
        try expectRefusal("--to is missing", of: "convert", ["--merge", "one"], in: folder, status: 2)
        try set("base_model_name_or_path", to: nil, in: "\(folder)/one")
        try expectRefusal(
            "--from is missing, and one does not say", of: "convert", ["--merge", "one", "--to", "y"], in: folder,
            status: 2)
    }
}

// MARK: - lotto score

@Test func `the lottery examines adapters`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        let model = GPT2(GPT2Configuration(maxT: 400, V: 300, L: 1, NH: 1, C: 4), trains: false)
        model.parameters.initialize(seed: 1)
        model.tokenizer = try Tokenizer(directory: "\(folder)/a").fingerprint()
        try writeModel(model, to: "\(folder)/model.bin")
        var settings = LoRAConfiguration()
        settings.rank = 2
        let adapter = try Adapter(settings, on: model.config)
        for (name, scale) in [("first", Float(1)), ("second", 3)] {
            for i in 0..<adapter.table.count { adapter.values[i] = scale * Float(i % 7 - 3) }
            try write(adapter, on: model, to: "\(folder)/\(name)", base: "model.bin")
        }
        let some = ["--count", "2", "--max-tickets", "1", "--failures", "2"]
        for arguments in [["--adapter", "first", "second"], ["--model", "model.bin", "--adapter", "first", "second"]] {
            let result = try run("lotto", ["score"] + arguments + some, in: folder)
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output.contains("first:   0.0% exact\nsecond:   0.0% exact"), "\(result.output)")
        }
        // The wrong answers are those of the merged model.
        try expectSuccess("convert", ["--merge", "second", "--to", "a/merged.bin", "--tokenizer", "a"], in: folder)
        let answers = try [["--model", "model.bin"], ["--model", "a/merged.bin"], ["--adapter", "second"]].map {
            let output = try run("lotto", ["score"] + $0 + some, in: folder).output
            return output.split(separator: "\n").drop { !$0.contains("wrong answer") }
        }
        #expect(answers[0] != answers[1] && answers[1] == answers[2] && !answers[2].isEmpty)
        try expectRefusal(
            "adapters go on one model", of: "lotto",
            ["score", "--model", "model.bin", "other.bin", "--adapter", "first"] + some, in: folder, status: 2)
        try set("base_model_name_or_path", to: nil, in: "\(folder)/first")
        try expectRefusal(
            "first does not say what its model is", of: "lotto", ["score", "--adapter", "first"] + some, in: folder,
            status: 2)
    }
}
