// Several files at once: all of the change or nothing, wherever the disk or the program fails.

import Foundation
import LLM
import Testing

/// A folder with a generation of files in it, and the change to the next.
private func makeOld(_ folder: String) throws {
    for name in ["a", "b", "old"] { try write(Array("1 \(name)".utf8), to: "\(folder)/\(name)") }
}

private func change(_ folder: String) throws {
    let set = DurableFiles()
    for name in ["a", "b", "new"] {
        let file = try set.create("\(folder)/\(name)")
        try file.write("2 \(name)")
        try set.finish(file)
    }
    set.remove(["old", "never there"].map { "\(folder)/\($0)" })
    try set.commit()
}

private let before = ["a": "1 a", "b": "1 b", "old": "1 old"]
private let after = ["a": "2 a", "b": "2 b", "new": "2 new"]

private func texts(_ folder: String) throws -> [String: String] {
    try filesInside(folder).mapValues { String(decoding: $0, as: UTF8.self) }
}

/// Calls of the whole change.
private func callCount() throws -> Int {
    let counter = FaultInjector()
    try withTemporaryDirectory { folder in
        try makeOld(folder)
        try counter { try change(folder) }
        #expect(try texts(folder) == after)
    }
    return counter.count
}

@Test func `a disk that fails once leaves all old or all new`() throws {
    let count = try callCount()
    #expect(count > 20)
    var (old, new) = (0, 0)
    for code in [ENOSPC, EIO, EROFS] {
        for place in 0..<count {
            try withTemporaryDirectory { folder in
                try makeOld(folder)
                let threw: Bool
                do {
                    try FaultInjector(.error(code), at: place)({ try change(folder) })
                    threw = false
                } catch let error as UserError {
                    #expect(!error.hint.isEmpty && error.message.hasPrefix("cannot "), "\(error)")
                    threw = true
                }
                try finishInterruptedWrites(in: folder)
                let files = try texts(folder)
                #expect(files == before || files == after, "call \(place): \(files)")
                // Without an error the change is there.
                if !threw { #expect(files == after) }
                if files == before { old += 1 } else { new += 1 }
                // Whatever was left, the next change works.
                try change(folder)
                #expect(try texts(folder) == after)
            }
        }
    }
    #expect(old > 30 && new > 10)
}

/// After a kill nothing more is written, not even what cleans up.
@Test func `a program that dies at any call leaves all old or all new`() throws {
    let count = try callCount()
    var (old, new) = (0, 0)
    for place in 0..<count {
        try withTemporaryDirectory { folder in
            try makeOld(folder)
            #expect(throws: UserError.self) {
                try FaultInjector(.error(EIO), at: place, lasts: true)({ try change(folder) })
            }
            try finishInterruptedWrites(in: folder)
            let files = try texts(folder).filter { !$0.key.hasSuffix(".tmp") }
            #expect(files == before || files == after, "call \(place): \(files)")
            if files == before { old += 1 } else { new += 1 }
        }
    }
    #expect(old > 10 && new > 4)
}

@Test func `short writes and interrupted calls change nothing`() throws {
    for place in 0..<(try callCount()) {
        for fault in [FileCalls.Fault.short(1), .error(EINTR)] {
            try withTemporaryDirectory { folder in
                try makeOld(folder)
                try FaultInjector(fault, at: place)({ try change(folder) })
                #expect(try texts(folder) == after)
            }
        }
    }
    try withTemporaryDirectory { folder in
        try makeOld(folder)
        try FaultInjector(.short(1), at: 0, lasts: true)({ try change(folder) })
        #expect(try texts(folder) == after)
    }
}

/// Where the system refuses to remove a file, it says so, and everything else happens.
@Test func `a file that nobody may remove stands in the way of nothing`() throws {
    try withTemporaryDirectory { folder in
        try makeOld(folder)
        let disk = FileCalls.FaultyDisk { call, path in
            call == .remove && path.hasSuffix("/old") ? .error(EPERM) : nil
        }
        FileCalls.$disk.withValue(disk) {
            #expect { try change(folder) } throws: { ($0 as? UserError)?.message.contains("/old") == true }
        }
        #expect(try texts(folder) == after.merging(["old": "1 old"]) { $1 })
        try change(folder)
        #expect(try texts(folder) == after)
    }
}

/// Dies where the list has been written, and nothing of it done.
private func interrupt(_ folder: String) throws {
    try makeOld(folder)
    var place = 0
    while !fileExists("\(folder)/.journal") {
        for name in names(in: folder) where name.hasSuffix(".tmp") { unlink("\(folder)/\(name)") }
        #expect(throws: UserError.self) {
            try FaultInjector(.error(EIO), at: place, lasts: true)({ try change(folder) })
        }
        place += 1
    }
    #expect(try texts(folder)["a"] == "1 a")
}

@Test func `whoever reads or writes next finishes what was interrupted`() throws {
    try withTemporaryDirectory { folder in
        try interrupt(folder)
        try writeDurably("\(folder)/another") { try $0.write("3") }
        #expect(try texts(folder) == after.merging(["another": "3"]) { $1 })
    }
    // A model's readers do so, whether it is there or not.
    for read in [{ _ = try readGPT2($0, trains: false) }, { _ = try readGPT2Configuration($0) }]
        as [(String) throws -> Void]
    {
        for name in ["/a", ""] {
            try withTemporaryDirectory { folder in
                try interrupt(folder)
                expectUserError("no model") { try read(folder + name) }
                #expect(try texts(folder) == after)
            }
        }
    }
    try withTemporaryDirectory { folder in
        try interrupt(folder)
        let moved = folder + "/moved"
        try createDirectory(moved)
        for name in names(in: folder) where name != "moved" { rename("\(folder)/\(name)", "\(moved)/\(name)") }
        try finishInterruptedWrites(in: moved)
        #expect(try texts(moved) == after)
    }
}

/// In a folder that had none before.
@Test func `a tokenizer is found though its writer died before it had its name`() throws {
    let tokenizer = try Tokenizer(path: fixture("tokenizer_600.json"))
    for find in [
        { try Tokenizer(directory: $0) }, { try trainingSettings(["-i", $0 + "/train_*.bin"]).findTokenizer() },
    ] as [(String) throws -> Tokenizer?] {
        try withTemporaryDirectory { folder in
            var place = 0
            while !fileExists("\(folder)/.journal") {
                for name in names(in: folder) { unlink("\(folder)/\(name)") }
                #expect(throws: UserError.self) {
                    try FaultInjector(.error(EIO), at: place, lasts: true)({ try tokenizer.write(to: folder) })
                }
                place += 1
            }
            #expect(!fileExists("\(folder)/tokenizer.json"))
            let found = try find(folder)
            #expect(found?.fingerprint() == tokenizer.fingerprint())
        }
    }
}

@Test func `a journal reaches nothing outside its folder`() throws {
    for bad in [
        #"{"rename": [], "remove": ["../kept"]}"#, #"{"rename": [["a", "../kept"]], "remove": []}"#,
        #"{"rename": [["../kept", "a"]], "remove": []}"#, #"{"rename": [], "remove": ["/tmp/kept"]}"#,
        #"{"rename": [], "remove": [".."]}"#, #"{"rename": [["a"]], "remove": []}"#, #"{"rename": []}"#, "", "{",
        #"{"rename": [["a", 1]], "remove": []}"#, #"{"rename": [], "remove": [""]}"#,
    ] {
        try withTemporaryDirectory { folder in
            try write([1], to: folder + "/kept")
            let inside = folder + "/inside"
            try createDirectory(inside)
            try write([2], to: inside + "/a")
            try write(Array(bad.utf8), to: inside + "/.journal")
            expectUserError(bad) { try finishInterruptedWrites(in: inside) }
            #expect(try bytes(folder + "/kept") == [1] && bytes(inside + "/a") == [2])
        }
    }
}

@Test func `what a dead process was writing is removed, what a living one writes is not`() throws {
    try withTemporaryDirectory { folder in
        // No process has this number: it is above Linux's and macOS's limits.
        for name in ["a.5000000.tmp", "a.\(getpid() == 1 ? 2 : 1).tmp", "b.5000000.tmp", "a.x.tmp", "a.tmp"] {
            try write([1], to: "\(folder)/\(name)")
        }
        try writeDurably(folder + "/a") { try $0.write("new") }
        #expect(
            Set(try filesInside(folder).keys) == [
                "a", "a.\(getpid() == 1 ? 2 : 1).tmp", "b.5000000.tmp", "a.x.tmp", "a.tmp",
            ])
    }
}

@Test func `a folder has one writer at a time`() throws {
    try withTemporaryDirectory { folder in
        var lock: FolderLock? = try FolderLock(folder)
        #expect { try FolderLock(folder) } throws: { error in
            (error as? UserError)?.message.contains("process \(getpid())") == true
        }
        withExtendedLifetime(lock) {}
        lock = nil
        #expect(try filesInside(folder).isEmpty && !fileExists(folder + "/.lock"))
        // A file that a killed process left is no lock.
        try write(Array("5000000\n".utf8), to: folder + "/.lock")
        lock = try FolderLock(folder)
        #expect(try bytes(folder + "/.lock") == Array("\(getpid())\n".utf8))
        withExtendedLifetime(lock) {}
    }
}
