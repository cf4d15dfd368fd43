// Tables: what RFC 4180 allows, and what it does not.

import LLM
import Testing

private func records(_ text: String) throws -> [(line: Int, fields: [String])] {
    var table = CSV(Array(text.utf8), name: "t.csv")
    var records: [(line: Int, fields: [String])] = []
    while let (line, fields) = try table.next() {
        records.append((line, fields.map { String(decoding: $0, as: UTF8.self) }))
    }
    return records
}

@Test func `a table's fields are what Python's csv makes of them`() throws {
    for (text, fields) in [
        ("", []), ("a", [["a"]]), ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        ("a,b\n\n1,2", [["a", "b"], ["1", "2"]]),
        ("a,b\r1,2\r", [["a", "b"], ["1", "2"]]), (",\n,,\n", [["", ""], ["", "", ""]]),
        ("a, \"b\" ,c", [["a", " \"b\" ", "c"]]),
        ("\"a,b\",\"\"\"네\"\"\"\n", [["a,b", "\"네\""]]), ("\"\",x\n", [["", "x"]]), ("\"\"\"\"", [["\""]]),
        ("\"1\n2\r\n3\",x\ny,z", [["1\n2\r\n3", "x"], ["y", "z"]]), ("5\" disk,x", [["5\" disk", "x"]]),
        ("a\tb\n\"1\t2\"\t3,4", [["a", "b"], ["1\t2", "3,4"]]), ("a\tb,c\n", [["a\tb", "c"]]),
        ("\"x\"", [["x"]]), ("a,", [["a", ""]]), ("\"a\",", [["a", ""]]),
    ] {
        #expect(try records(text).map(\.fields) == fields, "\(text)")
    }
}

@Test func `a record has the line that it begins in`() throws {
    let text = "Q,A\r\n\r\n\"1\n2\r3\r\n\",x\n\ny,z\rv,w"
    #expect(try records(text).map(\.line) == [1, 3, 8, 9])
}

@Test func `quotes that do not match are refused with their line`() {
    let missing = userError { _ = try records("Q,A\nx,y\nz,\"open\nand on\n") }
    #expect(missing?.message == "t.csv, line 3: a field's closing quote is missing")
    let after = userError { _ = try records("Q,A\n\"she said \"yes\"\",y\n") }
    #expect(after?.message == "t.csv, line 2: text after a field's closing quote")
    #expect(after?.hint == "a quote inside a field in quotes is written twice: \"she said \"\"yes\"\"\"")
}
