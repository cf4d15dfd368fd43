// Files and directories by their names.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Makes renames and removals in `path` last. Some file systems refuse an fsync of a directory; nothing is lost then
/// that the system itself would keep.
package func synchronizeDirectory(_ path: String) throws {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    guard FileCalls.synchronize(descriptor, path: path) == 0 || ![EIO, ENOSPC, EDQUOT].contains(errno) else {
        throw cannotWrite(path)
    }
}

/// Creates a directory and its parents; one that exists is fine.
package func createDirectory(_ path: String) throws {
    var missing: [String] = []
    var place = path
    while !fileExists(place), place != folder(of: place) {
        missing.append(place)
        place = folder(of: place)
    }
    guard isDirectory(place) else {
        throw UserError(
            "cannot create the directory \(path): \(place) is a file",
            hint: "give a directory, new or not; the files in it get names of their own")
    }
    for place in missing.reversed() {
        guard FileCalls.makeDirectory(place) == 0 || errno == EEXIST && isDirectory(place) else {
            throw cannotCreateDirectory(path)
        }
    }
}

package func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// The folder that relative paths begin in.
package func currentFolder() -> String { FileManager.default.currentDirectoryPath }

/// The names in a directory; none if it can't be read.
package func names(in directory: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: directory))?.sorted() ?? []
}

/// The folder a path lies in, `.` for a bare name.
package func folder(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// The last part of a path.
package func fileName(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
    return String(path[path.utf8.index(after: slash)...])
}

package func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// The paths that match a shell pattern (`data/train_*.bin`), sorted; llm.c names its shards so.
package func paths(matching pattern: String) -> [String] {
    var result = glob_t()
    defer { globfree(&result) }
    guard glob(pattern, 0, nil, &result) == 0 else { return [] }
    return (0..<Int(result.gl_pathc)).compactMap { result.gl_pathv[$0].map { String(cString: $0) } }
}

/// A word as it is written in a shell: in quotes if it has more than letters, digits and the usual signs.
package func shellWord(_ word: String) -> String {
    let plain = word.utf8.allSatisfy { byte in
        byte >= 0x80 || UInt8(ascii: "-")...UInt8(ascii: "9") ~= byte || UInt8(ascii: "_") == byte
            || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
    }
    return plain && !word.isEmpty
        ? word : "'\(word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''"))'"
}
