// Reading what may be anything, and writing what must not be lost.
//
// Whatever is read is untrusted: a caller asks for the file's length first and checks its sizes against that, with
// overflow-checked arithmetic, before it takes memory. Whatever must last is written to a temporary name, fsynced,
// renamed, and its directory fsynced: after a kill or a power cut the final name holds the old bytes or the new ones.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A file open for reading, of known length.
package final class InputFile {
    package let path: String
    /// Bytes.
    package let size: Int
    let descriptor: Int32

    /// - Parameter hint: what to tell the user if the file is not there.
    package init(_ path: String, hint: String) throws {
        // Not blocking: a pipe without a writer would hold us for ever.
        let descriptor = open(path, O_RDONLY | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw UserError("cannot read \(path): \(String(cString: strerror(errno)))", hint: hint)
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw UserError(
                "cannot read \(path): it is \(isDirectory(path) ? "a directory" : "not a regular file")", hint: hint)
        }
        self.path = path
        self.size = Int(status.st_size)
        self.descriptor = descriptor
    }

    /// - Parameters:
    ///   - other: a descriptor that stays its owner's.
    ///   - name: what messages call the file.
    init(copyOf other: Int32, name: String) throws {
        let descriptor = dup(other)
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
            throw UserError("cannot read \(name): \(String(cString: strerror(errno)))", hint: "try again")
        }
        path = name
        size = Int(status.st_size)
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Fills `buffer` with the bytes from `offset`. One read() may come back short past 2 GiB, hence the loop.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        guard let base = buffer.baseAddress else { return }
        var done = 0
        while done < buffer.count {
            let count = pread(descriptor, base + done, min(buffer.count - done, 1 << 30), off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw UserError(
                    "\(path) ends after \(offset + done) bytes, \(buffer.count - done) too early",
                    hint: "the file is damaged or was cut off while it was copied; write it again")
            }
            done += count
        }
    }

    package func read<Value: BitwiseCopyable>(_ count: Int, of type: Value.Type, at offset: Int) throws -> [Value] {
        try [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
            try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            initialized = count
        }
    }
}

/// A file being written, buffered. Nothing stands under its final name until `writeDurably` has all of it.
package final class OutputFile {
    package let path: String
    /// Bytes written so far.
    package private(set) var size = 0
    private let descriptor: Int32
    private var pending: [UInt8] = []

    fileprivate init(_ path: String) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard descriptor >= 0 else {
            throw UserError(
                "cannot write \(path): \(String(cString: strerror(errno)))",
                hint: "check that the folder exists and is yours, or choose another output")
        }
        self.path = path
        pending.reserveCapacity(1 << 20)
    }

    deinit { close(descriptor) }

    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        size += bytes.count
        if pending.count + bytes.count <= 1 << 20 {
            pending.append(contentsOf: bytes)
            return
        }
        try flush()
        try writeThrough(bytes)
    }

    package func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
    }

    package func write<Value: BitwiseCopyable>(_ values: [Value]) throws {
        try values.withUnsafeBytes { try write($0) }
    }

    /// Replaces bytes already written, such as a header's count that is known only at the end.
    package func overwrite(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        try flush()
        lseek(descriptor, off_t(offset), SEEK_SET)
        try writeThrough(bytes)
        lseek(descriptor, 0, SEEK_END)
    }

    private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            #if canImport(Glibc)
                let count = Glibc.write(descriptor, base + done, min(bytes.count - done, 1 << 30))
            #else
                let count = Darwin.write(descriptor, base + done, min(bytes.count - done, 1 << 30))
            #endif
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw UserError(
                    "cannot write \(path): \(String(cString: strerror(errno)))", hint: "free some space on the disk")
            }
            done += count
        }
    }

    private func flush() throws {
        try pending.withUnsafeBytes { try writeThrough($0) }
        pending.removeAll(keepingCapacity: true)
    }

    fileprivate func synchronize() throws {
        try flush()
        guard fsync(descriptor) == 0 else {
            throw UserError("cannot write \(path): \(String(cString: strerror(errno)))", hint: "check the disk")
        }
    }
}

/// Writes a file that must not be lost: all of it under a temporary name, fsync, rename, fsync of the directory.
/// If `body` throws, nothing is left behind and an older file of that name stays as it was.
package func writeDurably(_ path: String, _ body: (OutputFile) throws -> Void) throws {
    try writeDurably([path]) { try body($0[0]) }
}

/// The same for several files that belong together: none takes its final name before all are on the disk.
package func writeDurably(_ paths: [String], _ body: ([OutputFile]) throws -> Void) throws {
    let set = DurableFiles()
    let files = try paths.map { try set.create($0) }
    try body(files)
    for file in files { try set.finish(file) }
    try set.commit()
}

/// Files that belong together and whose number shows only while they are written, such as token shards. Dropped
/// without `commit`, it leaves nothing behind and older files stay as they were.
package final class DurableFiles {
    private var names: [(temporary: String, final: String)] = []

    package init() {}

    deinit { for name in names { unlink(name.temporary) } }

    /// A new file that `commit` will call `path`.
    package func create(_ path: String) throws -> OutputFile {
        let temporary = "\(path).\(getpid()).tmp"
        names.append((temporary, path))
        return try OutputFile(temporary)
    }

    /// Brings a file that is complete to the disk.
    package func finish(_ file: OutputFile) throws { try file.synchronize() }

    /// Gives all files, which must be finished, their final names, and removes `stale` ones.
    package func commit(removing stale: [String] = []) throws {
        let finals = Set(names.map(\.final))
        // What would stop a rename halfway is looked for before the first one.
        for path in finals where isDirectory(path) {
            throw UserError(
                "cannot write \(path): a directory is in its place", hint: "move it, or choose another output")
        }
        while let name = names.first {
            guard rename(name.temporary, name.final) == 0 else {
                throw UserError(
                    "cannot write \(name.final): \(String(cString: strerror(errno)))", hint: "choose another output")
            }
            names.removeFirst()
        }
        for path in stale where !finals.contains(path) { unlink(path) }
        for directory in Set(finals.map { folder(of: $0) }) { synchronizeDirectory(directory) }
    }
}

/// Makes renames and removals in `path` last. Some file systems refuse an fsync of a directory; nothing is lost then
/// that the system itself would keep.
package func synchronizeDirectory(_ path: String) {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
}

/// Creates a directory and its parents; one that exists is fine.
package func createDirectory(_ path: String) throws {
    do {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
        throw UserError(
            "cannot create the directory \(path)", hint: "check its name and your rights, or choose another")
    }
}

package func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// The names in a directory; none if it can't be read.
package func names(in directory: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: directory))?.sorted() ?? []
}

/// The folder a path lies in, `.` for a bare name.
package func folder(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

package func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// The paths that match a shell pattern (`data/train_*.bin`), sorted; llm.c names its shards so.
package func paths(matching pattern: String) -> [String] {
    var result = glob_t()
    defer { globfree(&result) }
    guard glob(pattern, 0, nil, &result) == 0 else { return [] }
    return (0..<Int(result.gl_pathc)).compactMap { result.gl_pathv[$0].map { String(cString: $0) } }
}
