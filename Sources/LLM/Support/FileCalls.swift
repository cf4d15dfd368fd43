// The calls to the system under everything that is written: one place to try again what was only interrupted, and one
// where a test makes them fail.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The calls that change files. Each returns what the system returns, with the reason for a −1 in errno.
package enum FileCalls {
    package enum Call: Sendable {
        case open, write, truncate, synchronize, rename, remove, makeDirectory, removeDirectory
    }

    /// What happens to a call in a test.
    package enum Fault: Sendable {
        /// It fails with this errno and does nothing.
        case error(Int32)
        /// It writes only so many bytes.
        case short(Int)
        /// It does nothing and succeeds: waiting for the disk is most of a test's time.
        case skipped
    }

    /// A disk that fails, asked before every call.
    package final class FaultyDisk: Sendable {
        let fault: @Sendable (_ call: Call, _ path: String) -> Fault?

        /// - Parameter fault: what happens to a call; nil lets it pass.
        package init(_ fault: @escaping @Sendable (_ call: Call, _ path: String) -> Fault?) { self.fault = fault }
    }

    /// Tests set it, each for itself.
    @TaskLocal package static var disk: FaultyDisk?

    static func open(_ path: String, _ flags: Int32) -> Int32 {
        calling(.open, path) { _ in
            #if canImport(Glibc)
                Glibc.open(path, flags, 0o644)
            #else
                Darwin.open(path, flags, 0o644)
            #endif
        }
    }

    /// - Returns: how many bytes were written, which may be fewer.
    static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, path: String) -> Int {
        calling(.write, path) { limit in
            // One write() takes 2 GiB at most.
            let count = min(bytes.count, 1 << 30, limit)
            #if canImport(Glibc)
                return Glibc.write(descriptor, bytes.baseAddress, count)
            #else
                return Darwin.write(descriptor, bytes.baseAddress, count)
            #endif
        }
    }

    static func truncate(_ descriptor: Int32, to size: Int, path: String) -> Int32 {
        calling(.truncate, path) { _ in ftruncate(descriptor, off_t(size)) }
    }

    /// Waits until a file's or a directory's contents are on the disk.
    static func synchronize(_ descriptor: Int32, path: String) -> Int32 {
        calling(.synchronize, path) { _ in fsync(descriptor) }
    }

    static func rename(_ old: String, _ new: String) -> Int32 {
        calling(.rename, new) { _ in
            #if canImport(Glibc)
                Glibc.rename(old, new)
            #else
                Darwin.rename(old, new)
            #endif
        }
    }

    static func remove(_ path: String) -> Int32 { calling(.remove, path) { _ in unlink(path) } }

    static func makeDirectory(_ path: String) -> Int32 { calling(.makeDirectory, path) { _ in mkdir(path, 0o777) } }

    /// Removes an empty directory.
    static func removeDirectory(_ path: String) -> Int32 { calling(.removeDirectory, path) { _ in rmdir(path) } }

    /// Removes a directory with everything in it, or a file. A link is removed, not what it points to.
    static func removeTree(_ path: String) -> Int32 {
        var status = stat()
        guard lstat(path, &status) == 0 else { return -1 }
        guard status.st_mode & S_IFMT == S_IFDIR else { return remove(path) }
        for name in names(in: path) where removeTree("\(path)/\(name)") != 0 && errno != ENOENT { return -1 }
        return removeDirectory(path)
    }

    /// A call, again if a signal interrupted it.
    private static func calling<Result: SignedInteger>(
        _ call: Call, _ path: String, _ system: (_ limit: Int) -> Result
    ) -> Result {
        while true {
            var limit = Int.max
            var result: Result?
            switch disk?.fault(call, path) {
            case .error(let code)?: (errno, result) = (code, -1)
            case .short(let count)?: limit = count
            case .skipped?: result = 0
            case nil: break
            }
            let given = result ?? system(limit)
            if given >= 0 || errno != EINTR { return given }
        }
    }
}

/// The last call's error, for a user.
func cannotWrite(_ path: String) -> UserError { failure("cannot write \(path)", errno) }
func cannotRemove(_ path: String) -> UserError { failure("cannot remove \(path)", errno) }
func cannotCreateDirectory(_ path: String) -> UserError { failure("cannot create the directory \(path)", errno) }

private func failure(_ what: String, _ code: Int32) -> UserError {
    let hint =
        switch code {
        case ENOSPC, EDQUOT: "free some space on the disk"
        case EFBIG: "allow larger files: ulimit -f unlimited, or another file system"
        case EIO: "check the disk"
        default: "check that the folder exists and is yours, or choose another output"
        }
    return UserError("\(what): \(String(cString: strerror(code)))", hint: hint)
}
