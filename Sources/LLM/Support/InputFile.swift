// Reading what may be anything. Whatever is read is untrusted: a caller asks for the file's length first and checks its
// sizes against that, with overflow-checked arithmetic, before it takes memory.

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

    /// The same, and takes the bytes into a checksum while they are in the cache.
    package func read(
        into buffer: UnsafeMutableRawBufferPointer, at offset: Int, updating checksum: inout Checksum
    ) throws {
        let piece = 1 << 18
        for start in stride(from: 0, to: buffer.count, by: piece) {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[start..<min(start + piece, buffer.count)])
            try read(into: part, at: offset + start)
            checksum.update(UnsafeRawBufferPointer(part))
        }
    }

    /// - Precondition: the caller has checked `count` against the file's length.
    package func read<Value: BitwiseCopyable>(_ count: Int, of type: Value.Type, at offset: Int) throws -> [Value] {
        requireMemory(count * MemoryLayout<Value>.stride)
        return try [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
            try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            initialized = count
        }
    }
}
