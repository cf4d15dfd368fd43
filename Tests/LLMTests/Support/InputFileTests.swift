// What cannot be read says so.

import Foundation
import LLM
import Testing

@Test func `a missing file and a directory cannot be read`() throws {
    try withTemporaryDirectory { directory in
        #expect { try InputFile(directory + "/none", hint: "make it") } throws: { error in
            let error = error as? UserError
            return error?.message.contains("none: No such file") == true && error?.hint == "make it"
        }
        #expect { try InputFile(directory, hint: "make it") } throws: { error in
            (error as? UserError)?.message.contains("is a directory") == true
        }
    }
}

@Test func `a read past the end says where the file ends`() throws {
    try withTemporaryDirectory { directory in
        let path = directory + "/file"
        try writeDurably(path) { try $0.write("12345") }
        let file = try InputFile(path, hint: "")
        #expect(try file.read(1, of: UInt8.self, at: 4) == [UInt8(ascii: "5")])
        #expect(try file.read(0, of: UInt8.self, at: 5) == [])
        #expect { try file.read(2, of: Int32.self, at: 0) } throws: { error in
            (error as? UserError)?.message == "\(path) ends after 5 bytes, 3 too early"
        }
    }
}
