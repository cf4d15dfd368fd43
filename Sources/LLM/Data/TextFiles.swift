// The texts that a command line names: files, directories, standard input.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The opened text files of a command line. A directory stands for the files in it and below it, in the order of their
/// names, except hidden and empty ones. `-` is standard input, which is copied to a temporary file, because it may be
/// read more than once.
/// - Throws: if a file cannot be read or is empty.
package func openTexts(_ paths: [String]) throws -> [InputFile] {
    try paths.flatMap { path in
        if path != "-", isDirectory(path) {
            let files = try files(below: path).map { try InputFile($0, hint: "check the file's permissions") }
            guard files.contains(where: { $0.size > 0 }) else {
                throw UserError("\(path) has no file with text in it", hint: "give a file or a directory of files")
            }
            return files.filter { $0.size > 0 }
        }
        let file =
            path == "-"
            ? try copy(of: STDIN_FILENO, named: "standard input")
            : try InputFile(path, hint: "give the path of a text file, or - for standard input")
        guard file.size > 0 else {
            throw UserError(
                "\(path == "-" ? "standard input" : path) is empty", hint: "give a file with some text in it")
        }
        return [file]
    }
}

private func files(below directory: String) -> [String] {
    names(in: directory).filter { !$0.hasPrefix(".") }.flatMap { name in
        let path = "\(directory)/\(name)"
        return isDirectory(path) ? files(below: path) : [path]
    }
}

/// A temporary copy of everything that can be read from `descriptor`.
/// - Parameter name: what messages call the file.
package func copy(of descriptor: Int32, named name: String) throws -> InputFile {
    // A file without a name: nothing of it remains, however the program ends.
    guard let copy = tmpfile() else {
        throw UserError(
            "cannot create a temporary file: \(String(cString: strerror(errno)))",
            hint: "\(name) is copied to one")
    }
    defer { fclose(copy) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { break }
        guard fwrite(buffer, 1, count, copy) == count else {
            throw UserError(
                "cannot copy \(name): \(String(cString: strerror(errno)))",
                hint: "the directory for temporary files needs as much space")
        }
    }
    guard fflush(copy) == 0 else {
        throw UserError(
            "cannot copy \(name): \(String(cString: strerror(errno)))",
            hint: "the directory for temporary files needs as much space")
    }
    return try InputFile(copyOf: fileno(copy), name: name)
}
