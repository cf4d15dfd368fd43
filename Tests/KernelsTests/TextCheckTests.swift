// The check of text against RFC 3629, character by character.

import Kernels
import Testing

private let tail: ClosedRange<UInt8> = 0x80...0xBF
/// The characters of UTF-8, but NUL, by the ranges of their bytes.
private let characters: [[ClosedRange<UInt8>]] = [
    [0x01...0x7F], [0xC2...0xDF, tail], [0xE0...0xE0, 0xA0...0xBF, tail], [0xE1...0xEC, tail, tail],
    [0xED...0xED, 0x80...0x9F, tail], [0xEE...0xEF, tail, tail], [0xF0...0xF0, 0x90...0xBF, tail, tail],
    [0xF1...0xF3, tail, tail, tail], [0xF4...0xF4, 0x80...0x8F, tail, tail],
]

/// The length of the character that `bytes` begin with, by the table of RFC 3629; nil for NUL and what is not UTF-8.
private func characterLength(_ bytes: ArraySlice<UInt8>) -> Int? {
    characters.first { row in
        bytes.count >= row.count && zip(row, bytes).allSatisfy { $0.contains($1) }
    }?.count
}

@Test func `text ends at the chunk in which a byte is wrong`() {
    // What begins, continues or breaks a character in every way, around the border of two chunks.
    let bytes: [UInt8] = [
        0, 0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0, 0xE1, 0xED, 0xF0, 0xF3, 0xF4, 0xF5,
    ]
    for place in [3 + 100, 3 + 253, 3 + 254, 3 + 255] {
        var text = [UInt8](repeating: 0x61, count: 3 + 512)
        for (a, b) in bytes.flatMap({ a in bytes.map { (a, $0) } }) {
            for (c, d) in bytes.flatMap({ c in bytes.map { (c, $0) } }) {
                (text[place], text[place + 1], text[place + 2], text[place + 3]) = (a, b, c, d)
                var position = place
                while position < place + 4, let length = characterLength(text[position...].prefix(4)) {
                    position += length
                }
                let end = text.withUnsafeBufferPointer { text in
                    text.baseAddress.map { textEnd(in: $0, from: 3, count: text.count) } ?? 0
                }
                // A byte that is missing shows in the three after the one that asks for it.
                let isRight =
                    position < place + 4 ? end <= position + 3 && position < end + 256 : end == text.count
                if !isRight { Issue.record("\(a) \(b) \(c) \(d) at \(place): \(position), and text ends at \(end)") }
            }
        }
    }
}

@Test func `text goes to the last whole chunk`() {
    let text = [UInt8](repeating: 0x61, count: 1000)
    text.withUnsafeBufferPointer { text in
        guard let base = text.baseAddress else { return }
        for (start, count, end) in [(3, 3, 3), (3, 258, 3), (3, 259, 259), (4, 1000, 772), (5, 517, 517)] {
            #expect(textEnd(in: base, from: start, count: count) == end)
        }
    }
}
