// Unicode normal forms of Hangul. TokenizerComponentsTests compares the others with Hugging Face's library.

import Foundation
import LLM
import Testing

@Test func `composing and decomposing are each other's inverse on Hangul`() {
    for scalar in stride(from: UInt32(0xAC00), through: 0xD7A3, by: 3) {
        var text: [UInt8] = []
        for i in 0..<3 { text += Array(String(UnicodeScalar(min(0xD7A3, scalar + UInt32(i))) ?? " ").utf8) }
        let letters = Normalizer.normalForm(.nfd)(text)
        #expect(letters.count > text.count)
        #expect(Normalizer.normalForm(.nfc)(letters) == text)
        #expect(letters.withUnsafeBufferPointer { hasDecomposedHangul($0) })
        #expect(!text.withUnsafeBufferPointer { hasDecomposedHangul($0) })
    }
}
