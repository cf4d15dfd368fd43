/// The definition of a document in a text file.
package enum DocumentMode: String, CaseIterable, Sendable {
    /// Documents are separated by blank lines (only white space), which belong to the document before them. Blank lines
    /// at the beginning of a file belong to its first document.
    case blank
    /// Each line, with its line end, is a document.
    case line
    /// Each file is a document.
    case file

    /// The offsets in `block` at which documents begin. The block starts and ends at the start and end of a file or at
    /// safe cuts. Runs of white space are never cut, so each boundary is in one block.
    package func starts(in block: UnsafeBufferPointer<UInt8>, isFileStart: Bool) -> [Int] {
        var starts = isFileStart && !block.isEmpty ? [0] : []
        let newline = UInt8(ascii: "\n")
        switch self {
        case .file: break
        case .line:
            var end = -1
            while let next = LLM.newline(in: block, from: end + 1), next + 1 < block.count {
                starts.append(next + 1)
                end = next
            }
        case .blank:
            let classes = CharacterClasses.shared
            var position = isFileStart ? spaceEnd(0) : 0
            while position < block.count {
                guard let first = LLM.newline(in: block, from: position) else { break }
                let end = spaceEnd(first)
                let last = block[first..<end].lastIndex(of: newline) ?? first
                if last > first, end < block.count { starts.append(last + 1) }
                position = end
            }

            func spaceEnd(_ start: Int) -> Int {
                var position = start
                while position < block.count {
                    let next = classes.character(at: position, in: block)
                    if next.class != .space { break }
                    position += next.length
                }
                return position
            }
        }
        return starts
    }
}
