// Names of files and directories.

import Foundation
import LLM
import Testing

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
        for path in ["/file", "/file/b", "/file/b/c"] {
            var error: UserError?
            do { try createDirectory(directory + path) } catch let found as UserError { error = found }
            #expect(error?.message == "cannot create the directory \(directory)\(path): \(directory)/file is a file")
        }
    }
}

@Test func `a directory that the system refuses is an error with its reason`() throws {
    try withTemporaryDirectory { directory in
        for (code, reason, hint) in [(ENOSPC, "No space left", "free some space"), (EACCES, "denied", "is yours")] {
            let disk = FileCalls.FaultyDisk { call, _ in call == .makeDirectory ? .error(code) : nil }
            FileCalls.$disk.withValue(disk) {
                let error = userError { try createDirectory(directory + "/a/b") }
                #expect(error?.message.hasPrefix("cannot create the directory \(directory)/a/b: ") == true)
                #expect(error?.message.contains(reason) == true && error?.hint.contains(hint) == true)
            }
        }
        #expect(names(in: directory) == [])
    }
}
