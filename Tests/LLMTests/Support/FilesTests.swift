// Files that are cut off, missing or half written.

import Foundation
import LLM
import Testing

/// A new directory, removed when the test ends.
private func contents(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

private struct Interruption: Error {}

@Test func `what is written durably is all there, and nothing beside it`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        try writeDurably(path) { file in
            try file.write("ab")
            try file.write([1, 2] as [Int32])
            #expect(file.size == 10)
            #expect(!fileExists(path))
        }
        let file = try InputFile(path, hint: "")
        #expect(file.size == 10)
        #expect(try file.read(2, of: UInt8.self, at: 0) == Array("ab".utf8))
        #expect(try file.read(2, of: Int32.self, at: 2) == [1, 2])
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["file"])
    }
}

@Test func `more than the buffer holds is written in order`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        let pieces = [3, 1 << 20, 5, (1 << 20) - 1, 2, (1 << 21) + 7, 1]
        let expected = pieces.enumerated().flatMap { [UInt8](repeating: UInt8($0.offset), count: $0.element) }
        try writeDurably(path) { file in
            for (index, count) in pieces.enumerated() { try file.write([UInt8](repeating: UInt8(index), count: count)) }
        }
        let file = try InputFile(path, hint: "")
        #expect(file.size == expected.count)
        #expect(try file.read(file.size, of: UInt8.self, at: 0) == expected)
    }
}

@Test func `bytes already written can be replaced`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        try writeDurably(path) { file in
            try file.write("0000 and")
            try Array("1234".utf8).withUnsafeBytes { try file.overwrite($0, at: 0) }
            try file.write(" more")
            #expect(file.size == 13)
        }
        #expect(contents(path) == "1234 and more")
    }
}

@Test func `an interrupted write keeps the old file and leaves nothing behind`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        try writeDurably(path) { try $0.write("old") }
        #expect(throws: Interruption.self) {
            try writeDurably(path) { file in
                try file.write([UInt8](repeating: 0, count: 3 << 20))
                throw Interruption()
            }
        }
        #expect(contents(path) == "old")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["file"])
        try writeDurably(path) { try $0.write("new") }
        #expect(contents(path) == "new")
    }
}

@Test func `files that belong together come together or not at all`() throws {
    try withTemporaryDirectory { directory in
        let paths = [directory + "/a", directory + "/b"]
        #expect(throws: Interruption.self) {
            try writeDurably(paths) { files in
                try files[0].write("a")
                throw Interruption()
            }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
        try writeDurably(paths) { files in for file in files { try file.write("both") } }
        #expect(paths.map { contents($0) } == ["both", "both"])
    }
}

@Test func `a write without its directory says so`() {
    #expect { try writeDurably("/nonexistent/file") { try $0.write("x") } } throws: { error in
        let error = error as? UserError
        return error?.message.contains("cannot write /nonexistent/file") == true && error?.exitCode == 1
    }
}

@Test func `a missing file and a directory cannot be read`() throws {
    try withTemporaryDirectory { directory in
        #expect { try InputFile(directory + "/none", hint: "make it") } throws: { error in
            let error = error as? UserError
            return error?.message.contains("none: No such file") == true && error?.hint == "make it"
        }
        #expect { try InputFile(directory, hint: "make it") } throws: { error in
            (error as? UserError)?.message.contains("is a directory") == true
        }
    }
}

@Test func `a read past the end says where the file ends`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        try writeDurably(path) { try $0.write("12345") }
        let file = try InputFile(path, hint: "")
        #expect(try file.read(1, of: UInt8.self, at: 4) == [UInt8(ascii: "5")])
        #expect(try file.read(0, of: UInt8.self, at: 5) == [])
        #expect { try file.read(2, of: Int32.self, at: 0) } throws: { error in
            (error as? UserError)?.message == "\(path) ends after 5 bytes, 3 too early"
        }
    }
}

@Test func `a pattern finds its files in order`() throws {
    try withTemporaryDirectory { directory in
        for name in ["train_2.bin", "train_1.bin", "val_1.bin"] { try writeDurably(directory + "/" + name) { _ in } }
        #expect(paths(matching: directory + "/train_*.bin") == ["/train_1.bin", "/train_2.bin"].map { directory + $0 })
        #expect(paths(matching: directory + "/none_*") == [])
    }
}

@Test func `a directory is made with its parents, unless a file is in the way`() throws {
    try withTemporaryDirectory { directory in
        try createDirectory(directory + "/a/b")
        try createDirectory(directory + "/a/b")
        #expect(fileExists(directory + "/a/b"))
        try writeDurably(directory + "/file") { _ in }
        #expect(throws: UserError.self) { try createDirectory(directory + "/file/b") }
    }
}
