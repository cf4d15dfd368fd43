/// What a document is.
package enum DocumentMode: String, CaseIterable, Sendable {
    /// Documents are separated by blank lines (nothing but white space), which belong to the document before them;
    /// those at the beginning of a file belong to its first document.
    case blank
    /// Each line, with its line end.
    case line
    /// Each file.
    case file

    /// Where documents begin in `block`, which is a whole file or starts or ends at safe cuts of one. White space is
    /// never cut, so what decides stands in one block.
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
