// One program at a time in a folder.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The right to write into a folder, held for as long as this object lives. It is a file `.lock` with the number of the
/// process, locked by the system, which unlocks it however the process ends: nobody has to judge whether it is stale.
package final class FolderLock {
    private let path: String
    private let descriptor: Int32

    /// - Throws: if another process has it; the error names that process.
    package init(_ folder: String) throws {
        let path = "\(folder)/.lock"
        while true {
            let descriptor = FileCalls.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
            guard descriptor >= 0 else { throw cannotWrite(path) }
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
                var number = [UInt8](repeating: 0, count: 20)
                let count = pread(descriptor, &number, number.count, 0)
                close(descriptor)
                let process = String(decoding: number.prefix(max(0, count)).prefix { $0 != 10 }, as: UTF8.self)
                throw UserError(
                    "another program, process \(process), is writing to \(folder)",
                    hint: "wait for its end, stop it (kill \(process)), or choose another output")
            }
            // Its last owner may have removed the file between these two calls.
            var (mine, there) = (stat(), stat())
            guard fstat(descriptor, &mine) == 0, stat(path, &there) == 0, mine.st_ino == there.st_ino else {
                close(descriptor)
                continue
            }
            self.path = path
            self.descriptor = descriptor
            // For people and messages only: a lock that can't be written to is one, too.
            _ = FileCalls.truncate(descriptor, to: 0, path: path)
            var number = "\(getpid())\n"
            _ = number.withUTF8 { FileCalls.write(descriptor, UnsafeRawBufferPointer($0), path: path) }
            return
        }
    }

    deinit {
        unlink(path)
        close(descriptor)
    }
}
