// convert takes a model from one format to another: a Hugging Face directory, or llm.c's file, which is GPT-2's alone.
//
// The formats are Sources/LLM/Formats/HuggingFaceModel.swift and Sources/LLM/Formats/LLMCModelFile.swift.

import Foundation
import LLM

let aboutConverting =
    "takes a GPT-2 from Hugging Face's format to llm.c's, or the other way round\n\n"
    + "A directory with config.json is a Hugging Face model; a file is llm.c's. The tokenizer comes along: into the\n"
    + "directory, or beside the file. A Phi is a directory only: here it changes its format or its tokenizer. With\n"
    + "--merge an adapter becomes part of the model: the new one needs no adapter.\n\n"
    + "  convert --from downloads/gpt2 --to models/gpt2.bin\n"
    + "  convert --from data/model/model_best.bin --to my-gpt2\n"
    + "  convert --merge my-adapter --to my-phi\n\n"
    + "Then, in Python: AutoModelForCausalLM.from_pretrained(\"my-gpt2\")"

let table: [Option] = [
    Option("from", "i", .text, "DIR|FILE", "the model to read (with --merge: default is the adapter's)"),
    Option("to", "o", .text, "DIR|FILE.bin", "where to write it: a name that ends in .bin is llm.c's file"),
    Option("merge", nil, .text, "DIR", "an adapter that is to become part of the model"),
    Option(
        "tokenizer", "k", .text, "DIR",
        "the tokenizer to write with it (default: the one in the adapter's folder, in the model's, or in the folder "
            + "above)"),
    Option(
        "dtype", nil, .choice(WeightFormat.allCases.map(\.rawValue)), default: "float32",
        "how the weights are stored; bfloat16 takes half the space, int8 a quarter, for generating with these programs"),
]

@main
enum Convert {
    static func main() {
        runReportingErrors {
            let options = try Options(program: "convert", about: aboutConverting, table: table)
            let example = "convert --from data/model/model_best.bin --to my-gpt2"
            let adapters = try NamedAdapter.open(options.texts("merge"))
            let adapter = adapters.first?.adapter
            let from = try modelPath(of: adapters, given: options.text("from"), else: "")
            guard !from.isEmpty else {
                throw UserError(
                    "--from is missing" + (adapter.map { ", and \($0.path) does not say what its model is" } ?? ""),
                    hint: example, exitCode: 2)
            }
            let to = try options.required("to", example: example)
            _ = try modelKind(from)  // What is no model is said before anything about its tokenizer.
            let format = WeightFormat(rawValue: options.text("dtype") ?? "") ?? .float32
            let writesFile = to.hasSuffix(".bin")
            if writesFile, format == .int8 {
                throw UserError(
                    "llm.c's file has float32 or bfloat16, not int8",
                    hint: "name a directory: --to \(to.dropLast(4))", exitCode: 2)
            }
            if writesFile, isDirectory(to) {
                throw UserError("\(to) is a directory", hint: "choose another name for the file", exitCode: 2)
            }
            if !writesFile, fileExists(to), !isDirectory(to) {
                throw UserError(
                    "\(to) is a file", hint: "name a directory, or a file that ends in .bin", exitCode: 2)
            }

            try refusePartOfRun(to, option: "--to")
            let isSame = realPath(from) == realPath(to)
            if format != .float32, isSame {
                throw UserError(
                    "rounding \(from) in place would lose the original", hint: "choose another name with --to")
            }
            if let adapter, isSame || realPath(adapter.path) == realPath(to) {
                throw UserError(
                    "merging into \(to) in place would lose the original", hint: "choose another name with --to")
            }
            let found = try findTokenizer(options, from, adapter, isNeeded: !writesFile)
            let tokenizer = found?.tokenizer
            if let (tokenizer, place) = found {
                guard tokenizer.model != nil else {
                    throw UserError(
                        "a tokenizer.bin has no merges, and tokenizer.json needs them",
                        hint: "name a directory with tokenizer.json: --tokenizer DIR")
                }
                try checkTokenizer(
                    tokenizer, from: place, belongsTo: from, vocabulary: try vocabulary(ofModel: from, with: adapter))
                try checkModelFolder(writesFile ? folder(of: to) : to, tokenizer, isFile: writesFile)
            }
            if writesFile, try modelKind(from) == .phi {
                throw UserError(
                    "\(from) is a Phi, and llm.c's file holds a GPT-2 only",
                    hint: "name a directory: --to \(to.dropLast(4))", exitCode: 2)
            }
            let template = savedTemplate(in: [adapter?.path, from])
            let (model, read) = try readModel(from, adapters: adapter.map { [$0] } ?? [])
            for adapter in read { adapter.merge(into: model.parameters) }
            switch model {
            case let model as GPT2:
                // What has grown with an adapter has the tokenizer that has grown with it.
                if model.tokenizer == nil || adapter != nil {
                    model.tokenizer = tokenizer?.fingerprint() ?? model.tokenizer
                }
                if writesFile {
                    try write(model, tokenizer, to: to, format)
                } else if let tokenizer {
                    try HuggingFaceGPT2.write(model, tokenizer, template, to: to, format: format)
                }
            case let model as Phi: try HuggingFacePhi.write(model, tokenizer, template, to: to, format: format)
            default: preconditionFailure("there are two kinds of models")
            }
            let config = model.config
            print("\(to): \(config.summary), \(config.maxT) positions, \(format.rawValue)")
            if tokenizer == nil { note("note: no tokenizer was written") }
        }
    }

    /// The tokenizer that was given, or is in the adapter's folder, or in the model's, or in the folder above, where
    /// `make run` has it.
    /// - Returns: also the place, as a person would name it.
    static func findTokenizer(
        _ options: Options, _ from: String, _ adapter: PEFTAdapter?, isNeeded: Bool
    ) throws -> (tokenizer: Tokenizer, place: String)? {
        if let path = options.text("tokenizer") { return (try Tokenizer(at: path), path) }
        let own = isDirectory(from) ? from : folder(of: from)
        let places = isDirectory(from) ? [own] : [own, own == "." ? ".." : folder(of: own)]
        for place in (adapter.map { [$0.path] } ?? []) + places {
            guard let path = Tokenizer.file(in: place) else { continue }
            do {
                return (try Tokenizer(path: path), place)
            } catch let error as UserError where !isNeeded {
                note("note: the tokenizer is left out: \(error.message)")
                return nil
            }
        }
        guard !isNeeded else {
            throw UserError(
                "there is no tokenizer with \(from)", hint: "name the one it was trained with: --tokenizer DIR")
        }
        return nil
    }

    /// llm.c's file, and the tokenizer beside it.
    static func write(_ model: GPT2, _ tokenizer: Tokenizer?, to path: String, _ format: WeightFormat) throws {
        let directory = folder(of: path)
        try createDirectory(directory)
        let set = DurableFiles()
        try set.write(path) { try LLMCModelFile.write(model, to: $0, format: format) }
        try tokenizer?.writeAll(to: directory, in: set)
        try set.commit()
    }
}
