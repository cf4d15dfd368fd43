// A file as memory: what is large and read once, such as a model's weights, needs no second copy on its way in.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The bytes of a regular file, mapped read-only for as long as this object lives. The file must not be cut short
/// meanwhile: the system ends a program that reads past the new end.
package final class MappedFile {
    package let path: String
    package let bytes: UnsafeRawBufferPointer

    /// - Parameter hint: what to tell the user if the file is not there.
    package init(_ path: String, hint: String) throws {
        let file = try InputFile(path, hint: hint)
        self.path = path
        guard file.size > 0 else {  // the system maps no empty file
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let start = mmap(nil, file.size, PROT_READ, MAP_PRIVATE, file.descriptor, 0), start != MAP_FAILED else {
            throw UserError(
                "cannot map \(path) into memory: \(String(cString: strerror(errno)))",
                hint: "copy it to a local disk, or free some memory")
        }
        bytes = UnsafeRawBufferPointer(start: start, count: file.size)
    }

    /// Tells the system that these bytes have been read: until they are read again they take no memory of this process.
    /// A conversion would otherwise hold a model twice.
    package func release(_ range: Range<Int>) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let (first, end) = ((range.lowerBound + page - 1) / page * page, range.upperBound / page * page)
        guard first < end, let start = bytes.baseAddress else { return }
        madvise(UnsafeMutableRawPointer(mutating: start + first), end - first, Int32(MADV_DONTNEED))
    }

    deinit {
        guard let start = bytes.baseAddress else { return }
        munmap(UnsafeMutableRawPointer(mutating: start), bytes.count)
    }
}
