// The characters that stand for bytes.

import Foundation
import LLM
import Testing

@Test func `the byte alphabet is GPT-2's`() {
    #expect(String(decoding: ByteAlphabet.characters(for: Array(" a\né".utf8)), as: UTF8.self) == "ĠaĊÃ©")
    #expect(ByteAlphabet.bytesInOrder.count == 256)
    #expect(ByteAlphabet.bytesInOrder.firstIndex(of: 32) == 220)
    #expect(ByteAlphabet.bytesInOrder.firstIndex(of: 10) == 198)
    for byte in UInt8.min...UInt8.max {
        #expect(ByteAlphabet.bytes(for: ByteAlphabet.characters(for: [byte])) == [byte])
    }
    #expect(ByteAlphabet.bytes(for: Array("가".utf8)) == nil)
}
