// A Phi from its training to its use: each program finds its directories, and says what is wrong with what is none.

import Foundation
import LLM
import Testing

private let shape = ["--layers", "1", "--heads", "1", "--channels", "8"]

private func train(_ more: [String]) -> [String] {
    ["-o", "run", "-b", "1", "-t", "20", "-v", "1", "-m", "2", "-s", "0", "-n", "2", "-j", "data/train_0.bin"] + more
}

/// What a run of four steps leaves: checkpoints 2 and 4, and the best model.
private func withRun(_ body: (_ folder: String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        try expectSuccess("train_phi", train(["-x", "4"]) + shape, in: folder)
        try body(folder)
    }
}

@Test func `each checkpoint of a Phi is a directory that every program takes`() throws {
    try withRun { folder in
        #expect(names(in: folder + "/run") == ["best", "checkpoint-2", "checkpoint-4", "loss.svg", "main.log"])
        for name in ["best", "checkpoint-4"] {
            let files = Set(names(in: "\(folder)/run/\(name)"))
            #expect(
                files.isSuperset(of: ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]))
            #expect(files.contains("state.bin") == (name != "best"))
            // Its tokenizer is in it.
            try expectSuccess("generate", ["--model", "run/\(name)", "--prompt", "a", "-n", "2"], in: folder)
        }
        try FileManager.default.moveItem(atPath: folder + "/data", toPath: folder + "/elsewhere")
        // One that is not whole is not to be named.
        try FileManager.default.copyItem(atPath: folder + "/run/checkpoint-4", toPath: folder + "/run/checkpoint-6.tmp")
        try expectSuccess("generate", ["--model", "run/best/", "--prompt", "a", "-n", "2"], in: folder)
        try expectRefusal(
            "run is a directory without config.json", hint: "such as run/best", of: "generate",
            ["--model", "run"], in: folder)
        try expectRefusal(
            "state.bin is only a part of a model", of: "generate", ["--model", "run/checkpoint-4/state.bin"], in: folder
        )
        try expectRefusal("there is no model none", of: "generate", ["--model", "none"], in: folder)

        let score = ["score", "--count", "1", "--max-tickets", "1", "--chart", "chart.svg", "--model"]
        // A question is longer than this model's 20 tokens, but each is read.
        try expectRefusal(
            "run/checkpoint-2 has a context of 20 tokens", of: "lotto", score + ["run/checkpoint-2"], in: folder)
        try expectRefusal(
            "run is a directory without config.json", hint: "such as run/best", of: "lotto", score + ["run"],
            in: folder)
    }
}

@Test func `lotto draws a Phi's checkpoints over their steps`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        try expectSuccess(
            "train_phi", train(["-x", "1", "-n", "1", "-t", "250", "-v", "0"]) + shape, in: folder)
        try FileManager.default.copyItem(atPath: folder + "/run/checkpoint-1", toPath: folder + "/run/checkpoint-10")
        try expectSuccess(
            "lotto",
            ["score", "--count", "1", "--max-tickets", "1", "--chart", "chart.svg"]
                + ["--model", "run/checkpoint-10/", "run/checkpoint-1"], in: folder)
        let chart = try String(contentsOfFile: folder + "/chart.svg", encoding: .utf8)
        #expect(chart.contains(">1</text>") && chart.contains(">10</text>"))
    }
}

@Test func `convert changes a Phi's precision or tokenizer, and nothing of a run`() throws {
    try withRun { folder in
        try expectSuccess("convert", ["--from", "run/best", "--to", "half", "--dtype", "bfloat16"], in: folder)
        try expectSuccess("generate", ["--model", "half", "--prompt", "a", "-n", "2"], in: folder)
        let (whole, half) = (
            try readPhi(folder + "/run/best", trains: false), try readPhi(folder + "/half", trains: false)
        )
        let rounded = whole.parameters.array(whole.parameters.values).map { UInt32($0.bfloat16) << 16 }
        #expect(half.config == whole.config && half.parameters.bits(of: \.values) == rounded)

        let run = try filesInside(folder + "/run")
        try expectRefusal(
            "run/best is a Phi, and llm.c's file holds a GPT-2 only", hint: "--to phi", of: "convert",
            ["--from", "run/best", "--to", "phi.bin"], in: folder, status: 2)
        try expectRefusal(
            "the checkpoints of a run are there, up to step 4", of: "convert", ["--from", "half", "--to", "run"],
            in: folder)
        for name in ["run/checkpoint-2", "run/checkpoint-4/", "./run/best"] {
            for from in ["half", "run/checkpoint-4"] {
                try expectRefusal(
                    "\(name) is part of a run, up to step 4", of: "convert", ["--from", from, "--to", name], in: folder)
            }
        }
        expectSame(try filesInside(folder + "/run"), run, "before")
        // Inside the folder there is room, as long as it is no part of the run.
        try expectSuccess("convert", ["--from", "half", "--to", "run/half"], in: folder)
        try expectSuccess("train_phi", ["-o", "run", "-y", "1", "-x", "6"], in: folder)
        #expect(fileExists(folder + "/run/half/config.json") && fileExists(folder + "/run/checkpoint-6"))
    }
}

@Test func `train_phi goes on with the same model, and begins with another's`() throws {
    try withRun { folder in
        let run = try filesInside(folder + "/run")
        for (words, arguments) in [
            ("run has 1 layers, not 2", ["--layers", "2"]), ("run has 8 channels, not 16", ["--channels", "16"]),
            ("run turns 4 of a head's 8 channels, not 8", ["--rotary-fraction", "1"]),
            ("a sequence length of 21, where the model has positions for 20", ["-t", "21"]),
        ] {
            try expectRefusal(words, of: "train_phi", ["-o", "run", "-y", "1"] + arguments, in: folder)
        }
        try expectRefusal("run holds a run, up to step 4", hint: "-y 1", of: "train_phi", train([]), in: folder)
        try expectRefusal(
            "run holds a run of another kind of model, up to step 4", of: "train_gpt2", train(["-y", "0"]), in: folder)
        try expectSuccess("train_phi", train(["-y", "0", "--dry-run"]) + shape, in: folder)
        expectSame(try filesInside(folder + "/run"), run, "before")

        // Its options are those of the first start.
        try expectSuccess("train_phi", ["-o", "run", "-y", "1", "-x", "6"], in: folder)
        try expectSuccess("train_phi", train(["-x", "6", "-o", "whole"]) + shape, in: folder)
        // The earlier ones knew of four steps.
        let (once, twice) = (try filesInside(folder + "/whole"), try filesInside(folder + "/run"))
        func isLast(_ name: String) -> Bool { !name.contains(/checkpoint-[24]/) }
        expectSame(twice.filter { isLast($0.key) }, once.filter { isLast($0.key) }, "whole")

        // Another run may begin with it. A shape of its own it has.
        let second = train(["-o", "second", "-x", "1", "-e", "run/best"])
        try expectSuccess("train_phi", second, in: folder)
        #expect(try readPhiConfiguration(folder + "/second/checkpoint-1") == readPhiConfiguration(folder + "/run/best"))
        try expectRefusal(
            "run/best has 1 layers, not 2", of: "train_phi", second + ["-y", "0", "--layers", "2"], in: folder)
        try expectRefusal(
            "phi-1.5 has 24 layers, not 2", of: "train_phi", ["-e", "phi-1.5", "--layers", "2", "--dry-run"], in: folder
        )
        try expectRefusal(
            "run is a directory without config.json", hint: "such as run/best", of: "train_phi", ["-e", "run"],
            in: folder)
    }
}

@Test func `a share of channels that cannot turn is refused`() throws {
    try withTemporaryDirectory { folder in
        try makeTokenizersAndData(folder)
        for (words, arguments) in [
            ("--rotary-fraction 0.3 turns 9 of a head's 32 channels", ["--rotary-fraction", "0.3"]),
            ("turns 0 of a head's 32 channels", ["--rotary-fraction", "0"]),
            ("'1.5' does not fit", ["--rotary-fraction", "1.5"]),
            ("turns 1 of a head's 3 channels", ["--channels", "12"]),
            ("10 channels are not a multiple of 4 heads", ["--channels", "10"]),
        ] {
            try expectRefusal(words, of: "train_phi", ["--dry-run"] + arguments, in: folder, status: 2)
        }
    }
}

@Test func `each trainer and test refuses the other kind of model`() throws {
    try withRun { folder in
        let gpt2 = try fixture("huggingface/float32")
        try expectRefusal(
            "\(gpt2) is a GPT-2, not a Phi", hint: "train_gpt2", of: "train_phi", ["-e", gpt2], in: folder)
        let file = try fixture("gpt2_small.bin")
        try expectRefusal(
            "\(file) is a GPT-2, not a Phi", hint: "train_gpt2", of: "train_phi", ["-e", file], in: folder)
        try expectRefusal("\(file) is a GPT-2, not a Phi", hint: "test_gpt2", of: "test_phi", [file, "x"], in: folder)
        for (program, arguments) in [("train_gpt2", ["-e", "run/best"]), ("test_gpt2", ["run/best", "x"])] {
            try expectRefusal(
                "run/best is a Phi, not a GPT-2", hint: "for a Phi there are train_phi and test_phi", of: program,
                arguments, in: folder)
        }
        // Before anything is said about its tokenizer, which is not the data's.
        let phi = try fixture("phi/small")
        try expectRefusal("\(phi) is a Phi, not a GPT-2", hint: "train_phi", of: "train_gpt2", ["-e", phi], in: folder)
        try expectRefusal("there is no model phi-2", of: "train_phi", ["-e", "phi-2"], in: folder)
    }
}

/// Shards say at most which tokenizer they were made with.
@Test func `a Phi's tokenizer is the data's, or its model's, or unknown`() throws {
    try withRun { folder in
        for name in ["tokenizer.json", "tokenizer.bin"] { unlink("\(folder)/data/\(name)") }
        // It goes on with its own, and so does a run that begins with it.
        let files = Set(names(in: folder + "/run/checkpoint-4"))
        try expectSuccess("train_phi", ["-o", "run", "-y", "1", "-x", "6"], in: folder)
        #expect(Set(names(in: folder + "/run/checkpoint-6")) == files)
        try expectSuccess("train_phi", train(["-o", "second", "-x", "1", "-e", "run/best"]), in: folder)
        #expect(Set(names(in: folder + "/second/checkpoint-1")) == files)

        // Where there is none.
        try expectSuccess("train_phi", train(["-o", "third", "-x", "1", "--vocab-size", "300"]) + shape, in: folder)
        let checkpoint = "third/checkpoint-1"
        #expect(
            names(in: "\(folder)/\(checkpoint)")
                == ["config.json", "generation_config.json", "model.safetensors", "state.bin"])
        try expectRefusal(
            "no tokenizer.json in \(checkpoint)", hint: "--tokenizer DIR", of: "generate", ["--model", checkpoint],
            in: folder)
        try expectRefusal(
            "there is no tokenizer with \(checkpoint)", hint: "--tokenizer DIR", of: "convert",
            ["--from", checkpoint, "--to", "third/model"], in: folder)
        let named = ["--tokenizer", "a"]
        try expectSuccess("generate", ["--model", checkpoint, "--prompt", "a", "-n", "2"] + named, in: folder)
        try expectSuccess("convert", ["--from", checkpoint, "--to", "third/model"] + named, in: folder)
        try expectSuccess("generate", ["--model", "third/model", "--prompt", "a", "-n", "2"], in: folder)

        // llm.c's file has no merges, so no tokenizer.json can be made of it.
        try write(try bytes(folder + "/a/tokenizer.bin"), to: folder + "/data/tokenizer.bin")
        let result = try LLMTests.run("train_phi", train(["-o", "fourth", "-x", "1"]) + shape, in: folder)
        #expect(result.status == 0 && result.errors.contains("note: a tokenizer.bin has no merges"), "\(result.errors)")
        #expect(names(in: folder + "/fourth/checkpoint-1") == names(in: "\(folder)/\(checkpoint)"))
    }
}

#if os(Linux)
    @Test func `a Phi that does not fit in memory is refused with what would fit`() throws {
        try withTemporaryDirectory { folder in
            try makeTokenizersAndData(folder)
            func refusal(limit: Int, _ arguments: [String]) throws -> String {
                // The limit is the shell's, and train_phi's after it.
                let program = Bundle.module.bundleURL.deletingLastPathComponent().appendingPathComponent("train_phi")
                    .path
                let process = Process()
                process.executableURL = URL(fileURLWithPath: "/bin/sh")
                process.arguments =
                    ["-c", "ulimit -v \(limit); exec \"$0\" \"$@\"", program, "--dry-run"] + arguments
                process.currentDirectoryURL = URL(fileURLWithPath: folder)
                let errors = Pipe()
                (process.standardOutput, process.standardError) = (FileHandle.nullDevice, errors)
                try process.run()
                let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                #expect(process.terminationStatus == 1, "\(text)")
                return text
            }
            let large = try refusal(limit: 8_000_000, ["-e", "phi-1.5", "-b", "1", "-t", "20"])
            #expect(large.contains("error: this takes 22.") && large.contains("leaves 8."), "\(large)")
            #expect(
                large.contains("alone take 22.7 GB: take a smaller model; to generate with it takes 5.7 GB"), "\(large)"
            )
            let batch = try refusal(limit: 1_000_000, ["-b", "64", "-t", "1024"])
            #expect(
                batch.contains("--batch-size (-b) 32 fits") || batch.contains("--batch-size (-b) 16 fits"), "\(batch)")
            let row = try refusal(limit: 1_000_000, ["-b", "2", "-t", "100000"])
            #expect(row.contains("--batch-size (-b) 1 and --sequence-length (-t) "), "\(row)")
        }
    }
#endif

@Test func `convert rounds a model to int8, and every program that generates takes it`() throws {
    try withRun { folder in
        try expectSuccess("convert", ["--from", "run/best", "--to", "small", "--dtype", "int8"], in: folder)
        func answer(_ arguments: [String]) throws -> String {
            let result = try run("generate", arguments + ["--prompt", "a", "-n", "8", "--greedy"], in: folder)
            #expect(result.status == 0, "\(arguments): \(result.errors)")
            return result.output
        }
        let given = try answer(["--model", "small", "--weights", "int8"])
        // The files say it.
        let found = try answer(["--model", "small"])
        #expect(found == given)
        // It comes back as the floats that it stands for.
        try expectSuccess("convert", ["--from", "small", "--to", "floats"], in: folder)
        let back = try answer(["--model", "floats", "--weights", "int8"])
        #expect(back == given)
        try expectRefusal(
            "not int8", of: "convert", ["--from", "run/best", "--to", "x.bin", "--dtype", "int8"], in: folder, status: 2
        )
        try expectRefusal(
            "would lose the original", of: "convert", ["--from", "small", "--to", "small", "--dtype", "int8"],
            in: folder)
    }
}
