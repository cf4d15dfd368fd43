// Writing what must not be lost: to a temporary name, fsynced, renamed, and its directory fsynced. After a kill or a
// power cut the final name holds the old bytes or the new ones.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

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
