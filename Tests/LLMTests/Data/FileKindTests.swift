// The files that people give as text.

import Foundation
import LLM
import Testing

@Test func `what this project writes is not text`() throws {
    try withTemporaryDirectory { directory in
        let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
        try tokenizer.write(to: directory)
        try writeShard([1, 2, 3], to: directory + "/train_000000.bin")
        for (path, name) in [
            (directory + "/tokenizer.bin", "a tokenizer in llm.c's format"),
            (directory + "/train_000000.bin", "a token shard"),
            (try fixture("gpt2_small.bin"), "a model in llm.c's format"),
            (try fixture("gpt2_small_debug_state.bin"), "a debug state of llm.c"),
            (try fixture("huggingface/float32/model.safetensors"), "a model (safetensors)"),
        ] {
            #expect(userError { _ = try openTexts([path]) }?.message == "\(path) is \(name), not text")
        }
        // A JSON file is text, for all that is known.
        #expect(try openTexts([directory + "/tokenizer.json"]).count == 1)
    }
}

@Test func `archives and documents are not text`() throws {
    try withTemporaryDirectory { directory in
        for (beginning, name) in [
            ([0x1F, 0x8B, 8, 0], "compressed (gzip)"), (Array("PK\u{3}\u{4}".utf8), "a zip archive (as .docx, "),
            (Array("%PDF-1.7\n".utf8), "a PDF"),
            ([0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1], "an office document"),
            (Array("HWP Document File V3.00 \u{1A}".utf8), "a Hangul document (HWP)"),
            (Array("{\\rtf1\\ansi".utf8), "an RTF document"), ([0x28, 0xB5, 0x2F, 0xFD], "compressed (zstd)"),
        ] as [([UInt8], String)] {
            let path = directory + "/file"
            try write(beginning + Array("text".utf8), to: path)
            let error = userError { _ = try openTexts([path]) }
            #expect(error?.message.hasPrefix("\(path) is \(name)") == true && error?.hint.isEmpty == false)
        }
        for text in ["PK is a name", "%PDF is one, too", "HWP Document File formats", "{ 1 }", "12345678{\"a\": 1}"] {
            try write(Array(text.utf8), to: directory + "/file")
            #expect(try openTexts([directory + "/file"]).count == 1, "\(text)")
        }
    }
}
