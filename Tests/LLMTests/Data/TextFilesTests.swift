// The files that a command line names.

import Foundation
import LLM
import Testing

@Test func `a directory stands for the files below it, in order`() throws {
    try withTemporaryDirectory { directory in
        try createDirectory(directory + "/b")
        for (name, text) in [
            ("c", "3"), ("a", "1"), ("b/x", "2"), (".hidden", "4"), ("empty", ""), ("mark", "\u{FEFF}"),
        ] {
            try write(Array(text.utf8), to: "\(directory)/\(name)")
        }
        #expect(try openTexts([directory]).map(\.path) == ["a", "b/x", "c"].map { "\(directory)/\($0)" })
    }
}

@Test func `a shard in a directory is not text`() throws {
    try withTemporaryDirectory { directory in
        try write(Array("text".utf8), to: directory + "/text.txt")
        try writeShard([1, 2, 3], to: directory + "/train_000000.bin")
        let error = userError { _ = try openTexts([directory]) }
        #expect(error?.message == "\(directory)/train_000000.bin is a token shard, not text")
        #expect(error?.hint.contains("move it out of \(directory)") == true)
    }
}

@Test func `a text that is not there, or is empty, is an error`() throws {
    try withTemporaryDirectory { directory in
        expectUserError("a missing file") { _ = try openTexts([directory + "/none.txt"]) }
        for (name, text) in [("empty", ""), ("mark", "\u{FEFF}")] {
            let path = "\(directory)/\(name)"
            try write(Array(text.utf8), to: path)
            #expect(userError { _ = try openTexts([path]) }?.message == "\(path) is empty")
        }
        expectUserError("a directory without text") { _ = try openTexts([directory]) }
    }
}
