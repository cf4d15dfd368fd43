// What there is of memory, and what happens when there is less.

import Foundation
import Kernels
import LLM
import Testing

#if os(Linux)
    /// Limits the addresses of this process to what it has and some more. Only for a process of its own.
    private func limitAddresses(more bytes: Int) {
        let pages = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.prefix { $0 != " " }
        let size = (pages.flatMap { Int($0) } ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) + bytes
        var limit = rlimit(rlim_cur: rlim_t(size), rlim_max: rlim_t(size))
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
    }

    private func text(_ result: ExitTest.Result?) -> String {
        String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    }

    @Test func `memory that the system refuses ends in two lines, with the size`() async {
        let large = await #expect(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            limitAddresses(more: 100_000_000)
            _ = allocateFloats(300_000_000)
        }
        #expect(text(large).contains("error: the system refused 1.2 GB of memory\nhint: "))
        let temporary = await #expect(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            limitAddresses(more: 100_000_000)
            _ = allocateAligned(125_000_000)
        }
        #expect(text(temporary).contains("error: the system refused 500.0 MB of memory\nhint: "))
        // More than there are numbers.
        await #expect(processExitsWith: .exitCode(1)) { _ = allocateFloats(.max) }
        // A file's bytes go into an array.
        let array = await #expect(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            let path = FileManager.default.temporaryDirectory.appendingPathComponent("llm-\(UUID().uuidString)").path
            try Data([0]).write(to: URL(fileURLWithPath: path))
            truncate(path, 400_000_000)
            let file = try InputFile(path, hint: "")
            unlink(path)
            limitAddresses(more: 100_000_000)
            _ = try file.read(file.size, of: UInt8.self, at: 0)
        }
        #expect(text(array).contains("error: the system refused 400.0 MB of memory\nhint: "))
    }

    @Test func `the limit of the process counts, and what it had taken before`() async {
        await #expect(processExitsWith: .success) {
            limitAddresses(more: 200_000_000)
            try checkMemory(180e6)
            // What has been taken since is part of what is asked for.
            _ = allocateFloats(25_000_000)
            try checkMemory(180e6)
            let error = userError { try checkMemory(210e6, hint: "take less") }
            try #require(
                error?.message.hasPrefix("this takes 210.0 MB, and the limit of a process (ulimit -v) leaves ") == true
            )
            try #require(error?.hint == "take less, or raise the limit")
        }
    }
#endif

@Test func `more than the machine has is refused`() {
    #expect(throws: Never.self) { try checkMemory(1e6) }
    let error = userError { try checkMemory(1e18, hint: "take less") }
    #expect(error?.message.hasPrefix("this takes 1000000000.0 GB, and ") == true)
    #expect(error?.hint.hasPrefix("take less") == true)
}

@Test func `control groups of both versions bound the memory`() throws {
    try withTemporaryDirectory { root in
        func limit(_ membership: String?) -> Double? { groupMemory(root: root, membership: membership) }
        for folder in ["a/b", "memory/c"] { try createDirectory("\(root)/\(folder)") }
        #expect(limit("0::/a/b\n") == nil && limit(nil) == nil && limit("junk\n::\n0::\n") == nil)
        // The least of a group and those it is in; "max" is none.
        try write(Array("5000000000\n".utf8), to: "\(root)/a/memory.max")
        try write(Array("max\n".utf8), to: "\(root)/a/b/memory.max")
        #expect(limit("0::/a/b\n") == 5e9 && limit("0::/a\n") == 5e9 && limit("0::/\n") == nil)
        try write(Array("4000000000\n".utf8), to: "\(root)/a/b/memory.max")
        #expect(limit("0::/a/b\n") == 4e9 && limit("0::/a\n") == 5e9)
        // In a container its own group is the root, whatever path the file names.
        try write(Array("3000000000\n".utf8), to: "\(root)/memory.max")
        #expect(limit("0::/not/here\n") == 3e9)
        try write(Array("2000000000\n".utf8), to: "\(root)/memory/c/memory.limit_in_bytes")
        #expect(limit("7:cpu:/x\n4:cpu,memory:/c\n0::/\n") == 2e9)
    }
}
