// The text files of a command line: files, directories, standard input.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Opens the text files of a command line. A directory stands for the files in it and below, in the order of their
/// names, but hidden and empty ones. `-` is standard input, which is copied to a temporary file, for it may be
/// read more than once.
package func openTexts(_ paths: [String]) throws -> [InputFile] {
    try paths.flatMap { path in
        if path != "-", isDirectory(path) {
            let files = try files(below: path).map { try InputFile($0, hint: "check the file's rights") }
            guard files.contains(where: { $0.size > 0 }) else {
                throw UserError("\(path) has no file with text in it", hint: "give a file, or a directory of files")
            }
            return files.filter { $0.size > 0 }
        }
        let file =
            path == "-"
            ? try copyOfStandardInput()
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

private func copyOfStandardInput() throws -> InputFile {
    // A file without a name: nothing is left of it, however the program ends.
    guard let copy = tmpfile() else {
        throw UserError(
            "no temporary file: \(String(cString: strerror(errno)))", hint: "standard input is copied to one")
    }
    defer { fclose(copy) }
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let count = buffer.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { break }
        guard fwrite(buffer, 1, count, copy) == count else {
            throw UserError(
                "standard input could not be copied: \(String(cString: strerror(errno)))",
                hint: "it takes as much room in the folder for temporary files")
        }
    }
    guard fflush(copy) == 0 else {
        throw UserError(
            "standard input could not be copied: \(String(cString: strerror(errno)))",
            hint: "it takes as much room in the folder for temporary files")
    }
    return try InputFile(copyOf: fileno(copy), name: "standard input")
}
