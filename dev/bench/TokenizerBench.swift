// The tokenizer's part of the benchmark: `bench tokenizer [TEXT] [VOCABULARY]`. It trains on TEXT (a small one is made if
// none is given), then encodes it with what was learnt, or with VOCABULARY, on one thread and on all, into shards and
// without; and shows that words without an end cost no more than a line. dev/bench/tokenizer_peers.py measures Hugging
// Face's library and tiktoken on the same text.

import Foundation
import LLM

func tokenizerBench(_ arguments: [String]) throws {
    let directory = NSTemporaryDirectory() + "llm-tokenizer-bench-\(getpid())"
    try createDirectory(directory)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = arguments.first ?? directory + "/text.txt"
    if arguments.isEmpty { try Data(madeText(megabytes: 8)).write(to: URL(fileURLWithPath: path)) }
    let files = try openTexts([path])
    let size = files.reduce(0) { $0 + $1.size }
    func line(_ name: String, _ seconds: Double, _ bytes: Int) {
        print(
            name.padding(toLength: 44, withPad: " ", startingAt: 0)
                + String(format: "%8.3f s  %7.1f MB/s", seconds, Double(bytes) / seconds * 1e-6))
    }
    func time(_ body: () throws -> Void) rethrows -> Double {
        let start = now()
        try body()
        return now() - start
    }
    /// The fastest of three: others run on the machine.
    func best(_ body: () throws -> Void) rethrows -> Double {
        try (0..<3).map { _ in try time(body) }.min() ?? 0
    }

    print("\(arguments.first ?? "a made text"), \(size) bytes")
    var learnt: Tokenizer?
    for scheme in ["byte-level", "prefix"] {
        let seconds = try time {
            let isBytes = scheme == "byte-level"
            let words = try WordCounts.counting(
                linesOf: files, isBytes ? .byteLevel(addsPrefixSpace: false, splits: true) : .bert
            ).words
            var trainer = BytePairTrainer(
                words, alphabet: isBytes ? .bytes : .characters(prefix: Array("##".utf8)),
                specialTokens: [Array("<|endoftext|>".utf8)])
            let pairs = trainer.train(vocabularySize: 32000)
            guard isBytes else { return }
            learnt = try Tokenizer(
                pairs, addedTokens: [AddedToken(id: 0, content: Array("<|endoftext|>".utf8))])
        }
        line("training 32,000, \(scheme), all threads", seconds, size)
    }
    guard let tokenizer = try arguments.count > 1 ? Tokenizer(at: arguments[1]) : learnt else { return }
    var text: [UInt8] = []
    for file in files { text += try file.read(min(file.size, 1 << 28), of: UInt8.self, at: 0) }
    line(
        "encoding, one thread, nothing known before",
        try best {
            var encoder = try tokenizer.makeEncoder()
            var ids: [Int32] = []
            ids.reserveCapacity(text.count / 2)
            text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
        }, text.count)
    for mode in [DocumentMode.line, .blank] {
        line(
            "into shards, all threads, a document a \(mode)",
            try best {
                _ = try CorpusWriter(tokenizer: tokenizer, mode: mode).write(
                    files, fraction: 0, seed: 1, to: directory)
            }, size)
    }
    for (name, word) in [("a", "a"), ("Hangul", "가나다라마바사아자차카타파하")] {
        let long = [UInt8](repeatElement(Array(word.utf8), count: 1_000_000 / word.utf8.count).joined())
        line("a word of a megabyte, \(name)", try time { _ = try tokenizer.encode(long) }, long.count)
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
