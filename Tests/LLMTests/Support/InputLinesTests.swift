import Foundation
import LLM
import Testing

@Test func `lines come as they are, whatever pieces they are read in`() throws {
    let pipe = Pipe()
    var lines = InputLines(pipe.fileHandleForReading.fileDescriptor)
    try pipe.fileHandleForWriting.write(contentsOf: Data("one\n\ntwo\r\n".utf8 + [0xFF, 0x0A]))
    #expect(lines.next() == .bytes(Array("one".utf8)))
    #expect(lines.next() == .bytes([]))
    #expect(lines.next() == .bytes(Array("two".utf8)))
    #expect(lines.next() == .bytes([0xFF]))
    let long = [UInt8](repeating: 0x61, count: 200_000)
    let writer = Thread {
        try? pipe.fileHandleForWriting.write(contentsOf: Data(long + [0x0A] + Array("last".utf8)))
        try? pipe.fileHandleForWriting.close()
    }
    writer.start()
    #expect(lines.next() == .bytes(long))
    #expect(lines.next() == .bytes(Array("last".utf8)))
    #expect(lines.next() == nil)
}
