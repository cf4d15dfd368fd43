// The texts that a command line names: files, directories, standard input.

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The opened text files of a command line. A directory stands for the files in it and below it, in the order of their
/// names, except hidden and empty ones, which a note counts. `-` is standard input. It and other pipes are copied to a
/// temporary file, because a text may be read more than once.
/// - Throws: if a file cannot be read, is empty, or is certainly not text, whether it was named or found in a directory.
package func openTexts(_ paths: [String]) throws -> [TextFile] {
    let files = try paths.flatMap { try $0 != "-" && isDirectory($0) ? openTexts(below: $0) : [openText($0)] }
    let marked = files.filter { $0.start > 0 }
    if let first = marked.first {
        let others = marked.count > 1 ? " and \(marked.count - 1) other files" : ""
        note("note: the byte order mark at the beginning of \(first.path)\(others) is not part of the text")
    }
    return files
}

private func openText(_ path: String) throws -> TextFile {
    let isStandardInput = path == "-"
    let file = try TextFile(
        isStandardInput
            ? try copy(of: STDIN_FILENO, named: "standard input")
            : isPipe(path)
                ? try copy(ofPipe: path)
                : try InputFile(path, hint: "give the path of a text file, or - for standard input"),
        isStandardInput: isStandardInput)
    guard !file.isEmpty else { throw UserError("\(file.path) is empty", hint: "give a file with some text in it") }
    return file
}

private func openTexts(below directory: String) throws -> [TextFile] {
    var hidden = 0
    let files = try files(below: directory, &hidden).map {
        try TextFile(try InputFile($0, hint: "check the file's permissions"), in: directory)
    }
    let texts = files.filter { !$0.isEmpty }
    guard !texts.isEmpty else {
        throw UserError("\(directory) has no file with text in it", hint: "give a file or a directory of files")
    }
    let skipped = [(hidden, "hidden"), (files.count - texts.count, "empty")].filter { $0.0 > 0 }
    if !skipped.isEmpty {
        note("note: skipped in \(directory): \(skipped.map { "\($0.0) \($0.1)" }.joined(separator: ", "))")
    }
    return texts
}

private func files(below directory: String, _ hidden: inout Int) -> [String] {
    var files: [String] = []
    for name in names(in: directory) {
        let path = "\(directory)/\(name)"
        if name.hasPrefix(".") {
            hidden += 1
        } else if isDirectory(path) {
            files += LLM.files(below: path, &hidden)
        } else {
            files.append(path)
        }
    }
    return files
}

/// Whether a path is a pipe's, as a shell's `<(command)` is.
private func isPipe(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFIFO
}

private func copy(ofPipe path: String) throws -> InputFile {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else {
        throw UserError("cannot read \(path): \(String(cString: strerror(errno)))", hint: "check who may read it")
    }
    defer { close(descriptor) }
    return try copy(of: descriptor, named: path)
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
