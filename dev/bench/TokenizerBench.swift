// The tokenizer's section of the benchmark. It trains on a text, then encodes that with what was learnt, on one thread
// and on all, into shards and without; and shows that words without an end cost no more than lines do.
// dev/bench/tokenizer_peers.py sets Hugging Face's library and tiktoken beside it, on the same text.

import Foundation
import LLM

/// - Parameters:
///   - text: a file or a folder; nil makes a small text.
///   - vocabulary: to encode with; nil encodes with what is learnt.
func tokenizerBench(text: String?, vocabulary: String?, quick: Bool) throws {
    let directory = NSTemporaryDirectory() + "llm-tokenizer-bench-\(getpid())"
    try createDirectory(directory)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = text ?? directory + "/text.txt"
    if text == nil { try Data(madeText(megabytes: quick ? 2 : 8)).write(to: URL(fileURLWithPath: path)) }
    let files = try openTexts([path])
    let size = files.reduce(0) { $0 + $1.size }
    print("\ntokenizer, \(text ?? "a made text"), \(size) bytes")
    print("                                               seconds    MB/s")
    /// The median of so many runs.
    func show(_ name: String, _ bytes: Int, runs: Int = quick ? 1 : 3, _ body: () throws -> Void) rethrows {
        let seconds = median(
            try (0..<runs).map { _ in
                let start = now()
                try body()
                return now() - start
            })
        print(column(name, 44) + String(format: "%9.3f  %7.1f", seconds, Double(bytes) / seconds * 1e-6))
        record("tokenizer", name.replacingOccurrences(of: " ", with: "_"), Double(bytes) / seconds * 1e-6)
    }

    let endOfText = Array("<|endoftext|>".utf8)
    var learnt = try vocabulary.map { try Tokenizer(at: $0) }
    for isBytes in vocabulary == nil ? [true, false] : [] {
        try show("training 32000, \(isBytes ? "byte level" : "prefix")", size) {
            let words = try WordCounts.counting(
                linesOf: files, isBytes ? .byteLevel(addsPrefixSpace: false, words: .gpt2) : .bert
            ).words
            var trainer = BytePairTrainer(
                words, alphabet: isBytes ? .bytes : .characters(prefix: Array("##".utf8)), specialTokens: [endOfText],
                vocabularySize: 32000)
            let pairs = trainer.train()
            if isBytes { learnt = try Tokenizer(pairs, addedTokens: [AddedToken(id: 0, content: endOfText)]) }
        }
    }
    guard let tokenizer = learnt else { return }
    try show("encoding, one thread, no word known before", size) {
        var encoder = try tokenizer.makeEncoder()
        var ids: [Int32] = []
        for file in files {
            try forEachBlock(of: file, blockSize: 1 << 20, cut: tokenizer.cut) { block, _ in
                ids.removeAll(keepingCapacity: true)
                encoder.encode(block, to: &ids)
            }
        }
    }
    for mode in [DocumentMode.line, .blank] {
        try show("into shards, a document a \(mode)", size) {
            _ = try CorpusWriter(tokenizer: tokenizer, mode: mode).write(files, fraction: 0, seed: 1, to: directory)
        }
    }
    for (name, word) in [("a", "a"), ("Hangul", "가나다라마바사아자차카타파하")] {
        let long = [UInt8](repeatElement(Array(word.utf8), count: 1_000_000 / word.utf8.count).joined())
        try show("a word of a megabyte, \(name)", long.count) { _ = try tokenizer.encode(long) }
    }
}

/// Words of Hangul syllables and of letters, frequent and rare as Zipf has it, the same in every run.
private func madeText(megabytes: Int) -> [UInt8] {
    var random = Xorshift(seed: 11)
    let words = (0..<60_000).map { index in
        var word = ""
        for _ in 0..<1 + random.below(5) {
            let scalar =
                index % 3 > 0 ? 0xAC00 + random.below(60) * 28 * 6 + random.below(3) * 28 : 97 + random.below(26)
            Unicode.Scalar(UInt32(scalar)).map { word.unicodeScalars.append($0) }
        }
        return Array(word.utf8)
    }
    var text: [UInt8] = []
    while text.count < megabytes << 20 {
        let rank = pow(Double(words.count), Double(random.uniform()))
        text += words[min(words.count - 1, Int(rank))]
        text += Array([" ", " ", " ", " ", " ", ", ", ".\n", "\n\n"][random.below(8)].utf8)
    }
    return text
}
