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

/// Files that belong together, all in one folder, and whose number shows only while they are written, such as token
/// shards. Dropped without `commit`, it leaves nothing behind and older files stay as they were.
package final class DurableFiles {
    private var names: [(temporary: String, final: String)] = []
    private var stale: Set<String> = []

    package init() {}

    deinit { for name in names { _ = FileCalls.remove(name.temporary) } }

    /// A new file that `commit` will call `path`.
    package func create(_ path: String) throws -> OutputFile {
        let folder = folder(of: path)
        precondition(names.allSatisfy { LLM.folder(of: $0.final) == folder })
        try finishInterruptedWrites(in: folder)
        removeOrphans(of: path)
        removeOrphans(of: "\(folder)/\(Journal.name)")
        let temporary = "\(path).\(getpid()).tmp"
        names.append((temporary, path))
        return try OutputFile(temporary)
    }

    /// Removes what killed programs left of the same file.
    private func removeOrphans(of path: String) {
        let folder = folder(of: path)
        let prefix = fileName(of: path) + "."
        for name in LLM.names(in: folder) where name.hasPrefix(prefix) && name.hasSuffix(".tmp") {
            guard let process = pid_t(name.dropFirst(prefix.count).dropLast(4)), process > 0 else { continue }
            if kill(process, 0) != 0, errno == ESRCH { unlink("\(folder)/\(name)") }
        }
    }

    /// A new file, whole.
    package func write(_ path: String, _ body: (OutputFile) throws -> Void) throws {
        let file = try create(path)
        try body(file)
        try finish(file)
    }

    /// Lets `commit` remove files.
    package func remove(_ paths: [String]) { stale.formUnion(paths) }

    /// Brings a file that is complete to the disk.
    package func finish(_ file: OutputFile) throws { try file.synchronize() }

    /// Gives all files, which must be finished, their final names, and removes those that `remove` named: all of it or
    /// nothing, even if the program is killed meanwhile (Journal.swift).
    package func commit() throws {
        let finals = Set(names.map(\.final))
        // What would stop a rename halfway is looked for before the first one.
        for path in finals where isDirectory(path) {
            throw UserError(
                "cannot write \(path): a directory is in its place", hint: "move it, or choose another output")
        }
        let stale = stale.subtracting(finals).filter { fileExists($0) }.sorted()
        guard let folder = (names.first?.final ?? stale.first).map({ folder(of: $0) }) else { return }
        precondition(stale.allSatisfy { LLM.folder(of: $0) == folder })
        guard names.count + stale.count > 1 else {
            for name in names {
                guard FileCalls.rename(name.temporary, name.final) == 0 else { throw cannotWrite(name.final) }
            }
            names = []
            for path in stale {
                guard FileCalls.remove(path) == 0 else { throw cannotRemove(path) }
            }
            return try synchronizeDirectory(folder)
        }
        let journal = Journal(
            renames: names.map { (fileName(of: $0.temporary), fileName(of: $0.final)) },
            removals: stale.map { fileName(of: $0) })
        do {
            try journal.carryOut(in: folder)
        } catch {
            // Once the list is on the disk its files are no longer ours to remove.
            if Journal.isPending(in: folder) { names = [] }
            throw error
        }
        names = []
    }
}
