// What the words of a trainer's command line mean.

import Foundation
import LLM
import Testing

@Test func `without options the settings are the table's`() throws {
    let settings = try trainingSettings([])
    #expect(settings.trainData == "data/train_*.bin" && settings.validationData == "data/val_*.bin")
    #expect(settings.output == nil && settings.resume == .unspecified && settings.checkpointEvery == nil)
    #expect(settings.keep == 0 && settings.majorEvery == 0 && settings.bestBy == .loss && settings.B == 4)
    #expect(!settings.overfitsBatch && settings.answerMark == nil && settings.schedule == .cosine)
    #expect(settings.lossOn == .all && settings.conventions == .llmC)
    #expect(settings.learningRate == 3e-4 && settings.warmup == 0 && settings.finalFraction == 1 && settings.decay == 0)
    #expect(settings.skipLossZ == 0 && settings.skipNormZ == 0 && settings.validateEvery == 20)
    #expect(settings.validationBatches == 20 && settings.sampleEvery == 20 && settings.sampleLength == 64)
    #expect(settings.seed == 42 && settings.newModelT == 1024 && settings.dropout == 0)
}

@Test func `every option reaches its setting`() throws {
    let settings = try trainingSettings(
        "-i a/t_*.bin -j b/v_*.bin --tokenizer tok -o out -n 3 -nk 4 -nm 5 --best-by accuracy -y 1 -b 6 -t 7 -d 84 -x 8"
            .split(separator: " ").map { String($0) }
            + "--epochs 9 -a 1 -k wsd --loss-on answer --answer-mark A -l 0.1 -u 11 -q 0.2 -c 0.3 -sl 1.5 -sg 2.5"
            .split(separator: " ").map { String($0) }
            + "-v 12 -m 13 -s 14 -g 15 --seed 16 --trainer transformers --dropout 0.1".split(separator: " ").map {
                String($0)
            })
    #expect(settings.trainData == "a/t_*.bin" && settings.validationData == "b/v_*.bin")
    #expect(settings.tokenizer == "tok" && settings.output == "out" && settings.checkpointEvery == 3)
    #expect(settings.keep == 4 && settings.majorEvery == 5 && settings.bestBy == .accuracy)
    #expect(settings.resume == .continues && settings.B == 6 && settings.newModelT == 7)
    #expect(try settings.microBatches(T: 7) == 2)
    #expect(settings.overfitsBatch && settings.schedule == .wsd && settings.answerMark == "A")
    #expect(settings.lossOn == .answer && settings.conventions == .transformers)
    #expect(settings.learningRate == 0.1 && settings.warmup == 11 && settings.finalFraction == 0.2)
    #expect(settings.dropout == 0.1 && settings.kept["dropout"] == "0.1")
    for wrong in ["1", "-0.1", "nan"] {
        expectUserError(wrong) { _ = try trainingSettings(["--dropout", wrong]) }
    }
    #expect(settings.decay == 0.3 && settings.skipLossZ == 1.5 && settings.skipNormZ == 2.5)
    #expect(settings.validateEvery == 12 && settings.validationBatches == 13)
    #expect(settings.sampleEvery == 14 && settings.sampleLength == 15 && settings.seed == 16)
    #expect(try trainingSettings(["-y", "0"]).resume == .startsOver)
}

@Test func `validation data lies beside the train data, unless it is given`() throws {
    #expect(try trainingSettings(["-i", "x/train_*.bin"]).validationData == "x/val_*.bin")
    #expect(try trainingSettings(["-i", "train_*.bin"]).validationData == "val_*.bin")
    #expect(try trainingSettings(["-i", "x/train_*.bin", "-j", "y.bin"]).validationData == "y.bin")
    #expect(try trainingSettings(["-j", "y.bin"]).trainData == "data/train_*.bin")
    // A folder stands for the shards in it.
    try withTemporaryDirectory { folder in
        for given in [folder, folder + "/"] {
            let settings = try trainingSettings(["-i", given])
            #expect(settings.trainData == folder + "/train_*.bin" && settings.validationData == folder + "/val_*.bin")
            #expect(try trainingSettings(["-j", given]).validationData == folder + "/val_*.bin")
        }
    }
}

@Test func `a sequence is no longer than the model's positions`() throws {
    let free = try trainingSettings([])
    #expect(try free.T(maxT: 64) == 64 && free.T(maxT: 1024) == 1024 && free.T(maxT: 2048) == 1024)
    let given = try trainingSettings(["-t", "100"])
    #expect(try given.T(maxT: 100) == 100 && given.T(maxT: 1000) == 100)
    expectUserError("too long") { _ = try given.T(maxT: 99) }
}

@Test func `a step is made of whole passes`() throws {
    #expect(try trainingSettings(["-b", "3"]).microBatches(T: 5) == 1)
    #expect(try trainingSettings(["-b", "3", "-d", "60"]).microBatches(T: 5) == 4)
    for total in ["1", "14", "16", "59"] {
        expectUserError(total) { _ = try trainingSettings(["-b", "3", "-d", total]).microBatches(T: 5) }
    }
}

@Test func `steps come from the epochs, or are given`() throws {
    for (options, microBatches, expected) in [
        ([], 1, 10), (["--epochs", "2.5"], 1, 25), (["--epochs", "1"], 3, 3), (["--epochs", "0.6"], 5, 1),
        (["-x", "7", "--epochs", "3"], 1, 7), (["-x", "0"], 1, 0), (["-x", "-1"], 2, 5),
    ] as [([String], Int, Int)] {
        let steps = try trainingSettings(options).steps(batches: 10, microBatches: microBatches)
        #expect(steps == expected, "\(options)")
    }
    expectUserError("not one step") {
        _ = try trainingSettings(["--epochs", "0.9"]).steps(batches: 10, microBatches: 10)
    }
}

@Test func `a checkpoint to continue from`() throws {
    try withTemporaryDirectory { folder in
        func step(_ arguments: [String]) throws -> Int? {
            let settings = try trainingSettings(arguments)
            return try settings.checkpoint(in: settings.openOutput()) { try readGPT2($0, trains: true) }?.state.step
        }
        #expect(try step([]) == nil)
        #expect(try step(["-y", "0"]) == nil)
        expectUserError("resume from where?") { _ = try step(["-y", "1"]) }
        for resume in [[], ["-y", "0"], ["-y", "1", "-x", "3"]] { #expect(try step(["-o", folder] + resume) == nil) }
        expectUserError("a run of the defaults?") { _ = try step(["-o", folder, "-y", "1", "--threads", "1"]) }
        try makeData(folder)
        var run = try Run(data: folder)
        for step in [2, 5] {
            run.step = step
            try CheckpointDirectory(folder).write(run.model, run.state)
        }
        #expect(try step(["-o", folder, "-y", "1"]) == 5)
        #expect(try step(["-o", folder, "-y", "0"]) == nil)
        expectUserError("a run is there") { _ = try step(["-o", folder]) }
    }
}

@Test func `the tokenizer is the one given, or the one beside the data`() throws {
    try withTemporaryDirectory { folder in
        let path = try fixture("tokenizer_600.json")
        #expect(try trainingSettings(["--tokenizer", path]).findTokenizer()?.vocabularySize == 600)
        #expect(try trainingSettings(["-i", folder + "/train_*.bin"]).findTokenizer() == nil)
        try write(try bytes(path), to: folder + "/tokenizer.json")
        #expect(try trainingSettings(["-i", folder + "/train_*.bin"]).findTokenizer()?.vocabularySize == 600)
        expectUserError("none there") { _ = try trainingSettings(["--tokenizer", folder + "/none"]).findTokenizer() }
    }
}

@Test func `a checkpoint that does not say whose conventions it follows has llm.c's`() throws {
    let first = try trainingOptions(["--trainer", "transformers", "--loss-on", "text"])
    var kept = TrainingSettings(first).kept
    let same = TrainingSettings(try trainingOptions([]).completed(from: kept))
    #expect(same.conventions == .transformers && same.lossOn == .text)
    kept["trainer"] = nil
    #expect(TrainingSettings(try trainingOptions([]).completed(from: kept)).conventions == .llmC)
    expectUserError("nobody's") { _ = try trainingOptions([]).completed(from: ["trainer": "nobody"]) }
}
