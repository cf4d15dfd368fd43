/// The definition of a document in a text file. A document has at least one character that is not white space. Lines end
/// with LF, CR LF or CR.
package enum DocumentMode: String, CaseIterable, Sendable {
    /// Documents are separated by blank lines (only white space), which belong to the document before them. Blank lines
    /// at the beginning of a file belong to its first document.
    case blank
    /// Each line, with its line end, is a document. Blank lines are skipped.
    case line
    /// Each file is a document.
    case file

    /// The documents in a section of a text.
    package struct Parts {
        /// The beginning of the section, if it continues a document.
        package var continued = 0..<0
        /// The documents that begin in the section. The last one may go on after it.
        package var documents: [Range<Int>] = []
        /// The number of lines that were skipped.
        package var blankLines = 0
    }

    /// The documents in `section`, which starts and ends at the start and end of a file or at safe cuts. Runs of white
    /// space are never cut, so each boundary is in one section.
    package func parts(of section: UnsafeBufferPointer<UInt8>, isFileStart: Bool) -> Parts {
        var parts = Parts()
        let lines = Lines(of: section)
        let classes = CharacterClasses.shared
        /// The end of the white space at `start`, `limit` at most.
        func spaceEnd(_ start: Int, _ limit: Int) -> Int {
            var position = start
            while position < limit {
                let next = classes.character(at: position, in: section)
                if next.class != .space { break }
                position += next.length
            }
            return position
        }

        /// Whether a line is white space. Most are not, and their first byte shows it: white space beyond ASCII begins
        /// with C2, E1, E2 or E3.
        @inline(__always)
        func isBlank(_ line: Range<Int>) -> Bool {
            let first = section[line.lowerBound]
            if first > 0x20, first < 0x80 || first > 0xE3 { return false }
            return spaceEnd(line.lowerBound, line.upperBound) == line.upperBound
        }

        var position = 0
        if self == .line {
            while position < section.count {
                let line = position..<(lines.end(from: position) ?? section.count)
                if position == 0, !isFileStart {
                    parts.continued = line
                } else if isBlank(line) {
                    parts.blankLines += 1
                } else {
                    parts.documents.append(line)
                }
                position = line.upperBound
            }
            return parts
        }

        var start = 0
        func close(at end: Int) {
            if start == 0, !isFileStart {
                parts.continued = 0..<end
            } else {
                parts.documents.append(start..<end)
            }
            start = end
        }
        if isFileStart {
            position = spaceEnd(0, section.count)
            if position == section.count { return parts }
        }
        while self == .blank, let first = lines.end(from: position) {
            position = spaceEnd(first, section.count)
            let last = section[first..<position].lastIndex { $0 == 10 || $0 == 13 }
            if let last, position < section.count { close(at: last + 1) }
        }
        close(at: section.count)
        return parts
    }
}
