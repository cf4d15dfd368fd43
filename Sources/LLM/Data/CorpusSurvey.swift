import Kernels

/// What a first reading of a corpus finds, at the speed of memory: how many documents there are, and that all is text.
struct CorpusSurvey {
    private(set) var documents = 0
    /// Of a corpus of one document: its file, and where in it the document is.
    private(set) var only = (file: 0, range: 0..<0)

    private init() {}

    /// - Throws: if a file cannot be read, or is not text and `lossy` is false.
    init(_ files: [TextFile], mode: DocumentMode, lossy: Bool, sectionSize: Int) throws {
        var found = [CorpusSurvey](repeating: CorpusSurvey(), count: max(1, threadCount))
        for (index, file) in files.enumerated() {
            try found.withUnsafeMutableBufferPointer { found in
                nonisolated(unsafe) let found = found
                try forEachSection(of: file, sectionSize: sectionSize, cut: .betweenWords(.gpt2), lossy: lossy) {
                    found[$0].add($1, of: index, mode.parts(of: $1.bytes, isFileStart: $1.offset == file.start))
                }
            }
        }
        self = found.reduce(into: CorpusSurvey()) { all, one in
            all.documents += one.documents
            all.add(one.only.range, of: one.only.file)
        }
    }

    private mutating func add(_ section: TextSection, of file: Int, _ parts: DocumentMode.Parts) {
        documents += parts.documents.count
        let first = parts.continued.isEmpty ? parts.documents.first : parts.continued
        guard let start = first?.lowerBound, let end = (parts.documents.last ?? first)?.upperBound else { return }
        add(section.offset + start..<section.offset + end, of: file)
    }

    /// Extends `only` by a part of it. (If there are several documents, the result means nothing.)
    private mutating func add(_ range: Range<Int>, of file: Int) {
        guard !range.isEmpty else { return }
        let known = only.file == file && !only.range.isEmpty ? only.range : range
        only = (file, min(known.lowerBound, range.lowerBound)..<max(known.upperBound, range.upperBound))
    }
}
