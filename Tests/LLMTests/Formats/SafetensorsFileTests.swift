// Reading safetensors: what the format allows is read, and whatever breaks one of its rules is an error that names it.

import Foundation
import LLM
import Testing

// MARK: - what is allowed

/// Tensors of four types and two that are empty. The header is out of order, has spaces around it and fields that
/// nobody knows; `half` and `matrix` begin at odd addresses.
private let small: [UInt8] = {
    let header = """
         \n{"matrix": {"shape": [2, 3], "dtype": "F32", "data_offsets": [3, 27], "color": {"deep": [1, null]}},
        "mask": {"dtype": "U8", "shape": [1, 3], "data_offsets": [0, 3]}, "__metadata__": {"format": "pt", "": ""},
        "h.0.half": {"dtype": "F16", "shape": [2], "data_offsets": [27, 31]},
        "nothing": {"dtype": "I64", "shape": [5, 0, 7], "data_offsets": [27, 27]},
        "brain": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [31, 35]},
        "one": {"dtype": "F32", "shape": [], "data_offsets": [35, 39]},
        "caf\\u00e9 \\ud83d\\ude00": {"dtype": "F32", "shape": [0], "data_offsets": [39, 39]}}\t\r\n
        """
    let data: [UInt8] =
        [1, 0, 1] + littleEndian([1, -2, 3.5, 4, 0.1, -0.0]) + littleEndian(UInt16(0x3C00))
        + littleEndian(UInt16(0xFC00)) + littleEndian(UInt16(0x3F80)) + littleEndian(UInt16(0x4049))
        + littleEndian([42])
    return safetensors(header, data)
}()

@Test func `a file is read as its header says`() throws {
    try withSafetensors(small) { file in
        #expect(
            file.entries.keys.sorted()
                == ["brain", "caf\u{e9} 😀", "h.0.half", "mask", "matrix", "nothing", "one"])
        let matrix = try #require(file.entries["matrix"])
        #expect(matrix.dtype == .float32 && matrix.shape == [2, 3] && matrix.count == 6 && matrix.bytes.count == 24)
        #expect(file.entries["one"]?.shape == [] && file.entries["nothing"]?.count == 0)
        let floats: [Float] = [1, -2, 3.5, 4, 0.1, -0.0]
        #expect(try file.floats("matrix").map { $0.bitPattern } == floats.map { $0.bitPattern })
        #expect(try file.transposedFloats("matrix") == [1, 4, -2, 0.1, 3.5, 0])
        #expect(try file.floats("h.0.half") == [1, -.infinity])
        #expect(try file.floats("brain") == [1, 3.140625])
        #expect(try file.transposedFloats("brain") == [1, 3.140625])
        #expect(try file.floats("one") == [42])
        #expect(try file.floats("caf\u{e9} 😀") == [])
    }
}

@Test func `a file without tensors is read`() throws {
    for header in ["{}", "  {}  ", "{\"__metadata__\":{}}"] {
        try withSafetensors(safetensors(header)) { #expect($0.entries.isEmpty) }
    }
}

@Test func `tensors of every type are known`() throws {
    for dtype in SafetensorsDType.allCases {
        let count = 16 * dtype.bits / 8
        let header =
            "{\"a\":{\"dtype\":\"\(dtype.rawValue)\",\"shape\":[2,8],\"data_offsets\":[0,\(count)]}}"
        try withSafetensors(safetensors(header, [UInt8](repeating: 0, count: count))) { file in
            #expect(file.entries["a"]?.dtype == dtype)
            if dtype.isReadable {
                let floats = try file.floats("a")
                #expect(floats == [Float](repeating: 0, count: 16))
            } else {
                expectMessage(["model.safetensors", "\"a\"", dtype.rawValue]) { _ = try file.floats("a") }
                expectMessage(["model.safetensors", "\"a\"", dtype.rawValue]) { _ = try file.transposedFloats("a") }
            }
        }
    }
    let readable = SafetensorsDType.allCases.filter(\.isReadable)
    #expect(Set(readable) == [.float32, .float16, .bfloat16])
}

@Test func `a tensor that is missing or has another shape is not read`() throws {
    try withSafetensors(small) { file in
        var floats = [Float](repeating: 7, count: 6)
        expectMessage(["model.safetensors", "\"none\" is missing"]) {
            try file.readFloats("none", shape: [6], into: &floats)
        }
        for shape in [[6], [3, 2], [2, 3, 1], [], [2]] {
            expectMessage(["\"matrix\"", "[2, 3], not \(shape)"]) {
                try file.readFloats("matrix", shape: shape, into: &floats)
            }
        }
        expectMessage(["\"matrix\"", "[2, 3], not [3, 2]"]) {
            try file.readTransposedFloats("matrix", shape: (3, 2), into: &floats)
        }
        #expect(floats == [Float](repeating: 7, count: 6))
    }
}

// MARK: - what is not

/// A tensor `a` of six floats, with these fields.
private func one(dtype: String = "\"F32\"", shape: String = "[2,3]", offsets: String = "[0,24]") -> String {
    "{\"a\":{\"dtype\":\(dtype),\"shape\":\(shape),\"data_offsets\":\(offsets)}}"
}

/// Tensors of so many U8, at these offsets.
private func several(_ tensors: (String, Range<Int>)...) -> String {
    let entries = tensors.map { name, bytes in
        "\"\(name)\":{\"dtype\":\"U8\",\"shape\":[\(bytes.count)],"
            + "\"data_offsets\":[\(bytes.lowerBound),\(bytes.upperBound)]}"
    }
    return "{\(entries.joined(separator: ","))}"
}

@Test func `each broken rule is an error that names the tensor and the rule`() throws {
    let bad: [(header: String, parts: [String])] = [
        ("", ["header", "ends too early"]),
        ("[]", ["not a JSON object"]),
        ("\"a\"", ["not a JSON object"]),
        ("{} x", ["continues after its end"]),
        ("{}\0", ["continues after its end"]),
        ("{}{}", ["continues after its end"]),
        ("{\"a\":3}", ["\"a\"", "not a JSON object"]),
        ("{\"a\":{}}", ["\"a\"", "dtype is missing"]),
        ("{\"__metadata__\":3}", ["__metadata__", "strings"]),
        ("{\"__metadata__\":{\"format\":1}}", ["__metadata__", "strings"]),
        ("{\"__metadata__\":{\"format\":\"pt\",\"x\":null}}", ["__metadata__", "strings"]),
        (one(dtype: "32"), ["\"a\"", "dtype", "not a string"]),
        (one(dtype: "\"f32\""), ["\"a\"", "dtype \"f32\" is unknown"]),
        (one(dtype: "\"I4\""), ["\"a\"", "dtype \"I4\" is unknown"]),
        (one(dtype: "\"C128\""), ["\"a\"", "dtype \"C128\" is unknown"]),
        (one(shape: "6"), ["\"a\"", "shape", "not an array"]),
        (one(shape: "{}"), ["\"a\"", "shape", "not an array"]),
        (one(shape: "[-2,-3]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[2.5,3]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[\"2\",3]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[null]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[1e30]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[1e999]"), ["header", "not a JSON value"]),
        (one(shape: "[18446744073709551615]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[9223372036854775807]"), ["\"a\"", "shape", "whole number"]),
        (one(shape: "[4611686018427387904,2]"), ["\"a\"", "more elements"]),
        (one(shape: "[4611686018427387904]"), ["\"a\"", "more elements"]),
        (one(shape: "[4294967296,4294967296]"), ["\"a\"", "more elements"]),
        // Products that would be 6 again if they were allowed to overflow.
        (one(shape: "[4294967296,4294967296,2,3]"), ["\"a\"", "more elements"]),
        (one(shape: "[2,4]"), ["\"a\"", "takes 32 bytes", "data_offsets 24"]),
        (one(shape: "[5]"), ["\"a\"", "takes 20 bytes"]),
        (one(shape: "[]"), ["\"a\"", "takes 4 bytes"]),
        (one(shape: "[2,0]"), ["\"a\"", "takes 0 bytes"]),
        (one(dtype: "\"F16\""), ["\"a\"", "takes 12 bytes"]),
        (one(dtype: "\"F64\""), ["\"a\"", "takes 48 bytes"]),
        (one(dtype: "\"F4\"", shape: "[47]"), ["\"a\"", "whole byte"]),
        (one(offsets: "24"), ["\"a\"", "data_offsets", "not an array"]),
        (one(offsets: "[]"), ["\"a\"", "0 numbers, not 2"]),
        (one(offsets: "[0]"), ["\"a\"", "1 numbers, not 2"]),
        (one(offsets: "[0,24,24]"), ["\"a\"", "3 numbers, not 2"]),
        (one(offsets: "[24,0]"), ["\"a\"", "before they begin"]),
        (one(offsets: "[-24,0]"), ["\"a\"", "data_offsets", "whole number"]),
        (one(offsets: "[0,2e1]"), ["\"a\"", "data_offsets 20"]),
        (one(offsets: "[1,25]"), ["\"a\"", "after the data's 24 bytes"]),
        (one(offsets: "[0,1e18]"), ["\"a\"", "after the data's 24 bytes"]),
        (one(offsets: "[9223372036854774784,9223372036854774784]"), ["\"a\"", "after the data's 24 bytes"]),
        (one(offsets: "[18446744073709551592,18446744073709551615]"), ["\"a\"", "data_offsets", "whole number"]),
        (several(("a", 0..<12), ("b", 13..<24)), ["\"b\"", "at 13, not at 12", "gap"]),
        (several(("a", 1..<24)), ["\"a\"", "at 1, not at 0", "gap"]),
        (several(("b", 12..<24), ("a", 0..<13)), ["\"b\"", "at 12, not at 13", "overlaps"]),
        (several(("a", 0..<24), ("b", 0..<24)), ["at 0, not at 24", "overlaps"]),
        (several(("a", 0..<24), ("b", 7..<7)), ["\"b\"", "at 7, not at 24", "overlaps"]),
        (several(("a", 0..<12), ("b", 12..<23)), ["1 bytes after the last tensor"]),
        ("{}", ["24 bytes after the last tensor"]),
    ]
    let data = [UInt8](repeating: 0, count: 24)
    try withSafetensors(safetensors(one(), data)) { #expect($0.entries["a"]?.count == 6) }
    for (header, parts) in bad {
        expectMessage(["model.safetensors"] + parts, header) { try withSafetensors(safetensors(header, data)) { _ in } }
    }
}

@Test func `a key that is there twice is an error at every level`() throws {
    let a = "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
    for (header, key) in [
        ("{\(a),\(a)}", "\"a\""),
        ("{\(a),\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", "\"a\""),
        ("{\"__metadata__\":{},\(a),\"__metadata__\":{}}", "__metadata__"),
        ("{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}", "\"x\""),
        ("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"shape\":[0]}}", "\"shape\""),
        ("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":{\"y\":0,\"y\":0}}}", "\"y\""),
        ("{\(a),\"caf\u{e9}\":\(a.dropFirst(4)),\"cafe\u{301}\":\(a.dropFirst(4))}", "two Unicode spellings"),
    ] {
        expectMessage(["model.safetensors", "twice", key], header) {
            try withSafetensors(safetensors(header)) { _ in }
        }
    }
}

@Test func `a file cut at any byte, or longer, is an error`() throws {
    try withSafetensors(small) { #expect($0.entries.count == 7) }
    try withTemporaryDirectory { directory in
        let path = directory + "/model.safetensors"
        for cut in 0..<small.count {
            try write(Array(small[..<cut]), to: path)
            expectMessage([path], "cut to \(cut)") { _ = try SafetensorsFile(path) }
        }
        try write(small + [0], to: path)
        expectMessage([path, "1 bytes after the last tensor"]) { _ = try SafetensorsFile(path) }
    }
}

@Test func `the header's length is checked before it is believed`() throws {
    for (length, what) in [
        (.max, "longer than 100,000,000"), (1 << 63, "longer than 100,000,000"),
        (UInt64(Int.max) - 7, "longer than 100,000,000"), (100_000_001, "longer than 100,000,000"),
        (100_000_000, "does not fit"), (UInt64(small.count), "does not fit"), (UInt64(small.count - 7), "does not fit"),
        (0, "ends too early"), (1, "ends too early"), (UInt64(small.count - 8), "not UTF-8"),
    ] as [(UInt64, String)] {
        let bytes = littleEndian(length) + small.dropFirst(8)
        expectMessage(["model.safetensors", what], "\(length)") { try withSafetensors(bytes) { _ in } }
    }
    // The longest header that is allowed, most of it spaces.
    let bytes = safetensors(Array("{}".utf8) + [UInt8](repeating: UInt8(ascii: " "), count: 100_000_000 - 2), [])
    try withSafetensors(bytes) { #expect($0.entries.isEmpty) }
}

@Test func `a header of more values than any has is refused before it takes memory`() throws {
    let many = String(repeating: "0,", count: 1 << 21)
    for header in ["{\"a\":[\(many)0]}", "{\"__metadata__\":[\(many)0]}"] {
        expectMessage(["model.safetensors", "more than 2,097,152 values"]) {
            try withSafetensors(safetensors(header)) { _ in }
        }
    }
}

@Test func `a header that nests deep is an error and does not reach the end of the stack`() throws {
    for opening in ["[", "{\"a\":"] {
        for depth in [65, 1000, 1_000_000] {
            let header = String(repeating: opening, count: depth)
            expectMessage(["model.safetensors", "deeper than 64"]) {
                try withSafetensors(safetensors("{\"a\":\(header)")) { _ in }
            }
        }
    }
}

@Test func `a header that is not UTF-8 is an error`() throws {
    for bytes in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xC0, 0x80], [0xF4, 0x90, 0x80, 0x80]] as [[UInt8]] {
        let entry = "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}"
        let header = Array("{\"".utf8) + bytes + Array(entry.utf8)
        expectMessage(["model.safetensors", "not UTF-8"]) { try withSafetensors(safetensors(header, [])) { _ in } }
    }
    expectMessage(["surrogate"]) { try withSafetensors(safetensors("{\"\\ud800\":{}}")) { _ in } }
}

@Test func `a name in a message is on one line and not too long`() throws {
    let name = "a\\n\\u001b[31m" + String(repeating: "x", count: 1000)
    do {
        try withSafetensors(safetensors("{\"\(name)\":3}")) { _ in }
        Issue.record("nothing was thrown")
    } catch let error as UserError {
        #expect(error.message.utf8.allSatisfy { $0 >= 0x20 } && error.message.count < 400)
        #expect(error.message.contains("\"a\\n\\u001b[31mxxx"))
    }
}

@Test func `a missing file, a directory and an empty file are errors`() throws {
    try withTemporaryDirectory { directory in
        expectMessage(["none", "No such file"]) { _ = try SafetensorsFile(directory + "/none") }
        expectMessage(["is a directory"]) { _ = try SafetensorsFile(directory) }
        try write([], to: directory + "/empty")
        expectMessage(["empty", "0 bytes"]) { _ = try SafetensorsFile(directory + "/empty") }
    }
}

/// Whatever stands in the file, reading it ends, with floats or with an error.
@Test func `random damage of a safetensors file never traps`() throws {
    let headerCount = Int(small[0]) | Int(small[1]) << 8
    var random = Xorshift(seed: 5)
    var opened = 0
    try withTemporaryDirectory { directory in
        let path = directory + "/model.safetensors"
        for round in 0..<1000 {
            var bad = small
            for _ in 0...random.below(3) {
                bad[(round % 2 == 0 ? 0 : 8) + random.below(headerCount)] = UInt8(truncatingIfNeeded: random.next())
            }
            try write(bad, to: path)
            do {
                let file = try SafetensorsFile(path)
                opened += 1
                for (name, entry) in file.entries where entry.dtype.isReadable && entry.count > 0 {
                    _ = try file.floats(name)
                }
            } catch is UserError {}
        }
    }
    #expect(opened > 10)
}

// MARK: - many elements

/// A file with one matrix of any bits, which begins at an odd address.
private func matrix(_ dtype: SafetensorsDType, rows: Int, columns: Int, data: [UInt8]) -> [UInt8] {
    safetensors(
        """
        {"pad":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"\(dtype.rawValue)",\
        "shape":[\(rows),\(columns)],"data_offsets":[1,\(1 + data.count)]}}
        """, [0] + data)
}

/// Sizes below, at and above a block and a task's share, with ragged ends.
@Test(arguments: [
    (1, 1), (1, 70), (70, 1), (2, 3), (31, 33), (32, 32), (33, 65), (64, 128), (65, 63), (97, 131), (129, 200),
    (3, 1000),
])
func `a matrix is read as it is and transposed, bit for bit`(rows: Int, columns: Int) throws {
    let bits = hardBits(rows * columns, seed: UInt64(rows * 1000 + columns))
    func check(_ dtype: SafetensorsDType, _ data: [UInt8], _ expected: [UInt32]) throws {
        try withSafetensors(matrix(dtype, rows: rows, columns: columns, data: data)) { file in
            let (floats, turned) = (try file.floats("a"), try file.transposedFloats("a"))
            #expect(floats.map { $0.bitPattern } == expected)
            #expect(turned.map { $0.bitPattern } == transposed(expected, columns: columns))
        }
    }
    try check(.float32, bits.flatMap { littleEndian($0) }, bits)
    let halves = bits.map { UInt16(truncatingIfNeeded: $0 >> 16) }
    let halfBytes = halves.flatMap { littleEndian($0) }
    try check(.float16, halfBytes, halves.map { Float(float16: $0).bitPattern })
    try check(.bfloat16, halfBytes, halves.map { UInt32($0) << 16 })
}

@Test func `a tensor of several tasks' shares is read bit for bit, and nothing beside it is written`() throws {
    let count = (1 << 19) + 77
    let bits = hardBits(count, seed: 8)
    let data = bits.flatMap { littleEndian(UInt16(truncatingIfNeeded: $0)) }
    try withSafetensors(matrix(.bfloat16, rows: 1, columns: count, data: data)) { file in
        var floats = [Float](repeating: 7, count: count + 2)
        try floats.withUnsafeMutableBufferPointer {
            try file.readFloats("a", shape: [1, count], into: try #require($0.baseAddress) + 1)
        }
        #expect(floats[0] == 7 && floats[count + 1] == 7)
        let isSame = zip(floats[1...count], bits).allSatisfy { $0.bitPattern == $1 << 16 }
        #expect(isSame)
    }
}
