// What is written is all there, or what was there before.

import Foundation
import LLM
import Testing

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
