// fuzz looks for inputs that make a reader trap: `fuzz [SECONDS] [SEED]`, behind .ci/run. Files of tokenizers, of
// weights as Hugging Face stores them, and of adapters are damaged at random places and read. A tokenizer that still reads
// encodes hard texts, and a lossless one must give back their bytes; of weights every tensor is read; an adapter is put on
// a model. A trap ends the process, so `fuzz` prints the seed first, and the same seed repeats the run.
//
// `fuzz ids PATH` is the other side of dev/reference/compare_tokenizers.py: texts on standard input, each behind its
// length as UInt32; on standard output, for each: the ids, and the two decodings, each behind its length. `fuzz decode
// PATH` takes lists of ids, as Int32; its answers are the text of each, that of its first half, and what the second half
// adds to that. `fuzz conversations` and `fuzz chat` are in chat.swift.

import Foundation
import LLM

@main
enum Fuzz {
    static func main() {
        runReportingErrors {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.first == "ids", words.count == 2 {
                try answerTexts(with: try Tokenizer(at: words[1]))
            } else if words.first == "decode", words.count == 2 {
                let tokenizer = try Tokenizer(at: words[1])
                try answerEach { (ids: [Int32]) in
                    let half = Array(ids.prefix(ids.count / 2))
                    let rest = tokenizer.decode(Array(ids.dropFirst(half.count)), after: half)
                    return [tokenizer.decode(ids), tokenizer.decode(half), rest].reduce(into: Data()) { put($1, &$0) }
                }
            } else if words.first == "conversations", words.count == 2 {
                try printConversations(of: words[1])
            } else if words.first == "chat", words.count == 5 {
                try printChat(tokenizer: words[1], template: words[2], file: words[3], directory: words[4])
            } else {
                let seconds = words.first.flatMap { Double($0) } ?? 60
                let seed = words.dropFirst().first.flatMap { UInt64($0) } ?? UInt64(Date().timeIntervalSince1970)
                print("fuzz for \(Int(seconds)) s with seed \(seed)")
                try fuzz(seconds: seconds, seed: seed)
            }
        }
    }

    static func answerTexts(with tokenizer: Tokenizer) throws {
        var encoder = try tokenizer.makeEncoder(recognizesSpecialTokens: true)
        try answerEach { (text: [UInt8]) in
            var ids: [Int32] = []
            text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
            ids = tokenizer.puttingTemplate(around: ids)
            var output = Data()
            put(ids, &output)
            put(tokenizer.decode(ids), &output)
            put(tokenizer.decode(ids, skippingSpecialTokens: true), &output)
            return output
        }
    }

    static func answerEach<Value: BitwiseCopyable>(_ answer: ([Value]) throws -> Data) throws {
        let input = FileHandle.standardInput.readDataToEndOfFile()
        var output = Data()
        var position = 0
        while position + 4 <= input.count {
            let values = input.withUnsafeBytes { raw in
                let count = Int(raw.loadUnaligned(fromByteOffset: position, as: UInt32.self))
                return (0..<count).map {
                    raw.loadUnaligned(fromByteOffset: position + 4 + $0 * MemoryLayout<Value>.stride, as: Value.self)
                }
            }
            position += 4 + values.count * MemoryLayout<Value>.stride
            output += try answer(values)
        }
        try FileHandle.standardOutput.write(contentsOf: output)
    }

    static func put<Value: BitwiseCopyable>(_ values: [Value], _ output: inout Data) {
        withUnsafeBytes(of: UInt32(values.count).littleEndian) { output.append(contentsOf: $0) }
        values.withUnsafeBytes { output.append(contentsOf: $0) }
    }

    /// Small tokenizers of every kind, as they stand in files.
    static let seeds: [String] = {
        let added = """
            "added_tokens": [{"id": 0, "content": "[UNK]", "special": true, "normalized": false, "lstrip": true},
            {"id": 9, "content": "new word", "special": false, "normalized": true, "single_word": true}]
            """
        let vocabulary = """
            "vocab": {"[UNK]": 0, "a": 1, "b": 2, "##b": 3, "ab": 4, "가": 5, "##나": 6, "가나": 7, "<0xEA>": 8}
            """
        let pair = "\"merges\": [[\"a\", \"##b\"], [\"가\", \"##나\"]]"
        let regex = String(decoding: JSON.quoted(Array(WordPattern.o200k.regex.utf8)), as: UTF8.self)
        return [
            """
            {"version": "1.0", \(added), "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"},
            {"type": "Replace", "pattern": {"String": "ab"}, "content": "b"}, {"type": "Prepend", "prepend": "_"}]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
            {"type": "Punctuation", "behavior": "MergedWithNext"}, {"type": "Digits", "individual_digits": true}]},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"x": {"id": "x", "ids": [0], "tokens": ["x"]}}},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true}, "model": {"type": "BPE",
            "unk_token": "[UNK]", "continuing_subword_prefix": "##", "fuse_unk": true, "byte_fallback": true,
            \(vocabulary), \(pair)}}
            """,
            """
            {\(added), "normalizer": {"type": "BertNormalizer", "lowercase": true}, "pre_tokenizer":
            {"type": "BertPreTokenizer"}, "post_processor": {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]},
            "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 1}]}, "model": {"type": "WordPiece",
            "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 5, \(vocabulary)}}
            """,
            """
            {\(added), "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"},
            "decoder": {"type": "Metaspace", "replacement": "_"}, "model": {"type": "BPE", "end_of_word_suffix": "b",
            \(vocabulary), "merges": ["a b"], "ignore_merges": true}}
            """,
            """
            {"added_tokens": [{"id": 12, "content": "<|x|>", "special": true}], "pre_tokenizer": {"type": "Sequence",
            "pretokenizers": [{"type": "Split", "pattern": {"Regex": \(regex)}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "ê": 3, "Ġ": 4, "<|x|>": 12}, "merges": ["a b"]}}
            """,
        ]
    }()

    /// A small safetensors file with tensors of several types, one of them empty and one at an odd address.
    static let weights = safetensors(
        """
        {"__metadata__": {"format": "pt"}, "mask": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [3, 27]}, "b": {"dtype": "F16", "shape": [1, 2],
        "data_offsets": [27, 31]}, "c": {"dtype": "BF16", "shape": [], "data_offsets": [31, 33]},
        "d": {"dtype": "F32", "shape": [0, 7], "data_offsets": [33, 33]}}
        """, [UInt8](0..<dataCount))
    static let dataCount: UInt8 = 33

    static let index = """
        {"metadata": {"total_size": 33}, "weight_map": {"a": "shard", "b": "shard", "c": "shard", "d": "shard"}}
        """

    static func safetensors(_ header: String, _ data: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8) + data
    }

    /// Takes what is damaged in `weights` for its header: without the right length before it, nothing behind the check
    /// of that length would be tested.
    static func repairLength(_ bytes: inout [UInt8]) {
        guard bytes.count >= 8 else { return }
        let length = max(0, bytes.count - 8 - Int(dataCount))
        withUnsafeBytes(of: UInt64(length).littleEndian) { bytes.replaceSubrange(0..<8, with: $0) }
    }

    static func readWeights(_ directory: String) throws {
        let folder = try SafetensorsFolder(directory)
        for (name, entry) in folder.entries {
            let floats = UnsafeMutablePointer<Float>.allocate(capacity: max(1, entry.count))
            defer { floats.deallocate() }
            do {
                try folder.readFloats(name, shape: entry.shape, into: floats)
                guard entry.shape.count == 2 else { continue }
                try folder.readTransposedFloats(name, shape: (entry.shape[0], entry.shape[1]), into: floats)
            } catch is UserError {}  // a type that is no float
        }
    }

    /// Writes an adapter of a small GPT-2 with a new word, and settings of every kind.
    static func writeAdapter(to directory: String, on model: GPT2) throws {
        var settings = LoRAConfiguration()
        settings.rank = 2
        settings.ranks = [("(mlp|attn)\\.c_proj", 1)]
        settings.alphas = [("h\\.\\d{1,2}\\..*", 3)]
        settings.excluded = .expression(".*h\\.0\\.(?:mlp\\.[^x]_fc|attn.*)")
        let adapter = try Adapter(settings, on: model.config)
        adapter.initialize(seed: 1)
        adapter.tokens = [model.config.V - 1]
        let set = DurableFiles()
        try PEFTAdapter.write(adapter, on: model, basePath: "base", fingerprint: 0, to: directory, in: set)
        try set.commit()
    }

    /// Puts an adapter on a model with room for its words, and takes a step.
    static func readAdapter(_ directory: String, on model: GPT2) throws {
        let adapter = try PEFTAdapter(directory)
        let V = try adapter.vocabulary(of: model.V)
        guard V < 1000 else { return }
        let grown = model.grown(to: V)
        grown.parameters.put(try adapter.read(on: grown, fingerprint: 0))
        grown.forward(inputs: [0, Int32(V - 1)], .batch(B: 1, T: 2))
    }

    static func fuzz(seconds: Double, seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        let directory = NSTemporaryDirectory() + "llm-fuzz-\(getpid())"
        try createDirectory(directory)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let lossless = try byteLevel(&random)
        var files = seeds.map { ("tokenizer.json", Array($0.utf8)) }
        files.append(("tokenizer.json", lossless.json()))
        files.append(("tokenizer.bin", lossless.binary() ?? []))
        files.append(("vocab.txt", Array("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n가\n##나\n".utf8)))
        files.append(("gpt2.tiktoken", Array("IQ== 0\nIg== 1\nISI= 2\n".utf8)))
        for folder in ["one", "shards"] { try createDirectory("\(directory)/\(folder)") }
        files.append(("one/model.safetensors", weights))
        files.append(("shards/model.safetensors.index.json", Array(index.utf8)))
        try Data(weights).write(to: URL(fileURLWithPath: "\(directory)/shards/shard"))
        let model = GPT2(GPT2Configuration(maxT: 4, V: 7, L: 2, NH: 1, C: 4), trains: false)
        try writeAdapter(to: "\(directory)/adapter", on: model.grown(to: 8))
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            var bytes = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/adapter/\(name)"))
            // With a checksum no damage would be read.
            if let place = bytes.range(of: Data("checksum".utf8)) { bytes[place.lowerBound] = UInt8(ascii: "C") }
            files.append(("adapter/\(name)", Array(bytes)))
        }
        let numbers = ["1000000000000", "-1", "9223372036854775808", "1e300", "0.5", "-0", "NaN", "0"].map {
            Array($0.utf8)
        }
        let words = [
            "{", "}", "[", "]", "\"", ":", ",", "null", "-1", "1e99", "4294967296", "\"type\"", "\\u0000", "\u{FF}",
            "18446744073709551615", "\"a\"",
        ]
        .map { Array($0.utf8) }
        let start = now()
        var (rounds, read) = (0, 0)
        while now() - start < seconds {
            rounds += 1
            var (name, bytes) = files[random.below(files.count)]
            for _ in 0..<random.below(4) where !bytes.isEmpty {
                let at = random.below(bytes.count)
                let length = min(bytes.count - at, 1 + random.below(12))
                switch random.below(7) {
                case 6: replaceNumber(in: &bytes, after: at, by: numbers[random.below(numbers.count)])
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes[at] ^= 1 << UInt8(random.below(8))
                case 2: bytes.removeSubrange(at..<at + length)
                case 3: bytes.insert(contentsOf: bytes[at..<at + length], at: random.below(bytes.count))
                case 4: bytes.insert(contentsOf: words[random.below(words.count)], at: at)
                default: bytes = Array(bytes[..<at])
                }
            }
            if name == "one/model.safetensors", random.below(4) > 0 { repairLength(&bytes) }
            let path = "\(directory)/\(name)"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            if name.hasPrefix("adapter/") {
                do {
                    try readAdapter(folder(of: path), on: model)
                    read += 1
                } catch is UserError {}
                // One damaged file at a time.
                for (name, bytes) in files where name.hasPrefix("adapter/") {
                    try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
                }
                continue
            }
            if name.contains("safetensors") {
                do {
                    try readWeights(folder(of: path))
                    read += 1
                } catch is UserError {}
                continue
            }
            let text = hardText(&random)
            do {
                let tokenizer = try Tokenizer(path: path)
                read += 1
                if tokenizer.model != nil {
                    let ids = try tokenizer.encode(text)
                    _ = tokenizer.decode(ids)
                    _ = tokenizer.decode(ids, skippingSpecialTokens: true)
                    _ = try tokenizer.adding([Array("더하기".utf8)]).json()
                }
                for id in 0..<min(20, tokenizer.vocabularySize) { _ = tokenizer.bytes(of: id) }
            } catch is UserError {}
            // Any bytes come back.
            guard try lossless.decode(lossless.encode(text)) == text else {
                throw UserError("the bytes \(text) do not come back", hint: "fuzz 60 \(seed) repeats it")
            }
        }
        print("\(rounds) files, \(read) of them read, no trap")
    }

    /// What a size in a file is taken for when it is none: a loop that long, memory that large.
    private static func replaceNumber(in bytes: inout [UInt8], after start: Int, by number: [UInt8]) {
        let isDigit = { (byte: UInt8) in (0x30...0x39).contains(byte) }
        guard let first = bytes[start...].firstIndex(where: isDigit) else { return }
        let end = bytes[first...].firstIndex { !isDigit($0) } ?? bytes.count
        bytes.replaceSubrange(first..<end, with: number)
    }

    private static func byteLevel(_ random: inout Xorshift) throws -> Tokenizer {
        var words = WordCounts()
        for _ in 0..<200 {
            let text = hardText(&random)
            text.withUnsafeBufferPointer {
                words.add(linesOf: $0, .byteLevel(addsPrefixSpace: false, words: .gpt2))
            }
        }
        var trainer = BytePairTrainer(words, specialTokens: [Array("<|endoftext|>".utf8)], vocabularySize: 300)
        return try Tokenizer(
            trainer.train(), addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
    }

    private static func hardText(_ random: inout Xorshift) -> [UInt8] {
        let parts = [
            "a", "ab", "가나", "\u{1112}\u{1161}\u{11AB}", "e\u{301}\u{323}", "İ", " ", "\n", "\u{3000}", "'s", "!", "1½",
            "😀", "new word",
            "[UNK]", "\0", "_", "日",
        ]
        var text: [UInt8] = []
        for _ in 0..<random.below(30) {
            text +=
                random.below(6) == 0
                ? [UInt8(truncatingIfNeeded: random.next())] : Array(parts[random.below(parts.count)].utf8)
        }
        return text
    }
}
