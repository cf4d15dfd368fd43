// What a vocabulary of characters lacks for a text: each such character, or the word it is in, becomes the unknown
// token, and nothing of it can be learnt.

import Foundation

extension Tokenizer {
    /// A warning, if many of the tokens of `files` are unknown; nil if not.
    package func unknownWarning(_ unknownTokens: Int, of tokens: Int, in files: [TextFile]) throws -> String? {
        guard 100 * unknownTokens > tokens else { return nil }
        let characters = try unknownCharacters(in: files)
        let shown = characters.map { "\"\(readable($0))\"" }.joined(separator: " ")
        return "warning: \(share(unknownTokens, of: tokens)) of the tokens are unknown"
            + (shown.isEmpty ? "" : ", for characters that the vocabulary lacks: \(shown)")
            + "; train the tokenizer on such text, or with --scheme byte-level"
    }

    /// The most frequent of the characters in `files` that the vocabulary lacks, or lacks at their place in the word.
    private func unknownCharacters(in files: [TextFile]) throws -> [[UInt8]] {
        let known = Set(spellings)
        var counts: [[UInt8]: Int] = [:]
        var found = 0
        for file in files {
            // Pieces from all over the file. A character that is cut at their ends is one of many.
            let size = 1 << 16
            for offset in stride(from: file.start, to: file.size, by: max(size, file.size / 64)) {
                guard found < 1000 else { break }
                let piece = try file.file.read(min(size, file.size - offset), of: UInt8.self, at: offset)
                forEachUnknownCharacter(in: piece, known) {
                    counts[$0, default: 0] += 1
                    found += 1
                }
            }
        }
        return counts.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key.lexicographicallyPrecedes($1.key) }
            .prefix(8).map(\.key)
    }

    private func forEachUnknownCharacter(in text: [UInt8], _ known: Set<[UInt8]>, _ body: ([UInt8]) -> Void) {
        let (prefix, suffix): ([UInt8], [UInt8])
        switch model {
        case .bytePair(let model)?: (prefix, suffix) = (model.characters.prefix, model.characters.suffix)
        case .wordPiece(let model)?: (prefix, suffix) = (model.prefix, [])
        case nil: return
        }
        guard let model, let unknown else { return }
        var buffers = BytePairModel.MergeBuffers()
        var ids: [Int32] = []
        (normalizer?(text) ?? text).withUnsafeBufferPointer { text in
            func find(in word: UnsafeBufferPointer<UInt8>) {
                ids.removeAll(keepingCapacity: true)
                model.encode(word, to: &ids, &buffers)
                guard ids.contains(unknown) else { return }
                var position = 0
                while position < word.count {
                    let end = position + scalar(at: position, in: word).length
                    let character = Array(word[position..<end])
                    let spelling = (position > 0 ? prefix : []) + character + (end == word.count ? suffix : [])
                    if !known.contains(spelling) { body(character) }
                    position = end
                }
            }
            if let preTokenizer { preTokenizer.forEachWord(in: text) { find(in: $0) } } else { find(in: text) }
        }
    }
}

/// A share as a person reads it: `0.012%`.
package func share(_ part: Int, of whole: Int) -> String {
    String(format: "%.3g%%", 100 * Double(part) / Double(max(1, whole)))
}
