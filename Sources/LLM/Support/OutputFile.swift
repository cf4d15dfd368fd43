// Writing a file, whole or not at all (DurableFiles.swift).

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A file being written, buffered. It gets its final name only when `writeDurably` has written all of it.
package final class OutputFile {
    package let path: String
    /// Bytes written so far.
    package private(set) var size = 0
    let descriptor: Int32
    private var pending: [UInt8] = []
    /// Of what is no longer pending.
    private var flushed = Checksum()

    init(_ path: String) throws {
        descriptor = FileCalls.open(path, O_WRONLY | O_CREAT | O_TRUNC)
        guard descriptor >= 0 else { throw cannotWrite(path) }
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
        flushed.update(bytes)
        try writeThrough(bytes)
    }

    package func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
    }

    package func write<Value: BitwiseCopyable>(_ values: [Value]) throws {
        try values.withUnsafeBytes { try write($0) }
    }

    /// The checksum of all that was passed to `write`. What `overwrite` puts in its place does not count, so that the
    /// checksum itself can be put into the file.
    package var checksum: UInt64 {
        var all = flushed
        pending.withUnsafeBytes { all.update($0) }
        return all.value
    }

    /// Replaces bytes already written, such as a header's count that is known only at the end.
    package func overwrite(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        try flush()
        lseek(descriptor, off_t(offset), SEEK_SET)
        try writeThrough(bytes)
        lseek(descriptor, 0, SEEK_END)
    }

    private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = FileCalls.write(descriptor, rest, path: path)
            guard count > 0 else { throw cannotWrite(path) }
            done += count
        }
    }

    private func flush() throws {
        try pending.withUnsafeBytes {
            flushed.update($0)
            try writeThrough($0)
        }
        pending.removeAll(keepingCapacity: true)
    }

    func synchronize() throws {
        try flush()
        guard FileCalls.synchronize(descriptor, path: path) == 0 else { throw cannotWrite(path) }
    }
}
