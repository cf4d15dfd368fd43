// Files that people have beside their texts, or take for texts. In a folder that is given as a corpus, the shards, the
// tokenizer or the model of an earlier run would be learnt as if they were text.

/// A kind of file that is not text, known by the first bytes.
struct FileKind {
    /// As in "this is a PDF".
    let name: String
    /// What to do to get the text.
    let hint: String

    /// The kind of a file that begins with `head`; nil if it is none of these.
    init?(head: [UInt8]) {
        if let (_, name, hint) = FileKind.beginnings.first(where: { head.starts(with: $0.bytes) }) {
            (self.name, self.hint) = (name, hint)
        } else if FileKind.isSafetensors(head) {
            (name, hint) = ("a model (safetensors)", FileKind.ours)
        } else {
            return nil
        }
    }

    private static let ours = "give the texts that it was made from"
    private static let document = "save it as plain text (.txt, UTF-8) first"

    private static let beginnings: [(bytes: [UInt8], name: String, hint: String)] = [
        (magic(20_240_520), "a token shard", ours), (magic(20_240_801), "a token shard", ours),
        (magic(20_240_326), "a model in llm.c's format", ours), (magic(20_240_327), "a debug state of llm.c", ours),
        (magic(20_240_527), "the state of a training run", ours),
        (magic(20_240_328), "a tokenizer in llm.c's format", ours),
        (Array("GGUF".utf8) + [3, 0, 0, 0], "a model (GGUF)", ours),
        ([0x1F, 0x8B], "compressed (gzip)", "unpack it first: gzip -d"),
        ([0x28, 0xB5, 0x2F, 0xFD], "compressed (zstd)", "unpack it first: zstd -d"),
        ([0xFD] + Array("7zXZ".utf8) + [0], "compressed (xz)", "unpack it first: xz -d"),
        (Array("7z".utf8) + [0xBC, 0xAF, 0x27, 0x1C], "a 7z archive", "unpack it first: 7z x"),
        (
            Array("PK".utf8) + [3, 4], "a zip archive (as .docx, .hwpx and .epub are)",
            "unpack it first (unzip), or save the document as plain text (.txt, UTF-8)"
        ),
        (Array("%PDF-".utf8), "a PDF", "extract its text first: pdftotext"),
        (Array("HWP Document File V3.00 \u{1A}".utf8), "a Hangul document (HWP)", document),
        ([0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1], "an office document (.hwp, .doc or .xls)", document),
        (Array("{\\rtf1".utf8), "an RTF document", document),
    ]

    /// The first number in the files of llm.c and ours.
    private static func magic(_ number: Int32) -> [UInt8] { withUnsafeBytes(of: number.littleEndian) { Array($0) } }

    /// The length of the header, then the header, which is a JSON object.
    private static func isSafetensors(_ head: [UInt8]) -> Bool {
        guard head.count > 9, head[8] == UInt8(ascii: "{") else { return false }
        let length = head[..<8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        return length > 1 && length < 1 << 32
    }
}
