// train_bert trains a BERT or a DistilBERT on token shards, to say what hidden words were: batches → masks → forward →
// classify → backward → clip → update, with validation and checkpoints on the way. Its checkpoints are Hugging Face
// directories.
//
// The model is Sources/LLM/Models/BERT.swift, the masks are Sources/LLM/Data/MaskedLoader.swift. What a step does around
// it is Sources/LLM/Training/Trainer.swift, and the options that every trainer has are
// Sources/LLM/Training/TrainingSettings.swift.

import Kernels
import LLM

let aboutTraining =
    "trains a BERT or a DistilBERT on token shards, from scratch or from a checkpoint\n\n"
    + "The model sees texts in which 15% of the tokens are asked for, most of them hidden, and learns to say what they\n"
    + "were (masked-language modelling). The shards are those of a tokenizer with [CLS], [SEP] and [MASK].\n\n"
    + "  tokenize --tokenizer my-bert --input texts.txt --document line --output data/bert\n"
    + "  train_bert --model my-bert -i 'data/bert/train_*.bin' -o data/bert/model\n\n"
    + "Each checkpoint is a directory that AutoModelForMaskedLM.from_pretrained loads as it is. Ctrl-C writes one into\n"
    + "--output and stops."

let own: [Option] = [
    Option(
        "model", "e", .text, "DIR",
        "a Hugging Face directory of a BERT or DistilBERT to continue from (default: a new model of the shape below)"),
    Option(
        "architecture", nil, .choice(["bert", "distilbert"]), default: "bert",
        "of a new model; a DistilBERT has no segments and no pooler"),
    Option("layers", nil, .integer(1...1000), "N", default: "4", "layers of a new model"),
    Option("heads", nil, .integer(1...1000), "N", default: "4", "attention heads of a new model"),
    Option(
        "channels", nil, .integer(1...100_000), "N", default: "128", "channels of a new model, a multiple of heads"),
    Option(
        "vocab-size", nil, .integer(1...16_000_000), "N", "vocabulary of a new model (default: the tokenizer's)"),
    Option("masked", nil, .number(0.01...0.9), "X", default: "0.15", "the share of tokens that are asked for"),
    Option("whole-words", nil, .flag, "[0|1]", "ask for all pieces of a word together"),
]

let table = TrainingSettings.table(model: own) { "data/bert/\($0)_*.bin" }.filter {
    // What the loss is on, the masks say; and a BERT writes no samples.
    !["loss-on", "answer-mark", "sample-every", "sample-length"].contains($0.long)
}.map { row in
    row.long == "dropout"
        ? Option(
            "dropout", nil, .number(0...0.999), "X", default: "0.1",
            "the share of embeddings, attention probabilities and layers' outputs that each step sets to 0 (with --model: "
                + "default as its configuration says)") : row
}

@main
enum Main {
    static func main() {
        runOnAllRanks { try train(Options(program: "train_bert", about: aboutTraining, table: table)) }
    }

    static func train(_ given: Options) throws {
        let directory = try TrainingSettings(given).openOutput(.directories)
        // Which part is trained must be known before a checkpoint's moments are read.
        let part = try TrainedPart(given.completed(from: TrainingSettings(given).keptSettings(in: directory)))
        let checkpoint = try TrainingSettings(given).checkpoint(in: directory) { try readBERT($0, training: part) }
        let options = try checkpoint.map { try TrainingSettings.continuing(given, from: $0.state) } ?? given
        let settings = TrainingSettings(options, keepingDefaultsOf: ["masked", "whole-words"])
        if let threads = settings.threads { useThreads(threads) }
        // Without shards there is no tokenizer beside them, either, which would be the wrong thing to ask for.
        _ = try DataLoader.shards(matching: settings.trainData)
        let found = try settings.findTokenizer(
            ofModel: checkpoint.flatMap { directory?.modelPath($0.state.step) } ?? options.text("model"))
        guard let tokenizer = found else {
            throw UserError(
                "no tokenizer with the shards, and masks need [CLS], [SEP] and [MASK]",
                hint: "name the one that made them: --tokenizer DIR")
        }
        let masking = try Masking(
            tokenizer, hidesWords: options.flag("whole-words"), share: Float(options.double("masked")))
        let (model, origin) =
            try checkpoint.map { ($0.model, "checkpoint") } ?? makeModel(options, settings, tokenizer, part)
        let config = model.config
        if checkpoint != nil { try checkShape(of: config, at: settings.output ?? "", options, settings) }
        if let checkpoint, let directory {
            try settings.checkTokenizer(tokenizer, belongsTo: directory.modelPath(checkpoint.state.step))
        }
        let T = try settings.T(maxT: config.maxT)
        guard T >= 3 else {
            throw UserError(
                "a sequence of \(T) has no room for a token between [CLS] and [SEP]",
                hint: "take a larger --sequence-length (-t)", exitCode: 2)
        }
        try checkMemory(config.bytes(rows: settings.B * T, training: part))
        let (data, validation) = try settings.loadShards(tokenizer, V: config.V, T: T - 2)
        let trainer = try Trainer(
            model, settings, tokenizer: tokenizer, directory: directory, resumed: checkpoint?.state,
            data: MaskedLoader(data, masking, seed: settings.seed),
            validation: validation.map { MaskedLoader($0, masking, seed: settings.seed) },
            microBatches: try settings.microBatches(T: T), T: T
        ) { path, files in
            try HuggingFaceBERT.write(model, tokenizer, to: path, in: files)
        }
        // A model comes with its rates, and so does a checkpoint: the run's own default must not replace them.
        if given.isGiven("dropout") { (model.dropout, model.attentionDropout) = (settings.dropout, settings.dropout) }
        trainer.introduce("\(origin): \(config.summary)")
        if settings.isDryRun { return }

        // A step. What it calls is in Trainer.swift and in BERT.swift.
        try trainer.run {
            if trainer.validationIsDue { try trainer.validate() }
            if trainer.checkpointIsDue { trainer.save() }
            guard try trainer.continues() else { return }

            try trainer.forEachBatch { batch, gradientScale in
                model.forward(
                    inputs: batch.inputs, segments: batch.segments, lengths: batch.lengths, dropout: batch.dropoutKey)
                let loss = model.classify(targets: batch.targets, gradientScale: gradientScale)
                model.backward(inputs: batch.inputs)
                return loss
            }
            trainer.clip()
            try trainer.update()
        }
    }

    // MARK: - the model

    /// Refuses a model that has another shape than the command line asks for.
    static func checkShape(
        of config: BERTConfiguration, at path: String, _ options: Options, _ settings: TrainingSettings
    ) throws {
        try settings.checkShape(
            of: path, options,
            has: [
                ("layers", config.L, nil), ("channels", config.C, nil), ("heads", config.NH, nil),
                ("vocab-size", config.V, nil),
            ])
        let kind = config.isDistilBERT ? "distilbert" : "bert"
        guard !options.isGiven("architecture") || options.text("architecture") == kind else {
            throw UserError(
                "\(path) is a \(kind), not a \(options.text("architecture") ?? "")",
                hint: "leave out --architecture, or choose another model or --output")
        }
    }

    /// The model of a directory or of a shape, and what to call its origin.
    static func makeModel(
        _ options: Options, _ settings: TrainingSettings, _ tokenizer: Tokenizer, _ part: TrainedPart
    ) throws -> (BERT, String) {
        if let path = options.text("model") {
            try checkShape(of: readBERTConfiguration(path), at: path, options, settings)
            try settings.checkTokenizer(tokenizer, belongsTo: path)
            if fileExists("\(path)/modules.json") {
                note("note: checkpoints do not have \(path)/modules.json; tell embed its --pooling and --normalize")
            }
            return (try readBERT(path, training: part), path)
        }
        try part.requireTrainedModel()
        let (C, NH) = (options.int("channels"), options.int("heads"))
        guard C % NH == 0 else {
            throw UserError(
                "\(C) channels are not a multiple of \(NH) heads",
                hint: "take --channels that are a multiple of --heads", exitCode: 2)
        }
        var config = BERTConfiguration(
            maxT: options.isGiven("sequence-length") ? settings.newModelT : 512,
            V: options.isGiven("vocab-size") ? options.int("vocab-size") : tokenizer.vocabularySize,
            L: options.int("layers"), NH: NH, C: C, isDistilBERT: options.text("architecture") == "distilbert")
        config.hasHead = true
        try settings.checkTokenizer(tokenizer, fitsNewVocabulary: config.V)
        try checkMemory(config.bytes(rows: settings.B * config.maxT, trains: true))
        let model = BERT(config, trains: true)
        (model.dropout, model.attentionDropout) = (0.1, 0.1)
        if !settings.isDryRun { model.parameters.initialize(seed: settings.seed) }
        return (model, "new")
    }
}
